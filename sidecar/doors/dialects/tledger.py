"""Calls of the tLedger dialect about keys, projects, agents, limits and accounts.

The base URL of the vendor's clients becomes ``<sidecar>/tledger``. Source: its public API description; see
docs/dialects/tledger.md for what each thing is natively.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import cast

from sidecar.core.budget import Budget
from sidecar.core.directory import Identity, IdentityChain, block_on
from sidecar.core.errors import NotFound, inside
from sidecar.core.limits import LIST_LIMIT_MAX
from sidecar.doors.dialects import tledger_answers as answers
from sidecar.doors.dialects import tledger_drafts as drafts
from sidecar.doors.dialects import tledger_shapes as shapes
from sidecar.doors.dialects.tledger_manner import TLEDGER_KEYS, called
from sidecar.doors.dialects.tledger_paths import PAGE, call, page
from sidecar.doors.native.render import Document
from sidecar.doors.native.replays import done_answer
from sidecar.doors.wire.endpoint import Ask, Call, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.service.accounts import Bank
from sidecar.service.budget_changes import Metered
from sidecar.service.budgets import BudgetFilter, Treasurer
from sidecar.service.enrolment import Registrar
from sidecar.service.identities import Registry
from sidecar.service.paging import Page, PageRequest, numbered
from sidecar.service.subtrees import IdentityFilter
from sidecar.service.tenants import Tenancy
from sidecar.service.tokens import TokenDesk

OK = 200
"""The status of every success in this dialect, also where something was made."""

ONE_AGENT = "/agent_profiles/{agent_id}"
ONE_PROJECT = "/projects/{project_id}"


class TLedgerCalls:
    """The calls, over the services that do them."""

    def __init__(
        self,
        tenancy: Tenancy,
        registry: Registry,
        registrar: Registrar,
        treasurer: Treasurer,
        bank: Bank,
        desk: TokenDesk,
    ) -> None:
        """Translate for these services."""
        self._tenancy = tenancy
        self._registry = registry
        self._registrar = registrar
        self._treasurer = treasurer
        self._bank = bank
        self._desk = desk

    def calls(self) -> Iterable[Call]:
        """Return the calls, which are not in the description of the native API."""
        keys, projects, agents = "/api_key/generate-api-key", "/projects", "/agent_profiles"
        limits = f"{ONE_AGENT}/agent_limits"
        yield call("POST", keys, self.create_key, request=shapes.KeyBody, manner=TLEDGER_KEYS)
        yield call("POST", projects, self.create_project, request=shapes.ProjectBody)
        yield call("GET", projects, self.list_projects, query=PAGE)
        yield call("GET", ONE_PROJECT, self.get_project)
        yield call("DELETE", ONE_PROJECT, self.delete_project)
        yield call("POST", agents, self.create_agent, request=shapes.AgentBody)
        yield call("GET", agents, self.list_agents, query=PAGE | {"project_id"})
        yield call("GET", ONE_AGENT, self.get_agent)
        yield call("DELETE", ONE_AGENT, self.delete_agent)
        yield call("POST", limits, self.set_limit, request=shapes.LimitBody)
        yield call("GET", limits, self.get_limits)
        yield call("GET", "/accounts/{account_id}", self.get_account, "/account/{account_id}")
        yield call("GET", "/balance/agent/{agent_id}", self.get_balance)

    async def create_key(self, ask: Ask) -> Answer:
        """Make a pair; its secret is shown in this answer only."""
        draft = drafts.api_key(cast("shapes.KeyBody", ask.body))
        done = await self._desk.create(ask.caller, ask.tenant_id(), draft, ask.now_us, ask.idempotency_key())
        return done_answer(done, answers.api_key, OK)

    async def create_project(self, ask: Ask) -> Answer:
        """Make a project with its treasury agent."""
        own = self._tenancy.listed(ask.caller, PageRequest(limit=1), ask.tenant_id()).values
        draft = drafts.project(cast("shapes.ProjectBody", ask.body), own[0].root_identity_id)
        done = await self._registrar.enrol(ask.caller, ask.tenant_id(), draft, ask.idempotency_key(), ask.now_us)
        return done_answer(done, answers.new_project, OK)

    async def list_projects(self, ask: Ask) -> Answer:
        """List the projects that were not deleted."""
        return await self._page(ask, IdentityFilter(type=drafts.PROJECT), self._project)

    async def get_project(self, ask: Ask) -> Answer:
        """Show a project."""
        chain = self._known(ask, drafts.PROJECT, ask.path["project_id"], "path")
        return json_answer(self._project(ask, chain))

    async def delete_project(self, ask: Ask) -> Answer:
        """Delete a project: it is revoked, and with it everybody below."""
        return await self._delete(ask, drafts.PROJECT)

    def _project(self, ask: Ask, chain: IdentityChain) -> Document:
        identity = chain[0]
        treasury = next(self._treasuries(ask, chain), None)
        shown = None if treasury is None else self._agent(ask, treasury)
        return answers.project(identity, self._budgets(ask, identity), shown)

    def _treasuries(self, ask: Ask, project: IdentityChain) -> Iterator[IdentityChain]:
        """Yield the chains of a project's treasury agents; the one made with it is below it first, so it is cheap."""
        below = IdentityFilter(parent_id=project[0].identity_id, type=drafts.AGENT)
        for limit in (1, LIST_LIMIT_MAX):
            listed = self._registry.listed(ask.caller, ask.tenant_id(), below, PageRequest(limit=limit))
            chains = ((each.identity, *project) for each in listed.values if drafts.is_treasury(each.identity))
            yield from (each for each in chains if not _is_deleted(each))

    async def create_agent(self, ask: Ask) -> Answer:
        """Make an agent in a project, with an account per asset."""
        body = cast("shapes.AgentBody", ask.body)
        project = self._known(ask, drafts.PROJECT, body.project_id, "body")[0]
        draft = drafts.agent(body, project)
        done = await self._registrar.enrol(ask.caller, ask.tenant_id(), draft, ask.idempotency_key(), ask.now_us)
        return done_answer(done, answers.new_agent, OK)

    async def list_agents(self, ask: Ask) -> Answer:
        """List the agents that were not deleted, of one project or of all."""
        project_id = ask.query.get("project_id")
        if project_id is not None:
            self._known(ask, drafts.PROJECT, project_id, "query")
        return await self._page(ask, IdentityFilter(parent_id=project_id, type=drafts.AGENT), self._agent)

    async def get_agent(self, ask: Ask) -> Answer:
        """Show an agent with its accounts and what is in them."""
        return json_answer(self._agent(ask, self._known(ask, drafts.AGENT, ask.path["agent_id"], "path")))

    async def delete_agent(self, ask: Ask) -> Answer:
        """Delete an agent: it is revoked. What is in its accounts stays there, to be withdrawn natively."""
        return await self._delete(ask, drafts.AGENT)

    def _agent(self, ask: Ask, chain: IdentityChain) -> Document:
        identity = chain[0]
        project_id = next((each.identity_id for each in chain if each.type == drafts.PROJECT), None)
        held = self._bank.of_identity(ask.caller, ask.tenant_id(), identity.identity_id)
        accounts = ((each.account, each.balance_minor) for each in held)
        return answers.agent(identity, project_id, self._budgets(ask, identity), accounts)

    async def set_limit(self, ask: Ask) -> Answer:
        """Set a limit of an agent in one currency, a day's or a week's."""
        identity = self._known(ask, drafts.AGENT, ask.path["agent_id"], "path")[0]
        draft = drafts.limit(cast("shapes.LimitBody", ask.body), identity.identity_id)
        with called(limit="limit_amount", currency="limit_currency"):
            done = await self._treasurer.put(ask.caller, ask.tenant_id(), draft, ask.now_us, ask.idempotency_key())
        return done_answer(done, answers.limit, OK)

    async def get_limits(self, ask: Ask) -> Answer:
        """Show the limit of an agent that was set last, with all that it has."""
        identity = self._known(ask, drafts.AGENT, ask.path["agent_id"], "path")[0]
        shown = answers.limits(self._metered(ask, identity))
        if shown is None:
            raise NotFound(f"agent `{identity.identity_id}` has no limit", field="path.agent_id")
        return json_answer(shown)

    async def get_account(self, ask: Ask) -> Answer:
        """Show an account with what is in it, also that of an agent that was deleted."""
        with called(account_id="path.account_id"):
            held = self._bank.get(ask.caller, ask.tenant_id(), ask.path["account_id"])
        return json_answer(answers.account(held.account, held.balance_minor))

    async def get_balance(self, ask: Ask) -> Answer:
        """Show what an agent has in each of its accounts."""
        identity = self._known(ask, drafts.AGENT, ask.path["agent_id"], "path")[0]
        held = self._bank.of_identity(ask.caller, ask.tenant_id(), identity.identity_id)
        return json_answer(answers.balance(identity.identity_id, held))

    def _known(self, ask: Ask, kind: str, identity_id: str, part: str) -> IdentityChain:
        """Return the chain of a project or agent that was not deleted. Raises NotFound, naming the ``part``."""
        unknown = NotFound(f"unknown {kind} `{identity_id}`", field=f"{part}.{kind}_id")
        try:
            chain = self._registry.chain(ask.caller, ask.tenant_id(), identity_id)
        except NotFound:
            raise unknown from None
        if chain[0].type != kind or _is_deleted(chain):
            raise unknown
        return chain

    async def _delete(self, ask: Ask, kind: str) -> Answer:
        identity = self._known(ask, kind, ask.path[f"{kind}_id"], "path")[0]
        await self._registrar.end(ask.caller, ask.tenant_id(), identity.identity_id, ask.now_us)
        return json_answer(answers.deleted(kind, identity))

    async def _page(self, ask: Ask, wanted: IdentityFilter, shown: Callable[[Ask, IdentityChain], Document]) -> Answer:
        number, size = page(ask.query)

        def listed(request: PageRequest) -> Page[IdentityChain]:
            found = self._registry.listed(ask.caller, ask.tenant_id(), wanted, request)
            ids = (each.identity.identity_id for each in found.values)
            chains = (self._registry.chain(ask.caller, ask.tenant_id(), each) for each in ids)
            return Page(tuple(chain for chain in chains if not _is_deleted(chain)), found.next_after)

        with inside("query"):
            found, has_more = await numbered(listed, number, size)
        data = []
        for chain in found:
            data.append(shown(ask, chain))
            await asyncio.sleep(0)  # each is a millisecond of reading: whatever else waits has its turn
        return json_answer(answers.listed(data, (number, size), has_more=has_more))

    def _metered(self, ask: Ask, identity: Identity) -> tuple[Metered, ...]:
        wanted = BudgetFilter(identity.identity_id)
        request = PageRequest(limit=LIST_LIMIT_MAX)
        return self._treasurer.listed(ask.caller, ask.tenant_id(), wanted, request, ask.now_us).values

    def _budgets(self, ask: Ask, identity: Identity) -> Iterable[Budget]:
        return (each.budget for each in self._metered(ask, identity))


def _is_deleted(chain: IdentityChain) -> bool:
    block = block_on(chain)
    return block is not None and block.status == "revoked"

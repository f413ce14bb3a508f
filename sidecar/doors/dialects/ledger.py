"""The Ledger dialect: agents of users, with tokens, cards and spending limits, as Proxy and ledger.so have them.

An agent is an identity of the type ``agent`` below its user, its spending limit a budget, its tokens and cards the
native ones; what each call means natively is in ``docs/dialects/ledger.md``.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final, TypeVar, cast

from sidecar.doors.dialects import ledger_drafts as drafts
from sidecar.doors.dialects import ledger_render as render
from sidecar.doors.dialects import ledger_shapes as shapes
from sidecar.doors.wire.endpoint import REPLAYED, Ask, Call, Function, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.doors.wire.query import PAGE, list_name, page_request
from sidecar.service.enrolment import Enrolled, Registrar
from sidecar.service.enrolment_changes import Enrolments
from sidecar.service.idempotency import Done
from sidecar.service.spenders import Spender, Spenders
from sidecar.service.tokens import TokenDesk, TokenDraft
from sidecar.service.treasury import CardDesk, CardFilter

T = TypeVar("T")

BASE: Final = "/ledger"
AGENTS: Final = f"{BASE}/v1/agents"
AGENT: Final = f"{AGENTS}/{{agent_id}}"


class LedgerCalls:
    """The calls, over the services that do them."""

    def __init__(
        self, registrar: Registrar, enrolments: Enrolments, spenders: Spenders, desk: TokenDesk, cards: CardDesk
    ) -> None:
        """Translate for these services."""
        self._registrar = registrar
        self._enrolments = enrolments
        self._spenders = spenders
        self._desk = desk
        self._cards = cards

    def calls(self) -> Iterable[Call]:
        """Return the calls, the one path that another one's placeholder would fit first."""
        yield _call("POST", f"{AGENTS}/register", self.register_agent, shapes.RegisterBody)
        yield _call("POST", AGENTS, self.create_agent, shapes.AgentBody)
        yield _call("GET", AGENTS, self.list_agents, query=PAGE | drafts.FILTERS)
        yield _call("GET", AGENT, self.get_agent)
        yield _call("PATCH", AGENT, self.change_agent, shapes.AgentPatchBody)
        yield _call("POST", f"{AGENT}/deregister", self.deregister_agent, shapes.EmptyBody)
        yield _call("GET", f"{AGENT}/policy", self.get_policy)
        yield _call("POST", f"{AGENT}/tokens", self.create_token, shapes.TokenBody)
        yield _call("GET", f"{AGENT}/tokens", self.list_tokens, query=PAGE)
        yield _call("DELETE", f"{AGENT}/tokens/{{token_id}}", self.revoke_token)
        yield _call("POST", f"{AGENT}/cards", self.create_card, shapes.CardBody)
        yield _call("GET", f"{AGENT}/cards", self.list_cards, query=PAGE)

    async def register_agent(self, ask: Ask) -> Answer:
        """Make an agent with a token, or return the one that has the external id already."""
        done = await self._enrol(ask, drafts.TOKEN_NAME)
        spender = self._made(ask, done.value)
        return _answer(done, render.registered(spender, done.value), 201 if done.value.is_new else 200)

    async def create_agent(self, ask: Ask) -> Answer:
        """Make an agent without a token."""
        done = await self._enrol(ask, None)
        return _answer(done, render.agent(self._made(ask, done.value)), 201)

    async def _enrol(self, ask: Ask, token_name: str | None) -> Done[Enrolled]:
        draft = drafts.enrolment(cast("shapes.AgentBody", ask.body), token_name=token_name)
        return await self._registrar.enrol(ask.caller, ask.tenant_id(), draft, ask.idempotency_key(), ask.now_us)

    def _made(self, ask: Ask, enrolled: Enrolled) -> Spender:
        """Return an agent as it was made, or as it is where it was there already."""
        if enrolled.is_new:
            return render.new_agent(enrolled)
        return self._spenders.get(ask.caller, ask.tenant_id(), enrolled.described.identity.identity_id, ask.now_us)

    async def list_agents(self, ask: Ask) -> Answer:
        """List agents."""
        query = drafts.query_fields(ask.query)
        name = list_name("ledger agents", query)
        page = self._spenders.listed(
            ask.caller, ask.tenant_id(), drafts.agent_filter(query), page_request(query, name), ask.now_us
        )
        return render.list_answer(page, render.agent, name)

    async def get_agent(self, ask: Ask) -> Answer:
        """Show an agent."""
        return json_answer(render.agent(self._named(ask)))

    async def get_policy(self, ask: Ask) -> Answer:
        """Show what an agent may spend and has spent."""
        return json_answer(render.policy(self._named(ask)))

    def _named(self, ask: Ask) -> Spender:
        """Return the agent that the path names."""
        return self._spenders.get(ask.caller, ask.tenant_id(), ask.path["agent_id"], ask.now_us)

    async def change_agent(self, ask: Ask) -> Answer:
        """Change an agent."""
        patch = drafts.agent_patch(cast("shapes.AgentPatchBody", ask.body))
        agent_id = ask.path["agent_id"]
        changed = await self._enrolments.change(ask.caller, ask.tenant_id(), agent_id, patch, ask.now_us)
        return json_answer(render.agent(changed))

    async def deregister_agent(self, ask: Ask) -> Answer:
        """End an agent and its tokens; its cards stay to be looked at."""
        agent_id, key = ask.path["agent_id"], ask.idempotency_key()
        done = await self._enrolments.end(ask.caller, ask.tenant_id(), agent_id, key, ask.now_us)
        return _answer(done, render.agent(done.value), 200)

    async def create_token(self, ask: Ask) -> Answer:
        """Make a token of an agent."""
        body = cast("shapes.TokenBody", ask.body)
        ask.caller.require_administrator()
        owner = self._named(ask).described.identity.identity_id
        draft = TokenDraft(drafts.token_name(body), "agent", owner, may_release=False, expires_at_us=None)
        done = await self._desk.create(ask.caller, ask.tenant_id(), draft, ask.now_us, ask.idempotency_key())
        return _answer(done, render.new_token(done.value, ask.now_us), 201)

    async def list_tokens(self, ask: Ask) -> Answer:
        """List an agent's tokens."""
        ask.caller.require_administrator()
        owner = self._named(ask).described.identity.identity_id
        name = f"ledger tokens\n{owner}"
        _, page = self._desk.listed(ask.caller, ask.tenant_id(), owner, page_request(ask.query, name))
        return render.list_answer(page, partial(render.token, now_us=ask.now_us), name)

    async def revoke_token(self, ask: Ask) -> Answer:
        """Revoke a token of an agent."""
        ask.caller.require_administrator()
        owner = self._named(ask).described.identity.identity_id
        token_id = ask.path["token_id"]
        ended = await self._desk.revoke(ask.caller, ask.tenant_id(), token_id, ask.now_us, of_identity=owner)
        return json_answer(render.token(ended, ask.now_us) | {"isActive": False})

    async def create_card(self, ask: Ask) -> Answer:
        """Make a card of an agent."""
        draft = drafts.card(cast("shapes.CardBody", ask.body), self._named(ask))
        done = await self._cards.issue(ask.caller, ask.tenant_id(), draft, ask.idempotency_key(), ask.now_us)
        return _answer(done, render.card(done.value), 201)

    async def list_cards(self, ask: Ask) -> Answer:
        """List an agent's cards."""
        owner = self._named(ask).described.identity.identity_id
        name = f"ledger cards\n{owner}"
        page = self._cards.listed(ask.caller, ask.tenant_id(), CardFilter(owner), page_request(ask.query, name))
        return render.list_answer(page, render.card, name)


def _call(
    method: str, path: str, run: Function, request: type | None = None, query: frozenset[str] = frozenset()
) -> Call:
    return Call(
        method=method,
        path=path,
        run=run,
        request=request,
        query=query,
        is_idempotent=method == "POST",
        is_documented=False,
        manner=render.MANNER,
    )


def _answer(done: Done[T], document: Mapping[str, object], status: int) -> Answer:
    return json_answer(document, status, (REPLAYED,) if done.replayed else ())

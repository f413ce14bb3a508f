"""Who is in a filled store: tenants with their hierarchies, keys, budgets and policies."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from bench.bulk import Bulk
from bench.tenant import BUDGET_LIMIT, Tenant
from sidecar.core.access import Caller
from sidecar.core.audit import encode_hash
from sidecar.core.directory import Identity, walk
from sidecar.core.directory import Tenant as Organisation
from sidecar.core.ids import pascal_case
from sidecar.core.money import Major
from sidecar.core.policy_compilation import read_statements
from sidecar.core.rules import Rules, compile_rules
from sidecar.core.snapshot import PolicyRecord
from sidecar.core.windows import Period
from sidecar.service.budget_changes import BudgetDraft
from sidecar.service.budgets import Treasurer
from sidecar.service.identity_changes import add_identity
from sidecar.service.store import TenantTransaction, Transaction
from sidecar.service.tenants import TenantDraft
from sidecar.service.tokens import TokenDraft

OPERATOR: Final = Caller("operator")
ACTION: Final = "card.authorize"
MAX_AMOUNT: Final = 1_000
"""What policies permit at most, in CAD."""

TEAM_SHARE: Final = 100
"""One identity in so many is a team."""

PROJECT_SHARE: Final = 10
"""One identity in so many is a project; all others are agents."""

DESCENDANTS_SPREAD: Final = 100
"""Projects below the identity with many descendants."""

FILE_POLICIES: Final = 100
"""Policies in one file."""


class Filled(Tenant, frozen=True):
    """A tenant of a filled store. ``crowd_id`` is the identity with many descendants, empty for none."""

    tenant_id: str
    crowd_id: str = ""


class Founder:
    """Makes tenants, and identities in them."""

    def __init__(self, bulk: Bulk) -> None:
        """Make them in ``bulk``."""
        self._bulk = bulk
        self._treasurer = Treasurer(bulk, bulk.snapshots, bulk.new_id)

    def found(self, name: str, identities: int) -> Filled:
        """Return a new tenant of so many identities, four deep: its root, teams, projects and agents.

        Its first agent is permitted to spend: under the rules of its team, a budget of the team and one of its own.
        """
        bulk = self._bulk
        draft = TenantDraft(name, None, "America/Toronto", "live", None, "Ann", "user")
        founded = bulk.call(bulk.tenancy.create(OPERATOR, draft, bulk.now_us())).value
        tenant, key = founded.tenant, founded.key.text
        root = tenant.root_identity_id
        teams = [self._add(tenant, root, "team", number) for number in range(max(1, identities // TEAM_SHARE))]
        count = max(1, identities // PROJECT_SHARE - len(teams))
        projects = [self._add(tenant, teams[number % len(teams)], "project", number) for number in range(count)]
        count = max(1, identities - 1 - len(teams) - len(projects))
        agents = [
            self._add(tenant, projects[number % count % len(projects)], "agent", number) for number in range(count)
        ]
        budgets = [self._budget(tenant, team, "total") for team in teams]
        self._budget(tenant, agents[0], "daily")
        self.enact(tenant, [teams[0]], 1)
        draft_token = TokenDraft("Worker", "agent", agents[0], may_release=False, expires_at_us=None)
        minted = bulk.call(bulk.desk.create(OPERATOR, tenant.tenant_id, draft_token, bulk.now_us())).value
        return Filled(key, minted.text, root, teams[0], agents[0], budgets[0], tenant.tenant_id)

    def crowd(self, name: str, descendants: int) -> Filled:
        """Return a new tenant in which one identity has so many descendants, two deep."""
        filled = self.found(name, 4)
        tenant = self._bulk.do(lambda txn: txn.tenants.find(filled.tenant_id))
        if tenant is None:
            raise LookupError(filled.tenant_id)
        top = self._add(tenant, filled.root_id, "organization", 0)
        count = min(descendants, DESCENDANTS_SPREAD)
        middle = [self._add(tenant, top, "project", number) for number in range(count)]
        for number in range(descendants - count):
            self._add(tenant, middle[number % count], "agent", number)
        return msgspec.structs.replace(filled, crowd_id=top)

    def _add(self, tenant: Organisation, parent_id: str, kind: str, number: int) -> str:
        now_us = self._bulk.now_us()
        identity_id = self._bulk.new_id("id", now_us)

        def work(txn: Transaction) -> str:
            identity = Identity(
                identity_id=identity_id,
                parent_id=parent_id,
                type=kind,
                name=f"{kind} {number}",
                metadata={"cost_center": str(number % 100)},
                created_at_us=now_us,
                revision=txn.tenants.advance(tenant.number),
            )
            add_identity(txn.of(tenant), identity, OPERATOR.name, now_us)
            return identity_id

        return self._bulk.do(work)

    def _budget(self, tenant: Organisation, identity_id: str, period: Period) -> str:
        limit = Major(str(BUDGET_LIMIT))
        draft = BudgetDraft(
            identity_id=identity_id, name=period, dimension="amount", period=period, limit=limit, currency="CAD"
        )
        call = self._treasurer.create(OPERATOR, tenant.tenant_id, draft, self._bulk.now_us())
        return self._bulk.call(call).value.budget.budget_id

    def enact(self, tenant: Organisation, identity_ids: list[str], count: int) -> None:
        """Make ``count`` policies of rules as the API does, hung on these identities in turn.

        They are not compiled together here, which would take the square of their number.
        """
        for number in range(count):
            self._bulk.do(partial(self._policy, tenant=tenant, owner_id=identity_ids[number % len(identity_ids)]))

    def _policy(self, txn: Transaction, tenant: Organisation, owner_id: str) -> None:
        part, now_us = txn.of(tenant), self._bulk.now_us()
        owner = walk(owner_id, part.identities.get)[0]
        policy_id = self._bulk.new_id("pol", now_us)
        clauses = compile_rules(
            Rules(actions=(ACTION,), max_amount=Major(str(MAX_AMOUNT)), currencies=("CAD",)),
            policy_id=policy_id,
            principal=(pascal_case(owner.type), owner.identity_id),
            schema=self._bulk.snapshots.files(txn).schema.model,
        )
        record = PolicyRecord(
            policy_id=policy_id,
            identity_id=owner.identity_id,
            name="by card",
            rules=f'{{"actions": ["{ACTION}"], "max_amount": {MAX_AMOUNT}, "currencies": ["CAD"]}}',
            cedar="\n\n".join(clause.text for clause in clauses) + "\n",
            requirements={clause.id: clause.requirement or "" for clause in clauses if clause.key},
            created_at_us=now_us,
            revision=txn.tenants.advance(tenant.number, policies=True),
        )
        part.policies.add(policy_id, record, record.revision, owner=owner.identity_id)
        source = record.source
        txn.readings.keep(source, read_statements(source.text, source.path, shared=False))
        fact = encode_hash(part.audit.keep_fact(record.cedar.encode()))
        body: dict[str, object] = {"policy": policy_id, "revision": record.revision, "text": fact, "by": OPERATOR.name}
        part.audit.append("policy_created", now_us, body)


def agents_of(part: TenantTransaction) -> Iterator[str]:
    """Yield the ids of a tenant's agents."""
    for listed in part.identities.all():
        if listed.value.type == "agent":
            yield listed.value.identity_id


def write_policy_files(folder: Path, identity_ids: list[str], count: int) -> None:
    """Write ``count`` Cedar policies about these agents in turn, ``FILE_POLICIES`` a file."""
    folder.mkdir(parents=True, exist_ok=True)
    for begin in range(0, count, FILE_POLICIES):
        texts = [
            _text(number, identity_ids[number % len(identity_ids)])
            for number in range(begin, min(begin + FILE_POLICIES, count))
        ]
        (folder / f"{begin // FILE_POLICIES:05}.cedar").write_text("\n".join(texts))


def _text(number: int, identity_id: str) -> str:
    return f"""@id("file/{number}")
@description("what agent {number} may spend by card")
permit (principal == Agent::"{identity_id}", action == Action::"{ACTION}", resource)
when {{
  ["CAD", "USD"].contains(context.currency) &&
  context.amount <= {1_000 + number} &&
  context has merchant_category &&
  ["5411", "5732", "5734", "5814", "7372"].contains(context.merchant_category)
}};
"""

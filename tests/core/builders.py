"""Small whole values for tests of core, so that a test names only what it is about."""

from collections.abc import Mapping

import msgspec

from sidecar.core.budget import Budget
from sidecar.core.directory import Identity, IdentityChain
from sidecar.core.model import AuthorizeRequest, BudgetCheck, ResourceRef
from sidecar.core.policy import compile_schema
from sidecar.core.rules import Rules, compile_rules
from sidecar.core.snapshot import CompiledFiles, PolicyFiles, PolicyRecord, SourceFile, compile_files

NOON_US = 1_764_590_400_000_000
"""2025-12-01T12:00:00Z, a Monday."""

SCHEMA_TEXT = """
entity User, Team, Agent in [User, Team, Agent] {
  name: String, status: String, external_id?: String
} tags String;
entity Merchant { merchant_category?: String, country?: String };
entity Kiosk { merchant_category: String };
entity Tool;
entity Lamp enum ["red", "green"];

action spend;
action "card.authorize" in [spend] appliesTo {
  principal: [User, Agent],
  resource: [Merchant, Kiosk, Agent],
  context: {
    amount: Long, currency: String, merchant_category?: String, quantities?: { tokens?: Long, calls?: Long },
    now: datetime, hour: Long, weekday: Long, mode: String, purpose?: String, since?: datetime,
  },
};
action "tool.call" appliesTo {
  principal: [Agent],
  resource: [Tool, Lamp],
  context: { quantities?: { tokens: Long, calls?: Long }, purpose?: String },
};
action "tool.audit" appliesTo {
  principal: [Agent],
  resource: [Tool],
  context: { quantities: { tokens?: Long }, purpose: String },
};
"""
SCHEMA = compile_schema((("schemas/s.cedarschema", SCHEMA_TEXT),))

ROOT = Identity(identity_id="boss", parent_id=None, type="user", name="Boss", created_at_us=0, revision=1)
TEAM = Identity(identity_id="team", parent_id="boss", type="team", name="Team", created_at_us=0, revision=2)
AGENT = Identity(identity_id="bot", parent_id="team", type="agent", name="Bot", created_at_us=0, revision=3)
CHAIN: IdentityChain = (AGENT, TEAM, ROOT)

PURCHASE = AuthorizeRequest(
    identity_id="bot",
    action="card.authorize",
    resource=ResourceRef("merchant", "AWS"),
    amount_minor=4723,
    currency="CAD",
    ttl_seconds=60,
)
TOOL_CALL = AuthorizeRequest(
    identity_id="bot", action="tool.call", resource=ResourceRef("tool", "search"), ttl_seconds=60
)

DAILY = Budget(
    budget_id="bud_1",
    identity_id="bot",
    name="Bot, a day",
    dimension="amount",
    period="daily",
    limit=10_000,
    currency="CAD",
    created_at_us=0,
    revision=4,
)

CHECK = BudgetCheck(
    budget_id="bud_1",
    identity_id="bot",
    card_id=None,
    name="Bot, a day",
    dimension="amount",
    period="daily",
    currency="CAD",
    limit=10_000,
    settled=6_000,
    reserved=500,
    requested=4_723,
    remaining=3_500,
    allowed=False,
    resets_at_us=NOON_US,
)


def identity(identity_id: str = "bot", /, **changes: object) -> Identity:
    """The agent of ``CHAIN`` with changes."""
    return msgspec.structs.replace(AGENT, identity_id=identity_id, **changes)


def chain(**statuses: str) -> IdentityChain:
    """``CHAIN`` with the status of some of its identities changed, by id."""
    return tuple(msgspec.structs.replace(each, status=statuses.get(each.identity_id, each.status)) for each in CHAIN)


def purchase(**changes: object) -> AuthorizeRequest:
    """47.23 CAD at AWS with changes."""
    return msgspec.structs.replace(PURCHASE, **changes)


def tool_call(**changes: object) -> AuthorizeRequest:
    """A free call of a tool with changes."""
    return msgspec.structs.replace(TOOL_CALL, **changes)


def budget(budget_id: str = "bud_1", /, **changes: object) -> Budget:
    """100 CAD a day for the agent with changes."""
    return msgspec.structs.replace(DAILY, budget_id=budget_id, **changes)


def check(**changes: object) -> BudgetCheck:
    """A refusal of ``DAILY`` with changes."""
    return msgspec.structs.replace(CHECK, **changes)


def files(*shared: tuple[str, str], by_tenant: Mapping[str, tuple[SourceFile, ...]] | None = None) -> PolicyFiles:
    """Policy files beside the schema of these tests: pairs of path and text for all, and those of single tenants."""
    return PolicyFiles(
        schemas=(SourceFile("schemas/s.cedarschema", SCHEMA_TEXT),),
        shared=tuple(SourceFile(path, text) for path, text in shared),
        by_tenant=dict(by_tenant or {}),
    )


def compiled(*shared: tuple[str, str]) -> CompiledFiles:
    """Policy files that hold for all, compiled."""
    return compile_files(files(*shared))


def cedar_record(policy_id: str, cedar: str, identity_id: str | None = None) -> PolicyRecord:
    """A policy made by the API from Cedar text."""
    return PolicyRecord(
        policy_id=policy_id,
        identity_id=identity_id,
        name="a policy",
        rules=None,
        cedar=cedar,
        requirements={},
        created_at_us=0,
        revision=5,
    )


def rules_record(policy_id: str, rules: Rules, identity_id: str = "boss", cedar_type: str = "User") -> PolicyRecord:
    """A policy made by the API from rules, for an identity and everybody below it."""
    clauses = compile_rules(rules, policy_id=policy_id, principal=(cedar_type, identity_id), schema=SCHEMA.model)
    return PolicyRecord(
        policy_id=policy_id,
        identity_id=identity_id,
        name="a policy",
        rules="{}",
        cedar="\n\n".join(clause.text for clause in clauses) + "\n",
        requirements={clause.id: clause.requirement for clause in clauses if clause.requirement is not None},
        created_at_us=0,
        revision=5,
    )

"""The answers about decisions and the audit log as types; see ``answers``."""

from typing import Annotated, Literal, NotRequired, TypeAlias, TypedDict

from msgspec import Meta

from sidecar.core.grammar import Instant
from sidecar.core.reasons import CODES
from sidecar.core.reservation import State
from sidecar.core.windows import PERIODS
from sidecar.doors.native.answers import Exact, Revision

Code: TypeAlias = Annotated[
    str, Meta(description="a stable code; `permitted` for a permit", extra_json_schema={"enum": ["permitted", *CODES]})
]
Hash: TypeAlias = Annotated[
    str, Meta(description="SHA-256 as base64url", extra_json_schema={"pattern": "^[A-Za-z0-9_-]{43}$"})
]
Sequence: TypeAlias = Annotated[int, Meta(description="counts from 0 in a tenant", extra_json_schema={"minimum": 0})]


class Reason(TypedDict):
    """One cause of a verdict, the most important first. ``matched_rule`` is the rule of ``rules`` that failed."""

    verdict: Literal["permit", "deny"]
    code: Code
    policy_id: str | None
    matched_rule: str | None
    source: str | None
    message: str
    advice: NotRequired[str]
    identity_id: NotRequired[str]
    card_id: NotRequired[str]
    budget_id: NotRequired[str]
    currency: NotRequired[str | None]
    requested: NotRequired[Exact]
    remaining: NotRequired[Exact | None]
    retry_at: NotRequired[Instant | None]


class BudgetCheck(TypedDict):
    """What one budget said: its figures before the request, and what was asked."""

    budget_id: str
    identity_id: str | None
    card_id: str | None
    name: str
    dimension: str
    period: Annotated[str, Meta(extra_json_schema={"enum": PERIODS})]
    currency: str | None
    limit: Exact
    settled: Exact
    reserved: Exact
    requested: Exact
    remaining: Exact
    allowed: bool
    resets_at: Instant | None


class Scope(TypedDict):
    """Which parts of a policy's scope the request is in."""

    principal: bool
    action: bool
    resource: bool


class SeenValue(TypedDict):
    """What stood in an expression that a condition looks at; a hidden one is out of the caller's reach."""

    expression: str
    value: object
    hidden: NotRequired[Literal[True]]


class Condition(TypedDict):
    """A part of a policy's condition. ``satisfied`` is its own truth; null where it was not reached and has none."""

    kind: Literal["when", "unless"]
    clause: int
    text: str
    satisfied: bool | Literal["error"] | None
    values: list[SeenValue]
    message: NotRequired[str]


class PolicyVerdict(TypedDict):
    """What one policy said: whether its scope is the request's, and whether it applied."""

    policy_id: str
    id: str
    rule: str | None
    requirement: str | None
    source: str | None
    effect: Literal["permit", "forbid"]
    scope_applied: bool
    scope: Scope
    applied: bool | Literal["error"] | None
    conditions: list[Condition]


class PolicyCounts(TypedDict):
    """How many policies there are, how many could speak of the request, and how many of these are listed."""

    total: int
    candidates: int
    candidates_listed: int


class Resource(TypedDict):
    """What is acted on."""

    type: str
    id: str


class Change(TypedDict):
    """A change in several parts that would be permitted."""

    amount: Exact | None
    currency: str | None
    merchant_category: NotRequired[str]
    action: NotRequired[str]
    resource: NotRequired[Resource]
    at: NotRequired[Instant | None]


class Nearest(TypedDict):
    """Changes each of which alone would be permitted; ``together`` is one where none alone is enough."""

    amount: NotRequired[Exact]
    currency: NotRequired[str | None]
    currencies: NotRequired[tuple[str, ...]]
    merchant_categories: NotRequired[tuple[str, ...]]
    actions: NotRequired[tuple[str, ...]]
    resources: NotRequired[list[Resource]]
    at: NotRequired[Instant | None]
    together: NotRequired[Change]


class Explanation(TypedDict):
    """Why a decision came out as it did, and on a denial the nearest requests that would be permitted.

    ``nearest`` is null where none was found, and where none was sought: ``nearest_sought`` is false for a permit, a
    denial that no other request would be spared, an identity that too many policies reach, and all but the first
    explained denials of a batch.
    """

    policies: list[PolicyVerdict]
    policy_counts: PolicyCounts
    budgets: list[BudgetCheck]
    nearest: Nearest | None
    nearest_sought: bool


class MeasuredQuantity(TypedDict):
    """A quantity of a reservation."""

    asked: int
    held: int
    settled: int


class CardAuthorization(TypedDict):
    """An authorization at a card network, by the network's own id; the network alone says what becomes of it."""

    network: str
    id: str


class Reservation(TypedDict):
    """What a permit holds: of the ``amount`` asked, what is ``held``, ``settled`` and ``refunded``.

    ``card_authorization`` is there where a card network asked.
    """

    decision_id: NotRequired[str]
    state: State
    amount: Exact | None
    currency: str | None
    held: Exact | None
    settled: Exact | None
    refunded: Exact | None
    quantities: dict[str, MeasuredQuantity]
    expires_at: Instant
    late: bool
    overdrawn: bool
    card_authorization: NotRequired[CardAuthorization]


class AuditMark(TypedDict):
    """Where a record stands in the tenant's log, and its hash."""

    seq: Sequence
    hash: Hash


class Decision(TypedDict):
    """The answer to one request. A dry run has neither id, reservation nor audit record.

    ``data_age_seconds`` is how long ago the control plane confirmed the data that a follower decided on; null where
    nobody could say, and on a server that follows nobody.
    """

    decision_id: str | None
    identity_id: str
    action: str
    allowed: bool
    reasons: list[Reason]
    budget_checks: list[BudgetCheck]
    reservation: Reservation | None
    evaluated_at: Instant
    policy_revision: Annotated[str, Meta(extra_json_schema={"pattern": "^sha256:"})]
    entity_revision: Revision
    data_age_seconds: Exact | None
    audit: AuditMark | None
    dry_run: NotRequired[Literal[True]]
    explanation: NotRequired[Explanation | None]


class Decisions(TypedDict):
    """The answers to a batch, in its order; those behind a deciding one are left out."""

    decisions: list[Decision]


class AuditRecord(TypedDict):
    """One record of the log. Besides these fields it has those of its type, as they are hashed.

    Only the type ``decision`` has a ``verdict``. ``prev_hash`` is the hash of the record before.
    """

    seq: Sequence
    hash: Hash
    prev_hash: Hash
    type: str
    tenant_id: str
    recorded_at: Instant | None
    decision_id: NotRequired[str]
    identity_id: NotRequired[str]
    action: NotRequired[str]
    verdict: NotRequired[Literal["allow", "deny"]]
    amount: NotRequired[Exact]
    currency: NotRequired[str]


class Fault(TypedDict):
    """The first bad record, and in one sentence what is wrong with it."""

    seq: Sequence
    reason: str


class Head(TypedDict):
    """The newest record; null in both fields before the first."""

    seq: Sequence | None
    hash: Hash | None


class Verified(TypedDict):
    """What a check of the log found; ``next_seq`` is where the next call goes on.

    ``facts_missing`` counts references to bytes that were erased, which leaves a log valid.
    """

    valid: bool
    entries_checked: int
    first_invalid: NotRequired[Fault]
    head: NotRequired[Head]
    facts_missing: NotRequired[int]
    next_seq: NotRequired[Sequence]

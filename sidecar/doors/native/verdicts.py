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
    budget_id: NotRequired[str]
    currency: NotRequired[str | None]
    requested: NotRequired[Exact]
    remaining: NotRequired[Exact | None]
    retry_at: NotRequired[Instant | None]


class BudgetCheck(TypedDict):
    """What one budget said: its figures before the request, and what was asked."""

    budget_id: str
    identity_id: str | None
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


class MeasuredQuantity(TypedDict):
    """A quantity of a reservation."""

    asked: int
    held: int
    settled: int


class Reservation(TypedDict):
    """What a permit holds: of the ``amount`` asked, what is ``held``, ``settled`` and ``refunded``."""

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


class AuditMark(TypedDict):
    """Where a record stands in the tenant's log, and its hash."""

    seq: Sequence
    hash: Hash


class Decision(TypedDict):
    """The answer to one request. A dry run has neither id, reservation nor audit record."""

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
    audit: AuditMark | None
    dry_run: NotRequired[Literal[True]]


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

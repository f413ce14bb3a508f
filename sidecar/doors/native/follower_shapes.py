"""What followers send and what is answered about them, as types; see ``shapes`` and ``answers``."""

from typing import Annotated, TypedDict

import msgspec
from msgspec import Meta

from sidecar.core.grammar import Instant
from sidecar.core.limits import SHIPPED_RECORDS_MAX, SHIPPED_USAGES_MAX
from sidecar.doors.native.answers import Revision

_Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]
_Figure = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Origin = Annotated[str, Meta(description="the name of the follower's log, which stands in each of its records")]
UsageRow = Annotated[
    tuple[str, _Figure | None, _Figure, _Figure],
    Meta(description="budget, where its window begins (null for a rolling one) in microseconds, settled, held"),
]


class StatusBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a follower says of itself: its revision, the age of its data, the size of its log and the last hash in it.

    ``usages`` are those of budgets that it alone decides on and that changed.
    """

    revision: _Count
    age_ms: _Figure | None = None
    head: _Count
    hash: str | None = None
    usages: Annotated[tuple[UsageRow, ...], Meta(max_length=SHIPPED_USAGES_MAX)] = ()


class ShipmentBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /v1/audit/records``: records as they lie in the follower's log, from ``from_seq`` on, and facts.

    Without records it asks where to begin.
    """

    origin: _Origin
    from_seq: _Count
    records: Annotated[tuple[str, ...], Meta(max_length=SHIPPED_RECORDS_MAX)] = ()
    facts: tuple[str, ...] = ()
    status: StatusBody


class Received(TypedDict):
    """The first record that is not here yet, how many were new, and the token that was called with."""

    next_seq: Annotated[int, Meta(ge=0)]
    received: Annotated[int, Meta(ge=0)]
    follower_id: str


class RaisedAlarm(TypedDict):
    """Why records were refused that the log cannot have, and since when."""

    reason: str
    at: Instant


class FollowerLog(TypedDict):
    """A log of a follower; ``backlog`` is how many records it had more when it last said so.

    ``revision`` and ``age_seconds`` are what the follower said of its data then, null before it said anything.
    """

    origin: str
    records: int
    backlog: int | None
    revision: int | None
    lag_revisions: int | None
    age_seconds: float | None
    first_seen_at: Instant
    last_seen_at: Instant
    alarm: RaisedAlarm | None


class FollowerAnswer(TypedDict):
    """What follows with a token, as it was when it last shipped; ``scope`` is the identity that it is limited to.

    ``logs`` are its newest ones. The other figures are those of the log that was last heard of.
    """

    follower_id: str
    tenant_id: str
    name: str
    scope: str | None
    origin: str | None
    records: int
    backlog: int | None
    revision: int | None
    lag_revisions: int | None
    age_seconds: float | None
    first_seen_at: Instant
    last_seen_at: Instant
    alarm: RaisedAlarm | None
    tenant_revision: Revision
    logs: list[FollowerLog]

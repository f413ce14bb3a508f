"""What the use cases need of a store for the audit logs that followers have shipped: those of one tenant.

Each follower's store has a log of its own, told apart by ``origin``: one token has several of them where it was given
to several followers, or where a follower began anew with an empty data directory. A token to which budgets are assigned
has one: it is bound.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

import msgspec

from sidecar.core.audit import Head
from sidecar.service.log_store import LogReader

if TYPE_CHECKING:  # a store has shipments, and lists of them are lists of a store
    from sidecar.service.store import Listed


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What a follower said of itself: the revision it has applied, how old its data was, and the size of its log."""

    revision: int
    age_ms: int | None
    head: int


class Alarm(msgspec.Struct, frozen=True):
    """Why records of the log ``origin`` were refused that cannot be what it says, and since when."""

    reason: str
    at_us: int
    origin: str


class Follower(msgspec.Struct, frozen=True, kw_only=True):
    """A token that something followed with, as it was when it last shipped; it stays when the token is revoked.

    ``scope`` is the identity that it is limited to. ``alarm`` is about a log of which nothing could be taken.
    """

    token_id: str
    name: str
    scope: str | None
    since_us: int
    alarm: Alarm | None = None


class ShippedLog(msgspec.Struct, frozen=True, kw_only=True):
    """One log of a follower; ``number`` is its place among the shipped logs of all tenants."""

    token_id: str
    origin: str
    number: int
    since_us: int
    seen_at_us: int
    standing: Standing | None = None
    alarm: Alarm | None = None


class ReportedUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What a window of an assigned budget has used, as its follower told; ``window_us`` is where the window begins."""

    token_id: str
    window_us: int | None
    settled: int
    held: int
    reported_at_us: int


class Shipments(Protocol):
    """The shipped logs of one tenant."""

    def follower(self, token_id: str) -> Follower | None:
        """Return what is known of a follower."""

    def keep_follower(self, follower: Follower) -> None:
        """Store what is known of a follower, new or not."""

    def followers(self, *, after: int = 0) -> "Iterator[Listed[Follower]]":
        """Yield the followers in the order in which they were first heard of, from the one after that place."""

    def bind(self, token_id: str) -> None:
        """Note that budgets are assigned to a follower, which has one log at most from now on."""

    def is_bound(self, token_id: str) -> bool:
        """Whether budgets are assigned to a follower, or were."""

    def log(self, token_id: str, origin: str) -> ShippedLog | None:
        """Return a log of a follower."""

    def logs(self, token_id: str, most: int) -> list[ShippedLog]:
        """Return up to ``most`` logs of a follower, the newest first."""

    def all_logs(self) -> Iterator[ShippedLog]:
        """Yield the logs of every follower."""

    def open_log(self, token_id: str, origin: str, now_us: int) -> ShippedLog:
        """Make room for a log that nothing is known of."""

    def keep_log(self, log: ShippedLog) -> None:
        """Store what is known of a log beside its records."""

    def reader(self, log: ShippedLog) -> LogReader:
        """Return a log to read."""

    def append(self, log: ShippedLog, bodies: Iterable[bytes], head: Head) -> None:
        """Store records behind those that are there, up to ``head``, as they came: they were checked."""

    def keep_fact(self, log: ShippedLog, content: bytes, index: int | None) -> None:
        """Store what record ``index`` alone refers to, or with None what many may refer to."""

    def usage(self, budget_id: str) -> ReportedUsage | None:
        """Return what a follower last told of a budget's usage."""

    def keep_usage(self, budget_id: str, usage: ReportedUsage) -> None:
        """Store that."""

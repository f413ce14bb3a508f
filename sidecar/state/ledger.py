"""Budget counters, rolling windows and reservations: the money side of a decision.

Keys keep what changes together close together: a tenant, a budget, a window. Invariant kept with
``sidecar.core.budget``: a window's counters equal the sum over its reservations (I1). ``ceiling`` is the limit at the
newest grant or change and ``overdraft`` what was booked above it by money that had moved already, so that a check knows
what a window may hold.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import islice
from struct import Struct
from typing import Final, TypeAlias

import msgspec

from sidecar.core.budget import Budget, Claim, Usage
from sidecar.core.errors import Conflict, StoreUnusable
from sidecar.core.ids import id_of, ulid_bytes
from sidecar.core.reservation import Posting, Reservation
from sidecar.core.windows import ROLLING_US, Window
from sidecar.service.store import Due
from sidecar.state.codec import U32, U64, U64_MAX, decode, encode
from sidecar.state.environment import Table, Txn

MICRO: Final = 1_000_000
ROLLING_SECONDS: Final = ROLLING_US // MICRO
COUNTER_ROW: Final = Struct(">qqqqQ")
PAIR_ROW: Final = Struct(">qq")
_ROLLING_START: Final = U64_MAX
"""In place of a window's start: the running total of a rolling window."""

UNLIMITED: Final = 2**62
"""The ceiling of a window whose budget only counts."""

FREEING_ROWS_MAX: Final = 1_000
"""How many seconds of a rolling window are looked at to say when a denied amount would fit."""

KEYS_MAX: Final = 4_096
"""Keys of counters that stay made: each is asked for several times in every decision."""

Bound: TypeAlias = Callable[["Counter", int | None], tuple["Counter", bool]]
"""Returns a counter with its bound under a limit, and whether it is beyond it now."""

_reservation: Final = msgspec.msgpack.Decoder(Reservation)


class Counter(msgspec.Struct, frozen=True):
    """One window's row. ``floor_s`` is, for a rolling window, the earliest second that still counts."""

    settled: int = 0
    held: int = 0
    ceiling: int = 0
    overdraft: int = 0
    floor_s: int = 0

    @property
    def usage(self) -> Usage:
        """What counts against the limit."""
        return Usage(self.settled, self.held)


class Ledger:
    """The counters and reservations of one tenant as one transaction sees them."""

    def __init__(self, txn: Txn, tables: dict[str, Table], tenant: int, seen: dict[bytes, Counter]) -> None:
        """Look through ``txn`` at one tenant; ``seen`` are the counters that ``txn`` has read or changed, by key."""
        self._txn = txn
        self._counters = tables["counters"]
        self._rolling = tables["rolling"]
        self._reservations = tables["reservations"]
        self._expiry = tables["expiry"]
        self._tenant = U32.pack(tenant)
        self._seen = seen

    def usage(self, claim: Claim) -> Usage:
        """Return what the claim's window has used before it; a limit per transaction has used nothing."""
        return Usage() if claim.window is None else self.usage_in(claim.budget, claim.window)

    def usage_in(self, budget: Budget, window: Window) -> Usage:
        """Return what ``budget`` has used in ``window``, which for a rolling one means up to its start."""
        counter = self._counter(self._counter_key(budget.budget_id, budget.period, window.start_us))
        if budget.period == "rolling_24h":
            counter = self._swept(budget.budget_id, counter, window.start_us // MICRO)
        return counter.usage

    def frees_at(self, claim: Claim, needed: int) -> int:
        """Return when, without further claims, ``needed`` will have left a rolling window.

        Looks at ``FREEING_ROWS_MAX`` seconds of it; what is not free by then is said to be free after 24 hours.
        """
        now_s = self._now_s(claim)
        rows = self._rolling_rows(claim.budget.budget_id, now_s - ROLLING_SECONDS + 1)
        freed = 0
        for second, settled, held in islice(rows, FREEING_ROWS_MAX):
            freed += settled + held
            if freed >= needed:
                return (second + ROLLING_SECONDS) * MICRO
        return (now_s + ROLLING_SECONDS) * MICRO

    def _now_s(self, claim: Claim) -> int:
        if claim.window is None:
            raise StoreUnusable(f"budget `{claim.budget.budget_id}` has no window")
        return claim.window.start_us // MICRO

    def grant(self, posting: Posting, budget: Budget) -> None:
        """Book what a permit claims, under the limit of ``budget`` where that is hard."""
        self._post(posting, budget.limit if budget.is_hard else UNLIMITED)

    def force(self, posting: Posting, budget: Budget) -> None:
        """Book what was captured without a hold, under the limit of ``budget``; what is above it is overdrawn."""
        self._post(posting, budget.limit if budget.is_hard else UNLIMITED, _forced)

    def rebound(self, budget: Budget, window: Window) -> None:
        """Take the changed limit of ``budget`` as the bound of its present window, or what was used where that is more.

        Money that moves later is then overdrawn against the new limit and not against that of the newest grant (I1).
        """
        key = self._counter_key(budget.budget_id, budget.period, window.start_us)
        counter = self._counter(key)
        if budget.period == "rolling_24h":
            counter = self._swept(budget.budget_id, counter, window.start_us // MICRO)
        ceiling = max(budget.limit, counter.usage.total) if budget.is_hard else UNLIMITED
        bounded = Counter(counter.settled, counter.held, ceiling, 0, counter.floor_s)
        self._keep_counter(key, bounded)

    def book(self, posting: Posting) -> bool:
        """Book what no limit can refuse any more; returns whether the window now holds more than it was granted."""
        return self._post(posting, None)

    def _post(self, posting: Posting, limit: int | None, bound: Bound | None = None) -> bool:
        claim = posting.claim
        if claim.window_start_us is None:
            return False
        key = self._counter_key(claim.budget_id, claim.period, claim.window_start_us)
        counter = self._counter(key)
        if claim.period != "rolling_24h":
            counter = _moved(counter, posting)
        else:
            counter = self._roll(posting, counter, claim.window_start_us // MICRO, grants=limit is not None)
        if max(abs(counter.settled), abs(counter.held)) > UNLIMITED:
            raise Conflict(f"budget `{claim.budget_id}` has counted as far as it can")
        counter, overdrawn = (bound or _bounded)(counter, limit)
        self._keep_counter(key, counter)
        return overdrawn

    def _roll(self, posting: Posting, counter: Counter, second: int, *, grants: bool) -> Counter:
        """Move the row of the claim's second, and the running total unless that second has left the window.

        Rows stay after they left: late settlements and refunds are booked where the claim was, and checked there (I1).
        """
        budget_id = posting.claim.budget_id
        if grants:
            counter = self._swept(budget_id, counter, second)
        key = self._prefix(budget_id) + U64.pack(second)
        data = self._txn.get(key, db=self._rolling)
        settled, held = (0, 0) if data is None else PAIR_ROW.unpack(data)
        self._txn.put(key, PAIR_ROW.pack(settled + posting.settled, held + posting.held), db=self._rolling)
        return _moved(counter, posting) if second >= counter.floor_s else counter

    def _swept(self, budget_id: str, counter: Counter, now_s: int) -> Counter:
        """Return the running total without the seconds that have left the window by ``now_s``."""
        floor_s = max(counter.floor_s, now_s - ROLLING_SECONDS + 1)
        settled, held = counter.settled, counter.held
        for second, row_settled, row_held in self._rolling_rows(budget_id, counter.floor_s):
            if second >= floor_s:
                break
            settled, held = settled - row_settled, held - row_held
        return Counter(settled, held, counter.ceiling, counter.overdraft, floor_s)

    def _rolling_rows(self, budget_id: str, floor_s: int) -> Iterator[tuple[int, int, int]]:
        prefix = self._prefix(budget_id)
        with self._txn.cursor(db=self._rolling) as cursor:
            found = cursor.set_range(prefix + U64.pack(floor_s))
            while found and bytes(cursor.key()).startswith(prefix):
                settled, held = PAIR_ROW.unpack(cursor.value())
                yield U64.unpack(bytes(cursor.key())[len(prefix) :])[0], settled, held
                found = cursor.next()

    def _counter(self, key: bytes) -> Counter:
        counter = self._seen.get(key)
        if counter is None:
            data = self._txn.get(key, db=self._counters)
            counter = self._seen[key] = Counter() if data is None else Counter(*COUNTER_ROW.unpack(data))
        return counter

    def _keep_counter(self, key: bytes, counter: Counter) -> None:
        row = COUNTER_ROW.pack(counter.settled, counter.held, counter.ceiling, counter.overdraft, counter.floor_s)
        self._txn.put(key, row, db=self._counters)
        self._seen[key] = counter

    def _counter_key(self, budget_id: str, period: str, start_us: int) -> bytes:
        return _window_key(self._tenant, budget_id, _ROLLING_START if period == "rolling_24h" else start_us)

    def _prefix(self, budget_id: str) -> bytes:
        return self._tenant + self.budget_key(budget_id)

    def budget_key(self, budget_id: str) -> bytes:
        """Return what a budget's rows have in their keys."""
        return _ulid(budget_id, "bud")

    def reservation(self, decision_id: str) -> Reservation | None:
        """Return the reservation of a decision."""
        data = self._txn.get(self._tenant + _ulid(decision_id, "dec"), db=self._reservations)
        return None if data is None else decode(bytes(data), _reservation)

    def keep(self, reservation: Reservation) -> None:
        """Store a reservation and keep the list of those that will expire in step with it."""
        ulid = _ulid(reservation.decision_id, "dec")
        self._txn.put(self._tenant + ulid, encode(reservation), db=self._reservations)
        due = U64.pack(reservation.expires_at_us) + self._tenant + ulid
        if reservation.state == "held":
            self._txn.put(due, b"", db=self._expiry)
        else:
            self._txn.delete(due, db=self._expiry)


def _moved(counter: Counter, posting: Posting) -> Counter:
    settled, held = counter.settled + posting.settled, counter.held + posting.held
    return Counter(settled, held, counter.ceiling, counter.overdraft, counter.floor_s)


def _bounded(counter: Counter, limit: int | None) -> tuple[Counter, bool]:
    """Return the counter with the ceiling of this grant, or with what a booking beyond the last one overdrew."""
    if limit is not None:
        return Counter(counter.settled, counter.held, limit, 0, counter.floor_s), False
    excess = counter.usage.total - counter.ceiling
    if excess <= counter.overdraft:
        return counter, False
    return Counter(counter.settled, counter.held, counter.ceiling, excess, counter.floor_s), True


def _forced(counter: Counter, limit: int | None) -> tuple[Counter, bool]:
    """Return the counter with a ceiling, and with what is above it as overdrawn."""
    excess = max(0, counter.usage.total - (limit or 0))
    return Counter(counter.settled, counter.held, limit or 0, excess, counter.floor_s), excess > 0


def _ulid(identifier: str, prefix: str) -> bytes:
    ulid = ulid_bytes(identifier, prefix)
    if ulid is None:
        raise StoreUnusable(f"`{identifier}` is no id of kind `{prefix}`")
    return ulid


@lru_cache(maxsize=KEYS_MAX)
def _window_key(tenant: bytes, budget_id: str, start_us: int) -> bytes:
    return tenant + _ulid(budget_id, "bud") + U64.pack(start_us)


def due_reservations(txn: Txn, tables: dict[str, Table], now_us: int, most: int) -> list[Due]:
    """Return up to ``most`` holds of any tenant that expire at or before ``now_us``, the earliest first."""
    found: list[Due] = []
    with txn.cursor(db=tables["expiry"]) as cursor:
        for key in islice(cursor.iternext(values=False), most) if cursor.first() else ():
            if U64.unpack(key[:8])[0] > now_us:
                break
            found.append(Due(U32.unpack(key[8:12])[0], id_of("dec", bytes(key[12:]))))
    return found

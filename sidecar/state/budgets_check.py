"""Whether a tenant's budgets hold together: I1 recomputed from its reservations, and what will expire.

Counters are the sums over reservations and within what was granted; what will expire is exactly what is held.
"""

from collections import Counter as Tally
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from sidecar.core.ids import id_of
from sidecar.core.reservation import Reservation
from sidecar.state.codec import U32, U64, U64_MAX, decode
from sidecar.state.environment import Table, Txn
from sidecar.state.ledger import COUNTER_ROW, PAIR_ROW, Counter
from sidecar.state.rows import tenant_rows
from sidecar.state.tenant_transaction import TenantTransaction

_reservation: Final = msgspec.msgpack.Decoder(Reservation)


class Window(NamedTuple):
    """One row of figures: a budget's calendar or total window, or one second of a rolling one."""

    budget: bytes
    start: int
    is_second: bool


class Found(NamedTuple):
    """One thing that does not hold: which invariant, and what is wrong where."""

    invariant: str
    message: str


class BudgetCheck:
    """The check of one tenant's counters and reservations, and how many of either it looked at."""

    def __init__(self, txn: Txn, tables: dict[str, Table], part: TenantTransaction) -> None:
        """Check ``part``."""
        self._txn = txn
        self._tables = tables
        self._part = part
        self._prefix = U32.pack(part.tenant.number)
        self._settled: Tally[Window] = Tally()
        self._held: Tally[Window] = Tally()
        self.reservations = 0
        self.windows = 0

    def run(self, due: set[bytes]) -> Iterator[Found]:
        """Yield what does not hold; ``due`` are the keys of what will expire."""
        yield from self._check_reservations()
        yield from self._check_windows()
        yield from self._check_expiry(due)

    def _rows(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        return tenant_rows(self._txn, self._tables[table], self._part.tenant.number)

    def _check_reservations(self) -> Iterator[Found]:
        """Add up what reservations hold, per window (I1)."""
        for key, value in self._rows("reservations"):
            self.reservations += 1
            reservation = decode(value, _reservation)
            if reservation.decision_id != id_of("dec", key):
                yield Found("I2", f"the reservation of `{reservation.decision_id}` lies under another key")
            for claim in reservation.claims:
                if claim.window_start_us is None:
                    continue
                rolls = claim.period == "rolling_24h"
                start = claim.window_start_us // 1_000_000 if rolls else claim.window_start_us
                window = Window(self._budget(claim.budget_id), start, rolls)
                self._settled[window] += claim.settled
                self._held[window] += claim.held

    def _budget(self, budget_id: str) -> bytes:
        return self._part.ledger.budget_key(budget_id)

    def _check_windows(self) -> Iterator[Found]:
        """I1: counters are the sums over reservations and within what was granted."""
        seconds: Tally[bytes] = Tally()
        rolling = {
            key[:-8]: Counter(*COUNTER_ROW.unpack(row)) for key, row in self._rows("counters") if _is_rolling(key)
        }
        for key, value in self._rows("rolling"):
            budget, second = key[:-8], U64.unpack(key[-8:])[0]
            settled, held = PAIR_ROW.unpack(value)
            yield from self._compare(Window(budget, second, is_second=True), settled, held)
            if budget in rolling and second >= rolling[budget].floor_s:
                seconds[budget] += settled + held
        for budget, counter in rolling.items():
            if counter.usage.total != seconds[budget]:
                yield Found("I1", f"{_name(budget)} counts {counter.usage.total} in 24 hours, its seconds add up to "
                            f"{seconds[budget]}")  # fmt: skip
            yield from self._check_bound(budget, counter)
        for key, row in self._rows("counters"):
            if not _is_rolling(key):
                counter = Counter(*COUNTER_ROW.unpack(row))
                yield from self._compare(
                    Window(key[:-8], U64.unpack(key[-8:])[0], is_second=False), counter.settled, counter.held
                )
                yield from self._check_bound(key[:-8], counter)
        for window in self._settled.keys() | self._held.keys():
            if self._settled[window] or self._held[window]:
                yield Found("I1", f"{_name(window.budget)} from {window.start} misses what reservations hold there")

    def _compare(self, window: Window, settled: int, held: int) -> Iterator[Found]:
        self.windows += 1
        expected = self._settled.pop(window, 0), self._held.pop(window, 0)
        if (settled, held) != expected:
            yield Found(
                "I1",
                f"{_name(window.budget)} from {window.start} has settled {settled} and held {held}, "
                f"its reservations {expected[0]} and {expected[1]}",
            )
        if settled < 0 or held < 0:
            yield Found("I1", f"{_name(window.budget)} from {window.start} has a negative figure")

    def _check_bound(self, budget: bytes, counter: Counter) -> Iterator[Found]:
        if counter.usage.total > counter.ceiling + counter.overdraft:
            yield Found("I1", f"{_name(budget)} holds {counter.usage.total}, granted were {counter.ceiling}")

    def _check_expiry(self, due: set[bytes]) -> Iterator[Found]:
        """What will expire is exactly what is held."""
        left = set(due)
        for ulid, value in self._rows("reservations"):
            reservation = decode(value, _reservation)
            key = U64.pack(reservation.expires_at_us) + self._prefix + ulid
            if (reservation.state == "held") != (key in left):
                yield Found("I1", f"the reservation `{reservation.decision_id}` is `{reservation.state}` and will "
                            f"{'' if key in left else 'not '}expire")  # fmt: skip
            left.discard(key)
        for key in left:
            yield Found("I1", f"`{id_of('dec', key[12:])}` will expire and does not exist")


def _is_rolling(key: bytes) -> bool:
    return key[-8:] == U64.pack(U64_MAX)


def _name(budget: bytes) -> str:
    return f"budget `{id_of('bud', budget)}`"

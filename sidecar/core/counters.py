"""Budget counters without a store: what windows have used, as the ledger would say it, for trials of a history.

Invariant kept with the ledger (``sidecar.state.ledger``): the same grants and bookings in the same order leave the same
usage in every window. Limits are not its matter: it books what it is told to.
"""

from bisect import bisect_left, insort
from itertools import islice
from typing import Final

from sidecar.core.budget import Claim, Usage
from sidecar.core.reservation import Posting
from sidecar.core.windows import ROLLING_US, SECOND_US

ROLLING_SECONDS: Final = ROLLING_US // SECOND_US

FREEING_ROWS_MAX: Final = 1_000
"""How many seconds of a rolling window are looked at to say when a denied amount would fit, as the ledger does."""


class _Rolling:
    """The seconds of one rolling window, and what those from ``floor_s`` on add up to.

    A reading at a later second than the newest grant leaves ``floor_s`` where it is; ``_read`` remembers its sum.
    """

    def __init__(self) -> None:
        self._seconds: list[int] = []
        self._rows: dict[int, Usage] = {}
        self._floor_s = 0
        self._total = Usage()
        self._read: tuple[int, Usage] = (0, Usage())

    def usage_at(self, now_s: int) -> Usage:
        floor_s = max(self._floor_s, now_s - ROLLING_SECONDS + 1)
        start_s, total = self._read if self._floor_s <= self._read[0] <= floor_s else (self._floor_s, self._total)
        for second in self._between(start_s, floor_s):
            row = self._rows[second]
            total = Usage(total.settled - row.settled, total.held - row.held)
        self._read = floor_s, total
        return total

    def sweep(self, now_s: int) -> None:
        floor_s = now_s - ROLLING_SECONDS + 1
        if floor_s > self._floor_s:
            self._total = self.usage_at(now_s)
            self._floor_s = floor_s

    def post(self, second: int, settled: int, held: int) -> None:
        row = self._rows.get(second)
        if row is None:
            insort(self._seconds, second)
            row = Usage()
        self._rows[second] = Usage(row.settled + settled, row.held + held)
        if second >= self._floor_s:
            self._total = Usage(self._total.settled + settled, self._total.held + held)
        if second >= self._read[0]:
            start_s, total = self._read
            self._read = start_s, Usage(total.settled + settled, total.held + held)

    def frees_at(self, now_s: int, needed: int) -> int:
        freed = 0
        first = bisect_left(self._seconds, now_s - ROLLING_SECONDS + 1)
        for second in islice(self._seconds, first, first + FREEING_ROWS_MAX):
            freed += self._rows[second].total
            if freed >= needed:
                return (second + ROLLING_SECONDS) * SECOND_US
        return (now_s + ROLLING_SECONDS) * SECOND_US

    def _between(self, start_s: int, end_s: int) -> list[int]:
        return self._seconds[bisect_left(self._seconds, start_s) : bisect_left(self._seconds, end_s)]


class Counters:
    """What the windows of one tenant's budgets have used; nothing at first."""

    def __init__(self) -> None:
        """Begin with nothing used."""
        self._windows: dict[tuple[str, int], Usage] = {}
        self._rolling: dict[str, _Rolling] = {}

    def usage(self, claim: Claim) -> Usage:
        """Return what the claim's window has used before it; a limit per transaction has used nothing."""
        if claim.window is None:
            return Usage()
        if claim.budget.period == "rolling_24h":
            rolling = self._rolling.get(claim.budget.budget_id)
            return Usage() if rolling is None else rolling.usage_at(claim.window.start_us // SECOND_US)
        return self._windows.get((claim.budget.budget_id, claim.window.start_us), Usage())

    def frees_at(self, claim: Claim, needed: int) -> int:
        """Return when, without further claims, ``needed`` will have left a rolling window, in microseconds."""
        now_s = 0 if claim.window is None else claim.window.start_us // SECOND_US
        return self._rolling.get(claim.budget.budget_id, _Rolling()).frees_at(now_s, needed)

    def grant(self, posting: Posting) -> None:
        """Book what a permit claims; seconds that have left a rolling window by then count no more."""
        self._post(posting, grants=True)

    def book(self, posting: Posting) -> None:
        """Book what became of a claim, in the window of the hold."""
        self._post(posting, grants=False)

    def sweep(self, budget_id: str, now_us: int) -> None:
        """Let go what has left a rolling window by now, for good: as when a limit is changed."""
        self._rolling.setdefault(budget_id, _Rolling()).sweep(now_us // SECOND_US)

    def _post(self, posting: Posting, *, grants: bool) -> None:
        claim = posting.claim
        if claim.window_start_us is None:
            return
        if claim.period == "rolling_24h":
            second = claim.window_start_us // SECOND_US
            rolling = self._rolling.setdefault(claim.budget_id, _Rolling())
            if grants:
                rolling.sweep(second)
            rolling.post(second, posting.settled, posting.held)
            return
        key = (claim.budget_id, claim.window_start_us)
        used = self._windows.get(key, Usage())
        self._windows[key] = Usage(used.settled + posting.settled, used.held + posting.held)

"""How the budgets of an identity chain stood at one moment, kept so that other requests can be held against them.

What is computed here holds as long as nothing else is claimed: a calendar window that has not begun is empty, and a
rolling one only ever gets emptier.
"""

from collections.abc import Iterator, Mapping
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from sidecar.core.budget import AMOUNT, Budget, Claim, Usage, account_of, asked_of, assess, terms_of, unbudgeted
from sidecar.core.model import AuthorizeRequest, BudgetCheck
from sidecar.core.money import AMOUNT_MINOR_MAX
from sidecar.core.schema import Action
from sidecar.core.windows import Window

BUDGETS_STOOD_MAX: Final = 256
"""Budgets of one chain that are looked at to explain a decision: those of other actions and currencies too."""


class Standing(msgspec.Struct, frozen=True):
    """One budget and what its present window had used. ``window`` is None for a limit per transaction.

    ``frees_us`` is, for a rolling window that the request does not fit into, when it will.
    """

    budget: Budget
    window: Window | None
    usage: Usage
    frees_us: int | None = None


class Standings(msgspec.Struct, frozen=True):
    """All budgets of a chain as ``request`` found them. ``actions`` are those of the schema."""

    request: AuthorizeRequest
    rows: tuple[Standing, ...]
    actions: Mapping[str, Action]
    zone: ZoneInfo

    def checks(self) -> tuple[BudgetCheck, ...]:
        """Return what each budget that governs the request says of it."""
        return tuple(
            assess(Claim(row.budget, row.window, asked), row.usage) for row, asked in self._asked(self.request)
        )

    def fit(self, request: AuthorizeRequest, at_us: int) -> bool:
        """Whether every hard budget has room for a request, made at that time; False in a currency that none has."""
        if unbudgeted(request, terms_of((row.budget for row in self.rows), self._names(request), account_of(request))):
            return False
        return all(self._used(row, at_us) + asked <= row.budget.limit for row, asked in self._hard(request))

    def room(self, request: AuthorizeRequest, at_us: int) -> int:
        """Return the highest amount in the currency of a request that all hard budgets have room for."""
        left = [
            row.budget.limit - self._used(row, at_us)
            for row, _ in self._hard(request)
            if row.budget.dimension == AMOUNT
        ]
        return min([AMOUNT_MINOR_MAX, *left])

    def fits_from(self, now_us: int) -> int | None:
        """Return when every hard budget will have room for the request, at the earliest now; None for never."""
        found = now_us
        for row, asked in self._hard(self.request):
            if self._used(row, now_us) + asked > row.budget.limit:
                later = row.frees_us or (None if row.window is None else row.window.end_us)
                if later is None or asked > row.budget.limit:
                    return None
                found = max(found, later)
        return found

    def resets(self, now_us: int) -> tuple[int, ...]:
        """Return when windows of the hard budgets that govern the request end, in order of time."""
        ends = {row.window.end_us for row, _ in self._hard(self.request) if row.window is not None}
        return tuple(sorted(end for end in ends if end is not None and end > now_us))

    def _used(self, row: Standing, at_us: int) -> int:
        window = row.window
        if window is None or (window.end_us is not None and at_us >= window.end_us):
            return 0
        asked = asked_of(row.budget, self.request)
        if row.frees_us is not None and asked is not None and at_us >= row.frees_us:
            return row.budget.limit - asked
        return row.usage.total

    def _hard(self, request: AuthorizeRequest) -> Iterator[tuple[Standing, int]]:
        return ((row, asked) for row, asked in self._asked(request) if row.budget.is_hard)

    def _asked(self, request: AuthorizeRequest) -> Iterator[tuple[Standing, int]]:
        names, account_id = self._names(request), account_of(request)
        for row in self.rows:
            asked = asked_of(row.budget, request) if row.budget.governs(names, account_id) else None
            if asked is not None:
                yield row, asked

    def _names(self, request: AuthorizeRequest) -> frozenset[str]:
        action = self.actions.get(request.action)
        return frozenset({request.action}) | (action.groups if action is not None else frozenset())

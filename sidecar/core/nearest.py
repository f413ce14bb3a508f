"""The nearest requests that would be permitted, for one that was denied.

What is near is read from what policies and budgets name: amounts, currencies, categories, actions, resources, hours.
Nothing found so is told before it has been ruled on: whatever is named here passed the policies and every hard budget,
and of amounts the one above did not. The search ends after so many rulings with what it has: amounts first, then other
changes, then times, then two changes at once.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from sidecar.core.errors import ValidationFailed
from sidecar.core.hints import Hints
from sidecar.core.model import AuthorizeRequest, ResourceRef
from sidecar.core.money import Major, major_text
from sidecar.core.standing import Standings
from sidecar.core.windows import local_hour_and_weekday

TRIALS_MAX: Final = 100
"""Rulings in one search: 0.2 to 0.3 milliseconds each, more with more policies, for which a caller allows fewer."""

CHOICES_MAX: Final = 16
"""Currencies, categories, actions and resources that are tried, each."""

AMOUNTS_MAX: Final = 24
"""Amounts on either side of the one asked that are tried before the search closes in on a border."""

_QUARTER_US: Final = 15 * 60 * 1_000_000
"""Every zone's hours begin at a quarter of an hour of UTC."""

_WEEK_US: Final = 7 * 86_400 * 1_000_000
"""Rules about time repeat after a week."""


T = TypeVar("T")


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """How a request differs from the one that was denied; what is None stays as it was."""

    amount_minor: int | None = None
    currency: str | None = None
    merchant_category: str | None = None
    action: str | None = None
    resource: ResourceRef | None = None
    at_us: int | None = None


class Nearest(msgspec.Struct, frozen=True, kw_only=True):
    """Changes each of which alone would be permitted; ``together`` is one of two parts where none alone is enough.

    ``amount_minor`` is in ``currency``, that of the request.
    """

    amount_minor: int | None = None
    currency: str | None = None
    currencies: tuple[str, ...] = ()
    merchant_categories: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    resources: tuple[ResourceRef, ...] = ()
    at_us: int | None = None
    together: Change | None = None


Rules = Callable[[AuthorizeRequest, int], bool]
"""Whether the policies permit a request at a time."""


def search(
    request: AuthorizeRequest,
    now_us: int,
    zone: ZoneInfo,
    hints: Hints,
    standings: Standings,
    rules: Rules,
    *,
    trials_max: int = TRIALS_MAX,
) -> Nearest | None:
    """Return the nearest requests that ``rules`` and the hard budgets permit; None when none is found."""
    return _Search(request, now_us, zone, hints, standings, rules, trials_max).run()


class _Search:
    """One search, which counts its rulings."""

    def __init__(
        self,
        request: AuthorizeRequest,
        now_us: int,
        zone: ZoneInfo,
        hints: Hints,
        standings: Standings,
        rules: Rules,
        trials_max: int,
    ) -> None:
        self._request = request
        self._now_us = now_us
        self._zone = zone
        self._hints = hints
        self._standings = standings
        self._rules = rules
        self._left = trials_max
        self._points = sorted({number + step for number in hints.amounts for step in (-1, 0, 1)} - {-1, 0})

    def run(self) -> Nearest | None:
        """Try one change at a time, and then two."""
        amount = self._amount(self._request, self._now_us)
        changes = list(self._changes())
        passing = [change for change in changes if self._permits(*self._changed(change))]
        at_us = next((at_us for at_us in self._times() if self._permits(self._request, at_us)), None)
        if amount is None and at_us is None and not passing:
            together = self._together(changes)
            return None if together is None else Nearest(together=together)
        return Nearest(
            amount_minor=amount,
            currency=None if amount is None else self._request.currency,
            currencies=tuple(change.currency for change in passing if change.currency is not None),
            merchant_categories=tuple(
                change.merchant_category for change in passing if change.merchant_category is not None
            ),
            actions=tuple(change.action for change in passing if change.action is not None),
            resources=tuple(change.resource for change in passing if change.resource is not None),
            at_us=at_us,
        )

    def _together(self, changes: list[Change]) -> Change | None:
        """Return the first change that is permitted with another amount.

        Before all amounts are tried with one change, a low one is tried with each: most rules bound amounts from above.
        """
        later = [Change(at_us=at_us) for at_us in [*self._standings.resets(self._now_us), *self._hours(self._now_us)]]
        every = [*changes, *later]
        for change in chain(filter(self._permits_less, every), every):
            if self._left <= 0:
                break
            amount = self._amount(*self._changed(change))
            if amount is not None:
                return msgspec.structs.replace(
                    change, amount_minor=amount, currency=change.currency or self._request.currency
                )
        return None

    def _permits_less(self, change: Change) -> bool:
        """Whether a change is permitted with the lowest of those amounts below the one asked that would be tried."""
        request, at_us = self._changed(change)
        room = 0 if self._left <= 0 else self._standings.room(request, at_us)
        if request.amount_minor is None or room <= 0:
            return False
        below, _ = self._near(request.amount_minor, room)
        return self._permits(msgspec.structs.replace(request, amount_minor=below[-1]), at_us)

    def _permits(self, request: AuthorizeRequest, at_us: int) -> bool:
        if self._left <= 0 or not self._standings.fit(request, at_us):
            return False
        self._left -= 1
        return self._rules(request, at_us)

    def _changes(self) -> Iterator[Change]:
        """Yield what can be changed but amount and time."""
        request, hints = self._request, self._hints
        budgets = [row.budget.currency for row in self._standings.rows if row.budget.currency is not None]
        for currency in _others([*hints.currencies, *budgets], request.currency):
            if self._in(currency) is not None:
                yield Change(currency=currency)
        for category in _others(hints.merchant_categories, request.merchant_category):
            yield Change(merchant_category=category)
        for resource in _others(hints.resources, request.resource):
            yield Change(resource=resource)
        for action in _others(hints.actions, request.action):
            yield Change(action=action)

    def _in(self, currency: str) -> int | None:
        """Return the same figure in another currency; None where that has fewer places, and without an amount."""
        request = self._request
        if request.amount_minor is None or request.currency is None:
            return None
        try:
            return Major(major_text(request.amount_minor, request.currency)).minor(currency, "")
        except ValidationFailed:
            return None

    def _changed(self, change: Change) -> tuple[AuthorizeRequest, int]:
        request = self._request
        if change.currency is not None:
            request = msgspec.structs.replace(request, currency=change.currency, amount_minor=self._in(change.currency))
        changed = msgspec.structs.replace(
            request,
            merchant_category=change.merchant_category or request.merchant_category,
            action=change.action or request.action,
            resource=change.resource or request.resource,
        )
        return changed, change.at_us or self._now_us

    def _times(self) -> Iterator[int]:
        """Yield later times at which the request may fit: when the budgets do, and when a rule may turn after that."""
        start_us = self._standings.fits_from(self._now_us)
        if start_us is None:
            return
        if start_us > self._now_us:
            yield start_us
        yield from self._hours(start_us)

    def _hours(self, from_us: int) -> Iterator[int]:
        """Yield the beginnings of those local hours at which a rule may turn, over a week."""
        last, _ = local_hour_and_weekday(from_us, self._zone)
        first_us = from_us - from_us % _QUARTER_US + _QUARTER_US
        for at_us in range(first_us, first_us + _WEEK_US, _QUARTER_US) if self._hints.hours else ():
            hour, _ = local_hour_and_weekday(at_us, self._zone)
            if hour != last and hour in self._hints.hours:
                yield at_us
            last = hour

    def _amount(self, request: AuthorizeRequest, at_us: int) -> int | None:
        """Return the highest amount up to the one asked that is permitted, else the lowest above it; None for none."""
        asked = request.amount_minor
        if asked is None:
            return None
        room = self._standings.room(request, at_us)
        if room <= 0:
            return None
        below, above = self._near(asked, room)

        def passes(amount: int) -> bool:
            return self._permits(msgspec.structs.replace(request, amount_minor=amount), at_us)

        failed = min(asked, room) + 1
        for point in below:
            if passes(point):
                return _border(point, failed, passes)
            failed = point
        failed = asked
        for point in above:
            if passes(point):
                return _border(point, failed, passes)
            failed = point
        return None

    def _near(self, asked: int, room: int) -> tuple[list[int], list[int]]:
        """Return amounts within ``room`` at which a rule may turn: downwards from the one asked, and upwards."""
        at, end = bisect_right(self._points, min(asked, room)), bisect_right(self._points, room)
        below = {min(asked, room), *self._points[max(0, at - AMOUNTS_MAX) : at]}
        above = {*self._points[at : min(end, at + AMOUNTS_MAX)], *([room] if room > asked else [])}
        return sorted(below, reverse=True)[:AMOUNTS_MAX], sorted(above)[:AMOUNTS_MAX]


def _border(passing: int, failing: int, passes: Callable[[int], bool]) -> int:
    """Return an amount that passes next to one that fails, given one of each."""
    step = 1 if failing > passing else -1
    if passing + step == failing or not passes(passing + step):
        return passing
    passing += step
    while abs(failing - passing) > 1:
        middle = (passing + failing) // 2
        if passes(middle):
            passing = middle
        else:
            failing = middle
    return passing


def _others(values: Iterable[T], present: T | None) -> list[T]:
    """Return the different ``values`` but the present one, no more than can be tried."""
    return [value for value in dict.fromkeys(values) if value != present][:CHOICES_MAX]

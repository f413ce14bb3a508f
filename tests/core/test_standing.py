"""Budgets as they stood can be held against other requests and other times."""

from zoneinfo import ZoneInfo

import pytest

from sidecar.core.budget import Budget, Usage
from sidecar.core.model import AuthorizeRequest
from sidecar.core.money import AMOUNT_MINOR_MAX
from sidecar.core.standing import Standing, Standings
from sidecar.core.windows import window_at
from tests.core.builders import NOON_US, SCHEMA, budget, purchase, tool_call

UTC = ZoneInfo("UTC")
HOUR_US = 3_600_000_000
MIDNIGHT_US = NOON_US + 12 * HOUR_US


def stood(one: Budget, used: int = 0, frees_us: int | None = None) -> Standing:
    """A budget of which that much is used at noon."""
    return Standing(one, window_at(one.period, NOON_US, UTC), Usage(0, used), frees_us)


def standings(*rows: Standing, request: AuthorizeRequest | None = None) -> Standings:
    """What a purchase of 47.23 CAD found at noon."""
    return Standings(purchase() if request is None else request, rows, SCHEMA.model.actions, UTC)


def test_a_request_fits_up_to_the_limit() -> None:
    found = standings(stood(budget(), 10_000 - 4_723))
    assert found.fit(purchase(), NOON_US)
    assert not found.fit(purchase(amount_minor=4_724), NOON_US)
    assert found.room(purchase(), NOON_US) == 4_723
    assert found.fits_from(NOON_US) == NOON_US


def test_a_window_that_has_not_begun_is_empty() -> None:
    found = standings(stood(budget(), 10_000))
    assert not found.fit(purchase(), MIDNIGHT_US - 1)
    assert found.fit(purchase(), MIDNIGHT_US)
    assert found.room(purchase(), MIDNIGHT_US) == 10_000
    assert found.fits_from(NOON_US) == MIDNIGHT_US
    assert found.resets(NOON_US) == (MIDNIGHT_US,)


def test_all_budgets_must_have_room() -> None:
    month = window_at("monthly", NOON_US, UTC)
    assert month is not None
    rows = (
        stood(budget(), 10_000),
        stood(budget("bud_2", period="monthly", limit=5_000), 5_000),
        stood(budget("bud_3")),
    )
    assert standings(*rows).fits_from(NOON_US) == month.end_us
    assert standings(*rows).resets(NOON_US) == (MIDNIGHT_US, month.end_us)


@pytest.mark.parametrize(
    "row",
    [
        stood(budget(limit=4_722)),
        stood(budget(period="per_transaction", limit=4_722)),
        stood(budget(period="total", limit=10_000), 9_000),
    ],
)
def test_a_request_that_will_never_fit_has_no_time(row: Standing) -> None:
    assert standings(row).fits_from(NOON_US) is None


def test_a_limit_per_transaction_has_used_nothing_and_never_resets() -> None:
    found = standings(stood(budget(period="per_transaction", limit=4_723)))
    assert found.fit(purchase(), NOON_US)
    assert found.resets(NOON_US) == ()


def test_a_rolling_window_has_room_once_it_frees_it() -> None:
    frees_us = NOON_US + HOUR_US
    found = standings(stood(budget(period="rolling_24h"), 10_000, frees_us))
    assert found.fits_from(NOON_US) == frees_us
    assert not found.fit(purchase(), frees_us - 1)
    assert found.fit(purchase(), frees_us)
    assert not found.fit(purchase(amount_minor=4_724), frees_us)
    assert found.fit(purchase(amount_minor=10_000), NOON_US + 24 * HOUR_US)


def test_what_only_counts_refuses_nothing() -> None:
    found = standings(stood(budget(on_exceeded="notify"), 20_000))
    assert found.fit(purchase(), NOON_US)
    assert found.room(purchase(), NOON_US) == AMOUNT_MINOR_MAX
    assert found.resets(NOON_US) == ()


def test_a_currency_without_a_budget_does_not_fit() -> None:
    assert not standings(stood(budget())).fit(purchase(currency="USD"), NOON_US)
    assert standings(stood(budget()), stood(budget("bud_2", currency="USD"))).fit(purchase(currency="USD"), NOON_US)


def test_a_budget_of_other_actions_is_not_asked() -> None:
    spends = stood(budget(actions=("spend",)), 10_000)
    other = stood(budget(actions=("tool.call",)), 10_000)
    assert not standings(spends).fit(purchase(), NOON_US)
    assert standings(other).fit(purchase(), NOON_US)
    assert standings(stood(budget(dimension="tokens", currency=None, limit=5), 5)).fit(tool_call(), NOON_US)
    assert standings(other).fit(tool_call(action="nope"), NOON_US)


def test_each_budget_says_what_it_said_of_the_request() -> None:
    found = standings(stood(budget(), 9_000), stood(budget("bud_2", currency="USD")))
    (check,) = found.checks()
    assert (check.budget_id, check.reserved, check.requested, check.remaining) == ("bud_1", 9_000, 4_723, 1_000)
    assert (check.allowed, check.resets_at_us) == (False, MIDNIGHT_US)

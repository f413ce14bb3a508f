"""What is named as near was ruled on, and of amounts the next one was refused."""

from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.budget import Usage
from sidecar.core.hints import Hints
from sidecar.core.model import AuthorizeRequest, ResourceRef
from sidecar.core.nearest import TRIALS_MAX, Change, Nearest, Rules, search
from sidecar.core.standing import Standing, Standings
from sidecar.core.windows import local_hour_and_weekday, window_at
from tests.core.builders import NOON_US, SCHEMA, budget, purchase

UTC = ZoneInfo("UTC")
HOUR_US = 3_600_000_000
MIDNIGHT_US = NOON_US + 12 * HOUR_US


def stood(used: int = 0, **changes: object) -> Standing:
    """100 CAD a day of which that much is used."""
    one = budget(**changes)
    return Standing(one, window_at(one.period, NOON_US, UTC), Usage(0, used))


def near(
    rules: Rules,
    hints: Hints = Hints(),  # noqa: B008 -- frozen
    *rows: Standing,
    request: AuthorizeRequest | None = None,
) -> Nearest | None:
    """What is near a purchase of 47.23 CAD at noon."""
    asked = purchase() if request is None else request
    return search(asked, NOON_US, UTC, hints, Standings(asked, rows, SCHEMA.model.actions, UTC), rules)


def up_to(limit: int) -> Rules:
    """Amounts up to a limit."""
    return lambda request, _: (request.amount_minor or 0) <= limit


def never(_: AuthorizeRequest, _at_us: int) -> bool:
    """Nothing at all."""
    return False


# --- Amounts


@given(
    st.lists(st.integers(1, 10_000), max_size=4),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)), max_size=3),
    st.integers(1, 12_000),
)
def test_the_amount_is_the_highest_that_rules_and_budgets_permit(
    limits: list[int], budgets: list[tuple[int, int]], asked: int
) -> None:
    request = purchase(amount_minor=asked)
    rows = [stood(used, limit=limit, period="total") for limit, used in budgets]
    most = min([10**15, *limits, *(limit - used for limit, used in budgets)])
    found = near(up_to(min([10**15, *limits])), Hints(amounts=tuple(limits)), *rows, request=request)
    if asked <= most:
        return  # it was never denied
    if most <= 0:
        assert found is None
    else:
        assert found == Nearest(amount_minor=most, currency="CAD")


@pytest.mark.parametrize("limit", [1, 2, 33, 1_574, 4_721, 4_722])
def test_a_border_that_no_policy_names_is_closed_in_on(limit: int) -> None:
    """As of `context.amount * 3 <= 100`."""
    found = near(up_to(limit), Hints(amounts=(1,)))
    assert found is not None
    assert found.amount_minor == limit


def test_the_lowest_amount_above_is_named_where_none_below_passes() -> None:
    found = near(lambda request, _: (request.amount_minor or 0) >= 6_000, Hints(amounts=(9_000,)))
    assert found == Nearest(amount_minor=6_000, currency="CAD")
    found = near(lambda request, _: (request.amount_minor or 0) > 6_000, Hints(amounts=(6_000,)))
    assert found == Nearest(amount_minor=6_001, currency="CAD")
    found = near(lambda request, _: (request.amount_minor or 0) > 6_000, Hints(amounts=(6_000,)), stood(4_000))
    assert found == Nearest(together=Change(amount_minor=6_001, currency="CAD", at_us=MIDNIGHT_US))


def test_nothing_is_named_that_is_worth_nothing() -> None:
    assert near(up_to(0), Hints(amounts=(0,))) is None
    assert near(up_to(10**15), Hints(), stood(10_000, period="total")) is None


# --- Other changes


def test_currencies_are_those_of_rules_and_budgets_in_which_the_figure_can_be_written() -> None:
    def dollars(request: AuthorizeRequest, _: int) -> bool:
        return request.currency in {"USD", "EUR", "JPY"}

    hints = Hints(currencies=("CAD", "USD", "JPY", "GBP"))
    eur = stood(currency="EUR")
    found = near(
        dollars, hints, msgspec.structs.replace(eur, budget=budget("bud_2", currency="EUR", on_exceeded="track"))
    )
    assert found == Nearest(currencies=("USD", "EUR"))
    assert near(dollars, hints, stood()) is None


def test_categories_resources_and_actions_are_tried() -> None:
    hints = Hints(
        merchant_categories=("7372", "5812"),
        resources=(ResourceRef("merchant", "AWS"), ResourceRef("merchant", "GCP")),
        actions=("card.authorize", "tool.call"),
    )
    assert near(lambda request, _: request.merchant_category == "5812", hints) == Nearest(merchant_categories=("5812",))
    wanted = ResourceRef("merchant", "GCP")
    assert near(lambda request, _: request.resource == wanted, hints) == Nearest(resources=(wanted,))
    assert near(lambda request, _: request.action == "tool.call", hints) == Nearest(actions=("tool.call",))


def test_a_request_without_an_amount_has_no_other_amount_or_currency() -> None:
    request = purchase(amount_minor=None, currency=None)
    assert near(never, Hints(amounts=(1,), currencies=("USD",)), request=request) is None


# --- Time


def test_the_time_is_when_the_budgets_have_room() -> None:
    assert near(up_to(10**15), Hints(), stood(10_000)) == Nearest(at_us=MIDNIGHT_US)


def test_the_time_is_the_next_hour_that_the_rules_permit() -> None:
    def mornings(_: AuthorizeRequest, at_us: int) -> bool:
        hour, weekday = local_hour_and_weekday(at_us, UTC)
        return hour >= 9 and weekday == 3

    found = near(mornings, Hints(hours=frozenset({0, 9})))
    assert found == Nearest(at_us=MIDNIGHT_US + 33 * HOUR_US)
    assert near(mornings, Hints()) is None


def test_the_time_comes_after_the_reset_of_the_budgets() -> None:
    def evenings(_: AuthorizeRequest, at_us: int) -> bool:
        return local_hour_and_weekday(at_us, UTC)[0] >= 18

    hints = Hints(hours=frozenset({0, 18}))
    assert near(evenings, hints) == Nearest(at_us=NOON_US + 6 * HOUR_US)
    found = near(evenings, hints, stood(9_000))
    assert found == Nearest(at_us=MIDNIGHT_US + 18 * HOUR_US)


# --- Two changes


def test_an_amount_and_another_change_are_tried_where_neither_is_enough() -> None:
    def rules(request: AuthorizeRequest, _: int) -> bool:
        return request.currency == "USD" and (request.amount_minor or 0) <= 4_000

    found = near(rules, Hints(amounts=(4_000,), currencies=("USD",)))
    assert found == Nearest(together=Change(amount_minor=4_000, currency="USD"))


def test_less_and_later_is_named_where_a_budget_is_used_up() -> None:
    found = near(up_to(4_000), Hints(amounts=(4_000,)), stood(10_000))
    assert found == Nearest(together=Change(amount_minor=4_000, currency="CAD", at_us=MIDNIGHT_US))


# --- Limits


def test_a_search_ends_after_so_many_rulings() -> None:
    asked: list[object] = []

    def refuse(request: AuthorizeRequest, at_us: int) -> bool:
        asked.append((request, at_us))
        return False

    hints = Hints(
        amounts=tuple(range(10, 4_000, 10)), currencies=("USD", "EUR", "GBP", "CHF"), hours=frozenset(range(24))
    )
    for most in (TRIALS_MAX, 5):
        asked.clear()
        request = purchase()
        standings = Standings(request, (), SCHEMA.model.actions, UTC)
        assert search(request, NOON_US, UTC, hints, standings, refuse, trials_max=most) is None
        assert len(asked) == most


def test_of_many_changes_the_one_that_is_permitted_with_less_is_found_within_the_limit() -> None:
    """Rules name seven amounts and fifteen categories before the one that is permitted, up to the lowest amount."""
    hints = Hints(
        amounts=tuple(range(100, 800, 100)), merchant_categories=tuple(str(number) for number in range(3000, 3016))
    )

    def rules(request: AuthorizeRequest, _: int) -> bool:
        return request.merchant_category == "3015" and (request.amount_minor or 0) <= 100

    assert near(rules, hints) == Nearest(together=Change(amount_minor=100, currency="CAD", merchant_category="3015"))

"""What a request claims of which budgets, and when a claim fits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.budget import (
    AMOUNT,
    COUNT,
    Budget,
    Claim,
    OnExceeded,
    Usage,
    account_of,
    assess,
    claims,
    terms_of,
    unbudgeted,
)
from sidecar.core.model import AuthorizeRequest
from sidecar.core.windows import PERIODS, Period, Window, window_at, zone
from tests.core.builders import NOON_US, budget, purchase, tool_call

UTC = zone("UTC")
SPENDING = frozenset({"card.authorize", "spend"})
FIGURES = st.integers(0, 10**15)
EXCEEDING: tuple[OnExceeded, ...] = ("deny", "suspend", "notify", "track")
HARD: tuple[OnExceeded, ...] = ("deny", "suspend")

BUDGETS = st.builds(
    lambda owner, **changes: budget(
        identity_id=None if owner == "card" else owner, card_id=owner if owner == "card" else None, **changes
    ),
    st.sampled_from(["bot", "boss", "card"]),
    dimension=st.sampled_from([AMOUNT, COUNT, "tokens"]),
    period=st.sampled_from(PERIODS),
    currency=st.sampled_from(["CAD", "USD"]),
    actions=st.sampled_from([(), ("spend",), ("card.authorize", "x"), ("tool.call",)]),
    on_exceeded=st.sampled_from(EXCEEDING),
)
REQUESTS = st.builds(
    lambda amount, **changes: purchase(amount_minor=amount, currency=None if amount is None else "CAD", **changes),
    st.none() | FIGURES,
    quantities=st.sampled_from([{}, {"tokens": 0}, {"tokens": 7}, {"calls": 7}]),
)


def asked(request: AuthorizeRequest, *budgets: Budget) -> list[int]:
    """What a card payment claims of budgets."""
    return [claim.asked for claim in claims(request, terms_of(budgets, SPENDING), NOON_US, UTC)]


# --- Claims


@pytest.mark.parametrize(
    ("actions", "governs"),
    [
        ((), True),
        (("card.authorize",), True),
        (("spend",), True),
        (("tool.call",), False),
        (("tool.call", "spend"), True),
    ],
)
def test_a_budget_governs_its_actions_and_those_in_its_groups(actions: tuple[str, ...], *, governs: bool) -> None:
    """One that names none governs all."""
    assert budget(actions=actions).governs(SPENDING) is governs
    assert asked(purchase(), budget(actions=actions)) == ([4723] if governs else [])


def test_a_budget_of_one_account_governs_what_is_paid_from_it() -> None:
    """The request names the account in its context; a value that is no text names none."""
    wallet = budget(account_id="acct_1")
    assert wallet.governs(SPENDING, "acct_1")
    assert not wallet.governs(SPENDING, "acct_2")
    assert not wallet.governs(SPENDING)
    assert budget().governs(SPENDING, "acct_1")
    assert account_of(purchase(context={"account_id": "acct_1"})) == "acct_1"
    assert account_of(purchase()) is None
    assert account_of(purchase(context={"account_id": 7})) is None


def test_a_currency_is_lacking_only_where_a_budget_of_the_account_governs() -> None:
    wallet = budget(currency="USDC", account_id="acct_1")
    assert unbudgeted(purchase(), terms_of([wallet], SPENDING)) == ()
    assert unbudgeted(purchase(), terms_of([wallet], SPENDING, "acct_1")) == (wallet,)


def test_an_amount_is_claimed_of_the_budgets_in_its_currency() -> None:
    assert asked(purchase(), budget("bud_1"), budget("bud_2", currency="USD"), budget("bud_3")) == [4723, 4723]


def test_each_request_counts_once() -> None:
    assert asked(purchase(quantities={"calls": 9}), budget(dimension=COUNT, currency=None)) == [1]


def test_a_named_quantity_is_claimed_of_the_budgets_of_that_name() -> None:
    tokens = budget(dimension="tokens", currency=None)
    assert asked(purchase(quantities={"tokens": 12, "calls": 3}), tokens) == [12]
    assert asked(purchase(quantities={"calls": 3}), tokens) == []


def test_nothing_of_a_kind_is_a_claim_too() -> None:
    """An amount or quantity of zero is given; a window that is over its limit refuses even that."""
    assert asked(purchase(amount_minor=0), budget()) == [0]
    assert asked(purchase(quantities={"tokens": 0}), budget(dimension="tokens", currency=None)) == [0]


def test_a_request_without_an_amount_claims_no_amount() -> None:
    assert asked(tool_call(), budget()) == []


@pytest.mark.parametrize("period", PERIODS)
def test_a_claim_is_made_in_the_window_of_now(period: Period) -> None:
    (claim,) = claims(purchase(), terms_of([budget(period=period)], SPENDING), NOON_US, UTC)
    assert claim.window == window_at(period, NOON_US, UTC)


def test_windows_are_those_of_the_tenants_time_zone() -> None:
    (claim,) = claims(purchase(), terms_of([budget()], SPENDING), NOON_US, zone("America/Toronto"))
    assert claim.window == Window(NOON_US - 7 * 3_600_000_000, NOON_US + 17 * 3_600_000_000)


@given(REQUESTS, st.lists(BUDGETS, max_size=5))
def test_each_budget_that_governs_is_claimed_in_its_order(request: AuthorizeRequest, budgets: list[Budget]) -> None:
    expected = []
    for each in budgets:
        figures = dict(request.quantities)
        if each.actions and not SPENDING & set(each.actions):
            continue
        if request.amount_minor is not None and each.currency == request.currency:
            figures[AMOUNT] = request.amount_minor
        figures[COUNT] = 1
        if each.dimension in figures:
            expected.append((each, figures[each.dimension]))
    found = claims(request, terms_of(budgets, SPENDING), NOON_US, UTC)
    assert [(claim.budget, claim.asked) for claim in found] == expected


# --- Currencies that nobody budgeted


def test_a_currency_that_a_limited_identity_never_budgeted_is_named() -> None:
    euros = budget(currency="EUR")
    assert unbudgeted(purchase(), terms_of([euros], SPENDING)) == (euros,)


def test_one_budget_in_the_currency_is_enough() -> None:
    assert unbudgeted(purchase(), terms_of([budget("bud_1", currency="EUR"), budget("bud_2")], SPENDING)) == ()


def test_each_owner_must_have_one() -> None:
    """The boss's dollars do not lift the agent's own limit, nor those of a card."""
    boss = budget("bud_1", identity_id="boss")
    bot = budget("bud_2", currency="EUR")
    card = budget("bud_3", identity_id=None, card_id="card_1", currency="USD")
    assert unbudgeted(purchase(), terms_of([boss, bot, card], SPENDING)) == (bot, card)


@pytest.mark.parametrize("on_exceeded", ["notify", "track"])
def test_a_budget_that_only_counts_limits_nobody(on_exceeded: str) -> None:
    """Nor does it let a currency through that the hard budgets of its owner do not know."""
    soft = budget("bud_1", on_exceeded=on_exceeded)
    hard = budget("bud_2", currency="EUR")
    assert unbudgeted(purchase(), terms_of([budget(currency="EUR", on_exceeded=on_exceeded)], SPENDING)) == ()
    assert unbudgeted(purchase(), terms_of([soft, hard], SPENDING)) == (hard,)


def test_budgets_of_other_actions_and_dimensions_do_not_matter() -> None:
    other_action = budget("bud_1", currency="EUR", actions=("tool.call",))
    tokens = budget("bud_2", dimension="tokens", currency=None)
    assert unbudgeted(purchase(), terms_of([other_action, tokens], SPENDING)) == ()


def test_a_request_without_an_amount_needs_no_currency() -> None:
    assert unbudgeted(tool_call(), terms_of([budget(currency="EUR")], SPENDING)) == ()


@given(REQUESTS, st.lists(BUDGETS, max_size=6))
def test_an_owner_is_named_once_exactly_where_no_hard_budget_has_the_currency(
    request: AuthorizeRequest, budgets: list[Budget]
) -> None:
    limited = [
        each
        for each in budgets
        if each.dimension == AMOUNT and each.on_exceeded in HARD and (not each.actions or SPENDING & set(each.actions))
    ]
    owners = {(each.identity_id, each.card_id) for each in limited}
    known = {(each.identity_id, each.card_id) for each in limited if each.currency == request.currency}
    found = unbudgeted(request, terms_of(budgets, SPENDING))
    expected = set() if request.amount_minor is None else owners - known
    assert {(each.identity_id, each.card_id) for each in found} == expected
    assert len(found) == len(expected)


# --- Fitting


@given(FIGURES, FIGURES, FIGURES, FIGURES, st.sampled_from(EXCEEDING))
def test_a_claim_fits_beside_what_is_settled_and_held(
    limit: int, settled: int, held: int, wanted: int, on_exceeded: str
) -> None:
    """In a budget that refuses; any other only counts. What remains is never below zero."""
    check = assess(Claim(budget(limit=limit, on_exceeded=on_exceeded), None, wanted), Usage(settled, held))
    assert check.allowed == (on_exceeded in {"notify", "track"} or settled + held + wanted <= limit)
    assert check.remaining == (limit - settled - held if limit > settled + held else 0)
    assert (check.settled, check.reserved, check.requested) == (settled, held, wanted)


@given(st.integers(0, 30), st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=20))
def test_no_sequence_of_grants_goes_over_the_limit(limit: int, wanted: list[tuple[int, bool]]) -> None:
    usage = Usage()
    for asked_for, settles in wanted:
        if assess(Claim(budget(limit=limit), None, asked_for), usage).allowed:
            held = 0 if settles else asked_for
            usage = Usage(usage.settled + asked_for - held, usage.held + held)
        assert usage.total <= limit


def test_a_limit_that_was_lowered_below_what_is_used_lets_nothing_more_through() -> None:
    """Not even nothing, and what remains is zero."""
    check = assess(Claim(budget(limit=100), None, 0), Usage(80, 40))
    assert (check.allowed, check.remaining) == (False, 0)


def test_a_limit_that_is_used_up_exactly_lets_nothing_cost_nothing() -> None:
    assert assess(Claim(budget(limit=100), None, 0), Usage(60, 40)).allowed


def test_a_check_says_when_the_window_ends() -> None:
    ending = assess(Claim(budget(), Window(0, NOON_US), 1), Usage())
    total = assess(Claim(budget(period="total"), Window(0, None), 1), Usage())
    once = assess(Claim(budget(period="per_transaction"), None, 1), Usage())
    assert [ending.resets_at_us, total.resets_at_us, once.resets_at_us] == [NOON_US, None, None]


def test_a_check_names_its_budget() -> None:
    card = budget(identity_id=None, card_id="card_1", name="Card, a month", period="monthly", limit=7)
    check = assess(Claim(card, None, 1), Usage())
    assert (check.budget_id, check.identity_id, check.card_id) == ("bud_1", None, "card_1")
    assert (check.name, check.dimension, check.period, check.currency, check.limit) == (
        "Card, a month",
        "amount",
        "monthly",
        "CAD",
        7,
    )


@pytest.mark.parametrize(
    ("on_exceeded", "hard"), [("deny", True), ("suspend", True), ("notify", False), ("track", False)]
)
def test_a_hard_budget_denies_or_suspends(on_exceeded: str, *, hard: bool) -> None:
    assert budget(on_exceeded=on_exceeded).is_hard is hard

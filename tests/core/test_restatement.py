"""A reservation in network mode has the figures that were stated last, in any state, and its claims have them too."""

import pytest

from sidecar.core.budget import AMOUNT, COUNT, Claim, OnExpiry
from sidecar.core.card_authorization import Share
from sidecar.core.card_events import NetworkHold
from sidecar.core.reservation import Measure, Reservation, Transition, expire, place
from sidecar.core.restatement import bind, has_expired, kept_minor, open_settled, restate
from sidecar.core.windows import window_at, zone
from tests.core.builders import NOON_US, budget

HOLD = NetworkHold("stripe", "iauth_1")
UTC = zone("UTC")


def claim(dimension: str = AMOUNT, on_expiry: OnExpiry = "release", asked: int = 1_000) -> Claim:
    """A claim of a daily budget."""
    made = budget(f"bud_{dimension}", dimension=dimension, on_expiry=on_expiry)
    return Claim(made, window_at("daily", NOON_US, UTC), asked)


def held(amount_minor: int = 1_000, *claims: Claim) -> Reservation:
    """A hold of a minute that a network has."""
    asked = {AMOUNT: amount_minor} | ({COUNT: 1} if any(each.budget.dimension == COUNT for each in claims) else {})
    placed = place(
        decision_id="dec_1",
        identity_id="ann",
        currency="CAD",
        asked=asked,
        claims=claims,
        now_us=NOON_US,
        ttl_seconds=60,
    )
    return bind(placed.reservation, HOLD)


def expired(*claims: Claim) -> Reservation:
    """A hold that time has ended."""
    return expire(held(1_000, *claims), NOON_US + 60_000_000).reservation


def booked(transition: Transition) -> list[tuple[int, int]]:
    """What is booked, per claim that changes: settled and held."""
    return [(posting.settled, posting.held) for posting in transition.postings]


@pytest.mark.parametrize(
    ("share", "state", "figures"),
    [
        (Share(1_000), "held", (1_000, 0, 0)),
        (Share(400, 600), "held", (400, 600, 0)),
        (Share(0, 600), "settled", (0, 600, 0)),
        (Share(0, 1_600), "settled", (0, 1_600, 0)),
        (Share(0, 600, 600), "settled", (0, 600, 600)),
        (Share(0), "released", (0, 0, 0)),
    ],
)
def test_figures_are_stated_and_the_state_follows(share: Share, state: str, figures: tuple[int, int, int]) -> None:
    before = held(1_000, claim())
    transition = restate(before, share)
    after = transition.reservation
    assert (after.state, after.measures[AMOUNT]) == (state, Measure(1_000, *figures))
    assert (after.claims[0].held, after.claims[0].settled) == (share.held, share.settled - share.refunded)
    net = (share.settled - share.refunded, share.held - 1_000)
    assert booked(transition) == ([] if net == (0, 0) else [net])
    assert not restate(after, share).changed
    assert restate(after, Share(1_000)).reservation == before


def test_what_asked_nothing_is_held_until_it_is_over() -> None:
    assert restate(held(0), Share()).reservation.state == "held"
    assert restate(held(0), Share(is_over=True)).reservation.state == "released"


def test_a_use_may_be_taken_back() -> None:
    """What gave way to a request is not counted beside it."""
    transition = restate(held(1_000, claim(COUNT, asked=1)), Share(counts=False))
    assert transition.reservation.measures[COUNT] == Measure(1, 0)
    assert booked(transition) == [(-1, 0)]


def test_time_ends_a_hold_for_good() -> None:
    """What the network says is on hold is held no more; a capture is late."""
    before = expired(claim())
    assert has_expired(before)
    assert not restate(before, Share(700)).changed
    late = restate(before, Share(300, 400)).reservation
    assert (late.state, late.late, late.measures[AMOUNT].held) == ("settled", True, 0)
    again = restate(late, Share(0, 400)).reservation
    assert (again.state, again.late, has_expired(again)) == ("settled", True, True)


def test_a_budget_that_settles_at_expiry_has_what_would_be_on_hold() -> None:
    before = expired(claim(on_expiry="settle"))
    share = Share(700, 200)
    assert kept_minor(before, share) == 700
    late = restate(before, share)
    assert booked(late) == [(-100, 0)]
    assert late.reservation.claims[0].settled == 900
    assert booked(restate(late.reservation, Share(0, 200))) == [(-700, 0)]


def test_what_was_captured_before_the_expiry_is_not_late() -> None:
    before = restate(held(1_000, claim()), Share(500, 500)).reservation
    after = restate(expire(before, NOON_US + 60_000_000).reservation, Share(500, 500, 200)).reservation
    assert (after.state, after.late) == ("expired", False)
    assert after.claims[0].settled == 300


def test_what_was_captured_without_a_hold_is_settled_at_once() -> None:
    opened = open_settled(
        decision_id="dec_1",
        identity_id="ann",
        amount=(500, "CAD"),
        claims=[claim(asked=500), claim(COUNT, asked=1)],
        now_us=NOON_US,
        hold=HOLD,
    )
    assert (opened.reservation.state, opened.reservation.network) == ("settled", HOLD)
    assert opened.reservation.measures == {AMOUNT: Measure(500, 0, 500), COUNT: Measure(1, 0, 1)}
    assert booked(opened) == [(500, 0), (1, 0)]
    assert not expire(opened.reservation, NOON_US + 1).changed


def test_without_budgets_nothing_is_counted() -> None:
    opened = open_settled(
        decision_id="dec_1", identity_id="ann", amount=(500, "CAD"), claims=[], now_us=NOON_US, hold=HOLD
    )
    assert opened.reservation.measures == {AMOUNT: Measure(500, 0, 500)}

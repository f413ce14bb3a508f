"""Counters without a store: the same usage as a list of everything that was booked."""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.budget import Claim, Usage
from sidecar.core.counters import FREEING_ROWS_MAX, ROLLING_SECONDS, Counters
from sidecar.core.reservation import HeldClaim, Posting
from sidecar.core.windows import SECOND_US, Window, window_at, zone
from tests.core.builders import budget

DAY_S = ROLLING_SECONDS
UTC = zone("UTC")


def posting(period: str, second: int | None, settled: int, held: int = 0) -> Posting:
    """A change of one window, which for a rolling one is one second."""
    claim = HeldClaim(
        budget_id="bud_1",
        dimension="amount",
        period=period,  # type: ignore[arg-type]  # the tests name real ones
        window_start_us=None if second is None else second * SECOND_US,
        on_expiry="release",
        held=held,
    )
    return Posting(claim, settled, held)


def claim_at(period: str, second: int) -> Claim:
    """A claim of one budget at a second."""
    held = budget("bud_1", period=period, limit=100)
    return Claim(held, window_at(held.period, second * SECOND_US, UTC), 1)


def test_what_is_booked_in_a_window_is_used_there_and_nowhere_else() -> None:
    counters = Counters()
    counters.grant(posting("total", 0, 0, 40))
    counters.book(posting("total", 0, 40, -40))
    assert counters.usage(claim_at("total", 5)) == Usage(40, 0)
    assert Counters().usage(claim_at("total", 5)) == Usage()
    assert Counters().usage(claim_at("rolling_24h", 5)) == Usage()


def test_a_limit_per_transaction_has_used_nothing() -> None:
    counters = Counters()
    counters.grant(posting("per_transaction", None, 9))
    assert counters.usage(claim_at("per_transaction", 5)) == Usage()


class Step(NamedTuple):
    """A booking or a look: how many seconds after the one before, and what is booked."""

    later_s: int
    amount: int
    kind: str


STEPS = st.lists(
    st.builds(Step, st.sampled_from([0, 1, 5, DAY_S - 1, DAY_S, 40_000]), st.integers(0, 9), st.sampled_from("glb")),
    max_size=30,
)


@given(STEPS)
def test_a_rolling_window_is_what_a_list_of_events_says(steps: list[Step]) -> None:
    """What was claimed in second s counts in [s, s + 86,400), also when it is booked late and looked at in between."""
    counters, events, now_s, last = Counters(), [], 0, 0
    for step in steps:
        now_s += step.later_s
        if step.kind == "g":
            counters.grant(posting("rolling_24h", now_s, 0, step.amount))
            events.append((now_s, step.amount))
            last = now_s
        elif step.kind == "b" and events:
            counters.book(posting("rolling_24h", last, 0, step.amount))
            events.append((last, step.amount))
        expected = sum(amount for second, amount in events if now_s - DAY_S < second <= now_s)
        assert counters.usage(claim_at("rolling_24h", now_s)) == Usage(0, expected)


def test_a_reading_of_a_later_second_takes_nothing_from_an_earlier_one() -> None:
    """Requests of one moment are decided in any order."""
    counters = Counters()
    counters.grant(posting("rolling_24h", 0, 0, 7))
    assert counters.usage(claim_at("rolling_24h", DAY_S)) == Usage()
    assert counters.usage(claim_at("rolling_24h", DAY_S - 1)) == Usage(0, 7)
    assert counters.usage(claim_at("rolling_24h", 2 * DAY_S)) == Usage()
    counters.book(posting("rolling_24h", 0, 2))
    assert counters.usage(claim_at("rolling_24h", 2 * DAY_S)) == Usage()
    assert counters.usage(claim_at("rolling_24h", 0)) == Usage(2, 7)


def test_what_is_booked_in_a_second_that_has_left_the_window_counts_nowhere() -> None:
    """The money of a late settlement has its row, and takes no room from anybody."""
    counters = Counters()
    counters.grant(posting("rolling_24h", 0, 0, 7))
    counters.grant(posting("rolling_24h", 3 * DAY_S, 0, 5))
    counters.book(posting("rolling_24h", 0, 7, -7))
    assert counters.usage(claim_at("rolling_24h", 3 * DAY_S)) == Usage(0, 5)


def test_a_denied_claim_is_told_when_enough_has_left_the_window() -> None:
    counters = Counters()
    for second, amount in ((0, 60), (100, 40)):
        counters.grant(posting("rolling_24h", second, 0, amount))
    claim = claim_at("rolling_24h", 200)
    assert counters.frees_at(claim, 50) == DAY_S * SECOND_US
    assert counters.frees_at(claim, 70) == (DAY_S + 100) * SECOND_US
    assert counters.frees_at(claim, 101) == (DAY_S + 200) * SECOND_US
    assert counters.frees_at(Claim(claim.budget, None, 1), 500) == DAY_S * SECOND_US
    assert FREEING_ROWS_MAX == 1_000
    assert Window(0, None) == window_at("total", 5, UTC)


def test_what_was_swept_is_gone_for_an_earlier_second_as_well() -> None:
    """As in the ledger: a changed limit lets go what has left by then; what is booked there later counts no more."""
    counters = Counters()
    counters.grant(posting("rolling_24h", 5, 0, 40))
    counters.sweep("bud_1", (5 + DAY_S) * SECOND_US)
    counters.sweep("bud_1", 6 * SECOND_US)
    counters.sweep("bud_2", 6 * SECOND_US)
    assert counters.usage(claim_at("rolling_24h", 4 + DAY_S)) == Usage()
    counters.book(posting("rolling_24h", 5, 30, -40))
    assert counters.usage(claim_at("rolling_24h", 4 + DAY_S)) == Usage()

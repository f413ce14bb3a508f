"""Requests are let in at the rate of a limit, in bursts of its count, under all limits or none."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.admission import NEVER, SKEW_US, Admission, Bucket, admit
from sidecar.core.rates import COUNT_MAX, PERIODS, RateLimit

NOW_US = 1_773_057_600_000_000
SECOND = 1_000_000
HOUR = 3_600 * SECOND
DIVISORS = (1, 2, 3, 5, 8, 25, 1_000)
"""Counts whose steps are whole nanoseconds of an hour, so that the model needs no rounding."""


def bucket(count: int, unit: str = "hour", policy: str = "tenant") -> Bucket:
    """A bucket of a policy of this name."""
    return Bucket(policy, policy, RateLimit(count, PERIODS[unit]))


class Caller:
    """Somebody who asks again and again under the same limits."""

    def __init__(self, *buckets: Bucket) -> None:
        """Never asked before."""
        self.buckets = buckets
        self.arrivals: tuple[int, ...] = (NEVER,) * len(buckets)

    def ask(self, now_us: int = NOW_US) -> Admission:
        """Make one request."""
        self.arrivals, admission = admit(self.buckets, self.arrivals, now_us)
        return admission

    def is_let_in(self, now_us: int = NOW_US) -> bool:
        """Make one request and tell whether it was let in."""
        return self.ask(now_us).retry_after_seconds is None


@given(st.sampled_from(DIVISORS), st.lists(st.integers(0, 2 * HOUR), max_size=40))
def test_what_is_let_in_is_what_a_bucket_of_tokens_lets_in(count: int, steps_us: list[int]) -> None:
    """The model: a bucket that holds the count, is full at first, and fills at the rate."""
    caller, tokens, now_us = Caller(bucket(count)), Fraction(count), NOW_US
    for step_us in steps_us:
        now_us += step_us
        tokens = min(Fraction(count), tokens + Fraction(step_us * count, HOUR))
        expected = tokens >= 1
        admission = caller.ask(now_us)
        assert (admission.retry_after_seconds is None) == expected
        tokens -= expected
        assert admission.quotas[0].remaining == tokens // 1


@given(st.integers(1, COUNT_MAX), st.sampled_from(sorted(PERIODS)), st.integers(0, 10**6))
def test_steps_that_are_rounded_cost_no_more_than_a_thousandth(count: int, unit: str, late_us: int) -> None:
    """A period and a thousandth of it after the worst, the whole count is there again."""
    caller = Caller(bucket(count, unit))
    full = Caller(bucket(count, unit))
    full.arrivals = ((NOW_US + PERIODS[unit] * SECOND) * 1_000,)
    later_us = NOW_US + PERIODS[unit] * 1_001_000 + late_us
    assert full.ask(later_us).quotas == caller.ask(later_us).quotas
    assert caller.ask(later_us).quotas[0].remaining == max(0, count - 2)


def test_a_burst_is_the_count_and_then_one_at_a_time() -> None:
    caller = Caller(bucket(3))
    assert [caller.is_let_in() for _ in range(5)] == [True, True, True, False, False]
    assert [caller.is_let_in(NOW_US + HOUR // 3) for _ in range(2)] == [True, False]


def test_a_refused_caller_is_let_in_after_the_time_that_it_was_told() -> None:
    caller = Caller(bucket(7))
    while (refused := caller.ask()).retry_after_seconds is None:
        pass
    assert refused.retry_after_seconds == 515, "3600 / 7, rounded up"
    assert not caller.is_let_in(NOW_US + 514 * SECOND)
    assert caller.is_let_in(NOW_US + 515 * SECOND)


def test_the_time_to_wait_is_at_least_a_second() -> None:
    caller = Caller(bucket(1_000_000, "second"))
    caller.arrivals = ((NOW_US + SECOND) * 1_000,)
    assert caller.ask().retry_after_seconds == 1


def test_how_a_caller_stands_is_told_with_what_is_left_and_when_it_is_whole() -> None:
    caller = Caller(bucket(4))
    shown = [(each.remaining, each.reset_seconds) for each in (caller.ask().quotas[0] for _ in range(5))]
    assert shown == [(3, 900), (2, 1_800), (1, 2_700), (0, 900), (0, 900)], "with none left: when there is one more"


def test_a_request_that_one_limit_refuses_is_counted_under_none() -> None:
    caller = Caller(bucket(10), bucket(2, policy="token"))
    assert [caller.is_let_in() for _ in range(6)] == [True, True, False, False, False, False]
    refused = caller.ask()
    assert [(each.policy, each.remaining) for each in refused.quotas] == [("tenant", 8), ("token", 0)]
    assert [each.policy for each in refused.spent] == ["token"]


def test_a_refused_caller_waits_for_the_slowest_of_its_limits() -> None:
    caller = Caller(bucket(1, "minute"), bucket(1, "hour", "token"))
    assert caller.is_let_in()
    refused = caller.ask()
    assert refused.retry_after_seconds == 3_600
    assert [each.policy for each in refused.spent] == ["tenant", "token"]
    assert caller.is_let_in(NOW_US + HOUR)


def test_a_limit_that_passes_is_shown_as_it_was() -> None:
    caller = Caller(bucket(5, "second"), bucket(1, "hour", "token"))
    caller.ask()
    refused = caller.ask(NOW_US + HOUR // 2)
    assert [(each.remaining, each.reset_seconds) for each in refused.quotas] == [(5, 0), (0, 1_800)]


@given(st.integers(SKEW_US + 1, 10**15))
def test_a_clock_that_went_back_shuts_nobody_out_for_longer_than_the_limit_does(back_us: int) -> None:
    caller = Caller(bucket(2))
    assert [caller.is_let_in() for _ in range(3)] == [True, True, False]
    now_us = NOW_US - back_us
    assert not caller.is_let_in(now_us)
    assert not caller.is_let_in(now_us + HOUR // 2 - 1)
    assert caller.is_let_in(now_us + HOUR // 2)


def test_a_worker_whose_clock_is_a_little_behind_forgives_nothing() -> None:
    """Or two workers in turn would let in more than the limit."""
    caller = Caller(bucket(1_000, "second"))
    while caller.is_let_in():
        pass
    kept = caller.arrivals
    refused = caller.ask(NOW_US - SKEW_US)
    assert refused.quotas[0].remaining == 0
    assert caller.arrivals == kept

"""Whether a request is let in under every rate limit that holds for it: one step of the Generic Cell Rate Algorithm.

The algorithm is pyrate-limiter's. Per limit it keeps one number, the theoretical arrival time: the moment at which
everything that was let in would have come at the steady rate. A whole quota may come at once; after that one more is
let in each time the period divided by the count has gone by.

Invariants: a request that one limit refuses is counted under none. An arrival time lies at most one period ahead, so
no jump of the clock and no damaged number shuts anybody out for longer.
"""

from collections.abc import Sequence
from itertools import repeat
from typing import Final

import msgspec
from pyrate_limiter import GCRA, Rate

from sidecar.core.rates import RateLimit

NEVER: Final = 0
"""The arrival time of what was never used; any that is over means the same."""

SKEW_US: Final = 1_000_000
"""How far the clocks of two workers may differ: an arrival time this far beyond its bound is another worker's."""

# The library takes milliseconds and keeps microseconds. Microseconds for both, and it keeps nanoseconds: so that the
# steps of a high limit, which it rounds up, are not rounded by much.
_US: Final = 1_000_000
_NS: Final = 1_000_000_000
_NS_PER_US: Final = 1_000
_gcra: Final = GCRA()


class Bucket(msgspec.Struct, frozen=True):
    """What is counted: ``policy`` is the limit's name on the wire, ``key`` whose requests they are."""

    policy: str
    key: str
    limit: RateLimit


class Quota(msgspec.Struct, frozen=True):
    """What a limit still admits at once, and in how many seconds it will be whole, or admit one more when none is left.

    Seconds are rounded up.
    """

    policy: str
    limit: RateLimit
    remaining: int
    reset_seconds: int


class Admission(msgspec.Struct, frozen=True):
    """How a request of ``at_us`` stands with its limits, in their order.

    ``retry_after_seconds`` is None when it was let in.
    """

    quotas: tuple[Quota, ...]
    retry_after_seconds: int | None = None
    at_us: int = 0

    @property
    def spent(self) -> tuple[Quota, ...]:
        """The limits that admit nothing more now."""
        return tuple(each for each in self.quotas if not each.remaining)


def admit(buckets: Sequence[Bucket], arrivals: Sequence[int], now_us: int) -> tuple[tuple[int, ...], Admission]:
    """Count one request under all of ``buckets`` or none; returns the arrival times to keep, and how it stands.

    ``arrivals`` are the kept ones in nanoseconds. A refused request may retry once the slowest refusal has passed.
    """
    rates = [_rates(bucket.limit) for bucket in buckets]
    kept = list(map(_bounded, buckets, arrivals, repeat(now_us)))
    advanced, wait_us = [], 0
    for rate, arrival in zip(rates, kept, strict=True):
        state, decision = _gcra.step(rate, (arrival,), now_us, 1)
        advanced.append(int(state[0]))
        wait_us = max(wait_us, decision.retry_after_ms or 0)
    if not wait_us:
        kept = advanced
    quotas = tuple(map(_quota, buckets, rates, kept, repeat(now_us)))
    return tuple(kept), Admission(quotas, _ceil(wait_us, _US) or None, now_us)


def _rates(limit: RateLimit) -> list[Rate]:
    """Return a limit as the library has it; its burst is the count."""
    return [Rate(limit.count, limit.period_seconds * _US)]


def _bounded(bucket: Bucket, arrival: int, now_us: int) -> int:
    """Return an arrival time that can be meant, whatever the clock or the disk did to it."""
    bound_us = now_us + bucket.limit.period_seconds * _US
    return arrival if arrival <= (bound_us + SKEW_US) * _NS_PER_US else bound_us * _NS_PER_US


def _quota(bucket: Bucket, rates: list[Rate], arrival: int, now_us: int) -> Quota:
    remaining = bucket.limit.count - _gcra.consumed(rates, (arrival,), now_us)
    if remaining > 0:
        ahead = arrival - now_us * _NS_PER_US
        return Quota(bucket.policy, bucket.limit, remaining, _ceil(ahead, _NS) if ahead > 0 else 0)
    _, next_one = _gcra.step(rates, (arrival,), now_us, 1)
    return Quota(bucket.policy, bucket.limit, 0, _ceil(next_one.retry_after_ms or 0, _US))


def _ceil(value: int, unit: int) -> int:
    return -(-value // unit)

"""The loop that cancels pauses, backs off and goes on, whatever the control plane answers."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from sidecar.core.errors import SidecarError, Unavailable
from sidecar.replica.cancelling import BACKOFF_SECONDS_MAX, TICK_SECONDS, Cancelling
from sidecar.service.intents import CANCELLED_MAX

T = TypeVar("T")


class Scripted:
    """A canceller that does what it was told, one after the other."""

    def __init__(self, *outcomes: int | SidecarError) -> None:
        """Have these outcomes."""
        self.outcomes = list(outcomes)
        self.asked: list[int] = []

    async def cancel_due(self, now_us: int) -> int:
        """Have the next one."""
        self.asked.append(now_us)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, SidecarError):
            raise outcome
        return outcome


def loop_of(canceller: Scripted, **more: Any) -> Cancelling:  # noqa: ANN401 -- arguments
    """The loop over it at one time."""
    return Cancelling(canceller, lambda: 7, draw=lambda: 1.0, **more)  # type: ignore[arg-type]


def ran(call: Coroutine[Any, Any, T]) -> T:
    """Await it."""
    return asyncio.run(call)


def test_it_looks_again_after_a_tick() -> None:
    """Whether or not there was something to cancel."""
    canceller = Scripted(0, 3)
    loop = loop_of(canceller)
    assert [ran(loop.step()) for _ in range(2)] == [TICK_SECONDS, TICK_SECONDS]
    assert canceller.asked == [7, 7]


def test_it_looks_again_at_once_where_more_than_a_turn_waits() -> None:
    assert ran(loop_of(Scripted(CANCELLED_MAX)).step()) == 0


def test_it_backs_off_while_it_fails_and_says_so_once() -> None:
    """Up to a longest pause, and begins anew after a success."""
    failures = [Unavailable("cut off")] * 8
    loop = loop_of(Scripted(*failures, Unavailable("still"), 1, Unavailable("again")))
    pauses = [ran(loop.step()) for _ in range(11)]
    assert pauses[:3] == [TICK_SECONDS * factor for factor in (2, 3, 5)]
    assert pauses[8] == TICK_SECONDS + BACKOFF_SECONDS_MAX
    assert pauses[9:] == [TICK_SECONDS, 2 * TICK_SECONDS]


def test_it_runs_until_it_is_cancelled() -> None:
    """Between two steps it sleeps."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        ran(loop_of(Scripted(0, 0, 0), sleep=sleep).run())
    assert slept == [TICK_SECONDS] * 3

"""The loop that cancels at the control plane what was granted and came to nothing; one process on duty runs it."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from sidecar.core.errors import SidecarError
from sidecar.replica.backoff import full_jitter
from sidecar.service.intents import CANCELLED_MAX, Canceller

log: Final = structlog.get_logger("sidecar.follow")

TICK_SECONDS: Final = 0.5
"""How often is looked for something to cancel."""

BACKOFF_SECONDS_MAX: Final = 15.0
"""The longest pause after a failure; it is drawn from zero up to a limit that doubles with each (full jitter)."""


class Cancelling:
    """Cancels until it is acknowledged."""

    def __init__(
        self,
        canceller: Canceller,
        clock: Callable[[], int],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Have ``canceller`` cancel; ``draw`` gives numbers from 0 up to 1."""
        self._canceller = canceller
        self._clock = clock
        self._sleep = sleep
        self._draw = draw
        self._failures = 0
        self._told: str | None = None

    async def run(self) -> None:
        """Cancel until cancelled."""
        while True:
            await self._sleep(await self.step())

    async def step(self) -> float:
        """Cancel what is due and return for how many seconds to pause."""
        try:
            cancelled = await self._canceller.cancel_due(self._clock())
        except SidecarError as error:
            pause = TICK_SECONDS + full_jitter(self._failures, TICK_SECONDS, BACKOFF_SECONDS_MAX, self._draw)
            self._failures += 1
            if self._told != error.message:
                self._told = error.message
                log.warning("reservations_not_cancelled", reason=error.message)
            return pause
        self._failures, self._told = 0, None
        if cancelled:
            log.info("reservations_cancelled", count=cancelled)
        return TICK_SECONDS if cancelled < CANCELLED_MAX else 0.0  # more of them wait

"""Background work, done by one process of all that share a data directory: whoever holds its lock file."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from sidecar.app.locks import try_lock
from sidecar.core.errors import SidecarError
from sidecar.doors.webhooks.courier import Courier
from sidecar.service.announcement import Announcer
from sidecar.service.compaction import Compactor
from sidecar.service.settlement import EXPIRE_BATCH, Settler
from sidecar.service.tokens import TokenDesk
from sidecar.service.transits import Transits
from sidecar.state.clock import Clock
from sidecar.state.store import LmdbStore

log: Final = structlog.get_logger("sidecar.duty")

TICK_SECONDS: Final = 0.25
"""How late a hold may expire."""

TEND_SECONDS: Final = 10.0
"""How often disk room is reserved, dead readers are cleared and old idempotency keys are forgotten."""

ANNOUNCE_ROUNDS: Final = 4
"""Transactions of one tick that tell tenants of new policy files: some 500 tenants a second."""

PRUNE_ROUNDS: Final = 4
"""Transactions of one tick that forget idempotency keys: some 4,000 keys a second for as long as there are more."""

SWEEP_ROUNDS: Final = 4
"""Transactions of one tick that remove what waited for endpoints that are gone: some 8,000 events a second."""

COMPACT_ROUNDS: Final = 4
"""Transactions of one tick that forget old changes: some 16,000 changes a second."""


class Chores(NamedTuple):
    """What is done behind everything that is due."""

    courier: Courier
    announcer: Announcer
    transits: Transits
    compactor: Compactor


class Duty:
    """The background work of this process, which stands by while another one does it."""

    def __init__(
        self,
        lock_file: Path,
        store: LmdbStore,
        settler: Settler,
        clock: Clock,
        desk: TokenDesk,
        chores: Chores,
    ) -> None:
        """Compete for ``lock_file``."""
        self._lock_file = lock_file
        self._store = store
        self._settler = settler
        self._clock = clock
        self._desk = desk
        self._courier, self._announcer, self._transits, self._compactor = chores
        self._resuming: asyncio.Task[None] | None = None
        self._descriptor: int | None = None
        self._tended = 0.0
        self._is_behind = False
        self._is_unswept = False
        self._is_long = False

    async def run(self) -> None:
        """Work until cancelled; whatever fails is logged and tried again at the next tick, and keeps nothing else."""
        try:
            while True:
                await self._attempt(self._work)
                await asyncio.sleep(TICK_SECONDS)
        finally:
            if self._resuming is not None:
                self._resuming.cancel()
            await self._courier.close()
            if self._descriptor is not None:
                os.close(self._descriptor)

    @property
    def is_on_duty(self) -> bool:
        """Whether this process does the background work."""
        return self._descriptor is not None

    def _holds(self) -> bool:
        if self._descriptor is not None:
            return True
        self._descriptor = try_lock(self._lock_file)
        return self._descriptor is not None

    async def _attempt(self, step: Callable[[], Awaitable[None]]) -> None:
        """Do one thing; what it raises, expected or not, ends neither this task nor what comes after it."""
        try:
            await step()
        except SidecarError as error:
            log.warning("background_work_failed", step=step.__name__.strip("_"), reason=error.message)
        except OSError as error:
            log.warning("background_work_failed", step=step.__name__.strip("_"), reason=str(error))
        except Exception:
            log.exception("background_work_failed", step=step.__name__.strip("_"))

    async def _work(self) -> None:
        if not self._holds():
            return
        # Holds first, for money waits for them, after a jump of the clock that may be why they end; webhooks last.
        steps = [self._tell_jump, self._expire]
        if time.monotonic() - self._tended >= TEND_SECONDS:
            self._tended = time.monotonic()
            self._is_behind = self._is_unswept = self._is_long = True
            steps += [self._tend, self._forget_secrets]
        for step in (*steps, self._announce, self._resume, self._prune, self._deliver, self._sweep, self._compact):
            await self._attempt(step)

    async def _expire(self) -> None:
        now_us = self._clock()
        while await self._settler.expire_due(now_us) > 0:
            pass

    async def _tend(self) -> None:
        self._store.tend()

    async def _forget_secrets(self) -> None:
        await self._desk.prune_former_secrets(self._clock())

    async def _announce(self) -> None:
        """Tell some tenants of files that were loaded, where whoever loaded them did not get to all."""
        for _ in range(ANNOUNCE_ROUNDS):
            if not await self._announcer.announce_some(self._clock()):
                return

    async def _resume(self) -> None:
        """Begin to take up payments that were left on their way, unless that is going on: nothing waits for a rail."""
        if self._resuming is None or self._resuming.done():
            self._resuming = asyncio.create_task(self._attempt(self._resume_some))

    async def _resume_some(self) -> None:
        await self._transits.resume()

    async def _prune(self) -> None:
        """Forget some old idempotency keys; the rest is left for the next tick, so that no hold waits for them all."""
        for _ in range(PRUNE_ROUNDS if self._is_behind else 0):
            if await self._settler.prune_replays(self._clock()) < EXPIRE_BATCH:
                self._is_behind = False
                return

    async def _deliver(self) -> None:
        self._courier.tick()

    async def _sweep(self) -> None:
        """Remove some of what waited for endpoints that are gone, as ``_prune`` does."""
        for _ in range(SWEEP_ROUNDS if self._is_unswept else 0):
            if not await self._courier.sweep():
                self._is_unswept = False
                return

    async def _compact(self) -> None:
        """Forget some old changes, as ``_prune`` does."""
        for _ in range(COMPACT_ROUNDS if self._is_long else 0):
            if not await self._compactor.compact_some():
                self._is_long = False
                return

    async def _tell_jump(self) -> None:
        jump = self._clock.take_jump()
        if jump is not None:
            log.warning("clock_jumped", expected_us=jump.expected_us, seen_us=jump.seen_us)
            await self._store.write(lambda txn: txn.keep_clock_event(jump.expected_us, jump.seen_us))

"""Background work, done by one process of all that share a data directory: whoever holds its lock file."""

import asyncio
import fcntl
import os
import time
from pathlib import Path
from typing import Final

import structlog

from sidecar.core.errors import SidecarError
from sidecar.doors.webhooks.courier import Courier
from sidecar.service.settlement import EXPIRE_BATCH, Settler
from sidecar.service.tokens import TokenDesk
from sidecar.state.clock import Clock
from sidecar.state.store import LmdbStore

log: Final = structlog.get_logger("sidecar.duty")

TICK_SECONDS: Final = 0.25
"""How late a hold may expire."""

TEND_SECONDS: Final = 10.0
"""How often disk room is reserved, dead readers are cleared and old idempotency keys are forgotten."""

PRUNE_ROUNDS: Final = 4
"""Transactions of one tick that forget idempotency keys: some 4,000 keys a second for as long as there are more."""


class Duty:
    """The background work of this process, which stands by while another one does it."""

    def __init__(
        self,
        lock_file: Path,
        store: LmdbStore,
        settler: Settler,
        clock: Clock,
        desk: TokenDesk,
        courier: Courier,
    ) -> None:
        """Compete for ``lock_file``."""
        self._lock_file = lock_file
        self._store = store
        self._settler = settler
        self._clock = clock
        self._desk = desk
        self._courier = courier
        self._descriptor: int | None = None
        self._tended = 0.0
        self._is_behind = False

    async def run(self) -> None:
        """Work until cancelled; a failure is logged and tried again at the next tick."""
        try:
            while True:
                if self._holds():
                    await self._attempt()
                await asyncio.sleep(TICK_SECONDS)
        finally:
            await self._courier.close()
            if self._descriptor is not None:
                os.close(self._descriptor)

    def _holds(self) -> bool:
        if self._descriptor is not None:
            return True
        descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    async def _attempt(self) -> None:
        try:
            await self._work()
        except SidecarError as error:
            log.warning("background_work_failed", reason=error.message)
        except OSError as error:
            log.warning("background_work_failed", reason=str(error))

    async def _work(self) -> None:
        now_us = self._clock()
        self._courier.tick()
        await self._tell_jump()
        while await self._settler.expire_due(now_us) == EXPIRE_BATCH:
            pass
        if time.monotonic() - self._tended >= TEND_SECONDS:
            self._tended = time.monotonic()
            self._store.tend()
            await self._desk.prune_former_secrets(now_us)
            await self._courier.sweep()
            self._is_behind = True
        if self._is_behind:
            self._is_behind = await self._prune(now_us)

    async def _prune(self, now_us: int) -> bool:
        """Forget old idempotency keys; whether more are left for the next tick, so that no hold waits for them all."""
        for _ in range(PRUNE_ROUNDS):
            if await self._settler.prune_replays(now_us) < EXPIRE_BATCH:
                return False
        return True

    async def _tell_jump(self) -> None:
        jump = self._clock.take_jump()
        if jump is not None:
            log.warning("clock_jumped", expected_us=jump.expected_us, seen_us=jump.seen_us)
            await self._store.write(lambda txn: txn.keep_clock_event(jump.expected_us, jump.seen_us))

"""Calls that wait until a tenant has changed, looked after by one task of the process.

Any process may write, so the task looks into the store, for all who wait at once, and only while somebody does. What
waits holds no transaction.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from sidecar.service.snapshots import DEPLOYMENT
from sidecar.service.store import Store

LOOK_SECONDS: Final = 0.005
"""How late a change may be told."""

WAITERS_MAX: Final = 10_000
"""Calls that wait in one process; one more is answered without waiting."""


class Seen(NamedTuple):
    """What a call knows: the revision of a tenant, and that of the policy files."""

    number: int
    revision: int
    files_revision: int


class Waiting:
    """The waiting calls of this process."""

    def __init__(self, store: Store, rest: Callable[[float], Awaitable[None]]) -> None:
        """Look into ``store``; ``rest`` lets some seconds pass between two looks."""
        self._store = store
        self._rest = rest
        self._waiters: set[tuple[Seen, asyncio.Future[bool]]] = set()
        self._task: asyncio.Task[None] | None = None
        self.is_over = False

    @property
    def waiters(self) -> int:
        """How many calls wait."""
        return len(self._waiters)

    async def changed(self, seen: Seen) -> bool:
        """Return True once the store knows more than was ``seen``.

        False at once where too many wait, and when the process ends. Raises what looking into the store raised.
        """
        if self.is_over or len(self._waiters) >= WAITERS_MAX:
            return False
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        waiter = seen, future
        self._waiters.add(waiter)
        if self._task is None:
            self._task = asyncio.create_task(self._look())
        try:
            return await future
        finally:
            self._waiters.discard(waiter)

    def end(self) -> None:
        """Let nobody wait any more, now or later: the process is about to end."""
        self.is_over = True
        for _, future in self._waiters:
            if not future.done():
                future.set_result(False)

    async def _look(self) -> None:
        try:
            while self._waiters:
                self._tell()
                await self._rest(LOOK_SECONDS)
        finally:
            self._task = None

    def _tell(self) -> None:
        """Wake those who wait for what has happened."""
        waiting = [waiter for waiter in self._waiters if not waiter[1].done()]
        try:
            with self._store.read() as txn:
                files = txn.tenants.revisions(DEPLOYMENT).policies
                for seen, future in waiting:
                    if seen[1:] != (txn.tenants.revisions(seen.number).entities, files):
                        future.set_result(True)
        except Exception as error:  # noqa: BLE001 -- told to all who wait
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)

"""A store that one process writes alone and fast: many pieces of work in each transaction, no fsync before the end.

Everything is written by the project's own services and tables, so what comes out is what a server would have made.
"""

import os
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from sidecar.app.prepare import lock_data_dir, prepare
from sidecar.app.sources import AscendingIds, random_bytes
from sidecar.service.identities import Registry
from sidecar.service.snapshots import Snapshots
from sidecar.service.tenants import Tenancy
from sidecar.service.tokens import TokenDesk
from sidecar.settings import Settings
from sidecar.state.boot import newest_time
from sidecar.state.environment import Environment, open_environment
from sidecar.state.transaction import Transaction

T = TypeVar("T")

ROOT: Final = Path(__file__).resolve().parent.parent
WORKS: Final = 5_000
"""Pieces of work in one transaction: some ten thousand changed pages, and LMDB keeps 130,000 in memory."""

SPAN_US: Final = 86_400_000_000
"""How far back the made-up past begins."""

STEP_US: Final = 1_000
"""Between two pieces of work: 86 million of them until the present."""


class Bulk:
    """Implements ``sidecar.service.store.Store`` for one writer; ``write`` is durable once ``close`` has returned."""

    def __init__(self, data_dir: Path, policies: Path, schemas: Path) -> None:
        """Make the data directory if there is none, with these policy files, and keep servers out of it."""
        self._held = lock_data_dir(data_dir)
        settings = prepare(Settings(data_dir=data_dir, policies=policies, schemas=schemas))
        self._environment: Environment = open_environment(settings.store, durability="process-crash")
        self._parent = self._environment.begin_write()
        self._transaction = Transaction(self._parent, self._environment.tables)
        self._works = 0
        self._now_us = max(newest_time(self._environment), time.time_ns() // 1_000 - SPAN_US)
        self.new_id = AscendingIds()
        self.snapshots = Snapshots()
        self.registry = Registry(self, self.snapshots, self.new_id)
        self.desk = TokenDesk(self, self.new_id, random_bytes, settings.admin_token or "")
        self.tenancy = Tenancy(self, self.registry, self.desk, self.new_id)

    def now_us(self) -> int:
        """Return the time of the next piece of work."""
        self._now_us += STEP_US
        return self._now_us

    def do(self, work: Callable[[Transaction], T], pieces: int = 1) -> T:
        """Run ``work``, which is as much as so many ``pieces``; every ``WORKS`` of them are one transaction."""
        outcome = work(self._transaction)
        self._works += pieces
        if self._works >= WORKS:
            self._turn()
        return outcome

    def call(self, call: Coroutine[object, object, T]) -> T:
        """Return what a service's call returns: over this store it has nothing to wait for."""
        try:
            call.send(None)
        except StopIteration as end:
            outcome: T = end.value
            return outcome
        raise RuntimeError("a call of a service waited for something else than the store")

    def _turn(self) -> None:
        self._works = 0
        self._parent.commit()
        self._parent = self._environment.begin_write()
        self._transaction = Transaction(self._parent, self._environment.tables)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Give what was written so far."""
        yield self._transaction

    async def write(
        self,
        work: Callable[[Transaction], T],
        *,
        apart: bool = False,  # noqa: ARG002 -- the port
        is_long: bool = False,  # noqa: ARG002 -- the port
    ) -> T:
        """Run ``work`` as ``do`` does; a failure ends the filling, so nothing is apart."""
        return self.do(work)

    def require_room(self) -> None:
        """Let it pass: a full disk ends the filling with its own error."""

    def close(self) -> None:
        """Write everything to the disk."""
        self._parent.commit()
        data_file = self._environment.data_file()
        self._environment.close()
        with data_file.open("rb") as file:
            os.fsync(file.fileno())
        os.close(self._held)

    def abandon(self) -> None:
        """Let go of what was not committed."""
        self._parent.abort()
        self._environment.close()
        os.close(self._held)

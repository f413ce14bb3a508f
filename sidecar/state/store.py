"""The LMDB store of one process: reads at once, writes through the committer, and what runs beside them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sidecar.core.errors import StoreUnusable
from sidecar.state.committer import Committer
from sidecar.state.environment import Environment, StoreError, translate
from sidecar.state.headroom import Headroom
from sidecar.state.observe import CommitObserver
from sidecar.state.transaction import Transaction

T = TypeVar("T")


class LmdbStore:
    """Implements ``sidecar.service.store.Store``."""

    def __init__(
        self,
        environment: Environment,
        headroom: Headroom,
        *,
        shared: bool,
        fail: Callable[[StoreUnusable], None],
        observer: CommitObserver | None = None,
    ) -> None:
        """Take over an open environment; ``fail`` is told once when it must not be used any more."""
        self._environment = environment
        self._headroom = headroom
        self._fail = fail
        self._committer = Committer(environment, shared=shared, fail=fail, observer=observer)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Give the committed state of this moment; nothing may be awaited inside."""
        try:
            with self._environment.read() as txn:
                yield Transaction(txn, self._environment.tables)
        except StoreError as error:
            translated = translate(error)
            if isinstance(translated, StoreUnusable):
                self._fail(translated)
            raise translated from error

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run ``work`` in a durable transaction and return its result once it is on disk."""
        return await self._committer.submit(work)

    def require_room(self) -> None:
        """Raise Unavailable when so little room is left that only what ends a hold may still be written."""
        self._headroom.require()

    def tend(self) -> None:
        """Do what keeps the store in shape: reserve blocks ahead of the file, free the slots of dead readers."""
        self._headroom.reserve()
        self._environment.reap_readers()

    def close(self) -> None:
        """Finish what waits and close the environment."""
        self._committer.close()
        self._environment.close()

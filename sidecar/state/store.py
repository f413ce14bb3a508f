"""The LMDB store of one process: reads at once, writes through the committer, and what runs beside them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TypeVar

from sidecar.core.errors import StoreUnusable
from sidecar.state.committer import Committer
from sidecar.state.environment import Environment, StoreError, translate
from sidecar.state.headroom import Headroom
from sidecar.state.observe import CommitObserver
from sidecar.state.transaction import Transaction

T = TypeVar("T")


class Reading:
    """A context manager that gives the committed state; written out, since a generator costs as much as the reading."""

    __slots__ = ("_environment", "_fail", "_txn")

    def __init__(self, environment: Environment, fail: Callable[[StoreUnusable], None]) -> None:
        """Read ``environment``; ``fail`` is told when it must not be used any more."""
        self._environment = environment
        self._fail = fail

    def __enter__(self) -> Transaction:
        """Begin to read. Raises Unavailable, or StoreUnusable for a store that is broken."""
        try:
            self._txn = self._environment.read()
        except StoreError as error:
            raise self._translated(error) from error
        return Transaction(self._txn, self._environment.tables)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop reading; an error of the store is raised as what it means to us."""
        self._txn.abort()
        if isinstance(error, StoreError):
            raise self._translated(error) from error

    def _translated(self, error: StoreError) -> Exception:
        translated = translate(error)
        if isinstance(translated, StoreUnusable):
            self._fail(translated)
        return translated


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

    def read(self) -> "Reading":
        """Give the committed state of this moment; nothing may be awaited inside."""
        return Reading(self._environment, self._fail)

    async def write(self, work: Callable[[Transaction], T], *, apart: bool = False, is_long: bool = False) -> T:
        """Run ``work`` in a durable transaction and return its result once it is on disk."""
        return await self._committer.submit(work, apart=apart, is_long=is_long)

    def require_room(self) -> None:
        """Raise Unavailable when so little room is left that only what ends a hold may still be written."""
        self._headroom.require()

    def tend(self) -> None:
        """Do what keeps the store in shape: reserve blocks ahead of the file, free the slots of dead readers."""
        self._headroom.reserve()
        self._environment.reap_readers()

    def beside_others(self) -> AbstractContextManager[None]:
        """Take turns with other processes that write, also where this one was alone so far."""
        return self._committer.beside_others()

    def close(self) -> None:
        """Finish what waits and close the environment."""
        self._committer.close()
        self._environment.close()

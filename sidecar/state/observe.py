"""What the committer tells of its work, for metrics."""

from typing import Final, NamedTuple, Protocol

import structlog

log: Final = structlog.get_logger("sidecar.state")


class Batch(NamedTuple):
    """One group commit that is on disk.

    ``appended`` are the types of the audit records that it added. ``waited_seconds`` is how long the writer lock took,
    which other processes may hold; ``commit_seconds`` how long the commit took, which is mostly the fsync.
    """

    works: int
    appended: tuple[str, ...]
    waited_seconds: float
    commit_seconds: float


class CommitObserver(Protocol):
    """Who wants to know. Called by several threads; must not raise."""

    def waiting(self, works: int) -> None:
        """So many pieces of work wait for the next transaction."""

    def committed(self, batch: Batch) -> None:
        """A batch is on disk and its callers are about to be told."""

    def commit_failed(self) -> None:
        """A whole batch was lost."""


class Guarded:
    """Implements ``CommitObserver`` for another one, whose failures must not reach the thread that writes."""

    def __init__(self, observer: CommitObserver) -> None:
        """Pass everything on to ``observer``."""
        self._observer = observer

    def waiting(self, works: int) -> None:
        """Pass it on."""
        try:
            self._observer.waiting(works)
        except Exception:
            log.exception("observer_failed")

    def committed(self, batch: Batch) -> None:
        """Pass it on."""
        try:
            self._observer.committed(batch)
        except Exception:
            log.exception("observer_failed")

    def commit_failed(self) -> None:
        """Pass it on."""
        try:
            self._observer.commit_failed()
        except Exception:
            log.exception("observer_failed")


class Unobserved:
    """Implements ``CommitObserver`` and wants to know nothing."""

    def waiting(self, works: int) -> None:
        """Let it pass."""

    def committed(self, batch: Batch) -> None:
        """Let it pass."""

    def commit_failed(self) -> None:
        """Let it pass."""

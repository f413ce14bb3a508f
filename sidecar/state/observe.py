"""What the committer tells of its work, for metrics."""

from typing import NamedTuple, Protocol


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


class Unobserved:
    """Implements ``CommitObserver`` and wants to know nothing."""

    def waiting(self, works: int) -> None:
        """Let it pass."""

    def committed(self, batch: Batch) -> None:
        """Let it pass."""

    def commit_failed(self) -> None:
        """Let it pass."""

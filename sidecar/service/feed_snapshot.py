"""All that a follower is told, as lines: read in many short transactions while it goes on changing.

Records are told from the root down: the identities above the subtree, then those of the subtree depth first, each with
what belongs to it, then what belongs to nobody, then the identities outside that policies look into. What changed since
the beginning is told by the pages after the snapshot's revision, so nothing is lost by what was passed already.
"""

from collections.abc import AsyncGenerator, Callable

from sidecar.core.access import Caller
from sidecar.service.feed import Audience
from sidecar.service.store import Store


class Begun:
    """A snapshot as far as it was told; ``cursor`` of each mark stands for it."""


class SnapshotTeller:
    """Tells all that there is to tell."""

    def __init__(self, store: Store, audience: Audience, is_over: Callable[[], bool]) -> None:
        """Read ``store``; ``is_over`` says that the process is about to end."""
        self._store = store
        self._audience = audience
        self._is_over = is_over

    def begin(self, caller: Caller, tenant_id: str | None, cursor: str | None, now_us: int) -> Begun:
        """Return where the snapshot begins, or goes on after a mark.

        Raises as ``Audience.reader``, ValidationFailed for what is no cursor of this snapshot, and Conflict where its
        beginning is too long ago for the change feed to complete it.
        """
        raise NotImplementedError

    def lines(
        self, caller: Caller, tenant_id: str | None, begun: Begun, clock: Callable[[], int]
    ) -> AsyncGenerator[bytes, None]:
        """Yield the lines, some at a time, each with its end. Raises as ``begin``, and Unavailable at the end of the
        process: then the stream is to be cut."""
        raise NotImplementedError

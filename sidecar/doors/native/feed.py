"""Calls of followers: what changed since a revision, and all that there is."""

from collections.abc import Callable, Iterable

from sidecar.doors.wire.endpoint import Ask, Call
from sidecar.doors.wire.http import Answer
from sidecar.service.feed import Publisher
from sidecar.service.feed_snapshot import SnapshotTeller


class FeedCalls:
    """The calls, over the services that do them."""

    def __init__(self, publisher: Publisher, teller: SnapshotTeller, clock: Callable[[], int]) -> None:
        """Translate for these services; ``clock`` is read again after a wait."""
        self._publisher = publisher
        self._teller = teller
        self._clock = clock

    def calls(self) -> Iterable[Call]:
        """Return the documented calls: ``GET /v1/changes`` and ``GET /v1/snapshot``."""
        raise NotImplementedError

    async def get_changes(self, ask: Ask) -> Answer:
        """Tell what changed after the revision ``since``, or wait for it. Bodies are those of ``core.feed.write_page``.

        ``since`` (0 where left out), ``files`` (the digest of the policy files that the asker has) and ``wait`` (0 to
        30 seconds). 304 for an ``If-None-Match`` that still holds, 409 where ``since`` is not reached here.
        """
        raise NotImplementedError

    async def get_snapshot(self, ask: Ask) -> Answer:
        """Tell all records as lines of ``core.feed_snapshot``, from the beginning or after the mark ``cursor``."""
        raise NotImplementedError

"""A follower's audit log on its way to the control plane: what is sent next, and what its answer means.

The log itself is the queue: nothing is kept beside it but the index of the first record that the control plane is not
known to have. It is read in short transactions, so that no decision waits for it.
"""

from collections.abc import Callable

import msgspec

from sidecar.core.staleness import Instant
from sidecar.service.store import Store


class Parcel(msgspec.Struct, frozen=True):
    """What is posted: ``body`` holds the records from ``from_seq`` to before ``to_seq``, none where it only asks."""

    body: bytes
    from_seq: int
    to_seq: int


class Shipping:
    """What a follower ships."""

    def __init__(self, store: Store, instant: Callable[[], Instant]) -> None:
        """Work on ``store``; ``instant`` reads the clocks."""
        self._store = store
        self._instant = instant

    def backlog(self) -> int:
        """Return how many records the control plane is not known to have."""
        raise NotImplementedError

    def question(self) -> Parcel | None:
        """Return what asks where to begin and tells how this follower is; None before anything was followed."""
        raise NotImplementedError

    def parcel(self) -> Parcel | None:
        """Return the next records with their facts; None where the control plane has all."""
        raise NotImplementedError

    async def received(self, parcel: Parcel, answer: bytes) -> None:
        """Take note of the control plane's answer to a parcel.

        Raises Unavailable for one that cannot be read, and Conflict where it claims more than there is.
        """
        raise NotImplementedError

    async def refused(self, reason: str) -> None:
        """Take note that the control plane does not take this log: nothing more is decided until someone looks."""
        raise NotImplementedError

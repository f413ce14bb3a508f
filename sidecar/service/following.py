"""What a control plane tells, applied to the store of a follower: whole or not at all, in order, never back.

What came last and was good holds until all of what is newer is here and has passed every check. Then one transaction
brings the records, the policy files, the revision and the audit record of it, so a decision sees the one or the other.
What comes in parts waits beside the records, where no decision looks.
"""

from collections.abc import AsyncIterator, Callable
from typing import Literal, Protocol, TypeAlias

import msgspec

from sidecar.core.feed import Page
from sidecar.core.snapshot import PolicyFiles, PolicyRecord
from sidecar.core.staleness import Instant
from sidecar.service.snapshots import Snapshots
from sidecar.service.store import Store


class WantsPage(msgspec.Struct, frozen=True):
    """A page from revision ``since`` on is to be asked for; ``files_digest`` names the policy files that are here."""

    since: int
    files_digest: str | None


class WantsSnapshot(msgspec.Struct, frozen=True):
    """A snapshot is to be asked for, from its mark ``cursor`` on; None from its beginning."""

    cursor: str | None


Wanted: TypeAlias = WantsPage | WantsSnapshot

Taken = Literal["applied", "confirmed", "staged", "compacted", "ignored"]
"""What became of a page.

It changed what holds; nothing is newer than what holds; it waits for those behind it; it said that a snapshot has to be
taken; it was an older one that came once more.
"""


class VetPolicies(Protocol):
    """Parses and checks untrusted policy files and policies where a crash hurts nobody."""

    async def __call__(
        self, files: PolicyFiles, passed: PolicyFiles | None, records: list[tuple[PolicyRecord, str | None]]
    ) -> None:
        """Return when all may hold.

        ``passed`` are files that were found to already, ``records`` come with the Cedar type of their identity. Raises
        PolicyInvalid, ValidationFailed, and Unavailable where nobody could find out.
        """


class Following:
    """Applies what one control plane tells of one tenant. One at a time may do so in a store."""

    def __init__(
        self,
        store: Store,
        snapshots: Snapshots,
        vet: VetPolicies,
        new_log_id: Callable[[], str],
        clock: Callable[[], int],
        instant: Callable[[], Instant],
    ) -> None:
        """Work on ``store``.

        ``new_log_id`` names the log that a new store gets, ``clock`` is the time of records, ``instant`` that of data.
        """
        raise NotImplementedError

    def wanted(self) -> Wanted:
        """Return what to ask the control plane for next, as the store says it."""
        raise NotImplementedError

    async def take_page(self, page: Page, asked: Instant) -> Taken:
        """Take the answer to a question that was put at ``asked``, just before it was sent.

        Raises FeedRefused where it is not what may follow here, PolicyInvalid and ValidationFailed for policies that
        may not hold, all naming the place, and Unavailable where it could not be stored: each time the last good state
        holds on, and the same page may be tried again.
        """
        raise NotImplementedError

    async def take_snapshot(self, lines: AsyncIterator[bytes]) -> None:
        """Stage what a snapshot tells, up to its end; a page from ``wanted`` on completes it.

        Raises FeedRefused where it is not whole or not what may follow here. What was staged up to the last mark is
        kept when the stream is cut off or raises, and the next snapshot goes on there.
        """
        raise NotImplementedError

    async def begin_anew(self) -> None:
        """Drop what was staged of a snapshot that cannot go on, so that the next one is taken from its beginning."""
        raise NotImplementedError

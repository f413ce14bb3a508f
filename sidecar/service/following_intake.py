"""A snapshot read line by line and staged beside the records, up to its last mark, from which it goes on.

Invariant: what is staged under a mark is what the digest of the mark stands for, so a snapshot that was cut off is
completed by the lines behind that mark and by nothing else.
"""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Final, Protocol

import msgspec

from sidecar.core.feed import Change, FeedRefused
from sidecar.core.feed_review import review_change, review_mark
from sidecar.core.feed_snapshot import MARK_EVERY, Mark, SnapshotEnd, SnapshotHead, extended, read_line, snapshot_start
from sidecar.core.model import AuditMark
from sidecar.service.feed_store import Staging
from sidecar.service.store import Store, Transaction

UNMARKED_MAX: Final = 2 * MARK_EVERY
"""Records behind a mark that are held in memory: twice as many as there should be."""

AT_ONCE: Final = 50
"""Lines that are read, and records that are compared or cleared, before others may go on: a few milliseconds."""


class Accept(Protocol):
    """Says whether a snapshot may be taken."""

    def __call__(self, head: SnapshotHead) -> None:
        """Raise FeedRefused for one that may not."""


class Intake:
    """Stages snapshots in one store."""

    def __init__(self, store: Store) -> None:
        """Work on ``store``."""
        self._store = store

    async def take(self, lines: AsyncIterator[bytes], accept: Accept) -> None:
        """Stage what a snapshot tells, up to its end.

        Raises FeedRefused where it is cut off, is not what its digests say, or cannot be stored; what is staged up to
        the last mark is kept.
        """
        reading: _Reading | None = None
        number = 0
        async for line in lines:
            number += 1
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            if reading is None:
                reading = await self._begin(line.rstrip(b"\n"), accept)
                continue
            if await self._go_on(reading, line.rstrip(b"\n")):
                return
        raise FeedRefused("the snapshot ends before its last line: it was cut off")

    async def _begin(self, line: bytes, accept: Accept) -> "_Reading":
        """Return where a snapshot is after its first line: at its beginning, or at the last mark that is staged."""
        head = read_line(line)
        if not isinstance(head, SnapshotHead):
            raise FeedRefused("the snapshot does not begin with its first line")
        accept(head)
        staging = self._staging()
        if head.records == 0:
            if head.digest != snapshot_start(head.origin, head.scope, head.revision):
                raise FeedRefused("the snapshot does not begin with the digest of its beginning")
            await self.clear()
            staging = Staging(
                origin=head.origin,
                tenant_id=head.tenant_id,
                scope=head.scope,
                is_snapshot=True,
                began=head.revision,
                since=head.revision,
                digest=head.digest,
            )
        elif staging is None or (
            head.origin,
            head.tenant_id,
            head.scope,
            head.revision,
            head.records,
            head.digest,
        ) != (
            staging.origin,
            staging.tenant_id,
            staging.scope,
            staging.began,
            staging.records,
            staging.digest,
        ):
            raise FeedRefused("the snapshot goes on at another mark than the one that is here")
        return _Reading(staging)

    async def _go_on(self, reading: "_Reading", line: bytes) -> bool:
        """Take one more line; returns whether it was the last."""
        told = read_line(line)
        match told:
            case Change():
                reading.add(told, line)
                return False
            case Mark():
                await self._keep(reading.at_mark(told))
                return False
            case SnapshotEnd():
                await self._keep(reading.at_end(told))
                return True
            case _:
                raise FeedRefused("the snapshot begins a second time")

    async def _keep(self, reached: tuple[Staging, list[Change]]) -> None:
        staging, changes = reached

        def work(txn: Transaction) -> None:
            txn.replica.stage(changes)
            txn.replica.keep_staging(staging)

        await self._store.write(work)

    async def clear(self) -> None:
        """Have nothing staged, and no place where a snapshot could go on."""
        if self._staging() is not None:
            await self._store.write(lambda txn: txn.replica.keep_staging(ANEW))
        while await self._store.write(partial(_clear_some)):
            pass

    def _staging(self) -> Staging | None:
        with self._store.read() as txn:
            return txn.replica.staging()


ANEW: Final = Staging(origin="", tenant_id="", scope=None, is_snapshot=True, began=0, since=0)
"""Says that a snapshot has to be taken from its beginning."""


def _clear_some(txn: Transaction) -> int:
    return txn.replica.clear_staged(MARK_EVERY)


class _Reading:
    """Where a snapshot is: what has been staged of it, and what it has told since."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._records = staging.records
        self._digest = staging.digest
        self._changes: list[Change] = []

    def add(self, change: Change, line: bytes) -> None:
        """Take one record. Raises FeedRefused for one that cannot be stored."""
        if change.value is None:
            raise FeedRefused(f"the snapshot tells of {change.kind} `{change.id}`, which is gone")
        if len(self._changes) == UNMARKED_MAX:
            raise FeedRefused(f"the snapshot has no mark in {UNMARKED_MAX} records")
        review_change(change, change.revision)
        self._changes.append(change)
        self._records += 1
        self._digest = extended(self._digest, line)

    def at_mark(self, mark: Mark) -> tuple[Staging, list[Change]]:
        """Return what is to be staged, and what stands for it. Raises FeedRefused where something is missing."""
        self._require(mark.records, mark.digest)
        return self._reached(cursor=mark.cursor)

    def at_end(self, end: SnapshotEnd) -> tuple[Staging, list[Change]]:
        """Return the last that is to be staged, as ``at_mark`` does."""
        self._require(end.records, end.digest)
        if end.mark is not None:
            review_mark(end.mark)
        if end.revision != self._staging.began:
            raise FeedRefused(f"the snapshot ends with revision {end.revision}, it began with {self._staging.began}")
        return self._reached(is_complete=True, mark=end.mark)

    def _require(self, records: int, digest: str) -> None:
        if (records, digest) != (self._records, self._digest):
            raise FeedRefused("the snapshot is not what its digest says: a record is missing, doubled or changed")

    def _reached(
        self, *, cursor: str | None = None, is_complete: bool = False, mark: AuditMark | None = None
    ) -> tuple[Staging, list[Change]]:
        changes, self._changes = self._changes, []
        self._staging = msgspec.structs.replace(
            self._staging,
            cursor=cursor,
            records=self._records,
            digest=self._digest,
            is_complete=is_complete,
            mark=mark,
        )
        return self._staging, changes

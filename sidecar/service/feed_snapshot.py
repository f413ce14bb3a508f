"""All that a follower is told, as lines: read in many short transactions while it goes on changing.

What changes after the snapshot has begun is told by the pages after its revision, so nothing is lost by what was passed
already. A stream that was cut off goes on after any of its marks, at any process.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Final

import msgspec

from sidecar.core.access import Caller
from sidecar.core.errors import Conflict, Unavailable, ValidationFailed
from sidecar.core.feed import write_change
from sidecar.core.feed_snapshot import MARK_EVERY, Mark, SnapshotEnd, SnapshotHead, extended, snapshot_start, write_line
from sidecar.core.model import AuditMark
from sidecar.service.feed import Audience, Reader
from sidecar.service.feed_mark import mark_of, require_continued
from sidecar.service.feed_walk import START, Place, walk_from
from sidecar.service.store import Store

ROUND_RECORDS: Final = 50
"""Records that one read transaction tells, in some milliseconds."""

ROUND_LOOKS: Final = 250
"""Records that it looks at, of which it passes most over, in the same time."""


class Begun(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How far a snapshot was told: what stands in a cursor.

    ``tenant_id``, ``origin`` and ``scope`` are whose snapshot it is, ``revision`` the one at which it began, ``mark``
    where the log ended when the last record was told.
    """

    tenant_id: str
    origin: str
    scope: str | None
    revision: int
    records: int
    digest: str
    place: Place
    mark: AuditMark


class SnapshotTeller:
    """Tells all that there is to tell."""

    def __init__(self, store: Store, audience: Audience, is_over: Callable[[], bool]) -> None:
        """Read ``store``; ``is_over`` says that the process is about to end."""
        self._store = store
        self._audience = audience
        self._is_over = is_over

    def begin(
        self,
        caller: Caller,
        tenant_id: str | None,
        begun: Begun | None,
        now_us: int,
        mark: AuditMark | None = None,
    ) -> Begun:
        """Return where a snapshot begins, or ``begun`` once it is known that it can go on from there.

        ``mark`` is that of what the asker has applied, None where it has nothing. Raises as ``Audience.reader``,
        ValidationFailed for what is no cursor of this snapshot, and Conflict where it began too long ago for the change
        feed to complete it, or where ``mark`` or that of ``begun`` is not of this log.
        """
        with self._store.read() as txn:
            reader = self._audience.reader(txn, caller, tenant_id, now_us)
            tenant = reader.part.tenant
            log = reader.part.audit
            origin, revision = log.origin, txn.tenants.revisions(tenant.number).entities
            require_continued(log, mark)
            if begun is None:
                digest = snapshot_start(origin, reader.scope.top, revision)
                return Begun(tenant.tenant_id, origin, reader.scope.top, revision, 0, digest, START, mark_of(log))
            named = (begun.tenant_id, begun.origin, begun.scope)
            if named != (tenant.tenant_id, origin, reader.scope.top) or begun.revision > revision:
                raise ValidationFailed("the cursor is not one of this snapshot's", field="cursor")
            next(walk_from(reader.part, reader.scope, begun.place), None)
            require_continued(log, begun.mark)
            _require_kept(reader, begun)
            return begun

    async def lines(
        self, caller: Caller, begun: Begun, write_cursor: Callable[[Begun], str], clock: Callable[[], int]
    ) -> AsyncGenerator[bytes, None]:
        """Yield the lines, some at a time, each with its end; ``begun`` is what ``begin`` returned to the caller.

        Raises as ``begin``, and Unavailable when the process is about to end: then the stream is to be cut.
        """
        yield write_line(_head(begun)) + b"\n"
        ended = False
        while not ended:
            if self._is_over():
                raise Unavailable("the process is about to end, the snapshot goes on after its last mark")
            with self._store.read() as txn:
                reader = self._audience.reader(txn, caller, begun.tenant_id, clock())
                _require_kept(reader, begun)
                told, begun, ended = _round(reader, begun, write_cursor)
            yield told
            await asyncio.sleep(0)


def _head(begun: Begun) -> SnapshotHead:
    return SnapshotHead(
        origin=begun.origin,
        tenant_id=begun.tenant_id,
        scope=begun.scope,
        revision=begun.revision,
        records=begun.records,
        digest=begun.digest,
    )


def _round(reader: Reader, begun: Begun, write_cursor: Callable[[Begun], str]) -> tuple[bytes, Begun, bool]:
    """Return the next lines, how far the snapshot is then told, and whether that is its end."""
    lines: list[bytes] = []
    began, ended = begun.records, True
    begun = msgspec.structs.replace(begun, mark=mark_of(reader.part.audit))
    for looked, (change, place) in enumerate(walk_from(reader.part, reader.scope, begun.place)):
        if begun.records - began == ROUND_RECORDS or looked == ROUND_LOOKS:
            ended = False
            break
        if change is None:
            begun = msgspec.structs.replace(begun, place=place)
            continue
        line = write_change(change)
        lines.append(line)
        records, digest = begun.records + 1, extended(begun.digest, line)
        begun = msgspec.structs.replace(begun, place=place, records=records, digest=digest)
        if records % MARK_EVERY == 0:
            lines.append(write_line(Mark(cursor=write_cursor(begun), records=records, digest=digest)))
    if ended:
        end = SnapshotEnd(revision=begun.revision, records=begun.records, digest=begun.digest, mark=begun.mark)
        lines.append(write_line(end))
    return b"".join(line + b"\n" for line in lines), begun, ended


def _require_kept(reader: Reader, begun: Begun) -> None:
    """Raise Conflict unless the change feed still tells all that has changed since a snapshot began."""
    if begun.revision < reader.part.feed.floor():
        message = f"the snapshot began at revision `{begun.revision}`, the changes since then are not kept: begin anew"
        raise Conflict(message, field="cursor")

"""A snapshot of a followed state as lines: all records, told one after the other while they go on changing.

The pages of the change feed since the revision that it began at complete it. Each record extends one digest, so that a
stream that was cut off goes on at its last mark, and whoever has read its end knows that nothing is missing, doubled or
changed.
"""

from typing import Final, TypeAlias

import msgspec
import orjson

from sidecar.core.feed import FORMAT, Change, change_of, converted, digest_of, object_of, require_format
from sidecar.core.model import AuditMark

MARK_EVERY: Final = 500
"""Records of a snapshot between two marks, from each of which it can go on."""


class SnapshotHead(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a snapshot, and of every further part of it. ``records`` were told before this part."""

    origin: str
    tenant_id: str
    scope: str | None
    revision: int
    records: int
    digest: str
    format: int = FORMAT


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A line from which a snapshot can go on: ``digest`` stands for all ``records`` before it."""

    cursor: str
    records: int
    digest: str


class SnapshotEnd(msgspec.Struct, frozen=True, kw_only=True):
    """The last line of a snapshot. A stream that ends without it was cut off.

    ``mark`` is where the log of the tenant ended when the last record was told: a page behind it continues that log.
    """

    revision: int
    records: int
    digest: str
    mark: AuditMark | None = None


SnapshotLine: TypeAlias = SnapshotHead | Mark | SnapshotEnd | Change


def snapshot_start(origin: str, scope: str | None, revision: int) -> str:
    """Return the digest of a snapshot before its first record."""
    return digest_of(orjson.dumps(["sidecar/snapshot/v1", origin, scope, revision]))


def extended(digest: str, line: bytes) -> str:
    """Return the digest of a snapshot after one more record, which is written as ``line`` without its end."""
    return digest_of(digest.encode() + b"\n" + line)


def write_line(line: SnapshotHead | Mark | SnapshotEnd) -> bytes:
    """Return a line of a snapshot that is no record, without its end."""
    name = {SnapshotHead: "snapshot", Mark: "mark", SnapshotEnd: "end"}[type(line)]
    return orjson.dumps({name: msgspec.to_builtins(line)}, option=orjson.OPT_SORT_KEYS)


def read_line(line: bytes) -> SnapshotLine:
    """Return what a line of a snapshot writes. Raises FeedRefused."""
    fields = object_of(line)
    if "snapshot" in fields:
        head = fields["snapshot"]
        if isinstance(head, dict):
            require_format(head)
        return converted(head, SnapshotHead, "the first line of the snapshot")
    if "mark" in fields:
        return converted(fields["mark"], Mark, "a mark of the snapshot")
    if "end" in fields:
        return converted(fields["end"], SnapshotEnd, "the last line of the snapshot")
    return change_of(fields)

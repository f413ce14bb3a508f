"""The lines of a snapshot: each is read as it was written, and the digest stands for all records in their order."""

import orjson
import pytest

from sidecar.core.feed import Change, FeedRefused, write_change
from sidecar.core.feed_snapshot import Mark, SnapshotEnd, SnapshotHead, extended, read_line, snapshot_start, write_line
from sidecar.core.model import AuditMark

DIGEST = "a" * 64
HEAD = SnapshotHead(origin="o", tenant_id="t", scope=None, revision=7, records=0, digest=DIGEST)
GONE = Change(kind="card", id="card_1", revision=3)


@pytest.mark.parametrize(
    "line",
    [
        HEAD,
        Mark(cursor="c", records=500, digest=DIGEST),
        SnapshotEnd(revision=7, records=501, digest=DIGEST),
        SnapshotEnd(revision=7, records=501, digest=DIGEST, mark=AuditMark(3, "A" * 43)),
    ],
)
def test_a_line_is_read_as_it_was_written(line: SnapshotHead | Mark | SnapshotEnd) -> None:
    written = write_line(line)
    assert b"\n" not in written
    assert read_line(written) == line


def test_every_other_line_is_a_record() -> None:
    assert read_line(write_change(GONE)) == GONE


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ({"snapshot": {"format": 2}}, "writes format `2`"),
        ({"snapshot": {}}, "writes format `None`"),
        ({"snapshot": 1}, "the first line of the snapshot cannot be read"),
        ({"snapshot": {"format": 1, "origin": "o"}}, "the first line of the snapshot cannot be read"),
        ({"mark": {"cursor": "c", "records": 1, "digest": "d", "x": 1}}, "a mark of the snapshot has the field `x`"),
        ({"end": {"revision": 1, "records": "1", "digest": "d"}}, "the last line of the snapshot cannot be read"),
        ({"kind": "lease"}, "has the kind `lease`"),
        ([], "no JSON object"),
    ],
)
def test_a_line_that_a_reader_would_not_wholly_understand_is_refused(line: object, sentence: str) -> None:
    with pytest.raises(FeedRefused) as refused:
        read_line(orjson.dumps(line))
    assert sentence in refused.value.message


def test_the_digest_stands_for_what_is_told_in_which_order_from_where() -> None:
    starts = {
        snapshot_start(origin, scope, revision) for origin in "ab" for scope in ("x", None) for revision in (1, 2)
    }
    assert len(starts) == 8
    start = starts.pop()
    assert extended(extended(start, b"1"), b"2") != extended(extended(start, b"2"), b"1")
    assert extended(start, b"1") != extended(start, b"1\n")
    assert extended(start, b"1") == extended(start, b"1")

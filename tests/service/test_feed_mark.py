"""What comes from a control plane that was restored and then went on otherwise is noticed, whatever its revision."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from sidecar.core.errors import Conflict
from sidecar.core.feed_snapshot import SnapshotEnd, read_line, write_line
from sidecar.core.model import AuditMark
from sidecar.service.feed_mark import mark_of, require_continued
from sidecar.service.feed_snapshot import Begun
from sidecar.service.following import WantsPage, WantsSnapshot
from tests.service.builders import World, tool_call
from tests.service.followers import Follower, followed_digest, forget_changes, revision_of

ELSE = "this store was restored or is another one"


class Backup:
    """A control plane with a follower, and a copy of it of an earlier time."""

    def __init__(self, folder: Path, held: ExitStack) -> None:
        """Begin with an agent that all are told of."""
        self._folder = folder
        self._held = held
        self.control = held.enter_context(World(folder / "control"))
        self.control.tenant()
        self.control.identity("bob")
        self.follower = held.enter_context(Follower(folder / "follower", self.control))

    def copy(self) -> None:
        """Make a backup."""
        (self._folder / "restored" / "db").mkdir(parents=True)
        shutil.copy(self._folder / "control" / "db" / "data.mdb", self._folder / "restored" / "db" / "data.mdb")

    def restore(self) -> World:
        """Put the backup in the place of the control plane."""
        restored = self._held.enter_context(World(self._folder / "restored", now_us=self.control.now_us))
        restored.ids.made = 1_000
        self.follower.control = restored
        self.follower.restart()
        return restored


@pytest.fixture
def backup(tmp_path: Path) -> Iterator[Backup]:
    with ExitStack() as stack:
        yield Backup(tmp_path, stack)


def test_a_log_goes_on_from_each_of_its_records_and_from_no_other(backup: Backup) -> None:
    with backup.control.look() as part:
        newest = mark_of(part.audit)
        assert newest.seq == part.audit.head().next_index - 1
        require_continued(part.audit, None)
        require_continued(part.audit, newest)
        first = AuditMark(0, str(backup.control.bodies()[1]["prev"]))
        require_continued(part.audit, first)
        for strange in (AuditMark(newest.seq + 1, newest.hash), AuditMark(1, first.hash), AuditMark(0, newest.hash)):
            with pytest.raises(Conflict, match=ELSE) as refused:
                require_continued(part.audit, strange)
            assert refused.value.field == "mark"


def test_a_restored_control_plane_that_went_on_otherwise_is_not_followed(backup: Backup) -> None:
    """Its revision is as high as that of the follower, or higher, and yet it is not the one that was followed."""
    backup.follower.sync()
    backup.copy()
    backup.control.identity("ann")
    backup.follower.sync()
    before = followed_digest(backup.follower)
    restored = backup.restore()
    for name in ("zoe", "yan"):
        restored.identity(name)
        with pytest.raises(Conflict, match=ELSE):
            backup.follower.page()
    forget_changes(restored)
    backup.follower.run(backup.follower.following.begin_anew())
    with pytest.raises(Conflict, match=ELSE):
        backup.follower.wanted_lines()
    assert followed_digest(backup.follower) == before
    assert backup.follower.decide(tool_call("ann")).entity_revision == revision_of(backup.follower)


def test_a_restored_control_plane_that_has_all_that_was_told_is_followed(backup: Backup) -> None:
    """Also one whose log had gone on by what no follower is told of."""
    backup.follower.sync()
    backup.copy()
    backup.control.decide(tool_call("bob"))
    assert backup.follower.take(backup.follower.page()) == "confirmed"
    restored = backup.restore()
    restored.identity("zoe")
    backup.follower.sync()
    assert followed_digest(backup.follower) == followed_digest(restored)


def test_a_snapshot_does_not_go_on_in_a_restored_control_plane(backup: Backup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of two histories is put together."""
    monkeypatch.setattr("sidecar.service.feed_snapshot.MARK_EVERY", 2)
    backup.copy()
    for name in ("ann", "cat"):
        backup.control.identity(name)
    follower = backup.follower
    begun = follower.run(told_in_part(follower))
    assert begun.records == 2
    restored = backup.restore()
    for name in ("zoe", "yan"):
        restored.identity(name)
    with pytest.raises(Conflict, match=ELSE):
        follower.teller.begin(follower.caller, None, begun, restored.now_us)


async def told_in_part(follower: Follower) -> Begun:
    """Read a snapshot, and return where it was at its first mark."""
    marks: list[Begun] = []

    def write(at: Begun) -> str:
        marks.append(at)
        return "cursor"

    begun = follower.teller.begin(follower.caller, None, None, follower.control.now_us)
    async for _ in follower.teller.lines(follower.caller, begun, write, lambda: follower.control.now_us):
        pass
    return marks[0]


def test_a_page_of_a_restored_control_plane_completes_no_snapshot(backup: Backup) -> None:
    backup.copy()
    backup.control.identity("ann")
    follower = backup.follower
    follower.take_lines(follower.wanted_lines())
    restored = backup.restore()
    for name in ("zoe", "yan"):
        restored.identity(name)
    wanted = follower.following.wanted()
    assert isinstance(wanted, WantsPage)
    assert wanted.is_staged
    with pytest.raises(Conflict, match=ELSE):
        follower.page()
    follower.run(follower.following.begin_anew())
    assert follower.following.wanted() == WantsSnapshot(None)
    follower.sync()
    assert followed_digest(follower) == followed_digest(restored)


def test_a_page_of_a_restored_control_plane_completes_no_other_page(
    backup: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for its last page goes, and what holds is asked for again."""
    monkeypatch.setattr("sidecar.service.feed_page.PAGE_RECORDS_MAX", 1)
    monkeypatch.setattr("sidecar.service.feed_page.ROUND_ENTRIES", 1)
    follower = backup.follower
    follower.sync()
    backup.copy()
    for name in ("ann", "cat", "dan"):
        backup.control.identity(name)
    assert follower.take(follower.page()) == "staged"
    restored = backup.restore()
    for name in ("zoe", "yan", "xia"):
        restored.identity(name)
    with pytest.raises(Conflict, match=ELSE):
        follower.page()
    follower.run(follower.following.begin_anew())
    follower.sync()
    assert followed_digest(follower) == followed_digest(restored)


def test_a_state_from_before_there_were_marks_goes_on_with_the_next(backup: Backup) -> None:
    """No record of its log tells of that, for nothing that is followed changed."""
    follower = backup.follower
    follower.sync()
    marked = follower.state
    assert marked is not None
    assert marked.mark is not None
    unmarked = msgspec.structs.replace(marked, mark=None)
    follower.write(lambda txn: txn.replica.keep_state(unmarked))
    assert follower.following.wanted() == WantsPage(marked.revision, marked.files_digest)
    assert follower.take(follower.page()) == "confirmed"
    assert follower.state == marked
    assert follower.kinds() == ["open", "followed"]


def test_a_control_plane_that_tells_no_marks_is_followed_without(backup: Backup) -> None:
    """Nothing is asked for that it did not tell."""
    follower = backup.follower
    *lines, last = follower.wanted_lines()
    end = read_line(last)
    assert isinstance(end, SnapshotEnd)
    follower.take_lines([*lines, write_line(msgspec.structs.replace(end, mark=None))])
    assert follower.take(msgspec.structs.replace(follower.page(), mark=None)) == "applied"
    wanted = follower.following.wanted()
    assert isinstance(wanted, WantsPage)
    assert wanted.mark is None

"""A watched folder has another digest when its content is another, and only then, however it came to be."""

import os
import shutil
import time
from pathlib import Path

import pytest

from sidecar.replica import watched
from sidecar.replica.watched import WatchedFolders, content_of

OLD_NS = 1_000_000_000_000_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two files and one for a tenant."""
    made = tmp_path / "policies"
    (made / "t_1").mkdir(parents=True)
    for name in ("a.cedar", "b.test.yaml", "t_1/c.cedar"):
        (made / name).write_text(name)
    return made


def config_map(folder: Path, number: int, text: str) -> None:
    """Write a version as Kubernetes does: a folder of its own, and one rename of the link to it."""
    version = folder / f"..{number}"
    version.mkdir()
    (version / "a.cedar").write_text(text)
    (folder / "..data_tmp").symlink_to(version.name)
    (folder / "..data_tmp").rename(folder / "..data")
    if not (folder / "a.cedar").is_symlink():
        (folder / "a.cedar").symlink_to("..data/a.cedar")


@pytest.mark.parametrize("name", ["a.cedar", "b.test.yaml", "t_1/c.cedar", "new.cedarschema", "t_2/new.cedar"])
def test_another_content_is_seen(folder: Path, name: str) -> None:
    watch = WatchedFolders((folder,))
    before = watch.look()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("else")
    assert watch.look() != before
    assert watch.look() == content_of((folder,))
    (folder / name).unlink()
    assert watch.look() not in {before, b""} or name.startswith(("new", "t_2"))


def test_what_is_no_policy_schema_or_test_is_not_looked_at(folder: Path) -> None:
    before = content_of((folder,))
    (folder / "a.cedar~").write_text("x")
    (folder / ".a.cedar.swp").write_text("x")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "a.cedar").write_text("x")
    (folder / "empty").mkdir()
    os.mkfifo(folder / "pipe.cedar")
    assert content_of((folder,)) == before


def test_an_editor_that_renames_changes_what_it_wrote_and_nothing_else(folder: Path) -> None:
    watch = WatchedFolders((folder,))
    before = watch.look()
    for text, is_same in (("a.cedar", True), ("else", False)):
        (folder / "a.cedar.new").write_text(text)
        (folder / "a.cedar.new").rename(folder / "a.cedar")
        assert (watch.look() == before) is is_same


def test_a_config_map_is_seen_when_its_link_is_swapped(tmp_path: Path) -> None:
    config_map(tmp_path, 1, "one")
    watch = WatchedFolders((tmp_path,))
    first = watch.look()
    config_map(tmp_path, 2, "one")
    assert watch.look() == first
    config_map(tmp_path, 3, "two")
    assert watch.look() != first


def test_a_folder_that_is_gone_is_content_of_its_own_kind(folder: Path, tmp_path: Path) -> None:
    watch = WatchedFolders((folder,))
    before = watch.look()
    folder.rename(tmp_path / "away")
    gone = watch.look()
    assert gone not in {before, content_of((tmp_path,))}
    (tmp_path / "away").rename(folder)
    assert watch.look() == before


def test_a_link_that_leads_nowhere_is_seen(folder: Path) -> None:
    before = content_of((folder,))
    (folder / "x.cedar").symlink_to("nowhere")
    (folder / "y").symlink_to("nowhere")
    assert content_of((folder,)) != before


def test_a_file_that_cannot_be_read_is_content_of_its_own_kind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content_of((folder,))

    def refuse(_path: Path) -> bytes:
        raise PermissionError(13, "permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert content_of((folder,)) != before


def test_where_metadata_stays_no_file_is_read_again_unless_it_is_young(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second write within the time that a file system rounds to leaves the same metadata."""
    read: list[Path] = []
    known = Path.read_bytes

    def counted(path: Path) -> bytes:
        read.append(path)
        return known(path)

    monkeypatch.setattr(Path, "read_bytes", counted)
    watch = WatchedFolders((folder,))
    first = watch.look()
    watch.look()
    assert len(read) == 6, "they are young"
    later = time.time_ns() + 10 * watched.YOUNG_NS
    monkeypatch.setattr(time, "time_ns", lambda: later)
    watch.look()
    assert len(read) == 9
    assert watch.look() == first
    assert len(read) == 9


def test_a_link_to_a_folder_above_ends_somewhere(folder: Path) -> None:
    (folder / "t_1" / "up").symlink_to(folder)
    assert content_of((folder,)) == content_of((folder,))


def test_of_too_many_files_the_first_count(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "FILES_MAX", 2)
    before = content_of((folder,))
    (folder / "z.cedar").write_text("z")
    assert content_of((folder,)) == before
    shutil.rmtree(folder)
    assert content_of((folder,)) != before

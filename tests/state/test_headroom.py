"""Room for ending holds when nothing else may be written (rule 9)."""

import ctypes
from pathlib import Path

import pytest

from sidecar.core.errors import Unavailable
from sidecar.state.headroom import FREE_BYTES_MIN, HEADROOM_BYTES, LOOK_SECONDS, Headroom

BLOCK = 512


def data_file(folder: Path, size: int = 8192) -> Path:
    """A file of some length."""
    path = folder / "data.mdb"
    path.write_bytes(b"x" * size)
    return path


@pytest.mark.parametrize(("free", "given"), [(-1, False), (0, True), (1, True)])
def test_new_permits_need_the_free_space_that_the_setting_names(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    free: int,
    given: bool,  # noqa: FBT001 -- a table
) -> None:
    headroom = Headroom(data_file(tmp_path))
    monkeypatch.setattr(headroom, "free_bytes", lambda: FREE_BYTES_MIN + free)
    if given:
        headroom.require()
    else:
        with pytest.raises(Unavailable, match="255 MiB are free on the disk of the store, 256 MiB are needed"):
            headroom.require()


def test_the_disk_is_looked_at_once_in_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system call per permit would cost more than its rows."""
    now, free = [5.0], [FREE_BYTES_MIN - 1, FREE_BYTES_MIN]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    headroom = Headroom(data_file(tmp_path))
    monkeypatch.setattr(headroom, "free_bytes", free.pop)
    headroom.require()
    now[0] += LOOK_SECONDS / 2
    headroom.require()
    assert len(free) == 1
    now[0] += LOOK_SECONDS
    for _ in range(2):
        with pytest.raises(Unavailable):
            headroom.require()
    assert free == []


def test_free_is_what_an_unprivileged_process_could_still_write(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        Headroom(data_file(tmp_path), free_bytes_min=1 << 60).require()
    Headroom(data_file(tmp_path), free_bytes_min=0).require()
    assert 0 < Headroom(data_file(tmp_path)).free_bytes() < 1 << 60


def test_blocks_are_reserved_behind_the_end_and_the_length_stays(tmp_path: Path) -> None:
    path = data_file(tmp_path)
    headroom = Headroom(path)
    before = path.stat()
    if not headroom.reserve():
        pytest.skip("this file system cannot reserve blocks")
    after = path.stat()
    assert after.st_size == before.st_size
    assert (after.st_blocks - before.st_blocks) * BLOCK >= HEADROOM_BYTES
    assert path.read_bytes() == b"x" * 8192


def test_reserving_again_costs_nothing_and_follows_the_end_of_the_file(tmp_path: Path) -> None:
    path = data_file(tmp_path)
    headroom = Headroom(path)
    if not headroom.reserve():
        pytest.skip("this file system cannot reserve blocks")
    reserved = path.stat().st_blocks
    assert headroom.reserve()
    assert path.stat().st_blocks == reserved
    with path.open("ab") as file:
        file.write(b"x" * (1 << 20))
    assert headroom.reserve()
    assert (path.stat().st_blocks - reserved) * BLOCK >= 1 << 20


def test_every_descriptor_is_closed_again(tmp_path: Path) -> None:
    headroom = Headroom(data_file(tmp_path))
    before = len(list(Path("/proc/self/fd").iterdir()))
    headroom.reserve()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_platform_without_fallocate_reserves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    assert not Headroom(data_file(tmp_path)).reserve()


def test_a_file_system_that_refuses_reserves_nothing(tmp_path: Path) -> None:
    class Refusing:
        """A C library whose call fails."""

        @staticmethod
        def fallocate(*_: object) -> int:
            return -1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ctypes, "CDLL", lambda *_, **__: Refusing())
        assert not Headroom(data_file(tmp_path)).reserve()

"""The folder of several workers' figures: whole before they start, empty at each start, never the reason to die."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from sidecar.app.cells import FILE_BYTES
from sidecar.app.sharing import share_folder


def test_every_file_has_its_blocks_before_a_worker_maps_it(tmp_path: Path) -> None:
    folder = share_folder(tmp_path, 2)
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    stats = {path.name: path.stat() for path in folder.iterdir()}
    expected = {f"{slot}.cells": FILE_BYTES for slot in range(2)}
    assert {name: stat.st_size for name, stat in stats.items()} == expected
    assert {name: stat.st_blocks * 512 >= stat.st_size for name, stat in stats.items()} == dict.fromkeys(expected, True)


def test_what_an_earlier_server_counted_is_gone(tmp_path: Path) -> None:
    folder = share_folder(tmp_path, 2)
    (folder / "0.cells").write_bytes(b"old")
    (folder / "17.cells").write_bytes(b"old")
    share_folder(tmp_path, 1)
    assert [path.name for path in folder.iterdir()] == ["0.cells"]
    assert (folder / "0.cells").read_bytes() == bytes(FILE_BYTES)


def test_a_full_disk_sends_the_figures_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server must start nevertheless: holds are to be ended."""
    real = os.posix_fallocate
    calls: list[int] = []

    def fallocate(descriptor: int, offset: int, length: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "no space left on device")
        real(descriptor, offset, length)

    monkeypatch.setattr(os, "posix_fallocate", fallocate)
    folder = share_folder(tmp_path, 2)
    try:
        assert not folder.is_relative_to(tmp_path)
        assert list(tmp_path.iterdir()) == []
        assert len(list(folder.iterdir())) == 2
    finally:
        shutil.rmtree(folder)

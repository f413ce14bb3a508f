"""A folder gives all policies that lie in it, or says which one it cannot give."""

import os
from pathlib import Path

import pytest

from sidecar.core.errors import ConfigurationInvalid
from sidecar.replica.files import read_policies


def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    """It may be a `forbid` that got lost."""
    (tmp_path / "lost.cedar").symlink_to("nowhere.cedar")
    with pytest.raises(ConfigurationInvalid, match=r"lost\.cedar` is a link that leads nowhere"):
        read_policies(tmp_path)


def test_what_would_keep_a_reader_waiting_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t_1").mkdir()
    os.mkfifo(tmp_path / "t_1/pipe.cedar")
    with pytest.raises(ConfigurationInvalid, match=r"t_1/pipe\.cedar` is no file"):
        read_policies(tmp_path)


def test_an_editors_mark_is_no_policy(tmp_path: Path) -> None:
    """Emacs marks a file that it has open with a link that leads nowhere."""
    (tmp_path / ".#a.cedar").symlink_to("somebody@machine.1234")
    (tmp_path / "a.cedar").touch()
    assert [file.path for file in read_policies(tmp_path).shared] == [f"{tmp_path.name}/a.cedar"]


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.cedar").touch()
    (tmp_path / "b.cedar").write_bytes(b"ab\xff")
    with pytest.raises(ConfigurationInvalid, match=r"b\.cedar` is not UTF-8 at byte 2"):
        read_policies(tmp_path)

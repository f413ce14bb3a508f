"""Policy and schema files of a folder: which are read, and that none is left out in silence."""

import os
from pathlib import Path

import pytest

from sidecar.core.errors import ConfigurationInvalid
from sidecar.replica.files import read_files, read_policies
from tests.core.builders import SCHEMA_TEXT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one policy for all, one for a tenant, and things that are none."""
    for name in ("policies", "policies/t_1", "policies/.hidden", "policies/odd.cedar", "schemas", "elsewhere"):
        (tmp_path / name).mkdir()
    for name in ("a.cedar", "t_1/b.cedar", ".hidden/c.cedar", "odd.cedar/d.txt", "README.md"):
        (tmp_path / "policies" / name).write_text(name)
    (tmp_path / "schemas" / "s.cedarschema").write_text(SCHEMA_TEXT)
    return tmp_path / "policies"


def test_files_are_read_by_their_places(folder: Path) -> None:
    found = read_files(folder, folder.with_name("schemas"))
    assert [file.path for file in found.all] == [
        "schemas/s.cedarschema",
        "policies/a.cedar",
        "policies/t_1/b.cedar",
    ]


def test_links_are_followed(folder: Path) -> None:
    for place in (folder.with_name("elsewhere") / "c.cedar", folder.with_name("elsewhere") / "plain"):
        place.write_text("linked")
    (folder / "c.cedar").symlink_to("../elsewhere/plain")
    (folder / "t_2").symlink_to("../elsewhere")
    found = read_policies(folder)
    assert [file.path for file in found.shared] == ["policies/a.cedar", "policies/c.cedar"]
    assert [file.path for file in found.by_tenant["t_2"]] == ["policies/t_2/c.cedar"]


@pytest.mark.parametrize("name", ["c.cedar", "t_2", "t_1/c.cedar"])
def test_a_link_that_leads_nowhere_is_refused(folder: Path, name: str) -> None:
    """It was a policy, or all policies of a tenant, and without a prohibition more is permitted."""
    (folder / name).symlink_to("nowhere")
    with pytest.raises(ConfigurationInvalid, match=rf"`.*policies/{name}` is a link that leads nowhere"):
        read_policies(folder)


def test_a_link_that_is_named_as_nothing_that_is_read_may_lead_nowhere(folder: Path) -> None:
    (folder / "NOTES.md").symlink_to("nowhere")
    assert len(read_policies(folder).policies) == 2


def test_a_schema_that_leads_nowhere_is_refused(folder: Path) -> None:
    (folder.with_name("schemas") / "more.cedarschema").symlink_to("nowhere")
    with pytest.raises(ConfigurationInvalid, match="leads nowhere"):
        read_files(folder, folder.with_name("schemas"))


def test_the_lock_of_an_editor_is_none_of_the_files(folder: Path) -> None:
    """Some editors lay a hidden link that leads nowhere beside a file that is being edited."""
    (folder / ".#a.cedar").symlink_to("somebody@somewhere.1234")
    (folder / "t_1" / ".#b.cedar").symlink_to("somebody@somewhere.1234")
    assert [file.path for file in read_policies(folder).policies] == ["policies/a.cedar", "policies/t_1/b.cedar"]


def test_a_name_that_is_no_text_is_refused(folder: Path) -> None:
    (folder / "\udcff.cedar").write_text("")
    with pytest.raises(ConfigurationInvalid, match=r"the name of the file `policies/.*` is not UTF-8"):
        read_policies(folder)


def test_what_would_keep_a_reader_waiting_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t_1").mkdir()
    os.mkfifo(tmp_path / "t_1/pipe.cedar")
    with pytest.raises(ConfigurationInvalid, match=r"t_1/pipe\.cedar` is no file"):
        read_policies(tmp_path)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.cedar").touch()
    (tmp_path / "b.cedar").write_bytes(b"ab\xff")
    with pytest.raises(ConfigurationInvalid, match=r"b\.cedar` is not UTF-8 at byte 2"):
        read_policies(tmp_path)

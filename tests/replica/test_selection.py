"""Paths that somebody types mean whole sets of files, each named as it was typed."""

import re
from pathlib import Path

import pytest

from sidecar.core.errors import ConfigurationInvalid
from sidecar.core.snapshot import SourceFile
from sidecar.replica import selection
from sidecar.replica.selection import below, policies_around, select

SCHEMA = "schemas/s.cedarschema"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Policies for all and for one tenant, a schema, another repository, and loose files; the test is there."""
    for name in (
        SCHEMA, "policies/a.cedar", "policies/t_1/b.cedar", "policies/t_1/deep/c.cedar", "loose/x/l.cedar",
        "other/policies/o.cedar", "other/schemas/p.cedarschema", "bare/policies/o.cedar", "flat/f.cedarschema",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(
    *paths: str, policies: str = "policies", schemas: str = "schemas"
) -> list[tuple[list[str], list[str], list[str]]]:
    """Schema files, files for all, and files of tenants of each set; each text is its own name."""
    found = select([Path(path) for path in paths], Path(policies), Path(schemas))
    listed = []
    for each in found:
        own = [(tenant, file) for tenant, files in each.files.by_tenant.items() for file in files]
        assert all(Path(file.path).read_text() == file.text for file in each.files.all)
        listed.append(
            (paths_of(each.files.schemas), paths_of(each.files.shared), [f"{t}={file.path}" for t, file in own])
        )
    return listed


def paths_of(files: tuple[SourceFile, ...]) -> list[str]:
    """Their paths."""
    return [file.path for file in files]


WHOLE = ([SCHEMA], ["policies/a.cedar"], ["t_1=policies/t_1/b.cedar"])


@pytest.mark.parametrize(
    "paths",
    [
        [],
        ["policies"],
        ["policies/a.cedar"],
        ["policies/t_1"],
        ["policies/t_1/b.cedar", "policies/a.cedar"],
        ["schemas"],
        [SCHEMA],
        ["policies", "schemas"],
        ["."],
    ],
)
def test_any_path_in_the_folders_means_all_of_them(paths: list[str]) -> None:
    """Also a schema alone, because it can break the policies."""
    assert names(*paths) == [WHOLE]


def test_files_are_named_as_they_were_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From wherever they are seen."""
    absolute = str(tmp_path / "policies")
    assert names(policies=absolute)[0][1] == [f"{absolute}/a.cedar"]
    monkeypatch.chdir(tmp_path / "policies" / "t_1")
    assert names(policies="..", schemas="../../schemas")[0] == (
        ["../../schemas/s.cedarschema"], ["../a.cedar"], ["t_1=../t_1/b.cedar"],
    )  # fmt: skip
    monkeypatch.chdir(tmp_path / "policies")
    assert names(policies=".", schemas="../schemas")[0][1:] == (["a.cedar"], ["t_1=t_1/b.cedar"])


def test_a_repository_brings_its_own_schema() -> None:
    """Where it has one; each repository is a set of its own."""
    assert names("other", "bare") == [
        (["other/schemas/p.cedarschema"], ["other/policies/o.cedar"], []),
        ([SCHEMA], ["bare/policies/o.cedar"], []),
    ]


def test_a_schema_that_is_named_is_the_one_that_holds() -> None:
    """A folder or single files."""
    assert names("policies", "flat") == [(["flat/f.cedarschema"], *WHOLE[1:])]
    assert names("policies/a.cedar", "flat/f.cedarschema") == [(["flat/f.cedarschema"], *WHOLE[1:])]
    assert names("flat", policies="nowhere") == [(["flat/f.cedarschema"], [], [])]


def test_files_outside_are_one_set() -> None:
    """They hold for all tenants; a folder without a known place is one of policies."""
    assert names("loose/x/l.cedar", "other/policies/o.cedar") == [
        ([SCHEMA], ["loose/x/l.cedar", "other/policies/o.cedar"], [])
    ]
    assert names("other/policies") == [([SCHEMA], ["other/policies/o.cedar"], [])]
    assert names("loose") == [([SCHEMA], [], ["x=loose/x/l.cedar"])]


def test_what_lies_too_deep_is_named() -> None:
    """Hidden folders are nobody's business."""
    (found,) = select([], Path("policies"), Path("schemas"))
    assert found.unread == ("policies/t_1/deep/c.cedar",)
    Path("policies/.git").mkdir()
    Path("policies/.git/x.cedar").write_text("")
    assert [str(path) for path in below(Path("policies"))] == [
        "policies/a.cedar", "policies/t_1/b.cedar", "policies/t_1/deep/c.cedar",
    ]  # fmt: skip


def test_what_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder, a single file, and one that is too long."""
    Path("loose/x/n.cedar").symlink_to("loop.cedar")
    Path("loose/x/u.cedar").write_bytes(b"a\xff")
    Path("loose/d.cedar").mkdir()
    for path, sentence in {
        "nowhere": "`nowhere` does not exist",
        "loose/x/n.cedar": "`loose/x/n.cedar` does not exist",
        "loose/x/u.cedar": "`loose/x/u.cedar` is not UTF-8 at byte 1",
    }.items():
        with pytest.raises(ConfigurationInvalid, match=re.escape(sentence)):
            names(path)
    monkeypatch.setattr(selection, "POLICY_BYTES_PER_TENANT_MAX", 3)
    with pytest.raises(ConfigurationInvalid, match="is over 0 MiB"):
        names("loose/x/l.cedar")
    with pytest.raises(ConfigurationInvalid, match="cannot be read: No such file"):
        list(below(Path("nowhere")))


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([], "policies"),
        (["policies"], "policies"),
        (["policies/t_1"], "policies"),
        (["policies/t_1/deep"], "policies"),
        (["policies/t_1/x.test.yaml"], "policies"),
        (["."], "policies"),
        (["other"], "other/policies"),
        (["other/policies"], "other/policies"),
        (["other/policies/t_2"], "other/policies"),
        (["tenants"], "tenants"),
        (["schemas"], "policies"),
        (["other", "bare"], "policies"),
    ],
)
def test_tests_are_about_the_whole_folder_of_policies_that_they_lie_in(
    folder: Path, paths: list[str], expected: str
) -> None:
    """A tenant's tests are decided by what holds for all tenants too, and never by no policy at all."""
    for name in ("other/policies/t_2", "tenants/t_3"):
        (folder / name).mkdir(parents=True)
        (folder / name / "x.cedar").touch()
    assert policies_around([Path(path) for path in paths], Path("policies")).resolve() == folder / expected

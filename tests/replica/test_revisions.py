"""A revision gives the files that a folder of the same content would give, and nothing is written to read them."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from sidecar.core.errors import ConfigurationInvalid
from sidecar.core.snapshot import PolicyFiles
from sidecar.replica import revisions
from sidecar.replica.files import read_files
from sidecar.replica.revisions import find_revision, read_revision

PERMIT = "permit (principal, action, resource);\n"
TREE = {
    "policies/b.cedar": PERMIT,
    "policies/a.cedar": f"// ä first\n{PERMIT}",
    "policies/README.md": "words",
    "policies/a.test.yaml": "words",
    "policies/t_2/x.cedar": PERMIT,
    "policies/t_1/y z.cedar": PERMIT,
    "policies/t_1/empty.cedar": "",
    "policies/t_1/deeper/z.cedar": "never read",
    "policies/none/README.md": "words",
    "policies/.hidden/x.cedar": "never read",
    "schemas/s.cedarschema": "entity User;\n",
    "schemas/deeper/s.cedarschema": "never read",
    "other/s.cedarschema": "entity Other;\n",
}


def git(folder: Path, *words: str) -> str:
    """What git says, as somebody whose own settings say nothing."""
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    found = subprocess.run(["git", *words], cwd=folder, env=os.environ | who | alone, check=True, capture_output=True)  # noqa: S607 - as the tests' own shell finds it
    return found.stdout.decode().strip()


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Put files below a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def commit(folder: Path) -> None:
    """Commit all that lies in a repository."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "a change")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit of ``TREE``."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    write(folder, TREE)
    commit(folder)
    return folder


def read(folder: Path, name: str = "HEAD", policies: str = "policies", schemas: str = "schemas") -> PolicyFiles:
    """The files at a revision."""
    return read_revision(find_revision(name, folder), policies, schemas)


def test_a_revision_reads_as_a_folder_does(repository: Path) -> None:
    found = read(repository)
    assert found == read_files(repository / "policies", repository / "schemas")
    assert [file.path for file in found.all] == [
        "schemas/s.cedarschema",
        "policies/a.cedar",
        "policies/b.cedar",
        "policies/t_1/empty.cedar",
        "policies/t_1/y z.cedar",
        "policies/t_2/x.cedar",
    ]


def test_a_revision_is_what_was_committed(repository: Path) -> None:
    """Neither the index nor the files on disk matter, and neither is changed."""
    then = read(repository)
    git(repository, "tag", "--annotate", "v1", "--message", "one")
    write(repository, {"policies/a.cedar": "changed"})
    commit(repository)
    write(repository, {"policies/a.cedar": "on disk"})
    index = (repository / ".git/index").read_bytes()
    for name in ("HEAD~1", "v1", "main^", git(repository, "rev-parse", "HEAD~1^{tree}")):
        assert read(repository, name) == then
    assert read(repository).shared[0].text == "changed"
    assert (repository / ".git/index").read_bytes() == index
    assert (repository / "policies/a.cedar").read_text() == "on disk"


def test_paths_start_at_the_top_or_with_a_dot_here(repository: Path) -> None:
    below = repository / "policies" / "t_1"
    expected = read(repository)
    assert read(below) == expected
    assert read(below, policies="..", schemas="../../schemas/") == expected
    assert read(below, policies="../../policies", schemas="schemas") == expected
    assert [file.path for file in read(below, policies="./").shared] == ["t_1/empty.cedar", "t_1/y z.cedar"]


def test_the_top_itself_can_be_the_folder(repository: Path) -> None:
    write(repository, {"top.cedar": PERMIT})
    commit(repository)
    found = read(repository, policies=".", schemas="other")
    assert [file.path for file in found.shared] == ["./top.cedar"]
    assert [file.path for file in found.schemas] == ["other/s.cedarschema"]
    assert sorted(found.by_tenant) == ["policies"]


def test_links_are_followed_within_the_revision(repository: Path) -> None:
    (repository / "policies/linked.cedar").symlink_to("../common/c.cedar")
    (repository / "policies/t_1/linked.cedar").symlink_to("../../common/c.cedar")
    (repository / "policies/t_3").symlink_to("../common")
    (repository / "policies/.#a.cedar").symlink_to("somebody@machine")
    (repository / "policies/NOTES.md").symlink_to("/outside")
    write(repository, {"common/c.cedar": PERMIT, "common/below/d.cedar": "never read"})
    (repository / "elsewhere").symlink_to("policies")
    commit(repository)
    found = read(repository)
    assert found == read_files(repository / "policies", repository / "schemas")
    assert sorted(found.by_tenant) == ["t_1", "t_2", "t_3"]
    again = read(repository, policies="elsewhere")
    assert [file.text for file in again.policies] == [file.text for file in found.policies]


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("gone.cedar", "../nowhere.cedar"),
        ("gone", "../nowhere"),
        ("loop.cedar", "loop.cedar"),
        ("t_1/x.cedar", "y z.cedar/x"),
    ],
)
def test_a_link_that_leads_nowhere_is_refused(repository: Path, name: str, target: str) -> None:
    """It may be a `forbid` that got lost; a folder says the same."""
    (repository / "policies" / name).unlink(missing_ok=True)
    (repository / "policies" / name).symlink_to(target)
    commit(repository)
    with pytest.raises(ConfigurationInvalid, match=f"the link `policies/{name}` leads nowhere in `HEAD`"):
        read(repository)
    with pytest.raises(ConfigurationInvalid, match=f"policies/{name}` is a link that leads nowhere"):
        read_files(repository / "policies", repository / "schemas")


@pytest.mark.parametrize("name", ["out.cedar", "t_9"])
def test_a_link_out_of_the_revision_is_refused(repository: Path, name: str) -> None:
    """What it leads to is not part of what was committed, so nobody knows what it said then."""
    (repository / "policies" / name).symlink_to("/outside")
    commit(repository)
    with pytest.raises(ConfigurationInvalid, match=f"the link `policies/{name}` leads out of `HEAD`"):
        read(repository)


def test_a_link_whose_name_has_a_line_break_is_not_followed(repository: Path) -> None:
    expected = read(repository)
    (repository / "policies/a\nb.cedar").symlink_to("a.cedar")
    commit(repository)
    assert read(repository) == expected


def test_a_submodule_holds_no_policies(repository: Path) -> None:
    digest = git(repository, "rev-parse", "HEAD")
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{digest},policies/sub.cedar")
    git(repository, "commit", "--quiet", "--message", "a submodule")
    assert read(repository) == read(repository, "HEAD~1")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nope",), "`nope` is neither a folder nor a revision that git knows"),
        (("--all",), "`--all` is neither a folder nor a revision that git knows"),
        (("HEAD", "nope"), "`HEAD` has no folder `nope`"),
        (("HEAD", "policies/a.cedar"), "`HEAD` has no folder `policies/a.cedar`"),
        (("HEAD", "pol\nicies"), "`HEAD` has no folder `pol\nicies`"),
        (("HEAD", "policies", "nope"), "`HEAD` has no folder `nope`"),
        (("HEAD", "policies", "policies"), "`policies` at `HEAD` holds no `*.cedarschema` file, expected at least one"),
        (("HEAD", "../x"), "`../x` leads out of the repository, expected a path below its top"),
        (("HEAD", ".."), "`..` leads out of the repository, expected a path below its top"),
        (("HEAD", "/x"), "`/x` leads out of the repository, expected a path below its top"),
    ],
)
def test_what_is_not_there_is_named(repository: Path, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        read(repository, *words)
    assert caught.value.message == message


def test_a_folder_in_no_repository_has_no_revisions(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationInvalid, match="`HEAD` is no folder, and as a revision it cannot be read: not a git"
    ):
        find_revision("HEAD", tmp_path)


def test_a_shallow_clone_says_so(repository: Path, tmp_path: Path) -> None:
    write(repository, {"policies/a.cedar": "changed"})
    commit(repository)
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{repository}", "shallow")
    with pytest.raises(ConfigurationInvalid, match="this clone is shallow, so it may have to be fetched first"):
        find_revision("HEAD~1", tmp_path / "shallow")


def test_a_machine_without_git_says_so(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigurationInvalid, match="needs the command `git`, which is not installed"):
        find_revision("HEAD", repository)


def test_a_file_that_is_not_utf8_is_named(repository: Path) -> None:
    write(repository, {"policies/t_1/x.cedar": b"// \xff"})
    commit(repository)
    with pytest.raises(ConfigurationInvalid, match=r"`policies/t_1/x\.cedar` at `HEAD` is not UTF-8 at byte 3"):
        read(repository)


def test_the_limit_holds_for_each_folder(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revisions, "POLICY_BYTES_PER_TENANT_MAX", 1 << 20)
    write(repository, {"policies/t_1/x.cedar": " " * (1 << 20), "policies/t_2/y.cedar": " " * 1_000_000})
    commit(repository)
    with pytest.raises(ConfigurationInvalid, match="the files in `policies/t_1` at `HEAD` are over 1 MiB"):
        read(repository)


def test_a_repository_that_is_damaged_is_named(repository: Path) -> None:
    digest = git(repository, "rev-parse", "HEAD:policies")
    (repository / ".git/objects" / digest[:2] / digest[2:]).unlink()
    with pytest.raises(ConfigurationInvalid, match="`HEAD`"):
        read(repository)


def test_a_revision_that_is_unreadable_half_way_is_named(repository: Path) -> None:
    digest = git(repository, "rev-parse", "HEAD:policies/t_1")
    (repository / ".git/objects" / digest[:2] / digest[2:]).unlink()
    with pytest.raises(ConfigurationInvalid, match="`HEAD` cannot be read: "):
        read(repository)


def test_a_file_whose_content_is_lost_is_named(repository: Path) -> None:
    write(repository, {"policies/t_1/y z.cedar": "// only here\n"})
    commit(repository)
    digest = git(repository, "rev-parse", "HEAD:policies/t_1/y z.cedar")
    (repository / ".git/objects" / digest[:2] / digest[2:]).unlink()
    with pytest.raises(ConfigurationInvalid, match=r"`policies/t_1/y z\.cedar` at `HEAD` is missing"):
        read(repository)

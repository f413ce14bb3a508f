"""``sidecar fmt`` lays all files out or none, says what it did, and writes each file whole."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal

LAID = "permit (principal, action, resource);\n"
RAW = "permit(principal,action,resource) ;"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two files, one of which is laid out, in a folder where the test is."""
    (tmp_path / "policies" / "t_1").mkdir(parents=True)
    (tmp_path / "policies" / "a.cedar").write_text(LAID)
    (tmp_path / "policies" / "t_1" / "b.cedar").write_text(RAW)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def times() -> list[int]:
    """When each file was written."""
    return [path.stat().st_mtime_ns for path in sorted(Path("policies").rglob("*.cedar"))]


def test_only_what_changes_is_written(terminal: Terminal) -> None:
    """A second run changes nothing, and no temporary file stays."""
    Path("policies/t_1/b.cedar").chmod(0o640)
    before = times()
    ended = terminal("fmt")
    assert (ended.code, ended.out, ended.err) == (0, "reformatted policies/t_1/b.cedar\n", "")
    assert times()[0] == before[0]
    assert Path("policies/t_1/b.cedar").read_text() == LAID
    assert Path("policies/t_1/b.cedar").stat().st_mode & 0o777 == 0o640
    assert terminal("fmt") == terminal("fmt", "--check")
    assert [path.name for path in Path("policies/t_1").iterdir()] == ["b.cedar"]


def test_a_check_names_what_would_change_and_writes_nothing(terminal: Terminal) -> None:
    """Exit code 1 where something would."""
    before = times()
    ended = terminal("fmt", "--check")
    assert (ended.code, ended.out) == (1, "would reformat policies/t_1/b.cedar\n")
    assert terminal("fmt", "--check", "policies/a.cedar").code == 0
    assert times() == before


def test_a_diff_can_be_applied(terminal: Terminal, tmp_path: Path) -> None:
    """By `git apply`, also where the last line had no end; nothing is written by the command itself."""
    before = times()
    ended = terminal("fmt", "--diff")
    assert ended.code == 1
    assert "-permit(principal,action,resource) ;\n\\ No newline at end of file\n+permit" in ended.out
    assert times() == before
    subprocess.run(["git", "apply", "-p0", "-"], input=ended.out, text=True, cwd=tmp_path, check=True)  # noqa: S607 -- git is where it is
    assert Path("policies/t_1/b.cedar").read_text() == LAID
    assert terminal("fmt", "--diff").code == 0


@pytest.mark.parametrize("flag", ["-", "--stdin"])
def test_standard_input_goes_to_standard_output(terminal: Terminal, flag: str) -> None:
    """For editors; --check and --diff hold there too."""
    ended = terminal("fmt", flag, given=RAW.encode())
    assert (ended.code, ended.out, ended.err) == (0, LAID, "")
    assert terminal("fmt", flag, "--check", given=RAW.encode()).code == 1
    assert terminal("fmt", flag, "--check", given=LAID.encode()).code == 0
    broken = terminal("fmt", flag, given=b"permt")
    assert (broken.code, broken.out) == (1, "")
    assert broken.err.startswith("<stdin>:1:6: error[syntax_error]")


def test_one_broken_file_keeps_all_from_being_written(terminal: Terminal) -> None:
    """Every error of every file is told."""
    Path("policies/broken.cedar").write_text("permt;\npermit(;")
    before = times()
    ended = terminal("fmt")
    assert (ended.code, ended.out) == (1, "")
    assert [line.partition(" error")[0] for line in ended.err.splitlines() if "error[" in line] == [
        "policies/broken.cedar:1:6:",
        "policies/broken.cedar:2:8:",
    ]
    assert ended.err.splitlines()[-1] == "2 errors, 0 warnings in 3 files, nothing was written"
    assert times() == before


def test_a_link_stays_a_link(terminal: Terminal) -> None:
    """The file behind it is written, once."""
    Path("real.cedar").write_text(RAW)
    Path("policies/link.cedar").symlink_to("../real.cedar")
    ended = terminal("fmt", "policies/link.cedar", "real.cedar")
    assert ended.out == "reformatted policies/link.cedar\n"
    assert Path("policies/link.cedar").is_symlink()
    assert Path("real.cedar").read_text() == LAID


@pytest.mark.parametrize(
    ("paths", "sentence"),
    [
        (["nowhere"], "sidecar: `nowhere` cannot be read: No such file or directory"),
        (["empty"], "sidecar: `empty` holds no `*.cedar` file, expected at least one"),
        (["notes.txt"], "sidecar: `notes.txt` is neither a folder nor a `*.cedar` file"),
        (["binary.cedar", "policies"], "sidecar: `binary.cedar` is not UTF-8 at byte 0"),
        (["dangling.cedar"], "sidecar: `dangling.cedar` cannot be read: No such file or directory"),
        (["pipe.cedar"], "sidecar: `pipe.cedar` is no file"),
        (["-", "policies"], "Error: standard input is formatted alone, without other PATHS"),
        (["--stdin", "policies"], "Error: standard input is formatted alone, without other PATHS"),
    ],
)
def test_what_cannot_be_read_is_a_wrong_usage(terminal: Terminal, paths: list[str], sentence: str) -> None:
    """In one sentence, with exit code 2, and nothing is written."""
    Path("empty").mkdir()
    Path("notes.txt").write_text("")
    Path("binary.cedar").write_bytes(b"\xff")
    Path("dangling.cedar").symlink_to("nowhere")
    os.mkfifo("pipe.cedar")
    before = times()
    ended = terminal("fmt", *paths)
    assert (ended.code, ended.out, ended.err.splitlines()[-1]) == (2, "", sentence)
    assert times() == before


def test_an_editors_mark_is_no_policy(terminal: Terminal) -> None:
    """Emacs marks a file that it has open with a hidden link that leads nowhere."""
    Path("policies/.#a.cedar").symlink_to("somebody@machine.1234")
    assert terminal("fmt", "--check").out == "would reformat policies/t_1/b.cedar\n"


def test_a_file_that_cannot_be_replaced_stays_whole(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what was begun beside it is gone."""

    def fail(_file: int) -> None:
        raise OSError(28, "No space left on device", "b.cedar")

    monkeypatch.setattr(os, "fsync", fail)
    ended = terminal("fmt")
    assert (ended.code, ended.err) == (2, "sidecar: `b.cedar`: No space left on device\n")
    assert Path("policies/t_1/b.cedar").read_text() == RAW
    assert [path.name for path in Path("policies/t_1").iterdir()] == ["b.cedar"]


def test_none_is_replaced_where_one_cannot_be(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that gets full on the way leaves all files as they were, and nothing beside them."""
    Path("policies/c.cedar").write_text(RAW)
    room, fsync = [1], os.fsync

    def fail(file: int) -> None:
        fsync(file)
        if not room:
            raise OSError(28, "No space left on device", "c.cedar")
        room.pop()

    monkeypatch.setattr(os, "fsync", fail)
    assert terminal("fmt").code == 2
    found = {path.name: path.read_text() for path in Path("policies").rglob("*") if path.is_file()}
    assert found == {"a.cedar": LAID, "b.cedar": RAW, "c.cedar": RAW}


def test_lines_can_be_wider(terminal: Terminal) -> None:
    """Where a repository writes wider ones."""
    wide = (
        f"permit (principal, action, resource) when {{ [{', '.join(['context.amount'] * 6)}].contains(3) }};\n".encode()
    )
    narrow = terminal("fmt", "-", given=wide).out.splitlines()
    assert len(terminal("fmt", "-", "--line-width", "200", given=wide).out.splitlines()) < len(narrow)

"""``sidecar check`` tells everything, exits with 1 on errors, and with 2 where there is nothing to check."""

import json
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal
from tests.core.builders import SCHEMA_TEXT

ROOT = Path(__file__).parent.parent.parent
CARD = 'principal is Agent, action == Action::"card.authorize", resource is Merchant'
GOOD = f'@id("good") permit ({CARD}) when {{ context.amount < 5 }};\n'
WARNED = f"permit ({CARD}) when {{ context.amount < 5 }};\n"
BAD = f'@id("bad") forbid ({CARD})\nwhen {{\n\tcontext.purpose == "漢字" }};\n'
UNGUARDED = (
    "policies/t_1/bad.cedar:3:10: error[unguarded_attribute]: unable to guarantee safety of access to optional "
    'attribute `purpose` in context for Action::"card.authorize"'
)
GUARD = (
    "  = hint: write `context has purpose && …` before it; in plain Cedar a `forbid` that errors is skipped and so "
    "fails open, here it denies everybody"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a schema and one good policy, in which the test is."""
    for name, text in (("schemas/s.cedarschema", SCHEMA_TEXT), ("policies/good.cedar", GOOD)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, text: str) -> Path:
    """Write a file and the folders above it."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_shipped_policies_pass(terminal: Terminal) -> None:
    """Without a warning."""
    ended = terminal("check", "--strict", "--policies", ROOT / "policies", "--schemas", ROOT / "schemas")
    assert (ended.code, ended.out, ended.err) == (0, "0 errors, 0 warnings in 4 files\n", "")


def test_an_error_has_its_place_its_line_and_a_hint(terminal: Terminal) -> None:
    """The caret stands below what is meant, whatever tabs and wide characters there are."""
    write("policies/t_1/bad.cedar", BAD)
    ended = terminal("check")
    assert ended.code == 1
    assert ended.out.splitlines() == [
        UNGUARDED,
        '3 |     context.purpose == "漢字" };',
        "  |             ^^^^^^^",
        GUARD,
        "1 error, 0 warnings in 3 files",
    ]


def test_a_mapping_of_proxies_is_checked_beside_policies(terminal: Terminal) -> None:
    """As a server would read it; the one that is shipped is good."""
    good = ROOT / "deploy" / "gateway.toml"
    assert terminal("check", "--gateway", good).out == "0 errors, 0 warnings in 3 files\n"
    write("bad.toml", '[http]\nidentity = { from = "token" }\nroutes = [{ match = { path = "v1" } }]\n')
    ended = terminal("check", "--gateway", "bad.toml")
    assert ended.code == 1
    assert ended.out.splitlines()[0] == (
        "bad.toml:1:1: error[mapping_invalid]: http.routes[0].match.path: must begin with `/`"
    )
    assert terminal("check", "--gateway", "none.toml").code == 2


def test_warnings_count_only_where_they_are_asked_to(terminal: Terminal) -> None:
    """They are told either way."""
    write("policies/warned.cedar", WARNED)
    ended = terminal("check")
    assert (ended.code, ended.out.splitlines()[-1]) == (0, "0 errors, 1 warning in 3 files")
    assert terminal("check", "--strict").code == 1


@pytest.mark.parametrize(
    "paths", [["policies"], ["policies/good.cedar"], ["policies/t_1"], ["./policies/t_1/more.cedar"]]
)
def test_a_path_in_the_folder_stands_for_the_folder(terminal: Terminal, paths: list[str]) -> None:
    """Ids are compared with all others, whichever file a commit touched."""
    write("policies/t_1/more.cedar", GOOD)
    ended = terminal("check", *paths)
    assert (ended.code, ended.out.splitlines()[0]) == (
        1,
        "policies/t_1/more.cedar:1:1: error[duplicate_id]: the id `good` is taken: `policies/good.cedar:1:1` has it",
    )


def test_json_is_one_object(terminal: Terminal) -> None:
    """With the counts and every finding."""
    write("policies/bad.cedar", BAD)
    document = json.loads(terminal("check", "--format", "json").out)
    assert (document["errors"], document["warnings"], document["files"]) == (1, 0, 3)
    (found,) = document["findings"]
    assert found["severity"] == "error"
    assert (found["file"], found["line"], found["column"], found["end_column"]) == ("policies/bad.cedar", 3, 10, 17)


def test_a_file_that_nobody_reads_is_told(terminal: Terminal) -> None:
    """Policies lie in the folder or right below; what lies deeper has no effect."""
    write("policies/t_1/deep/er.cedar", "permt")
    write("policies/.hidden/er.cedar", "permt")
    ended = terminal("check")
    assert (ended.code, ended.out.splitlines()[0].partition("]")[0]) == (
        0,
        "policies/t_1/deep/er.cedar:1:1: warning[unread_file",
    )


def test_a_schema_that_is_broken_is_told_once(terminal: Terminal) -> None:
    """Policies are parsed all the same."""
    write("schemas/t.cedarschema", "entity A = ;")
    write("policies/bad.cedar", "permt;")
    ended = terminal("check", "schemas")
    assert [line.partition("]")[0] for line in ended.out.splitlines() if "error[" in line] == [
        "policies/bad.cedar:1:6: error[syntax_error",
        "schemas/t.cedarschema:1:12: error[schema_invalid",
    ]


@pytest.mark.parametrize(
    ("paths", "sentence"),
    [
        (["nowhere"], "`nowhere` does not exist"),
        (["empty"], "`empty` holds no `*.cedar` file, expected at least one"),
        (["notes.txt"], "`notes.txt` is neither a folder nor a `*.cedar` or `*.cedarschema` file"),
        (["binary.cedar"], "`binary.cedar` is not UTF-8 at byte 0"),
        (["--schemas", "empty"], "`empty` holds no `*.cedarschema` file, expected at least one"),
        (["--schemas", "nowhere"], "`nowhere` cannot be read: No such file or directory"),
        (["--policies", "nowhere"], "`nowhere` does not exist"),
    ],
)
def test_what_cannot_be_checked_is_a_wrong_usage(terminal: Terminal, paths: list[str], sentence: str) -> None:
    """In one sentence, with exit code 2."""
    Path("empty").mkdir()
    write("notes.txt", "")
    Path("binary.cedar").write_bytes(b"\xff")
    ended = terminal("check", *paths)
    assert (ended.code, ended.out, ended.err) == (2, "", f"sidecar: {sentence}\n")


def test_folders_are_named_by_the_environment(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of the other commands."""
    write("elsewhere/bad.cedar", BAD)
    monkeypatch.setenv("SIDECAR_POLICIES", "elsewhere")
    monkeypatch.setenv("SIDECAR_SCHEMAS", "schemas")
    assert terminal("check").out.splitlines()[-1] == "1 error, 0 warnings in 2 files"


def test_an_output_that_cannot_be_written_is_one_sentence(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk that is full, which has no name."""

    def fail(*_given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sidecar.cli.check.show", fail)
    ended = terminal("check")
    assert (ended.code, ended.err) == (2, "sidecar: No space left on device\n")

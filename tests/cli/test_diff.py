"""`sidecar diff` tells by meaning how two sets differ, for people and for programs, and its exit code says whether."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import orjson
import pytest

from sidecar.cli.main import main
from tests.core.builders import SCHEMA_TEXT

PERMIT = '@id("{}") permit (principal, action, resource) when {{ context.amount <= {} }};\n'
FORBID = '@id("{}") forbid (principal, action, resource);\n'
OLD = PERMIT.format("a", 1) + FORBID.format("b") + FORBID.format("c").replace("forbid", "permit")
NEW = PERMIT.format("a", 2) + FORBID.format("b2") + "// new\n" + PERMIT.format("d", 1).replace("permit", "forbid")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(name="run")
def _run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """What ``sidecar diff`` ends with and prints when it is called in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sidecar", "diff", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, printed.out, printed.err

    return run


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Put files below a folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """Two sets, each with a schema beside it."""
    write(
        tmp_path,
        {
            "one/policies/f.cedar": OLD,
            "one/schemas/s.cedarschema": SCHEMA_TEXT,
            "two/policies/f.cedar": NEW,
            "two/policies/t_1/own.cedar": PERMIT.format("own", 3),
            "two/schemas/s.cedarschema": SCHEMA_TEXT.replace("entity Tool;", "entity Tool;\nentity Door;"),
        },
    )
    return tmp_path


@pytest.fixture
def repository(sets: Path) -> Path:
    """A repository whose first commit has the first set, and whose folder has the second."""
    (sets / "one/policies").rename(sets / "policies")
    (sets / "one/schemas").rename(sets / "schemas")
    for words in (
        ("init", "--quiet", "--initial-branch", "main"),
        ("add", "policies", "schemas"),
        ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "one"),
    ):
        alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        subprocess.run(["git", *words], cwd=sets, env=os.environ | alone, check=True)  # noqa: S607 - as the tests' own shell finds it
    write(sets, {"policies/f.cedar": NEW, "policies/t_1/own.cedar": PERMIT.format("own", 3)})
    return sets


def test_a_set_does_not_differ_from_itself(run: Run, sets: Path) -> None:
    assert sets.is_dir()
    assert run("one/policies", "one/policies") == (0, "one/policies → one/policies: 3 unchanged\n", "")


def test_text_tells_every_change_with_its_danger_and_place(run: Run, sets: Path) -> None:
    assert sets.is_dir()
    code, told, complaints = run("one/policies", "two/policies")
    assert (code, complaints) == (1, "")
    assert told == (
        "one/policies → two/policies: 2 added, 1 removed, 1 renamed, 1 changed, 1 in the schema; "
        "may allow more and less\n"
        "\n"
        "~ changed permit a: may allow more (f.cedar:1)\n"
        "    conditions\n"
        "      -when { context.amount <= 1 };\n"
        "      +when { context.amount <= 2 };\n"
        "\n"
        "+ added permit own of tenant t_1: may allow more (t_1/own.cedar:1)\n"
        "\n"
        "- removed permit c: may allow less (f.cedar:3)\n"
        "\n"
        "+ added forbid d: may allow less (f.cedar:4)\n"
        "\n"
        "> renamed forbid b2 from b: allows the same (f.cedar:2)\n"
        "\n"
        "+ schema: added entity type Door: allows the same\n"
    )


def test_json_is_one_object_with_the_keys_that_the_help_names(run: Run, sets: Path) -> None:
    assert sets.is_dir()
    code, told, _ = run("one/policies", "two/policies", "--format", "json")
    document = orjson.loads(told)
    assert code == 1
    assert list(document) == ["old", "new", "differs", "may_allow", "policies", "changes", "schema", "flips"]
    assert document["old"] == {"name": "one/policies", "policies": 3}
    assert document["policies"] == {"added": 2, "removed": 1, "renamed": 1, "changed": 1, "moved": 0, "unchanged": 0}
    assert (document["differs"], document["may_allow"]) == (True, "both")
    assert document["changes"][0] == {
        "kind": "changed",
        "id": "a",
        "old_id": "a",
        "tenant_id": None,
        "effect": "permit",
        "may_allow": "more",
        "old_source": "f.cedar:1",
        "new_source": "f.cedar:1",
        "parts": [
            {
                "part": "conditions",
                "name": "conditions",
                "old": "when { context.amount <= 1 };",
                "new": "when { context.amount <= 2 };",
                "lines": ["-when { context.amount <= 1 };", "+when { context.amount <= 2 };"],
            }
        ],
    }
    door = {"part": "entity_type", "name": "Door", "aspect": None, "old": None, "new": "entity", "may_allow": "same"}
    assert document["schema"] == {"compared": True, "changes": [{**door, "kind": "added"}]}
    assert document["flips"] == {"tests": None, "history": None}
    _, words, _ = run("--help")
    assert [key for key in (*document, *document["changes"][0], *door) if key not in words] == []


def test_markdown_is_a_table_with_the_details_below(run: Run, sets: Path) -> None:
    assert sets.is_dir()
    code, told, _ = run("one/policies", "two/policies", "--format", "markdown")
    assert code == 1
    assert "| changed | `a` | permit | **may allow more** |\n" in told
    assert "| added | `own`, tenant `t_1` | permit | **may allow more** |\n" in told
    assert "| renamed | `b` → `b2` | forbid | allows the same |\n" in told
    assert "<details><summary><code>a</code>: what changed</summary>\n\n```diff\n@@ conditions @@\n" in told
    assert "| `added entity type Door` | allows the same |\n" in told


def test_texts_of_policies_cannot_break_out_of_the_report(run: Run, tmp_path: Path) -> None:
    """Neither a table, a fence, a tag nor a terminal is told anything by what stands in a policy."""
    bad = PERMIT.format("<b>|x", 1).replace("context.amount <= 1", 'context.c == "```\n\x1b[31m`"')
    write(tmp_path, {"one/f.cedar": PERMIT.format("<b>|x", 1), "two/f.cedar": bad})
    _, told, _ = run("one", "two", "--format", "markdown")
    assert r"| changed | `<b>\|x` | permit |" in told
    assert "<summary><code>&lt;b&gt;|x</code>" in told
    assert "\n````diff\n" in told
    assert "\x1b" not in told
    _, told, _ = run("one", "two")
    assert "\x1b" not in told
    assert r"\u{1b}[31m" in told


def test_annotations_only_are_told_as_such(run: Run, tmp_path: Path) -> None:
    write(tmp_path, {"one/f.cedar": OLD, "two/f.cedar": f'@advice("x") {OLD}'})
    code, told, _ = run("one", "two")
    assert code == 1
    assert (
        "~ changed permit a (annotations only): allows the same (f.cedar:1)\n    annotation advice\n      +x\n" in told
    )


def test_sets_without_a_schema_are_compared_without_it(run: Run, tmp_path: Path) -> None:
    write(tmp_path, {"one/f.cedar": OLD, "two/f.cedar": OLD})
    end = "\n\nschemas were not compared: name them with `--schemas`\n"
    assert run("one", "two") == (0, f"one → two: 3 unchanged{end}", "")
    code, told, _ = run("one", "two", "--format", "json")
    assert (code, orjson.loads(told)["schema"]) == (0, {"compared": False, "changes": []})
    assert "Schemas were not compared." in run("one", "two", "--format", "markdown")[1]


def test_folders_of_schemas_can_be_named(run: Run, sets: Path) -> None:
    assert sets.is_dir()
    both = "one/policies", "one/policies"
    assert run(*both, "--schemas", "two/schemas")[0] == 0
    code, told, _ = run(*both, "--new-schemas", "two/schemas")
    assert (code, told.splitlines()[-1]) == (1, "+ schema: added entity type Door: allows the same")
    code, told, _ = run(*both, "--old-schemas", "two/schemas")
    assert (code, told.splitlines()[-1]) == (1, "- schema: removed entity type Door: allows the same")


def test_a_changed_attribute_is_told_with_both_types(run: Run, sets: Path) -> None:
    text = SCHEMA_TEXT.replace("hour: Long", "hour: String")
    (sets / "two/schemas/s.cedarschema").write_text(text)
    last = run("one/policies", "one/policies", "--new-schemas", "two/schemas")[1].splitlines()[-1]
    assert last == ("~ schema: changed action card.authorize context.hour: Long → String: may allow more and less")


def test_empty_sets_do_not_differ(run: Run, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    assert run("one", "one")[1].startswith("one → one: no policies\n")


def test_a_report_can_go_to_a_file(run: Run, sets: Path) -> None:
    for shape in ("text", "json", "markdown"):
        words = ("one/policies", "two/policies", "--format", shape)
        _, printed, _ = run(*words)
        assert run(*words, "--output", "report") == (1, "", "")
        assert (sets / "report").read_text() == printed


def test_a_revision_is_compared_with_the_folder(run: Run, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, told, _ = run("HEAD", "policies")
    assert code == 1
    assert told.startswith("HEAD → policies: 2 added, 1 removed, 1 renamed, 1 changed; may allow more and less\n")
    assert run("HEAD", "main") == (0, "HEAD → main: 3 unchanged\n", "")
    assert run("HEAD:policies", "main", "--policies", "./policies/") == (0, "HEAD:policies → main: 3 unchanged\n", "")
    monkeypatch.chdir(repository / "policies")
    assert run("HEAD", ".")[1].startswith("HEAD → .: 2 added")
    assert run("HEAD:./", "HEAD")[0] == 0
    assert run("HEAD^{/on:e|one}:policies", "HEAD")[0] == 0


def test_a_folder_wins_over_a_revision_of_the_same_name(run: Run, repository: Path) -> None:
    write(repository, {"main/f.cedar": NEW})
    assert run("main", "policies", "--old-schemas", "schemas")[1].startswith("main → policies: 1 added, 3 unchanged")


def test_the_top_of_a_repository_stands_for_its_policies(run: Run, sets: Path) -> None:
    """As for `sidecar check`: its folder of policies is no tenant's."""
    assert sets.is_dir()
    told = run("one", "two")[1].replace("one → two", "").splitlines()[1:]
    assert told == run("one/policies", "two/policies")[1].splitlines()[1:]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("", "policies"), "sidecar: OLD and NEW are folders or git revisions, got an empty name"),
        (("nope", "policies"), "sidecar: `nope` is neither a folder nor a revision that git knows"),
        (("HEAD:nope", "policies"), "sidecar: `HEAD` has no folder `nope`"),
        (("HEAD", "policies", "--schemas", "nope"), "sidecar: `HEAD` has no folder `nope`"),
        (
            ("policies", "policies", "--new-schemas", "nope"),
            "sidecar: `nope` cannot be read: No such file or directory",
        ),
        (("policies", "HEAD", "--output", "nope/x"), "sidecar: `nope/x`: No such file or directory"),
    ],
)
def test_bad_input_is_one_sentence(run: Run, repository: Path, words: tuple[str, ...], complaint: str) -> None:
    assert repository.is_dir()
    assert run(*words) == (2, "", f"{complaint}\n")


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"two/f.cedar": "permit (nobody);"}, "the set `two` cannot be compared: two/f.cedar:1:9: "),
        ({"two/g.cedar": FORBID.format("b")}, "the set `two` cannot be compared: the id `b` is there twice"),
        ({"s/x.cedarschema": "entity"}, "the set `one` cannot be compared: s/x.cedarschema:1:"),
    ],
)
def test_a_set_that_does_not_parse_is_named_and_nothing_is_written(
    run: Run, tmp_path: Path, files: Mapping[str, str], complaint: str
) -> None:
    write(tmp_path, {"one/f.cedar": OLD, "two/f.cedar": OLD, "s/x.cedarschema": SCHEMA_TEXT, **files})
    code, told, said = run("one", "two", "--schemas", "s", "--output", "report")
    assert (code, told) == (2, "")
    assert said.startswith(f"sidecar: {complaint}")
    assert said.count("\n") == 1
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    "words", [(), ("one",), ("one", "two", "three"), ("a", "b", "--format", "xml"), ("a", "b", "--tenant", "t")]
)
def test_wrong_words_are_wrong_usage(run: Run, words: tuple[str, ...]) -> None:
    code, told, said = run(*words)
    assert (code, told) == (2, "")
    assert "Usage: " in said

"""The workflows under `docs/ci` are well-formed, ask for no more than they need, and call commands as they are."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import pytest
import yaml

from sidecar.cli.main import sidecar

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "docs" / "ci"
GITHUB: Final[dict[Any, Any]] = yaml.safe_load((FOLDER / "github-actions.yml").read_text())
GITLAB: Final[dict[str, Any]] = yaml.safe_load((FOLDER / "gitlab-ci.yml").read_text())
README: Final = (FOLDER / "README.md").read_text()

STEPS: Final[list[dict[str, Any]]] = [step for job in GITHUB["jobs"].values() for step in job["steps"]]
JOBS: Final[dict[str, dict[str, Any]]] = {name: job for name, job in GITLAB.items() if "script" in job}


def _scripts() -> Iterator[tuple[str, str]]:
    """Give every script of both workflows, with where it stands."""
    yield from ((f"github: {step['name']}", step["run"]) for step in STEPS if "run" in step)
    for name, job in JOBS.items():
        yield f"gitlab: {name}", "\n".join([*GITLAB[".sidecar"]["before_script"], *job["script"]])


SCRIPTS: Final = tuple(_scripts())


def commands(text: str) -> Iterator[tuple[str, ...]]:
    """Every call of `sidecar` in a script, as the words behind it."""
    for line in text.replace("\\\n", " ").splitlines():
        for piece in re.split(r"\|\||&&|[;|>#]", line):
            if piece.strip().startswith("sidecar "):
                yield tuple(shlex.split(re.sub(r"\$\{?\w+(:-[^}]*)?\}?", "word", piece)))[1:]


def shown() -> str:
    """The commands that the README shows: in its blocks and in its table."""
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    return "\n".join([*blocks, *re.findall(r"^\| \w+ \| `([^`]+)`", README, re.MULTILINE)])


CALLS: Final = sorted({each for text in (*(text for _, text in SCRIPTS), shown()) for each in commands(text)})


def test_every_command_of_a_review_is_called_by_both_workflows_and_told() -> None:
    review = {"check", "fmt", "test", "diff", "replay", "audit"}
    github = {words[0] for name, text in SCRIPTS if name.startswith("github") for words in commands(text)}
    gitlab = {words[0] for name, text in SCRIPTS if name.startswith("gitlab") for words in commands(text)}
    assert github == gitlab == review == {words[0] for words in commands(shown())}


@pytest.mark.parametrize("words", CALLS, ids=" ".join)
def test_commands_are_called_as_they_are(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each option exists and takes such a value: click reads the words as it would before it runs the command."""
    for folder in ("policies", "schemas", "history/word", "report", "old/schemas"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    command: click.Command = sidecar
    path: list[str] = []
    rest = list(words)
    while isinstance(command, click.Group):
        name = rest.pop(0)
        path.append(name)
        found = command.commands.get(name)
        assert found is not None, path
        command = found
    with command.make_context(" ".join(path), rest) as context:
        assert context.params


@pytest.mark.parametrize(("place", "text"), SCRIPTS, ids=[place for place, _ in SCRIPTS])
def test_scripts_are_read_by_bash(place: str, text: str) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run([bash, "-n"], input=text, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), place


def test_the_program_inside_the_note_is_python() -> None:
    (program,) = re.findall(r"<<'PYTHON'\n(.*?)\nPYTHON\n", "\n".join(JOBS["policy-review"]["script"]), re.DOTALL)
    compile(program, "note", "exec")


def test_tokens_may_do_no_more_than_their_job() -> None:
    assert GITHUB["permissions"] == {}
    assert {name: job["permissions"] for name, job in GITHUB["jobs"].items()} == {
        "review": {"actions": "read", "contents": "read", "pull-requests": "write"},
        "scan": {"actions": "read", "contents": "read", "security-events": "write"},
        "history": {"contents": "read"},
    }
    assert True in GITHUB  # YAML 1.1 reads `on` as a truth value
    assert "pull_request_target" not in GITHUB[True]
    checkouts = [step for step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_actions_are_pinned_to_a_major_version() -> None:
    used = [step["uses"] for step in STEPS if "uses" in step]
    assert used
    assert [each for each in used if not re.fullmatch(r"[\w-]+/[\w/-]+@v\d+", each)] == []


def test_no_expression_stands_in_a_script() -> None:
    """What an expression yields would be read by the shell; variables are not."""
    assert [step["name"] for step in STEPS if "${{" in step.get("run", "")] == []


def test_secrets_are_not_shown() -> None:
    """No script prints its commands, and no token stands among the words of a process that others can list."""
    for place, text in SCRIPTS:
        assert "set -x" not in text, place
        for line in text.splitlines():
            if "TOKEN" in line and "curl" not in line:
                assert re.search(r"printf 'JOB-TOKEN|\[ -n|os\.environ", line), (place, line)
    assert "secrets." not in (FOLDER / "github-actions.yml").read_text()


def test_both_keep_one_comment_that_they_know_again() -> None:
    mark = "<!-- sidecar-policy-review -->"
    for text in ((FOLDER / "github-actions.yml").read_text(), (FOLDER / "gitlab-ci.yml").read_text()):
        assert f'echo "{mark}"' in text
        assert text.count(mark) >= 2
    summary = next(step["run"] for step in STEPS if step.get("id") == "report")
    assert "GITHUB_STEP_SUMMARY" in summary
    comment = next(step for step in STEPS if step.get("name") == "Comment")
    assert "head.repo.full_name == github.repository" in comment["if"]


def test_a_history_comes_from_the_schedule_of_the_default_branch_only() -> None:
    fetch = next(step["run"] for step in STEPS if step.get("id") == "history")
    assert "--event schedule" in fetch
    assert '--branch "$DEFAULT_BRANCH"' in fetch
    (rule,) = GITLAB["policy-history"]["rules"]
    assert rule["if"] == '$CI_PIPELINE_SOURCE == "schedule" && $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH'


def test_every_variable_that_is_asked_for_is_told() -> None:
    texts = "".join((FOLDER / name).read_text() for name in ("github-actions.yml", "gitlab-ci.yml"))
    asked = set(re.findall(r"\bSIDECAR_[A-Z_]+\b", texts))
    assert asked == set(re.findall(r"^\| `(SIDECAR_[A-Z_]+)`", README, re.MULTILINE))


def test_hooks_that_are_told_are_the_ones_that_there_are() -> None:
    (block,) = re.findall(r"```yaml\n(repos:.*?)```", README, re.DOTALL)
    told = {hook["id"] for hook in yaml.safe_load(block)["repos"][0]["hooks"]}
    assert told == {"sidecar-check", "sidecar-fmt", "sidecar-test"}
    definition = ROOT / ".pre-commit-hooks.yaml"
    if not definition.exists():
        pytest.skip("`.pre-commit-hooks.yaml` is not in this build yet")
    assert told == {hook["id"] for hook in yaml.safe_load(definition.read_text())}

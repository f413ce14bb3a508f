"""``sidecar test`` as its users meet it: reports, exit codes, many processes, watching, and the shipped set."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from junitparser import Error, Failure, JUnitXml

from sidecar.cli import policy_test_run
from sidecar.cli.main import main, sidecar
from sidecar.core.errors import ConfigurationInvalid

ROOT = Path(__file__).parent.parent.parent
SECONDS = 60.0
ASKED = "{identity: root, action: tool.call, resource: {type: tool, id: search}}"
GOOD = f"tests:\n  - {{name: good, request: {ASKED}, expect: deny}}\n"
BAD = f"tests:\n  - {{name: bad, request: {ASKED}, expect: {{decision: allow, reasons: [{{code: permitted}}]}}}}\n"
UNFIT = GOOD.replace("search}", "search}, context: {nope: 1}").replace("good", "unfit")


def folder(tmp_path: Path, **files: str) -> Path:
    """A copy of the shipped policies with these test files instead of its own."""
    top = tmp_path / "policies"
    shutil.copytree(ROOT / "policies", top, ignore=shutil.ignore_patterns("*.test.yaml"))
    for name, text in files.items():
        (top / f"{name}.test.yaml").write_text(text)
    return top


def run(*arguments: str | Path) -> Result:
    """Run the command in this process; usage errors raise."""
    command = ["test", *map(str, arguments), "--schemas", str(ROOT / "schemas")]
    return CliRunner().invoke(sidecar, command, standalone_mode=False)


def code(result: Result) -> int:
    """The exit code that the process would have."""
    if isinstance(result.exception, ConfigurationInvalid):
        return 2
    assert result.exception is None, result.exception
    return int(result.return_value or 0)


def test_the_shipped_policies_are_tested_whole() -> None:
    """Every policy has decided, and every condition of them has been both true and false."""
    result = run(ROOT / "policies", "--coverage", "--coverage-min", "100")
    assert code(result) == 0
    assert "coverage 100 %" in result.stdout
    assert "0 failed" in result.stdout


def test_a_failure_is_a_place_and_a_difference(tmp_path: Path) -> None:
    result = run(folder(tmp_path, a=GOOD, b=BAD))
    assert code(result) == 1
    lines = result.stdout.splitlines()
    assert lines[0].endswith("policies/b.test.yaml:2:5: bad")
    assert lines[0].startswith("FAILED ")
    assert lines[1:5] == [
        "  - expected decision: allow",
        "  + got      decision: deny",
        "  - expected reasons[0].code: permitted",
        "  + got      reasons[0].code: not_permitted",
    ]
    assert lines[5].startswith("    because  not_permitted: no policy permits `tool.call`")
    assert re.fullmatch(r"1 passed, 1 failed in \d+\.\d s", lines[6])


def test_a_test_that_cannot_be_decided_is_no_failure(tmp_path: Path) -> None:
    result = run(folder(tmp_path, a=UNFIT))
    assert code(result) == 2
    assert "could not be decided: `context.nope`: the schema does not declare `nope` here" in result.stdout
    assert "0 passed, 0 failed, 1 could not be decided" in result.stdout


def test_json_says_all_of_it(tmp_path: Path) -> None:
    result = run(folder(tmp_path, a=GOOD, b=BAD, c=UNFIT), "--format", "json", "--coverage")
    told = json.loads(result.stdout)
    assert (told["passed"], told["failed"], told["broken"], code(result)) == (1, 1, 1, 2)
    good, bad, unfit = told["tests"]
    assert (good["outcome"], bad["outcome"], unfit["outcome"]) == ("passed", "failed", "broken")
    assert (bad["name"], bad["line"], bad["column"]) == ("bad", 2, 5)
    assert bad["differences"][0] == {"field": "decision", "expected": "allow", "got": "deny"}
    assert "nope" in unfit["fault"]
    assert told["coverage"]["percent"] < 100
    assert {"policy_id", "source", "condition", "missing"} == told["coverage"]["gaps"][0].keys()


def test_junit_is_read_by_others(tmp_path: Path) -> None:
    """Written to a file, while the terminal shows text; a character that XML has not is replaced."""
    odd = GOOD.replace("good", '"odd \\uFFFE <&>"')
    report = tmp_path / "junit.xml"
    result = run(folder(tmp_path, a=GOOD, b=BAD, c=UNFIT, d=odd), "--format", "junit", "--output", report)
    assert "2 passed, 1 failed, 1 could not be decided" in result.stdout
    read = JUnitXml.fromfile(str(report))
    assert (read.tests, read.failures, read.errors) == (4, 1, 1)
    found = [case for suite in read for case in suite]
    assert [case.name for case in found] == ["good", "bad", "unfit", "odd \ufffd <&>"]
    assert isinstance(found[1].result[0], Failure)
    assert isinstance(found[2].result[0], Error)
    assert "+ got      decision: deny" in (found[1].result[0].text or "")


def test_what_a_terminal_would_obey_is_written_out(tmp_path: Path) -> None:
    result = run(folder(tmp_path, a=BAD.replace("code: permitted", 'message: "\\e[31m\\n"')))
    assert r"- expected reasons[0].message: \x1b[31m\x0a" in result.stdout


def test_text_can_be_written_to_a_file(tmp_path: Path) -> None:
    report = tmp_path / "report.txt"
    result = run(folder(tmp_path, a=BAD), "-o", report)
    assert report.read_text() == result.stdout


def test_coverage_names_what_was_never_tried(tmp_path: Path) -> None:
    """Below the wanted share the run fails, whatever its tests say."""
    result = run(folder(tmp_path, a=GOOD), "--coverage-min", "90")
    assert code(result) == 1
    assert re.search(r"policies/tools\.cedar:\d+: `tools/no-shell` never decided anything", result.stdout)
    assert "`tools/no-shell`: never true: [Tool::" in result.stdout
    assert "expected at least 90 %" in result.stderr
    assert code(run(tmp_path / "policies", "--coverage-min", "1")) == 0


def test_a_tenants_policies_are_tested_in_its_folder(tmp_path: Path) -> None:
    """Also by a file that is named by itself, and they count for the coverage."""
    top = folder(tmp_path)
    own = top / "acme"
    own.mkdir()
    (own / "own.cedar").write_text('@id("own") permit (principal, action == Action::"tool.call", resource);')
    (own / "own.test.yaml").write_text(GOOD.replace("deny", "{decision: allow, reasons: [{policy: own}]}"))
    (top / "all.cedar").write_text('@id("all") forbid (principal, action, resource == Tool::"rm");')
    (own / "all.test.yaml").write_text(GOOD.replace("search}", "rm}"))
    assert code(run(top)) == 0
    assert code(run(own)) == 0
    assert code(run(own / "own.test.yaml", "--policies", top)) == 0
    result = run(top, "--coverage")
    assert "`tools/no-shell`" in result.stdout
    assert "`own`" not in result.stdout


def test_tests_can_be_chosen_by_their_names(tmp_path: Path) -> None:
    top = folder(tmp_path, a=GOOD, b=BAD)
    assert code(run(top, "-k", "GOO")) == 0
    nothing = run(top, "--filter", "zzz")
    assert code(nothing) == 2
    assert str(nothing.exception) == "none of 2 tests has `zzz` in its name"


@pytest.mark.parametrize(
    ("files", "arguments", "sentence"),
    [
        ({}, (), r"no tests in `.*policies`, expected files called `\*\.test\.yaml`"),
        ({"a": "tests: ["}, (), r"policies/a\.test\.yaml:2:1: no YAML"),
        ({"a": GOOD}, ("nowhere",), r"`nowhere` does not exist"),
        ({"a": GOOD}, ("--policies", "nowhere"), r"`nowhere` cannot be read"),
    ],
)
def test_what_cannot_be_run_is_named(
    tmp_path: Path, files: dict[str, str], arguments: tuple[str, ...], sentence: str
) -> None:
    result = run(folder(tmp_path, **files), *arguments)
    assert code(result) == 2
    assert re.search(sentence, str(result.exception))
    assert result.stdout == ""


def test_all_broken_files_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    result = run(folder(tmp_path, a="tests: 1", b=GOOD, c="testss: 1"), "--format", "json", "--output", report)
    first, second = str(result.exception).splitlines()
    assert first.endswith("a.test.yaml:1:8: `tests` is a list, got `1`")
    assert second.endswith("c.test.yaml:1:1: unknown key `testss` in a test file, did you mean `tests`")
    assert not report.exists()


def test_policies_that_do_not_compile_are_named(tmp_path: Path) -> None:
    top = folder(tmp_path, a=GOOD)
    (top / "bad.cedar").write_text("permit (nobody);")
    result = run(top)
    assert code(result) == 2
    assert str(result.exception).startswith("policies/bad.cedar:1:9: ")


def test_the_process_ends_with_the_code_and_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sidecar", "test", str(tmp_path), "--schemas", str(ROOT / "schemas")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"sidecar: no tests in `{tmp_path}`, expected files called `*.test.yaml`\n"


def test_several_processes_come_to_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the same order, with the same coverage."""
    monkeypatch.setattr(policy_test_run, "CASES_PER_PROCESS_MIN", 4)
    rows = ", ".join(f"{{n: {number}}}" for number in range(8))
    table = GOOD.replace("name: good", f"name: good, parameters: [{rows}]")
    top = folder(tmp_path, a=table, b=BAD)
    one, two = (json.loads(run(top, "--coverage", "--format", "json", "--jobs", jobs).stdout) for jobs in ("1", "2"))
    assert [each["name"] for each in one["tests"]] == [each["name"] for each in two["tests"]]
    assert one["coverage"] == two["coverage"]
    assert (two["passed"], two["failed"]) == (8, 1)


def crash(_: object) -> None:
    """End a process as the engine would if it crashed."""
    os._exit(1)


def test_a_process_that_ends_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_test_run, "CASES_PER_PROCESS_MIN", 1)
    monkeypatch.setattr(policy_test_run, "_decide_share", crash)
    result = run(folder(tmp_path, a=GOOD, b=BAD), "--jobs", "2")
    assert code(result) == 2
    assert str(result.exception) == "a process that ran tests ended before it was done"


def test_watching_runs_again_on_a_change_and_ends_on_ctrl_c(tmp_path: Path) -> None:
    """A change of content counts, a broken file is told and waited for; the last run gives the exit code."""
    top = folder(tmp_path, a=GOOD)
    command = [sys.executable, "-m", "sidecar", "test", str(top), "--schemas", str(ROOT / "schemas"), "--watch"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    log = (tmp_path / "log").open("w+")
    with log, subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, text=True) as process:
        try:
            await_in(log, "1 passed, 0 failed")
            (top / "a.test.yaml").write_text("tests: [")
            await_in(log, "no YAML")
            (top / "a.test.yaml").write_text(BAD)
            await_in(log, "0 passed, 1 failed")
            assert interrupted(process) == 1
        finally:
            process.kill()
    assert "Traceback" not in (tmp_path / "log").read_text()


def interrupted(process: "subprocess.Popen[str]") -> int:
    """Press Ctrl-C until a process ends: one that comes while Python collects garbage is dropped with a message."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            return process.wait(5)
    raise AssertionError("it does not end")


def await_in(log: io.TextIOWrapper, text: str) -> None:
    """Wait until the log has a text."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        log.seek(0)
        if text in log.read():
            return
        time.sleep(0.05)
    raise AssertionError(f"`{text}` never came")

"""Findings are shown so that people find the place, terminals do nothing, and services read them without doubt."""

import json
from pathlib import Path

import pytest

from sidecar.cli.findings import show, summary
from sidecar.core.findings import RULES, Finding, Inspection, Source, together


def finding(text: str, begin: int, end: int, **changes: str) -> Finding:
    """A finding about a part of `text`, which is a whole file."""
    source = Source(changes.get("file", "policies/a.cedar"), text)
    return source.finding("type_error", (begin, end), changes.get("message", "wrong"), changes.get("hint"))


def shown(capsys: pytest.CaptureFixture[str], shape: str, *findings: Finding) -> str:
    """What is written of findings."""
    show(together(findings, 1), shape)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "begin", "end", "line", "caret"),
    [
        ("abc def", 4, 7, "abc def", "    ^^^"),
        ("\ta\tb", 3, 4, "    a   b", "        ^"),
        ("a\tb", 1, 2, "a   b", " ^^^"),
        ("漢字 x", 1, 2, "漢字 x", "  ^^"),
        ("e\u0301x y", 4, 5, "e\ufffdx y" if not "\u0301".isprintable() else "e\u0301x y", "   ^"),
        ("abc\r\n", 3, 4, "abc", "   ^"),
        ("\x1b[31mred", 5, 8, "\ufffd[31mred", "     ^^^"),
        ("x" * 200 + "abc" + "y" * 200, 200, 203, "…" + "x" * 60 + "abc" + "y" * 77 + "…", " " * 61 + "^^^"),
        ("abc" + "y" * 200, 0, 203, "abc" + "y" * 137 + "…", "^" * 140),
    ],
)
def test_the_caret_stands_below_what_is_meant(
    capsys: pytest.CaptureFixture[str], text: str, begin: int, end: int, line: str, caret: str
) -> None:
    """Tabs reach to the next stop, wide characters take two columns, a long line is cut around the place."""
    _, source, marks, _ = shown(capsys, "text", finding(text, begin, end)).splitlines()
    assert source == f"1 | {line}"
    assert marks == f"  | {caret}"


def test_nothing_that_a_file_holds_commands_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Not in its name, in a message or in a hint, and brackets are no markup."""
    text = shown(capsys, "text", finding("[red]x", 0, 1, file="\x1b.cedar", message="\x07[bold]", hint="\x1b[0m"))
    assert text.isprintable() or set(text) <= {"\n", *filter(str.isprintable, text)}
    assert "[bold]" in text
    assert "[red]x" in text


def test_colours_are_for_terminals(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """And not where somebody wants none."""
    assert "\x1b" not in shown(capsys, "text", finding("abc", 0, 1))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1;31merror" in shown(capsys, "text", finding("abc", 0, 1))


def test_the_summary_counts() -> None:
    """One is one."""
    error, warning = finding("a", 0, 1), Source("a", "b").finding("missing_id", (0, 1), "m")
    assert summary(Inspection((error, error, error, warning), 4)) == "3 errors, 1 warning in 4 files"
    assert summary(Inspection((error,), 1)) == "1 error, 0 warnings in 1 file"


def test_github_reads_workflow_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """What separates fields and lines is escaped."""
    found = finding("a\nbc", 2, 4, file="a,b:c%.cedar", message="50% of `a::b`, wrong", hint="x")
    line, _ = shown(capsys, "github", found).splitlines()
    assert line == (
        "::error file=a%2Cb%3Ac%25.cedar,line=2,col=1,endColumn=3,title=type_error::50%25 of `a::b`, wrong%0Ahint: x"
    )
    warning = Source("a.cedar", "x").finding("missing_id", (0, 1), "m")
    assert shown(capsys, "github", warning).startswith(
        "::warning file=a.cedar,line=1,col=1,endColumn=2,title=missing_id::m\n"
    )


def test_sarif_has_what_the_standard_requires(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Section 3 of SARIF 2.1.0: version, runs, a tool with a driver and a name; results with messages and places."""
    places = [finding("a b", 2, 3, hint="h"), finding("x", 0, 1, file=str(tmp_path / "a b.cedar"))]
    log = json.loads(shown(capsys, "sarif", finding("x", 0, 1, file="po licies/ü.cedar"), *places))
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "sidecar"
    assert [rule["id"] for rule in driver["rules"]] == list(RULES)
    assert {rule["defaultConfiguration"]["level"] for rule in driver["rules"]} == {"error", "warning"}
    assert all(rule["shortDescription"]["text"] for rule in driver["rules"])
    assert run["columnKind"] == "unicodeCodePoints"
    assert len(run["results"]) == 3
    for result in run["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in {"none", "note", "warning", "error"}
        assert result["message"]["text"]
        (location,) = result["locations"]
        region = location["physicalLocation"]["region"]
        assert region["startLine"] == region["endLine"] >= 1
        assert region["endColumn"] > region["startColumn"] >= 1
    artifacts = [result["locations"][0]["physicalLocation"]["artifactLocation"] for result in run["results"]]
    assert artifacts == [
        {"uri": (tmp_path / "a%20b.cedar").as_uri().replace("%2520", "%20")},
        {"uri": "po%20licies/%C3%BC.cedar", "uriBaseId": "SRCROOT"},
        {"uri": "policies/a.cedar", "uriBaseId": "SRCROOT"},
    ]
    assert run["originalUriBaseIds"].keys() == {"SRCROOT"}


def test_sarif_without_findings_has_an_empty_list(capsys: pytest.CaptureFixture[str]) -> None:
    """Absent results would say that nothing was looked at."""
    assert json.loads(shown(capsys, "sarif"))["runs"][0]["results"] == []

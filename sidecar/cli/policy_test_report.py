"""How a run of policy tests is told: as text for people, as JSON, and as JUnit's XML for build servers.

The JSON is a contract, described in `policies/README.md`: keys are added, never renamed or taken away.
"""

import re
from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree as ET

import orjson
from rich.console import Console
from rich.text import Text

from sidecar.cli.policy_test_run import Run, Timed
from sidecar.core.coverage import Coverage, Gap

OUTCOMES: Final = ("passed", "failed", "broken")

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNFIT: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML has no way to write (XML 1.0, section 2.2)."""


def write_text(run: Run, console: Console) -> None:
    """Print failures with their differences, the coverage, and how many there are of each."""
    for each in run.timed:
        result = each.result
        if result.passed:
            continue
        _print(console, f"{_outcome(each).upper()} {result.place}: {result.name}", "bold red")
        for line, style in _lines(each):
            _print(console, f"  {line}", style)
    if run.coverage is not None:
        _write_coverage(run.coverage, console)
    broken = f", {run.broken} could not be decided" if run.broken else ""
    style = "red" if run.failed or run.broken else "green"
    console.print(Text(f"{run.passed} passed, {run.failed} failed{broken} in {run.seconds:.1f} s", style=style))


def _print(console: Console, line: str, style: str) -> None:
    """Print one line; what a terminal would obey instead of show is written out."""
    shown = _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", line)
    console.print(Text(shown, style=style), soft_wrap=True)


def _lines(timed: Timed) -> list[tuple[str, str]]:
    result = timed.result
    if result.fault is not None:
        return [(f"could not be decided: {result.fault}", "red")]
    found = []
    for each in result.differences:
        found.append((f"- expected {each.field}: {each.expected}", "green"))
        found.append((f"+ got      {each.field}: {each.got}", "red"))
    return found + [(f"  because  {reason}", "") for reason in result.because]


def _outcome(timed: Timed) -> str:
    result = timed.result
    return "passed" if result.passed else "broken" if result.fault is not None else "failed"


def _write_coverage(coverage: Coverage, console: Console) -> None:
    for gap in coverage.gaps:
        _print(console, _gap(gap), "yellow")
    console.print(Text(f"coverage {coverage.percent} % ({coverage.seen} of {coverage.wanted})"))


def _gap(gap: Gap) -> str:
    if gap.condition is None:
        return f"{gap.source}: `{gap.policy_id}` never decided anything"
    missing = " and never ".join(gap.missing)
    return f"{gap.source}: `{gap.policy_id}`: never {missing}: {gap.condition}"


def json_report(run: Run) -> bytes:
    """Return the run as one JSON object."""
    document: dict[str, object] = {
        "passed": run.passed,
        "failed": run.failed,
        "broken": run.broken,
        "seconds": round(run.seconds, 3),
        "tests": [_test(each) for each in run.timed],
    }
    if run.coverage is not None:
        document["coverage"] = {
            "percent": run.coverage.percent,
            "seen": run.coverage.seen,
            "wanted": run.coverage.wanted,
            "gaps": [
                {
                    "policy_id": gap.policy_id,
                    "source": gap.source,
                    "condition": gap.condition,
                    "missing": list(gap.missing),
                }
                for gap in run.coverage.gaps
            ],
        }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"


def _test(timed: Timed) -> dict[str, object]:
    result = timed.result
    file, line, column = _place(result.place)
    return {
        "name": result.name,
        "file": file,
        "line": line,
        "column": column,
        "outcome": _outcome(timed),
        "seconds": round(timed.seconds, 6),
        "differences": [
            {"field": each.field, "expected": each.expected, "got": each.got} for each in result.differences
        ],
        "because": list(result.because),
        "fault": result.fault,
    }


def _place(place: str) -> tuple[str, int, int]:
    file, line, column = place.rsplit(":", 2)
    return file, int(line), int(column)


def junit_report(run: Run) -> bytes:
    """Return the run as JUnit's XML, a suite for each file."""
    root = ET.Element("testsuites", {"name": "sidecar test", **_counts(run.timed, run.seconds)})
    by_file: dict[str, list[Timed]] = {}
    for each in run.timed:
        by_file.setdefault(_place(each.result.place)[0], []).append(each)
    for file, some in by_file.items():
        seconds = sum(each.seconds for each in some)
        suite = ET.SubElement(root, "testsuite", {"name": _fit(file), **_counts(some, seconds)})
        for each in some:
            _add_case(suite, file, each)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'.encode()


def _add_case(suite: ET.Element, file: str, timed: Timed) -> None:
    result = timed.result
    attributes = {
        "name": _fit(result.name),
        "classname": _fit(file),
        "file": _fit(file),
        "line": str(_place(result.place)[1]),
        "time": f"{timed.seconds:.6f}",
    }
    case = ET.SubElement(suite, "testcase", attributes)
    if not result.passed:
        kind = "error" if result.fault is not None else "failure"
        found = ET.SubElement(case, kind, message=_fit(result.summary), type=_outcome(timed))
        found.text = _fit("\n".join([result.place, *(line for line, _ in _lines(timed))]))


def _counts(timed: Sequence[Timed], seconds: float) -> dict[str, str]:
    outcomes = [_outcome(each) for each in timed]
    return {
        "tests": str(len(timed)),
        "failures": str(outcomes.count("failed")),
        "errors": str(outcomes.count("broken")),
        "time": f"{seconds:.3f}",
    }


def _fit(text: str) -> str:
    return _UNFIT.sub("\ufffd", text)

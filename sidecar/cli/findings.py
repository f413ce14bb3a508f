"""Findings as people and programs read them: text with the source line, JSON, SARIF, and GitHub's annotations.

What a policy file holds is shown to a terminal, so characters that would command it are shown as `�`.
"""

from collections.abc import Callable, Iterator
from typing import Final

import click
import msgspec
import orjson
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from sidecar.cli.sarif import sarif
from sidecar.core.findings import Finding, Inspection

_TAB: Final = 4
_SHOWN: Final = 140
"""Characters of a source line that are shown; of a longer one, those around the finding."""

_BEFORE: Final = 60
_STYLES: Final = {"error": "bold red", "warning": "bold yellow"}


def show(inspection: Inspection, shape: str) -> None:
    """Write findings to standard output; ``shape`` is one of ``SHAPES``."""
    SHAPES[shape](inspection)


def summary(inspection: Inspection) -> str:
    """Return how much was found, as one sentence."""
    errors = _counted(inspection.errors, "error")
    warnings = _counted(inspection.warnings, "warning")
    return f"{errors}, {warnings} in {_counted(inspection.files, 'file')}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _show_text(inspection: Inspection) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for finding in inspection.findings:
        for line in lines(finding):
            console.print(line)
    console.print(summary(inspection))


def lines(finding: Finding) -> Iterator[Text]:
    """Yield a finding for people: its place and sentence, the source line with a caret, and a hint."""
    style = _STYLES[finding.severity]
    place = f"{printable(finding.file)}:{finding.line}:{finding.column}: "
    head = Text.assemble((place, "bold"), (finding.severity, style), f"[{finding.code}]: {printable(finding.message)}")
    yield head
    gutter = f"{finding.line} | "
    before, meant, behind = _cropped(finding)
    yield Text.assemble((gutter, "dim"), before, meant, behind)
    margin = " " * (len(gutter) - 2) + "| " + " " * cell_len(before)
    yield Text.assemble((margin, "dim"), ("^" * max(1, cell_len(meant)), style))
    if finding.hint:
        yield Text.assemble((" " * (len(gutter) - 2) + "= ", "dim"), ("hint: ", "bold"), printable(finding.hint))


def _cropped(finding: Finding) -> tuple[str, str, str]:
    """Return the source line before, at and behind what is meant, as it is shown; tabs reach to the next stop."""
    begin, end = finding.column - 1, finding.end_column - 1
    left = max(0, begin - _BEFORE) if len(finding.excerpt) > _SHOWN else 0
    right = min(len(finding.excerpt), left + _SHOWN)
    before = ("…" if left else "") + _expanded(finding.excerpt[left:begin], 0)
    meant = _expanded(finding.excerpt[begin : min(end, right)], cell_len(before))
    behind = _expanded(finding.excerpt[min(end, right) : right], cell_len(before + meant))
    return before, meant, behind + ("…" if right < len(finding.excerpt) else "")


def _expanded(text: str, start: int) -> str:
    shown = ""
    for character in text:
        if character == "\t":
            shown += " " * (_TAB - (start + cell_len(shown)) % _TAB)
        else:
            shown += printable(character)
    return shown


def printable(text: str) -> str:
    """Return text with what a terminal would act on replaced."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _show_json(inspection: Inspection) -> None:
    findings = [{"severity": finding.severity, **msgspec.structs.asdict(finding)} for finding in inspection.findings]
    counts = {"errors": inspection.errors, "warnings": inspection.warnings, "files": inspection.files}
    click.echo(orjson.dumps({**counts, "findings": findings}, option=orjson.OPT_INDENT_2))


def _show_sarif(inspection: Inspection) -> None:
    click.echo(orjson.dumps(sarif(inspection.findings), option=orjson.OPT_INDENT_2))


def _show_github(inspection: Inspection) -> None:
    for finding in inspection.findings:
        click.echo(_annotation(finding))
    click.echo(summary(inspection))


def _annotation(finding: Finding) -> str:
    """Return a workflow command as GitHub reads it in the output of a step."""
    fields = {
        "file": finding.file,
        "line": finding.line,
        "col": finding.column,
        "endColumn": finding.end_column,
        "title": finding.code,
    }
    written = ",".join(f"{name}={_property(str(value))}" for name, value in fields.items())
    hint = f"\nhint: {finding.hint}" if finding.hint else ""
    return f"::{finding.severity} {written}::{_data(finding.message + hint)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


SHAPES: Final[dict[str, Callable[[Inspection], None]]] = {
    "text": _show_text,
    "json": _show_json,
    "sarif": _show_sarif,
    "github": _show_github,
}
"""How findings can be written."""

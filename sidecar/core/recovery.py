"""The statements of a text that is broken in places: what is whole before and behind each break.

``sidecar.core.policy_text`` stops at the first break, because nothing behind it is sure. For a review, reading goes on
where a policy begins on a line of its own behind the end of another; what is read there has passed the same limits.
"""

import re
from typing import Final

from sidecar.core.errors import PolicyInvalid
from sidecar.core.findings import Finding, Source
from sidecar.core.policy_text import Statement, split, tokens

BREAKS_MAX: Final = 50
"""Breaks that are told of one file; each makes the rest be read once more."""

_BEGINNING: Final = re.compile(r";[ \t\r]*+(?://[^\n]*+)?\n(?:\s++|//[^\n]*+\n)*+(?=@\w|permit\b|forbid\b)")


def recovered(source: Source) -> tuple[list[Statement], list[Finding]]:
    """Return the statements that are whole and within the limits, and a finding for each break between them."""
    statements: list[Statement] = []
    findings: list[Finding] = []
    begin = 0
    while begin < len(source.text) and len(findings) < BREAKS_MAX:
        try:
            statements += _split(source, begin, len(source.text))
            break
        except PolicyInvalid as error:
            at = source.offset(error.line, error.column, begin)
            findings.append(source.finding("syntax_error", source.word(at), bare(error)))
            statements += _before(source, begin, at)
            following = _BEGINNING.search(source.text, at)
            begin = len(source.text) if following is None else following.end()
    return statements, findings


def _split(source: Source, begin: int, end: int) -> list[Statement]:
    """Return the statements between two offsets, with their places in the whole text."""
    line, column = source.place(begin)
    return [
        Statement(
            each.text,
            begin + each.offset,
            line + each.line - 1,
            each.column if each.line > 1 else column + each.column - 1,
        )
        for each in split(source.text[begin:end], source.file)
    ]


def _before(source: Source, begin: int, broken: int) -> list[Statement]:
    """Return the statements before the one that is broken at an offset: no limit was passed there."""
    ends = [token.end for token in tokens(source.text[begin:broken], source.file) if token.text == ";"]
    return _split(source, begin, begin + ends[-1]) if ends else []


def bare(error: PolicyInvalid) -> str:
    """Return the sentence of an error without its place."""
    return error.message.removeprefix(f"{error.file}:{error.line}:{error.column}: ")

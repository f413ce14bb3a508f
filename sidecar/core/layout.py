"""A policy file as Cedar's formatter lays it out, and never less than was in it.

The formatter is given one statement at a time: for a whole file it takes time with the square of its policies, and it
would move a file's opening comment onto the first policy. What stands between statements is therefore laid out here:
comments stay where they are, runs of empty lines become one, and one separates a policy from the one before.
Invariants: no comment is lost, and Cedar reads the same policies before and after, or the file is refused.
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from sidecar.core import policy
from sidecar.core.fault_span import head_span
from sidecar.core.findings import Finding, Source
from sidecar.core.policy_text import tokens
from sidecar.core.statements import Parsed, parsed_statements

WIDTH: Final = 80
"""As Cedar's own tools have it, so that an editor's formatter and this one agree."""

PASSES_MAX: Final = 5
"""Times that the formatter reads its own result: after an empty comment it needs a second look."""

_COMMENT: Final = re.compile(r"//[^\r\n]*")
_LINE_END: Final = re.compile(r"\r\n|\r|\n")


class Layout(msgspec.Struct, frozen=True):
    """The text of a file as it should be; where there are ``findings`` it cannot be laid out and is as it was."""

    text: str
    findings: tuple[Finding, ...] = ()


def lay_out(source: Source, width: int = WIDTH) -> Layout:
    """Return a file of policies laid out, with lines that end in LF, or every reason why it cannot be.

    ``width`` is how many characters of a line the formatter tries to keep to.
    """
    statements, findings = parsed_statements(source)
    if findings:
        return Layout(source.text, tuple(findings))
    written = [_written(each, width) for each in statements]
    spoilt = [each for each, new in zip(statements, written, strict=True) if not _is_kept(each, new)]
    if spoilt:
        return Layout(source.text, tuple(_refusal(source, each) for each in spoilt))
    return Layout(_joined(source.text, statements, written))


def _written(statement: Parsed, width: int) -> str:
    """Return a statement as the formatter writes it when it has nothing more to change, nothing where it gives up."""
    text = statement.text
    try:
        for _ in range(PASSES_MAX):
            before, text = text, policy.laid_out(text, width)
            if text == before:
                break
    except ValueError:
        return ""
    return text


def _is_kept(statement: Parsed, written: str) -> bool:
    """Whether a statement still has its comments, and is the same policy."""
    if _comments(statement.text) != _comments(written):
        return False
    try:
        return policy.trees(written) == [statement.tree]
    except ValueError:
        return False


def _refusal(source: Source, statement: Parsed) -> Finding:
    return source.finding(
        "not_formattable",
        statement.in_file(head_span(statement.text)),
        "Cedar's formatter would lose a comment of this policy or change what it says",
        "move the comments that stand within its lists in front of the policy",
    )


def _comments(text: str) -> list[str]:
    """Return the comments of a text in their order, without the spaces behind them."""
    found: list[str] = []
    end = 0
    for token in tokens(text, ""):
        found += _COMMENT.findall(text, end, token.offset)
        end = token.end
    return [comment.rstrip() for comment in [*found, *_COMMENT.findall(text, end)]]


def _joined(text: str, statements: Sequence[Parsed], written: Sequence[str]) -> str:
    """Return written statements with what stood between the old ones."""
    pieces: list[str] = []
    end = 0
    for each, new in zip(statements, written, strict=True):
        # Behind the last end of a line is only the indentation of the statement.
        beside, *lines = _LINE_END.split(text[end : each.offset])[:-1] or [""]
        pieces += [_beside(beside), "\n\n", _block(lines), new] if pieces else [_block([beside, *lines]), new]
        end = each.offset + len(each.text)
    beside, *lines = _LINE_END.split(text[end:])
    if not pieces:
        block = _block([beside, *lines]).strip("\n")
        return f"{block}\n" if block else ""
    block = _block(lines).strip("\n")
    gap = "\n" if block and not lines[0].strip() else ""
    return "".join([*pieces, _beside(beside), "\n", gap, block, "\n" if block else ""])


def _beside(line: str) -> str:
    """Return the comment that stands on the line of a statement's end, with a space before it."""
    comment = line.strip()
    return f" {comment}" if comment else ""


def _block(lines: Sequence[str]) -> str:
    """Return lines of comments without indentation, without empty lines before them, and with one for several."""
    kept: list[str] = []
    for line in (each.strip() for each in lines):
        if line or (kept and kept[-1]):
            kept.append(line)
    return "".join(f"{line}\n" for line in kept)

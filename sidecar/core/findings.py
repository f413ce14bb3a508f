"""What a review of policy files finds: each finding with its rule, its place, and what would be right.

Invariant: the code of a rule is permanent once released, because reports elsewhere refer to it. Finding them is for
``sidecar.core.inspection``; how they are shown is for the command line.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable
from functools import cached_property
from typing import Final, Literal

import msgspec

Severity = Literal["error", "warning"]


class Rule(msgspec.Struct, frozen=True):
    """A kind of finding: how bad it is, and what it says in general."""

    severity: Severity
    summary: str


RULES: Final[dict[str, Rule]] = {
    "schema_invalid": Rule("error", "The schema does not parse, or lacks what the sidecar needs"),
    "syntax_error": Rule("error", "A policy does not parse, or is over a limit"),
    "type_error": Rule("error", "A policy does not fit the schema"),
    "unknown_name": Rule("error", "A policy names a type, an action or an attribute that the schema does not have"),
    "unguarded_attribute": Rule("error", "An optional attribute is read without `has` before it"),
    "unguarded_tag": Rule("error", "A tag is read without `hasTag` before it"),
    "impossible_scope": Rule("error", "The scope of a policy matches no request that the schema allows"),
    "literal_access": Rule("error", "A policy for all tenants reads attributes of an entity that it names"),
    "malformed_id": Rule("error", "An `@id` is empty, too long, or has characters that an id cannot have"),
    "duplicate_id": Rule("error", "Two policies of one tenant have the same id"),
    "missing_id": Rule("warning", "A policy has no `@id`, so that its name changes with its place in the file"),
    "never_applies": Rule("warning", "The conditions of a policy are false for every request that the schema allows"),
    "unconditional_spend": Rule("warning", "A `permit` without conditions covers an action that moves money"),
    "unlinked_template": Rule("warning", "A template in a file is never linked, so it never applies"),
    "unknown_annotation": Rule("warning", "An annotation is probably misspelt"),
    "not_formattable": Rule("error", "Cedar's formatter would lose a comment of a policy or change what it says"),
    "mapping_invalid": Rule("error", "A mapping file of proxies and MCP gateways cannot be meant"),
    "unread_file": Rule("warning", "A policy file lies where it is never read"),
}


_WORD: Final = re.compile(r"\w+|\W")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing found. ``line`` and ``column`` count from 1 and in characters; ``end_column`` is behind the last one.

    ``excerpt`` is the source line, ``hint`` what would be right where that is known.
    """

    code: str
    file: str
    line: int
    column: int
    end_column: int
    message: str
    excerpt: str
    hint: str | None = None

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return RULES[self.code].severity


class Source:
    """A file's name and text, of which findings are made; lines are counted once for all of them."""

    def __init__(self, file: str, text: str) -> None:
        """Keep both."""
        self.file = file
        self.text = text

    @cached_property
    def _starts(self) -> list[int]:
        """The offset at which each line begins."""
        return [0, *(match.end() for match in re.finditer("\n", self.text))]

    def place(self, offset: int) -> tuple[int, int]:
        """Return line and column of the character at ``offset``."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def offset(self, line: int, column: int, begin: int = 0) -> int:
        """Return the offset of a place given as line and column of the text from ``begin`` on."""
        if line == 1:
            return begin + column - 1
        first, _ = self.place(begin)
        return self._starts[first + line - 2] + column - 1

    def word(self, offset: int) -> tuple[int, int]:
        """Return the span of the word or mark that begins at ``offset``."""
        match = _WORD.match(self.text, offset)
        return offset, offset + 1 if match is None else match.end()

    def finding(self, code: str, span: tuple[int, int], message: str, hint: str | None = None) -> Finding:
        """Return a finding about the characters from the first offset of ``span`` to before the second.

        Where they stand on several lines, the first of these is meant.
        """
        begin, end = span
        line, column = self.place(begin)
        start = begin - column + 1
        stop = self.text.find("\n", begin)
        excerpt = self.text[start : None if stop < 0 else stop].removesuffix("\r")
        width = max(1, min(end - begin, len(excerpt) - column + 1))
        return Finding(
            code=code,
            file=self.file,
            line=line,
            column=column,
            end_column=column + width,
            message=" ".join(message.split()),
            excerpt=excerpt,
            hint=hint,
        )


class Inspection(msgspec.Struct, frozen=True):
    """All findings about some files, in the order of their places, each once; ``files`` is how many were looked at."""

    findings: tuple[Finding, ...]
    files: int

    @property
    def errors(self) -> int:
        """How many must be mended."""
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def warnings(self) -> int:
        """How many are legal but dangerous."""
        return len(self.findings) - self.errors


def together(findings: Iterable[Finding], files: int) -> Inspection:
    """Return findings in the order of their places, each once."""
    distinct = dict.fromkeys(findings)
    placed = sorted(distinct, key=lambda each: (each.file, each.line, each.column, each.code, each.message))
    return Inspection(tuple(placed), files)

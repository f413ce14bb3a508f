"""The policies of a file that parse, each with its place, and a finding for each that does not.

A statement that is broken takes no other along: what is whole before and behind it is read all the same.
"""

from collections.abc import Sequence
from typing import Final, cast

import msgspec

from sidecar.core import policy, policy_tree
from sidecar.core.fault_span import Span
from sidecar.core.findings import Finding, Source
from sidecar.core.policy_ids import numbered_id
from sidecar.core.policy_text import Statement
from sidecar.core.policy_tree import Tree
from sidecar.core.policy_unit import Effect
from sidecar.core.recovery import recovered

_BYTE_ORDER_MARK: Final = "\ufeff"


class Parsed(msgspec.Struct, frozen=True):
    """One policy that parses: its id, its JSON form, its text, and where that begins in its file."""

    id: str
    tree: Tree
    text: str
    offset: int
    line: int
    column: int

    @property
    def effect(self) -> Effect:
        """What it does where it applies."""
        return cast("Effect", self.tree["effect"])

    def in_file(self, span: Span) -> Span:
        """Return offsets of its text as offsets of its file."""
        return self.offset + span[0], self.offset + span[1]


def parsed_statements(source: Source) -> tuple[list[Parsed], list[Finding]]:
    """Return the policies of a file that parse and are within the limits, and a finding for each place that is not."""
    statements, findings = recovered(source)
    parsed, unparsed = _parsed(source, statements)
    return parsed, [*findings, *unparsed]


def _parsed(source: Source, statements: Sequence[Statement]) -> tuple[list[Parsed], list[Finding]]:
    findings: list[Finding] = []
    good = list(enumerate(statements, start=1))
    try:
        trees = policy.trees("\n".join(each.text for each in statements))
    except ValueError:
        said = [(number, each, policy.parse_error(each.text)) for number, each in good]
        findings = [_unparsed(source, each, message) for _, each, message in said if message is not None]
        good = [(number, each) for number, each, message in said if message is None]
        trees = policy.trees("\n".join(each.text for _, each in good))
    parsed = [
        Parsed(_id(tree, source, number), tree, each.text, each.offset, each.line, each.column)
        for (number, each), tree in zip(good, trees, strict=True)
    ]
    return parsed, findings


def _id(tree: Tree, source: Source, number: int) -> str:
    return policy_tree.annotations(tree).get("id", numbered_id(source.file, number))


def _unparsed(source: Source, statement: Statement, message: str) -> Finding:
    offset = statement.offset + policy.offset_of_parse_error(statement.text, message)
    marked = source.text.startswith(_BYTE_ORDER_MARK, offset)
    hint = "save the file as UTF-8 without a byte order mark" if marked else None
    return source.finding("syntax_error", source.word(offset), message, hint)

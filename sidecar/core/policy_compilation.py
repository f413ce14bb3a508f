"""From the text of a file to its policies: compiled, checked or read again, or refused naming file, line and column.

What Cedar says of a text comes from ``sidecar.core.policy``; here it is said of the one statement that it is about.
"""

from collections.abc import Sequence

from sidecar.core import policy_text, policy_tree
from sidecar.core.errors import PolicyInvalid
from sidecar.core.policy import CompiledSchema, offset_of_parse_error, parse_error, trees, validation_errors
from sidecar.core.policy_ids import plain_ids
from sidecar.core.policy_text import Statement, refusal
from sidecar.core.policy_unit import PolicyUnit, unit_of


def compile_statements(text: str, file: str, compiled: CompiledSchema, *, shared: bool) -> tuple[PolicyUnit, ...]:
    """Return the policies and templates of one file, or of one policy made by the API, in their order.

    ``shared`` ones hold for every tenant, so they may not read attributes of an entity that they name: it exists in
    one tenant at most, and everybody else would be denied. Raises PolicyInvalid, naming the place, for what is over a
    limit, does not parse, or does not fit the schema in strict mode.
    """
    statements = policy_text.split(text, file)
    trees = _parse(statements, file)
    _validate(statements, file, compiled)
    return _units(statements, trees, file, shared=shared)


def read_statements(text: str, file: str, *, shared: bool) -> tuple[PolicyUnit, ...]:
    """Return what ``compile_statements`` does for a text that has passed it, at half the cost."""
    statements = policy_text.split(text, file)
    return _units(statements, _parse(statements, file), file, shared=shared)


def check_statements(text: str, file: str, compiled: CompiledSchema) -> tuple[str, ...]:
    """Return the ids of the policies of one tenant's file, in their order, at a third of the cost of compiling them.

    Raises PolicyInvalid for what ``compile_statements`` refuses.
    """
    statements = policy_text.split(text, file)
    ids = plain_ids(statements, file)
    if ids is None or validation_errors(_joined(statements), compiled):
        return tuple(unit.id for unit in compile_statements(text, file, compiled, shared=False))
    return ids


def named_statements(text: str, file: str) -> tuple[str, ...]:
    """Return the ids of the policies of a file that has passed, in their order."""
    ids = plain_ids(policy_text.split(text, file), file)
    return tuple(unit.id for unit in read_statements(text, file, shared=False)) if ids is None else ids


def parse_statements(text: str, file: str) -> tuple[tuple[Statement, policy_tree.Tree], ...]:
    """Return the policies and templates of a file with their parsed form, whether they fit a schema or not.

    Raises PolicyInvalid, naming the place, for what is over a limit or does not parse.
    """
    statements = policy_text.split(text, file)
    return tuple(zip(statements, _parse(statements, file), strict=True))


def _units(
    statements: Sequence[Statement], trees: Sequence[policy_tree.Tree], file: str, *, shared: bool
) -> tuple[PolicyUnit, ...]:
    pairs = zip(statements, trees, strict=True)
    return tuple(unit_of(each, tree, file, number, shared=shared) for number, (each, tree) in enumerate(pairs, start=1))


def _parse(statements: Sequence[Statement], file: str) -> list[policy_tree.Tree]:
    try:
        return trees(_joined(statements))
    except ValueError as error:
        raise _unparsed(statements, file) from error


def _unparsed(statements: Sequence[Statement], file: str) -> PolicyInvalid:
    """Return the error for the first statement that Cedar cannot parse."""
    faults = ((each, parse_error(each.text)) for each in statements)
    statement, message = next((each, message) for each, message in faults if message is not None)
    return refusal(message, file, statement.place(offset_of_parse_error(statement.text, message)))


def _validate(statements: Sequence[Statement], file: str, compiled: CompiledSchema) -> None:
    found = validation_errors(_joined(statements), compiled)
    if found:
        # Of several about one policy, one that quotes what it is about says more than one that does not.
        index, message = min(found, key=lambda each: (each[0], "`" not in each[1], each[1]))
        statement = statements[index]
        raise refusal(message, file, statement.place(policy_text.offset_of_quoted(statement.text, message)))


def _joined(statements: Sequence[Statement]) -> str:
    return "\n".join(statement.text for statement in statements)

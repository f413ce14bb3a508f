"""The policies of a file that parse are known with their places, whatever the others are."""

from sidecar.core.findings import Source
from sidecar.core.statements import parsed_statements

GOOD = "permit (principal, action, resource);"


def test_policies_that_parse_are_read_and_others_are_told() -> None:
    """Both keep their numbers: an id made from the place counts the broken ones too."""
    text = (
        f'{GOOD}\npermit (principal, actn, resource);\n  @id("x") forbid (principal, action, resource);\n{GOOD} permt;'
    )
    parsed, findings = parsed_statements(Source("policies/f.cedar", text))
    assert [(each.id, each.effect, each.line, each.column) for each in parsed] == [
        ("f.cedar#1", "permit", 1, 1),
        ("x", "forbid", 3, 3),
        ("f.cedar#4", "permit", 4, 1),
    ]
    assert [(each.line, each.column, each.code) for each in findings] == [
        (2, 20, "syntax_error"),
        (4, 44, "syntax_error"),
    ]
    third = parsed[1]
    assert text[slice(*third.in_file((0, 3)))] == "@id"


def test_a_byte_order_mark_is_named() -> None:
    """It cannot be seen in an editor."""
    _, (found,) = parsed_statements(Source("f.cedar", f"\ufeff{GOOD}"))
    assert found.hint == "save the file as UTF-8 without a byte order mark"
    assert (found.line, found.column) == (1, 1)


def test_a_file_without_policies_has_none() -> None:
    """Comments are none."""
    assert parsed_statements(Source("f.cedar", "// nothing\n")) == ([], [])

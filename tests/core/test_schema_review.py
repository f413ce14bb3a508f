"""Every schema file that is wrong is told, not only the first."""

from sidecar.core.schema_review import review_schema
from sidecar.core.snapshot import SourceFile
from tests.core.builders import SCHEMA_TEXT

GOOD = SourceFile("schemas/a.cedarschema", SCHEMA_TEXT)


def told(*texts: str) -> list[tuple[str, int, int, str]]:
    """File, line, column and sentence of every finding about `GOOD` and these."""
    files = [GOOD, *(SourceFile(f"schemas/{number}.cedarschema", text) for number, text in enumerate(texts))]
    compiled, findings = review_schema(files)
    assert (compiled is None) == bool(findings)
    assert {each.code for each in findings} <= {"schema_invalid"}
    return [(each.file.rpartition("/")[2], each.line, each.column, each.message) for each in findings]


def test_a_good_schema_is_compiled() -> None:
    """No schema at all is nothing to say something about."""
    assert told() == []
    assert told("entity Extra;") == []
    assert review_schema(()) == (None, [])


def test_every_file_that_does_not_parse_is_told() -> None:
    """Each has its own place; nesting beyond the limit is one of the ways."""
    assert told("entity A = { b: ; };", "entity B;", "entity C = { d: , };") == [
        ("0.cedarschema", 1, 17, "unexpected token `;`"),
        ("2.cedarschema", 1, 17, "unexpected token `,`"),
    ]
    assert told("entity A = { b: " + "Set<" * 40, "entity B = ;") == [
        ("0.cedarschema", 1, 144, "brackets nest deeper than 32"),
        ("1.cedarschema", 1, 12, "unexpected token `;`"),
    ]


def test_an_error_between_files_is_told_alone() -> None:
    """A declaration that goes on in the next file is whole, so what is wrong with its halves says nothing."""
    assert told("entity A = {", "b: ; };") == [("1.cedarschema", 1, 4, "unexpected token `;`")]


def test_every_undeclared_type_is_told() -> None:
    """In each place that names it."""
    assert told("entity A = { b: Foo };", "action b appliesTo { principal: [Foo], resource: [Bar] };") == [
        ("0.cedarschema", 1, 17, "failed to resolve type: Foo"),
        ("1.cedarschema", 1, 34, "failed to resolve type: Foo"),
        ("1.cedarschema", 1, 51, "failed to resolve type: Bar"),
    ]
    ((file, _, _, message),) = told("entity A = { b: Foo::Bar };")
    assert (file, message) == ("a.cedarschema", "failed to resolve type: Foo::Bar")


def test_what_is_wrong_between_files_is_told_once() -> None:
    """Each file by itself is good; so is what only the sidecar asks for."""
    ((file, line, column, message),) = told("entity Tool;")
    assert (file, line, column, message) == ("a.cedarschema", 7, 8, "`Tool` is declared twice")
    ((*_, message),) = told("entity Robot; action dig appliesTo { principal: [Robot], resource: [Tool], context: {} };")
    assert message == "identity type `Agent` must be allowed `in` `Robot`, as in every identity type"

"""A finding names its place in characters, and a review lists what it found in the order of the places."""

import pytest

from sidecar.core.findings import RULES, Source, together

TEXT = 'permit (\r\n\tprincipal, "漢字",\nresource);'


@pytest.mark.parametrize(
    ("span", "line", "columns", "excerpt"),
    [
        ((0, 6), 1, (1, 7), "permit ("),
        ((0, len(TEXT)), 1, (1, 9), "permit ("),  # what goes on in the next line is shown to the end of this one
        ((TEXT.index("字"), TEXT.index("字") + 1), 2, (15, 16), '\tprincipal, "漢字",'),
        ((len(TEXT), len(TEXT)), 3, (11, 12), "resource);"),
        ((TEXT.index("\r"), TEXT.index("\r") + 1), 1, (9, 10), "permit ("),
    ],
)
def test_columns_count_characters_and_a_finding_stays_on_its_line(
    span: tuple[int, int], line: int, columns: tuple[int, int], excerpt: str
) -> None:
    """A wide character and a tab are one column each; the line's end is no part of it."""
    found = Source("f.cedar", TEXT).finding("syntax_error", span, "a\nb")
    assert (found.line, (found.column, found.end_column), found.excerpt) == (line, columns, excerpt)
    assert found.message == "a b"


def test_a_place_and_its_offset_are_the_same() -> None:
    """A place of the text behind an offset is found again in the whole."""
    source = Source("f.cedar", TEXT)
    for offset in range(len(TEXT)):
        assert source.offset(*source.place(offset)) == offset
    second = TEXT.index("principal")
    assert source.offset(1, 3, second) == second + 2
    assert source.offset(2, 1, second) == TEXT.index("resource")


def test_a_word_ends_where_it_ends() -> None:
    """A mark is a word of one character, and so is the end of the text."""
    source = Source("f.cedar", "permt (")
    assert [source.word(offset) for offset in (0, 6, 7)] == [(0, 5), (6, 7), (7, 8)]


def test_findings_are_listed_by_place_and_each_once() -> None:
    """Order does not depend on who found what first; errors and warnings are counted by their rules."""
    b, a = (Source(f"{name}.cedar", "permit\n  permit") for name in "ba")
    found = [
        b.finding("missing_id", (0, 6), "m"),
        a.finding("type_error", (9, 15), "m"),
        a.finding("syntax_error", (0, 6), "m"),
        a.finding("missing_id", (0, 6), "m"),
        a.finding("missing_id", (0, 6), "m"),
    ]
    listed = together(found, 2)
    assert [(each.file, each.line, each.code) for each in listed.findings] == [
        ("a.cedar", 1, "missing_id"),
        ("a.cedar", 1, "syntax_error"),
        ("a.cedar", 2, "type_error"),
        ("b.cedar", 1, "missing_id"),
    ]
    assert (listed.errors, listed.warnings, listed.files) == (2, 2, 2)


def test_rules_are_sentences() -> None:
    """Each code is lower case with underscores, each summary begins as a sentence does."""
    assert [code for code in RULES if not code.replace("_", "").islower()] == []
    assert [code for code, rule in RULES.items() if not rule.summary[0].isupper() or rule.summary.endswith(".")] == []

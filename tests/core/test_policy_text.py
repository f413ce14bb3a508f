"""Cedar text before Cedar reads it: what could end the process is refused, and every refusal names its place."""

import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import PolicyInvalid
from sidecar.core.policy_text import (
    CHAIN_MAX,
    HAS_PATH_MAX,
    NESTING_MAX,
    STATEMENT_BYTES_MAX,
    TEXT_BYTES_MAX,
    UNEXPECTED_END,
    check_schema_limits,
    locate,
    place,
    split,
    tokens,
)

PERMIT = "permit(principal, action, resource)"


def when(expression: str) -> str:
    """A policy with one condition."""
    return f"{PERMIT} when {{ {expression} }};"


def refused(text: str) -> PolicyInvalid:
    """The refusal of ``text`` in a file called `f.cedar`."""
    with pytest.raises(PolicyInvalid) as caught:
        split(text, "f.cedar")
    return caught.value


# --- Statements


def test_statements_are_cut_at_semicolons_outside_of_strings_and_comments() -> None:
    text = f'// one; of two\n@id("a;b")\n{PERMIT}; // ; \n  {when("true")}'
    first, second = split(text, "f.cedar")
    assert (first.text, first.line, first.column) == (f'@id("a;b")\n{PERMIT};', 2, 1)
    assert (second.text, second.line, second.column) == (when("true"), 4, 3)
    assert text[second.offset :] == second.text


def test_text_behind_the_last_semicolon_is_a_statement_of_its_own() -> None:
    assert [statement.text for statement in split(f"{PERMIT};\n permit ( // c", "f.cedar")] == [
        f"{PERMIT};",
        "permit (",
    ]


@pytest.mark.parametrize("text", ["", " \n\t", "// nothing", "// nothing\n"])
def test_a_text_without_tokens_has_no_statements(text: str) -> None:
    assert split(text, "f.cedar") == ()


def test_a_comment_ends_at_a_carriage_return_as_it_does_for_cedar() -> None:
    hidden = f"// c\r{PERMIT};"
    assert len(split(hidden, "f.cedar")) == 1
    assert len(cedarpy.PolicySet.from_str(hidden)) == 1


def test_a_place_within_a_statement_counts_from_the_file() -> None:
    (statement,) = split(f"\n\n  {PERMIT}\nwhen {{ x }};", "f.cedar")
    assert statement.place(0) == (3, 3)
    assert statement.place(7) == (3, 10)
    assert statement.place(statement.text.index("x")) == (4, 8)


@given(st.lists(st.sampled_from(["permit", "(", ")", '"a;\\""', ";", "\n", "// ;\n", " ", "x", "::", "é", "{", "}"])))
def test_statements_keep_every_token_and_know_their_place(pieces: list[str]) -> None:
    text = " ".join(pieces)
    try:
        statements = split(text, "f.cedar")
    except PolicyInvalid:
        return
    kept = [token.text for statement in statements for token in tokens(statement.text, "")]
    assert kept == [token.text for token in tokens(text, "")]
    for statement in statements:
        assert text.startswith(statement.text, statement.offset)
        assert (statement.line, statement.column) == place(text, statement.offset)


# --- Limits


@pytest.mark.parametrize(
    ("begin", "end"),
    [("(", ")"), ("[", "]"), ("{a: ", "}"), ("if true then ", " else false"), ("if true then (", ") else false")],
)
def test_nesting_has_a_limit_that_cedar_survives(begin: str, end: str) -> None:
    levels = (NESTING_MAX - 1) // (2 if begin.endswith("(") and end.startswith(") ") else 1)
    deepest = when(f"{begin * levels}true{end * levels} == true".replace("false == true", "false"))
    assert len(split(deepest, "f.cedar")) == 1
    cedarpy.policies_to_json_str(deepest)
    error = refused(when(f"{begin * NESTING_MAX}true{end * NESTING_MAX}"))
    assert "deeper than 32" in error.message
    assert error.line == 1


def test_conditionals_side_by_side_do_not_nest() -> None:
    assert split(when(f"[{', '.join(['if true then 1 else 2'] * 100)}] == []"), "f.cedar")


def test_else_if_nests() -> None:
    assert "nest deeper" in refused(when("if true then 1 else " * 40 + "2 == 2")).message


@pytest.mark.parametrize("link", ["true || ", "1 + ", "context.a.", 'context["a"]', "1 == 2 && "])
def test_chains_of_operators_have_a_limit(link: str) -> None:
    error = refused(when(link.replace("context", "") * (CHAIN_MAX + 1)))
    assert "operators hang on each other" in error.message


def test_operators_in_list_entries_do_not_hang_on_each_other() -> None:
    assert split(when(f"[{', '.join(['1 + 2'] * (CHAIN_MAX + 1))}].contains(3)"), "f.cedar")


def test_the_longest_chain_still_has_a_json_form() -> None:
    deepest = when("(" * 30 + " || ".join(["context.a"] * (CHAIN_MAX // 2)) + ")" * 30)
    assert len(split(deepest, "f.cedar")) == 1
    cedarpy.policies_to_json_str(deepest)


def test_the_path_behind_has_is_short() -> None:
    def path(steps: int) -> str:
        return when(f"context has a{'.a' * (steps - 1)} && context.b{'.b' * 40} == 1")

    assert split(path(HAS_PATH_MAX), "f.cedar")
    assert "path behind `has`" in refused(path(HAS_PATH_MAX + 1)).message


def test_a_statement_has_a_size() -> None:
    filler = "x" * STATEMENT_BYTES_MAX
    error = refused(f"{PERMIT};\n " + when(f'"{filler}" == ""'))
    assert (error.line, error.column) == (2, 2)
    assert "65536 bytes" in error.message
    assert split(f"{PERMIT}; // {filler}", "f.cedar")


def test_a_text_has_a_size() -> None:
    assert "16777216 bytes" in refused("/" * (TEXT_BYTES_MAX + 1)).message


def test_a_lone_surrogate_is_refused_before_cedar_sees_it() -> None:
    error = refused(f'{PERMIT}\nwhen {{ "\ud800" == "" }};')
    assert (error.line, error.column) == (2, 9)


def test_a_string_without_end_is_refused_where_it_begins() -> None:
    error = refused(f'{PERMIT}\nwhen {{ "abc }};')
    assert str(error).startswith("f.cedar:2:8: the string that begins here")


@pytest.mark.parametrize(
    ("text", "place", "sentence"),
    [
        ("permit(principal];", (1, 17), "unexpected token `]`"),
        ("permit);", (1, 7), "unexpected token `)`"),
        ("permit(\n;", (2, 1), "unexpected token `;`"),
    ],
)
def test_brackets_that_do_not_match_are_refused_where_they_stand(
    text: str, place: tuple[int, int], sentence: str
) -> None:
    error = refused(text)
    assert (error.line, error.column) == place
    assert sentence in error.message


def test_brackets_in_strings_and_comments_are_text() -> None:
    assert split(f'@id("((({{{{")\n// ]]\n{PERMIT};', "f.cedar")


def test_a_schema_has_the_same_limit_of_nesting() -> None:
    check_schema_limits("entity A { x: " + "Set<" * 31 + "Long" + ">" * 31 + " };", "s")
    with pytest.raises(PolicyInvalid, match=r"s:1:142: brackets nest deeper than 32"):
        check_schema_limits("entity A { x: " + "Set<" * 32 + "Long" + ">" * 32 + " };", "s")


def test_closing_brackets_in_advance_buy_a_schema_no_depth() -> None:
    with pytest.raises(PolicyInvalid, match="nest deeper"):
        check_schema_limits("}" * 50 + "{" * 33, "s")


# --- Places of errors


def cedar_error(text: str) -> str | None:
    """What Cedar says of ``text``; None when it parses."""
    try:
        cedarpy.PolicySet.from_str(text)
    except ValueError as error:
        return str(error)
    return None


def breaks(text: str) -> bool:
    """Whether no continuation of ``text`` could parse."""
    return cedar_error(text) not in {None, UNEXPECTED_END}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("permit(principal action, resource);", "action"),
        (when("1 + * 2"), "* 2"),
        (f"{PERMIT} when {{ }};", "when { }"),
        ("permit ;", ";"),
        (f"{PERMIT} when {{ 'x' }};", "'x'"),
        ("permit(principle, action, resource);", "principle"),
        (f"{PERMIT} unles {{ true }};", "unles"),
        (when("foo(1)"), "foo"),
        ('@id("x") @id("y") permit(principal, action, resource);', "id"),
        (when('"\\q" == ""'), '"\\q"'),
        (PERMIT, ""),
    ],
)
def test_an_error_is_placed_at_its_token(text: str, found: str) -> None:
    message = cedar_error(text)
    assert message is not None
    assert text[locate(text, message, breaks) :].startswith(found)
    assert (locate(text, message, breaks) == len(text)) == (found == "")

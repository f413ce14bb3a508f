"""What is cut without looking at tokens is cut as it is with them, and the bounds are never below what they count."""

from typing import cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.core import policy_sieve, policy_text
from sidecar.core.errors import PolicyInvalid
from sidecar.core.policy_sieve import Piece, cut
from sidecar.core.policy_text import CHAIN_MAX, HAS_PATH_MAX, NESTING_MAX, STATEMENT_BYTES_MAX, Statement, split

PERMIT = "permit (principal, action, resource)"
WORDS = ["permit", "if", "in", "has", "like", "is", "else", "x", "i", "f", "é", "7"]
MARKS = ["(", ")", "[", "]", "{", "}", ";", ",", ".", "&&", "&", "||", "==", "!", "<=", "<", "+", "-", "*", "/", "@"]
QUIET = [" ", "\n", "\r", "\t", "//", "// ;", "// ;\n", '// "\n', '"', '"a;"', '"\\""', '"//"', '"(\n"', "\\", "\u2028"]
LIMITS = (NESTING_MAX, CHAIN_MAX, HAS_PATH_MAX, STATEMENT_BYTES_MAX)


def told(text: str) -> tuple[Statement, ...] | str:
    """The statements of ``text``, or the refusal with its place."""
    try:
        return split(text, "f.cedar")
    except PolicyInvalid as error:
        return f"{error.line}:{error.column}: {error.message}"


@given(st.lists(st.sampled_from([*WORDS, *MARKS, *QUIET]), max_size=60).map("".join))
@example(f"{PERMIT} when {{ {'(' * 40}true{')' * 40} }};")
@example(f"{PERMIT} when {{ {'if true then 1 else ' * 40} 1 == 1 }};")
@example(f"{PERMIT} when {{ {'true && ' * (CHAIN_MAX + 1)} true }};")
@example(f"{PERMIT} when {{ principal has {'.'.join(['a'] * 40)} }};")
@example(f'{PERMIT} when {{ "{"x" * STATEMENT_BYTES_MAX}" == "" }};')
@example(f"{PERMIT};\n" * 3 + "permit (")
def test_a_text_is_cut_or_refused_as_it_is_token_by_token(text: str) -> None:
    fast = told(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policy_sieve, "cut", lambda _: None)
        assert told(text) == fast


@pytest.mark.parametrize("text", ["permit (", "a);", "(];", "(;", '"', f"{PERMIT}; x", "//\r x", "/"])
def test_what_only_tokens_can_explain_is_left_to_them(text: str) -> None:
    assert cut(text) is None


def test_each_statement_is_bounded_by_itself() -> None:
    text = (
        f'// one\n@id("a;b"){PERMIT};\n{PERMIT} when {{ [if context.a.b then 1 else 2] == [1] && principal has x.y }};'
    )
    first, second = cast("list[Piece]", cut(text))
    assert (first.begin, text[first.end - 1], text[second.begin :]) == (7, ";", text[second.begin :])
    assert (first.nesting, first.has_path) == (1, 0)
    assert (second.nesting, second.has_path) == (3, 4)
    assert second.operators >= 8


@pytest.mark.parametrize("index", range(4))
def test_a_piece_fits_up_to_each_limit_and_no_further(index: int) -> None:
    def having(amount: int) -> Piece:
        at_most = [*LIMITS[:3], 0, STATEMENT_BYTES_MAX // 4]
        nesting, operators, has_path, begin, end = [
            amount if place == (4 if index == 3 else index) else value for place, value in enumerate(at_most)
        ]
        return Piece(begin, end, nesting, operators, has_path)

    most = STATEMENT_BYTES_MAX // 4 if index == 3 else LIMITS[index]
    assert having(most).fits(*LIMITS)
    assert not having(most + 1).fits(*LIMITS)


def test_ordinary_policies_need_no_look_at_their_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_tokens(*_: object) -> object:
        raise AssertionError("tokens were looked at")

    monkeypatch.setattr(policy_text, "tokens", no_tokens)
    text = f'{PERMIT} when {{ ["CAD"].contains(context.currency) && context.amount <= 200 }};'
    assert [statement.line for statement in split(f"{text}\n// next\n{text}", "f.cedar")] == [1, 3]

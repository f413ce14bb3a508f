"""Cuts Cedar text into statements without looking at each token, with bounds that are never less than the truth.

Most policies are nowhere near a limit; for them these bounds suffice, at a tenth of what ``sidecar.core.policy_text``
takes to count exactly, and that module looks at every token wherever they do not. Invariant: what is cut here is cut as
there, and each bound is at least what would be counted there.
"""

import re
from typing import Final, NamedTuple

# The same strings and comments as the tokens of `policy_text`. Repetitions are possessive, so nothing backtracks.
_STRING: Final = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_COMMENT: Final = r"//[^\r\n]*+"
_GAP: Final = re.compile(rf"(?:\s++|{_COMMENT})*+")
_STATEMENT: Final = re.compile(rf'(?:[^;"/]++|{_STRING}|{_COMMENT}|/)*+;', re.DOTALL)
_QUIET: Final = re.compile(f"{_STRING}|{_COMMENT}", re.DOTALL)
_BRACKET: Final = re.compile(r"[()\[\]{}]")
_CLOSING: Final = {")": "(", "]": "[", "}": "{"}
_OPERATORS: Final = ("&&", "||", "+", "-", "*", "!", ".", "=", "<", ">", "]", "in", "has", "like", "is")
"""Every operator holds at least one of these; most hold one, and words that happen to hold one count as well."""


_CHARACTER_BYTES_MAX: Final = 4
"""Of one character in UTF-8."""


class Piece(NamedTuple):
    """One statement and the most that it can hold: levels of nesting, operators in one chain, steps behind ``has``."""

    begin: int
    end: int
    nesting: int
    operators: int
    has_path: int

    def fits(self, nesting: int, operators: int, has_path: int, length_bytes: int) -> bool:
        """Whether it is within these limits for certain."""
        return (
            self.nesting <= nesting
            and self.operators <= operators
            and self.has_path <= has_path
            and (self.end - self.begin) * _CHARACTER_BYTES_MAX <= length_bytes
        )


def cut(text: str) -> list[Piece] | None:
    """Return the statements of ``text`` in order, None where only a look at its tokens can tell what is wrong."""
    pieces: list[Piece] = []
    begin = _end(_GAP, text, 0)
    while begin < len(text):
        end = _end(_STATEMENT, text, begin)
        piece = None if end == begin else _measured(text, begin, end)
        if piece is None:
            return None
        pieces.append(piece)
        begin = _end(_GAP, text, end)
    return pieces


def _end(pattern: re.Pattern[str], text: str, begin: int) -> int:
    """Return where a match at ``begin`` ends, ``begin`` itself for none."""
    match = pattern.match(text, begin)
    return begin if match is None else match.end()


def _measured(text: str, begin: int, end: int) -> Piece | None:
    """Return a statement with its bounds, None where its brackets do not match."""
    bare = _QUIET.sub(" ", text[begin:end])
    open_brackets: list[str] = []
    depth = 0
    for bracket in _BRACKET.findall(bare):
        if bracket not in _CLOSING:
            open_brackets.append(bracket)
            depth = max(depth, len(open_brackets))
        elif not open_brackets or open_brackets.pop() != _CLOSING[bracket]:
            return None
    if open_brackets:
        return None
    operators = sum(map(bare.count, _OPERATORS))
    has_path = bare.count(".") + 1 if "has" in bare else 0
    return Piece(begin, end, depth + bare.count("if"), operators, has_path)

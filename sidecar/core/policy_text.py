"""Cedar text before Cedar reads it: limits that keep its parser alive, single statements, and the place of an error.

Cedar's parser recurses without a limit, so deeply nested text ends the whole process, and its errors say what is wrong
but not where. This module therefore cuts text into tokens itself (comments, strings, brackets and words are all that it
must agree on with Cedar) and keeps two invariants: no text passes ``split`` that could exhaust Cedar's stack, and every
step is linear in the text. What a policy means is Cedar's business, asked for in ``sidecar.core.policy``.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from sidecar.core import policy_sieve
from sidecar.core.errors import PolicyInvalid

NESTING_MAX: Final = 32
"""Brackets and conditionals inside each other; Cedar 4 overflows its stack somewhere between 400 and 800."""

CHAIN_MAX: Final = 400
"""Operators that one value can hang below: `a || b || …` nests too, and its JSON form is read to a depth of 1,024."""

HAS_PATH_MAX: Final = 32
"""Steps of `has a.b.c`: Cedar writes all of them out for each, at a cost that grows with the cube."""

STATEMENT_BYTES_MAX: Final = 64 * 1024
"""One policy; the longest that people write are about 4 KiB."""

TEXT_BYTES_MAX: Final = 16 * 1024 * 1024
"""One file: as much as a whole tenant may have."""

# The alternatives are tried in this order. A comment ends at a carriage return too, as in Cedar: were it to end later
# here, text behind one would be read by Cedar and not be counted. Repetitions are possessive, so nothing backtracks.
_TOKEN: Final = re.compile(
    r"""
      (?P<space>\s++|//[^\r\n]*+)
    | (?P<string>"[^"\\]*+(?:\\.[^"\\]*+)*+")
    | (?P<word>[_A-Za-z][_A-Za-z0-9]*+)
    | (?P<number>[0-9]++)
    | (?P<mark>::|==|!=|<=|>=|&&|\|\||.)
    """,
    re.VERBOSE | re.DOTALL,
)

_CLOSING: Final = {")": "(", "]": "[", "}": "{"}
_OPERATORS: Final = frozenset({"&&", "||", "+", "-", "*", "!", ".", "==", "!=", "<", "<=", ">", ">="})
_WORD_OPERATORS: Final = frozenset({"in", "has", "like", "is"})
UNEXPECTED_END: Final = "unexpected end of input"
"""What Cedar says of a text that could still go on to parse."""

_BREAKING: Final = ("unexpected token", "invalid token")
_QUOTED_IN_MESSAGE: Final = re.compile(r"`([^`]+)`")


class Token(msgspec.Struct, frozen=True, gc=False):
    """A piece of text that is neither space nor comment; ``offset`` counts characters from the start."""

    kind: str
    text: str
    offset: int

    @property
    def end(self) -> int:
        """The offset behind it."""
        return self.offset + len(self.text)


class Statement(msgspec.Struct, frozen=True):
    """One policy: its text from the first token to its ``;``, and where that begins, counted from 1."""

    text: str
    offset: int
    line: int
    column: int

    def place(self, offset: int) -> tuple[int, int]:
        """Return line and column of the character at ``offset`` of the statement's own text."""
        line, column = place(self.text, offset)
        return self.line + line - 1, column if line > 1 else self.column + column - 1


class _Depth:
    """What is open at one point of a statement: brackets, and in each the conditionals and operators so far.

    The conditionals and operators of a bracket are counted as if each stood inside the one before, which is never less
    than the truth; a comma ends them, because list elements, arguments and fields lie side by side.
    """

    def __init__(self) -> None:
        """Start outside of all brackets."""
        self._open: list[tuple[str, int, int]] = []
        self._conditionals = 0
        self._operators = 0

    @property
    def nesting(self) -> int:
        """Brackets and conditionals that enclose this point."""
        return len(self._open) + self._conditionals

    @property
    def chain(self) -> int:
        """Operators that enclose this point."""
        return self._operators

    @property
    def is_flat(self) -> bool:
        """Whether no bracket is open."""
        return not self._open

    def take(self, token: Token) -> bool:
        """Count ``token``; False when it closes what is not open."""
        text = token.text
        if token.kind == "string":
            return True
        if text in {"(", "[", "{"}:
            self._open.append((text, self._conditionals, self._operators))
        elif text in _CLOSING:
            if not self._open or self._open[-1][0] != _CLOSING[text]:
                return False
            _, self._conditionals, self._operators = self._open.pop()
            self._operators += text == "]"  # `a["b"]["c"]` hangs below, as `a.b.c` does
        elif text == ",":
            _, self._conditionals, self._operators = self._open[-1] if self._open else ("", 0, 0)
        elif text == "if":
            self._conditionals += 1
        elif text in _OPERATORS or text in _WORD_OPERATORS:
            self._operators += 1
        return True


def tokens(text: str, file: str) -> Iterator[Token]:
    """Yield the tokens of ``text`` in order; raises PolicyInvalid where a string does not end."""
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind == "space":
            continue
        if match[0] == '"':
            raise refusal("the string that begins here does not end", file, place(text, match.start()))
        yield Token(kind, match[0], match.start())


def split(text: str, file: str) -> tuple[Statement, ...]:
    """Return the statements of ``text``, each checked against the limits.

    A last one without its ``;`` is returned as it is: Cedar's own error names what is missing. Raises PolicyInvalid,
    naming the place, for a limit, a string that does not end, and brackets that do not match.
    """
    check_encoding(text, file)
    pieces = policy_sieve.cut(text)
    cursor = _Cursor(text)
    limits = NESTING_MAX, CHAIN_MAX, HAS_PATH_MAX, STATEMENT_BYTES_MAX
    if pieces is not None and all(piece.fits(*limits) for piece in pieces):
        return tuple(Statement(text[each.begin : each.end], each.begin, *cursor.move(each.begin)) for each in pieces)
    return _split_by_tokens(text, file)


def _split_by_tokens(text: str, file: str) -> tuple[Statement, ...]:
    statements: list[Statement] = []
    first: Token | None = None
    last: Token | None = None
    guard, cursor = _Guard(text, file), _Cursor(text)
    for token in tokens(text, file):
        if first is None:
            first = token
        last = token
        if guard.ends(token):
            statements.append(_statement(text, first, last, cursor.move(first.offset), file))
            first = None
    if first is not None and last is not None:
        statements.append(_statement(text, first, last, cursor.move(first.offset), file))
    return tuple(statements)


def _statement(text: str, first: Token, last: Token, at: tuple[int, int], file: str) -> Statement:
    statement = Statement(text[first.offset : last.end], first.offset, *at)
    if len(statement.text.encode()) > STATEMENT_BYTES_MAX:
        raise refusal(f"the policy is longer than {STATEMENT_BYTES_MAX} bytes", file, at)
    return statement


def check_encoding(text: str, file: str) -> None:
    """Raise PolicyInvalid when ``text`` is too long, or has no UTF-8 because a surrogate stands alone in it."""
    try:
        length = len(text.encode())
    except UnicodeEncodeError as error:
        raise refusal("a lone surrogate is no character", file, place(text, error.start)) from error
    if length > TEXT_BYTES_MAX:
        raise refusal(f"the text is longer than {TEXT_BYTES_MAX} bytes", file, (1, 1))


def check_schema_limits(text: str, file: str) -> None:
    """Raise PolicyInvalid, naming the place, when a schema's text is too long or nests too deeply for Cedar."""
    check_encoding(text, file)
    depth = 0
    for token in tokens(text, file):
        depth = max(0, depth + (token.text in {"(", "[", "{", "<"}) - (token.text in {")", "]", "}", ">"}))
        if depth > NESTING_MAX:
            raise refusal(f"brackets nest deeper than {NESTING_MAX}", file, place(text, token.offset))


class _Cursor:
    """Counts lines on the way through a text, so that naming many places costs no more than reading it once."""

    def __init__(self, text: str) -> None:
        """Start in front of the first character."""
        self._text = text
        self._offset = 0
        self._line = 1
        self._line_start = 0

    def move(self, offset: int) -> tuple[int, int]:
        """Go on to ``offset``, never back, and return its line and column."""
        self._line += self._text.count("\n", self._offset, offset)
        self._line_start = max(self._line_start, self._text.rfind("\n", self._offset, offset) + 1)
        self._offset = offset
        return self._line, offset - self._line_start + 1


class _Guard:
    """Checks the limits token by token, one statement after the other."""

    def __init__(self, text: str, file: str) -> None:
        """Keep the text for naming places in it."""
        self._text = text
        self._file = file
        self._depth = _Depth()
        self._has_path = 0

    def ends(self, token: Token) -> bool:
        """Count ``token`` and return whether it ends a statement; raises PolicyInvalid where a limit is passed."""
        if token.text == ";":
            if not self._depth.is_flat:
                raise self._refusal("unexpected token `;`, a bracket is still open", token)
            self._depth = _Depth()
            return True
        if not self._depth.take(token):
            raise self._refusal(f"unexpected token `{token.text}`, it closes no open bracket", token)
        if self._depth.nesting > NESTING_MAX:
            raise self._refusal(f"brackets and conditionals nest deeper than {NESTING_MAX}", token)
        if self._depth.chain > CHAIN_MAX:
            message = f"more than {CHAIN_MAX} operators hang on each other, a set with `contains` takes any number"
            raise self._refusal(message, token)
        self._count_has_path(token)
        return False

    def _count_has_path(self, token: Token) -> None:
        if token.text == "has":
            self._has_path = 1
        elif token.kind == "word" or token.text == ".":
            self._has_path += (token.text == ".") and self._has_path > 0
        else:
            self._has_path = 0
        if self._has_path > HAS_PATH_MAX:
            raise self._refusal(f"the path behind `has` has more than {HAS_PATH_MAX} steps", token)

    def _refusal(self, message: str, token: Token) -> PolicyInvalid:
        return refusal(message, self._file, place(self._text, token.offset))


def locate(text: str, message: str, breaks: Callable[[str], bool]) -> int:
    """Return the offset of the token in ``text`` that Cedar's ``message`` is about; text must have passed its limits.

    ``breaks`` says of a beginning of the text whether no continuation of it could parse any more: the shortest that
    breaks ends with the offending token. An error that Cedar finds only once it has read all of the text is placed at
    the first token that its message names, or at the start.
    """
    found = list(tokens(text, ""))
    low, high = 0, len(found)
    while low < high:
        middle = (low + high) // 2
        if breaks(text[: found[middle].end]):
            high = middle
        else:
            low = middle + 1
    if low < len(found) - 1 or (low < len(found) and message.startswith(_BREAKING)):
        return found[low].offset
    return len(text) if message == UNEXPECTED_END else offset_of_quoted(text, message)


def offset_of_quoted(text: str, message: str) -> int:
    """Return the offset of the first token that ``message`` quotes or names at its end, in the order of the message."""
    offsets: dict[str, int] = {}
    for token in tokens(text, ""):
        offsets.setdefault(token.text.strip('"'), token.offset)
    named = [*_QUOTED_IN_MESSAGE.findall(message), *message.rpartition(": ")[2].removeprefix("@").split(", ")]
    return next((offsets[name] for name in named if name in offsets), 0)


def place(text: str, offset: int) -> tuple[int, int]:
    """Return line and column of the character at ``offset``, both from 1; a column counts characters."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def refusal(message: str, file: str, at: tuple[int, int]) -> PolicyInvalid:
    """Return the error for a place given as line and column."""
    return PolicyInvalid(message, file=file, line=at[0], column=at[1])

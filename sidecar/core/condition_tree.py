"""The clauses of a policy as trees of ``&&`` and ``||``: what can be true or false by itself, and where it stands.

Pieces are cut as in ``sidecar.core.condition_text``, from text that has passed Cedar's parser, and further: at ``||``
too, and inside of brackets that only group. What is negated, compared or chosen by ``if`` is one piece. Invariant: a
clause is true exactly where its tree is, with the operands looked at from left to right and no further than needed.
"""

from collections.abc import Iterator
from itertools import count
from typing import Final, Literal

import msgspec

from sidecar.core.condition_text import Kind, clause_bodies
from sidecar.core.policy_text import Token, tokens

Joint = Literal["&&", "||"]

_OPENING: Final = frozenset({"(", "[", "{"})
_CLOSING: Final = frozenset({")", "]", "}"})


class Part(msgspec.Struct, frozen=True):
    """A piece of a clause, numbered through the whole policy; ``joint`` is None where it has no operands.

    ``offset`` counts characters from the start of the policy.
    """

    number: int
    text: str
    offset: int
    joint: Joint | None = None
    operands: "tuple[Part, ...]" = ()


class Clause(msgspec.Struct, frozen=True):
    """One ``when`` or ``unless``."""

    kind: Kind
    whole: Part


def clauses(text: str) -> tuple[Clause, ...]:
    """Return the clauses of a policy in the order in which Cedar looks at them."""
    numbers = count()
    return tuple(Clause(kind, _part(body, text, numbers)) for kind, body in clause_bodies(list(tokens(text, ""))))


def parts(part: Part) -> Iterator[Part]:
    """Yield a piece and all that it is made of, in the order of the text."""
    yield part
    for operand in part.operands:
        yield from parts(operand)


def _part(body: list[Token], text: str, numbers: "count[int]") -> Part:
    number, begin, end = next(numbers), body[0].offset, body[-1].end
    inner = _ungrouped(body)
    joint, pieces = _cut(inner)
    operands = () if joint is None else tuple(_part(piece, text, numbers) for piece in pieces)
    return Part(number, text[begin:end], begin, joint, operands)


def _ungrouped(body: list[Token]) -> list[Token]:
    """Return what stands inside of brackets that enclose all of ``body``."""
    while body[0].text == "(" and _closes_at(body) == len(body) - 1:
        body = body[1:-1]
    return body


def _closes_at(body: list[Token]) -> int:
    """Return the position of the bracket that closes the first one."""
    return next(at for at, (token, depth) in enumerate(_depths(body)) if depth == 1 and token.text in _CLOSING)


def _depths(body: list[Token]) -> Iterator[tuple[Token, int]]:
    """Yield each token with the number of brackets that it stands in; a bracket counts as inside of itself."""
    depth = 0
    for token in body:
        depth += token.text in _OPENING  # a text has its quotes, so it is none of these
        yield token, depth
        depth -= token.text in _CLOSING


def _cut(body: list[Token]) -> tuple[Joint | None, list[list[Token]]]:
    """Return the operands of the operator that binds most loosely, which is none where there is an ``if``."""
    outermost = {token.text for token, depth in _depths(body) if depth == 0}
    joint: Joint | None = None if "if" in outermost else "||" if "||" in outermost else "&&"
    pieces: list[list[Token]] = [[]]
    for token, depth in _depths(body):
        if depth == 0 and token.text == joint:
            pieces.append([])
        else:
            pieces[-1].append(token)
    return (joint, pieces) if len(pieces) > 1 else (None, [body])

"""The conditions of one policy as pieces of its text: what stands in ``when`` and ``unless``, and what that looks at.

The text has passed ``sidecar.core.policy_text`` and Cedar's parser, so it is cut here and not checked. Pieces are cut
at the ``&&`` of a clause that no bracket encloses, and only there: each alone means what it means in the whole.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec

from sidecar.core.literals import quote, unquote
from sidecar.core.policy_text import Token, tokens

Kind = Literal["when", "unless"]
Root = Literal["principal", "resource", "context"]

_ROOTS: Final[dict[str, Root]] = {"principal": "principal", "resource": "resource", "context": "context"}
_OPENING: Final = frozenset({"(", "[", "{"})
_CLOSING: Final = frozenset({")", "]", "}"})
_TAGS: Final = frozenset({"getTag", "hasTag"})
_PIECES_MAX: Final = 64
"""Pieces of one clause; one with more is shown whole."""


class Condition(msgspec.Struct, frozen=True):
    """A piece of a clause. A clause is true where all pieces with its number are."""

    clause: int
    kind: Kind
    text: str


class Span(msgspec.Struct, frozen=True):
    """Where a piece stands in the text of its policy: what begins at ``begin`` and ends before ``end``."""

    clause: int
    kind: Kind
    begin: int
    end: int


class Path(msgspec.Struct, frozen=True):
    """Something that a condition looks at: attributes of ``root``, one after the other, and then perhaps a tag."""

    expression: str
    root: Root
    attributes: tuple[str, ...] = ()
    tag: str | None = None


class Literals(msgspec.Struct, frozen=True):
    """What conditions name: numbers, texts, and entities by their Cedar type and id."""

    numbers: tuple[int, ...]
    texts: tuple[str, ...]
    entities: tuple[tuple[str, str], ...]


def conditions(text: str) -> tuple[Condition, ...]:
    """Return the pieces of every clause of a policy, in the order in which Cedar looks at them."""
    return tuple(Condition(each.clause, each.kind, text[each.begin : each.end]) for each in spans(text))


def spans(text: str) -> tuple[Span, ...]:
    """Return where the pieces of ``conditions`` stand, in the same order."""
    return tuple(
        Span(clause, kind, piece[0].offset, piece[-1].end)
        for clause, (kind, body) in enumerate(_clauses(list(tokens(text, ""))))
        for piece in _conjuncts(body)
    )


def _clauses(found: Sequence[Token]) -> Iterator[tuple[Kind, list[Token]]]:
    depth, kind, start = 0, "", 0
    for index, token in enumerate(found):
        if token.text in _OPENING:  # a text has its quotes, so it is none of these
            depth += 1
            if depth == 1 and found[index - 1].text in {"when", "unless"}:
                kind, start = found[index - 1].text, index + 1
        elif token.text in _CLOSING:
            depth -= 1
            if depth == 0 and token.text == "}":
                yield "when" if kind == "when" else "unless", list(found[start:index])


def _conjuncts(body: list[Token]) -> list[list[Token]]:
    depth = 0
    pieces: list[list[Token]] = [[]]
    for token in body:
        if token.text in _OPENING:
            depth += 1
        elif token.text in _CLOSING:
            depth -= 1
        elif depth == 0 and token.text in {"||", "if"}:
            return [body]  # these bind more loosely than `&&`
        if depth == 0 and token.text == "&&":
            pieces.append([])
        else:
            pieces[-1].append(token)
    return pieces if len(pieces) <= _PIECES_MAX else [body]


def paths(condition: str) -> tuple[Path, ...]:
    """Return what a condition looks at, each once, in the order of the text."""
    found = list(tokens(condition, ""))
    seen: dict[str, Path] = {}
    for index, token in enumerate(found):
        before = found[index - 1].text if index else ""
        root = _ROOTS.get(token.text) if token.kind == "word" and before not in {".", "::", "has"} else None
        if root is None or (index + 1 < len(found) and found[index + 1].text in {":", "::"}):
            continue  # an attribute, a type, or the name of a record's field
        path = _path(root, found, index + 1)
        if path is not None:
            seen.setdefault(path.expression, path)
    return tuple(seen.values())


def _path(root: Root, found: list[Token], index: int) -> Path | None:
    """Return the path that goes on at ``index``; None for the whole context, which says nothing."""
    attributes: list[str] = []
    while True:
        following = [token.text for token in found[index : index + 4]]
        match following:
            case [".", method, "(", argument, *_] if method in _TAGS and argument.startswith('"'):
                name = unquote(argument)
                return Path(f"{_written(root, attributes)}.getTag({argument})", root, tuple(attributes), name)
            case [".", _, "(", *_]:
                break
            case [".", name, *_]:
                attributes.append(name)
                index += 2
            case ["[", name, "]", *_]:
                attributes.append(unquote(name))
                index += 3
            case ["has", name, *_]:
                attributes.append(unquote(name) if name.startswith('"') else name)
                return Path(_written(root, attributes), root, tuple(attributes))
            case _:
                break
    if root == "context" and not attributes:
        return None
    return Path(_written(root, attributes), root, tuple(attributes))


def _written(root: Root, attributes: list[str]) -> str:
    steps = (f".{name}" if name.isidentifier() else f"[{quote(name)}]" for name in attributes)
    return root + "".join(steps)


def literals(text: str) -> Literals:
    """Return what a condition or a whole policy names, each once, in the order of the text."""
    numbers: dict[int, None] = {}
    texts: dict[str, None] = {}
    entities: dict[tuple[str, str], None] = {}
    found = list(tokens(text, ""))
    for index, token in enumerate(found):
        if token.kind == "number":
            numbers[int(token.text)] = None
        elif token.kind == "string" and index > 1 and found[index - 1].text == "::":
            entities[found[index - 2].text, unquote(token.text)] = None
        elif token.kind == "string":
            texts[unquote(token.text)] = None
    return Literals(tuple(numbers), tuple(texts), tuple(entities))

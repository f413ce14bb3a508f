"""The keys of one mapping of a test file, each read as what it must be; every mistake names its place.

A null is a key that was not given. Parameters of a table, ``<name>``, are put in before anything is read, so a value
that they bring is read as if it stood there itself.
"""

import re
from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Dictionary
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Final, TypeVar

from sidecar.core.errors import Conflict, NotFound, ValidationFailed
from sidecar.core.ids import check_caller_id
from sidecar.core.instants import parse_utc
from sidecar.core.money import Major
from sidecar.replica.yaml_tree import Listing, Mapping, Node, Place, Scalar

C = TypeVar("C", bound=str)

_PARAMETER: Final = re.compile(r"<([A-Za-z_][A-Za-z0-9_]*)>")


class Fields:
    """One mapping with the keys it may have."""

    def __init__(self, node: Node, what: str, known: frozenset[str]) -> None:
        """Read ``node`` as ``what``. Refuses anything but a mapping, and a key that is not ``known``."""
        if not isinstance(node, Mapping):
            node.place.refuse(f"{what} is a mapping, got {_kind(node)}")
        for key, place in node.keys.items():
            if key not in known:
                place.refuse(f"unknown key `{key}` in {what}{hint(key, known)}")
        self.place = node.place
        self._what = what
        self._entries = {k: v for k, v in node.entries.items() if not (isinstance(v, Scalar) and v.is_null)}

    def node(self, key: str) -> Node | None:
        """Return what stands under a key."""
        return self._entries.get(key)

    def place_of(self, key: str) -> Place:
        """Return where the value of a key stands, and where it should be when there is none."""
        node = self._entries.get(key)
        return self.place if node is None else node.place

    def need(self, key: str) -> Node:
        """Return what stands under a key; refuses the lack of it."""
        node = self._entries.get(key)
        if node is None:
            self.place.refuse(f"{self._what} needs `{key}`")
        return node

    def text(self, key: str) -> str | None:
        """Return a single value as it is written."""
        node = self._entries.get(key)
        return None if node is None else scalar(node, f"`{key}`").text

    def id(self, key: str) -> str | None:
        """Return an id."""
        text = self.text(key)
        with at(self.place_of(key)):
            return None if text is None else check_caller_id(text, key)

    def choice(self, key: str, known: tuple[C, ...], default: C) -> C:
        """Return one of the words that are ``known``."""
        text = self.text(key)
        if text is None:
            return default
        found = next((word for word in known if word == text), None)
        if found is None:
            self.place_of(key).refuse(f"`{key}` is one of {listed(frozenset(known))}, got `{text}`")
        return found

    def amount(self, key: str) -> Major | None:
        """Return a figure, its text kept."""
        text = self.text(key)
        try:
            return None if text is None else Major(text)
        except ValueError as error:
            self.place_of(key).refuse(f"`{key}` is {error}, got `{text}`")

    def instant(self, key: str) -> int | None:
        """Return a time in microseconds."""
        text = self.text(key)
        with at(self.place_of(key)):
            return None if text is None else parse_utc(text, key)

    def items(self, key: str) -> tuple[Node, ...]:
        """Return the items of a list, none where there is none."""
        node = self._entries.get(key)
        if node is None:
            return ()
        if not isinstance(node, Listing):
            node.place.refuse(f"`{key}` is a list, got {_kind(node)}")
        return node.items

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of single values as they are written."""
        return tuple(scalar(item, f"an item of `{key}`").text for item in self.items(key))

    def mapping(self, key: str) -> dict[str, Node]:
        """Return the entries of a mapping with keys of the user's own."""
        node = self._entries.get(key)
        if node is None:
            return {}
        if not isinstance(node, Mapping):
            node.place.refuse(f"`{key}` is a mapping, got {_kind(node)}")
        return node.entries


def scalar(node: Node, what: str) -> Scalar:
    """Return a single value; refuses a list and a mapping."""
    if not isinstance(node, Scalar):
        node.place.refuse(f"{what} is a single value, got {_kind(node)}")
    return node


@contextmanager
def at(place: Place) -> Iterator[None]:
    """Name the place of a mistake that is found by a check of the core."""
    try:
        yield
    except (ValidationFailed, NotFound, Conflict) as error:
        place.refuse(error.message)


def listed(words: Dictionary[str, object] | frozenset[str]) -> str:
    """Return words as a sentence lists them."""
    return ", ".join(f"`{word}`" for word in sorted(words))


def hint(word: str, known: Iterable[str]) -> str:
    """Return what ends the sentence about an unknown word: the known one that is nearest, or all of them."""
    words = frozenset(known)
    near = get_close_matches(word, sorted(words), 1)
    return f", did you mean `{near[0]}`" if near else f", known are {listed(words)}"


def filled(node: Node, row: Dictionary[str, Node]) -> Node:
    """Return ``node`` with the parameters of a table put in; the same object where it has none.

    A value that is nothing but a parameter becomes what the row has there, be it a list. Refuses a name that no
    parameter has.
    """
    match node:
        case Scalar():
            return _filled_scalar(node, row)
        case Listing():
            items = tuple(filled(item, row) for item in node.items)
            same = all(one is other for one, other in zip(items, node.items, strict=True))
            return node if same else Listing(items, node.place)
        case _:
            entries = {key: filled(item, row) for key, item in node.entries.items()}
            same = all(entries[key] is item for key, item in node.entries.items())
            return node if same else Mapping(entries, node.keys, node.place)


def _filled_scalar(node: Scalar, row: Dictionary[str, Node]) -> Node:
    if "<" not in node.text:
        return node
    whole = _PARAMETER.fullmatch(node.text)
    if whole is not None:
        return _parameter(whole[1], node, row)

    def put(match: re.Match[str]) -> str:
        return scalar(_parameter(match[1], node, row), f"the parameter `{match[1]}` inside of a text").text

    text = _PARAMETER.sub(put, node.text)
    return node if text == node.text else Scalar(text, node.quoted, node.place)


def _parameter(name: str, node: Scalar, row: Dictionary[str, Node]) -> Node:
    if name not in row:
        node.place.refuse(f"unknown parameter `<{name}>`{hint(name, row)}")
    return row[name]


def _kind(node: Node) -> str:
    match node:
        case Scalar():
            return f"`{node.text[:40]}`"
        case Listing():
            return "a list"
        case _:
            return "a mapping"

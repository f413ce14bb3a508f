"""YAML as a tree in which every piece knows its place, for files that people write and get wrong.

A scalar is kept as its text; what it means follows YAML 1.2's core schema and only where it is asked for, so ``no`` is
a text, ``12:30`` is no number, and ``47.23`` is never a float. Invariants: what is read is one document of mappings,
lists and scalars; keys are texts, each once; nothing stands for anything elsewhere (anchors and aliases) or for an
object of Python (tags). Those, and what is deeper or longer than the limits here, are refused with their place.
Source: https://yaml.org/spec/1.2.2/#103-core-schema
"""

import re
from collections.abc import Iterator
from typing import Final, NoReturn, TypeAlias

import msgspec
import yaml

from sidecar.core.errors import ConfigurationInvalid
from sidecar.core.money import NumberText

TEXT_BYTES_MAX: Final = 4 * 1024 * 1024
"""One file; ten thousand rows of a table are about 1 MiB."""

DEPTH_MAX: Final = 32
"""Lists and mappings inside each other: as deep as policies, and far below what the parser can be slowed down with."""

INTEGER_DIGITS_MAX: Final = 32
"""Digits of a number that is read as an integer: no value of a policy has more than 19."""

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TRUTH: Final = {word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")}
_INTEGER: Final = re.compile(rf"[-+]?[0-9]{{1,{INTEGER_DIGITS_MAX}}}|0o[0-7]{{1,22}}|0x[0-9a-fA-F]{{1,16}}")
_FRACTION: Final = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)


class Place(msgspec.Struct, frozen=True):
    """Where something stands, counted from 1; ``file`` as the user knows it."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        """Return it as compilers write it."""
        return f"{self.file}:{self.line}:{self.column}"

    def refuse(self, message: str) -> NoReturn:
        """Raise ConfigurationInvalid, naming this place."""
        raise ConfigurationInvalid(f"{self}: {message}")


class Scalar(msgspec.Struct, frozen=True):
    """A single value as it is written; a quoted one is always a text."""

    text: str
    quoted: bool
    place: Place

    @property
    def is_null(self) -> bool:
        """Whether it says that there is nothing."""
        return not self.quoted and self.text in _NULL

    def value(self) -> bool | int | str | NumberText | None:
        """Return what the text means; a number that is no plain integer keeps its text."""
        if self.quoted:
            return self.text
        if self.text in _NULL:
            return None
        if self.text in _TRUTH:
            return _TRUTH[self.text]
        if _INTEGER.fullmatch(self.text):
            base = {"0o": 8, "0x": 16}.get(self.text[:2], 10)
            return int(self.text, base)
        return NumberText(self.text) if _FRACTION.fullmatch(self.text) else self.text


class Listing(msgspec.Struct, frozen=True):
    """A list."""

    items: "tuple[Node, ...]"
    place: Place


class Mapping(msgspec.Struct, frozen=True):
    """Values by their keys in the order of the file; ``keys`` are the places of those."""

    entries: "dict[str, Node]"
    keys: dict[str, Place]
    place: Place


Node: TypeAlias = Scalar | Listing | Mapping


def read_tree(text: str, file: str) -> Node:
    """Return the one document in ``text``. Raises ConfigurationInvalid naming file, line and column."""
    if len(text.encode()) > TEXT_BYTES_MAX:
        Place(file, 1, 1).refuse(f"the file is longer than {TEXT_BYTES_MAX >> 20} MiB")
    try:
        return _Reader(text, file).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, 1, 1) if mark is None else Place(file, mark.line + 1, mark.column + 1)
        context = f" {error.context}" if error.context else ""
        place.refuse(f"no YAML{context}: {error.problem}")
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = Place(file, before.count("\n") + 1, error.position - before.rfind("\n"))
        place.refuse(f"no YAML: the character `#x{error.character:04x}` is not allowed")


class _Reader:
    """Builds the tree from the events of the parser, which are read no further than the first mistake."""

    def __init__(self, text: str, file: str) -> None:
        self._file = file
        self._depth = 0
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)

    def document(self) -> Node:
        event = next(self._events)
        while isinstance(event, yaml.StreamStartEvent):
            event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            self._place(event).refuse("the file is empty")
        root = self._node(next(self._events))
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._place(event).refuse("a second document begins here, expected one a file")
        return root

    def _node(self, event: yaml.Event) -> Node:
        place = self._place(event)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            place.refuse("anchors and aliases are not read here, expected the value itself")
        tag = getattr(event, "tag", None)
        if tag is not None:
            place.refuse(f"the tag `{tag}` is not read here, expected a plain value")
        if isinstance(event, yaml.ScalarEvent):
            return Scalar(event.value, not event.implicit[0], place)
        self._depth += 1
        if self._depth > DEPTH_MAX:
            place.refuse(f"lists and mappings nest deeper than {DEPTH_MAX}")
        node = self._listing(place) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(place)
        self._depth -= 1
        return node

    def _listing(self, place: Place) -> Listing:
        items = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event))
        return Listing(tuple(items), place)

    def _mapping(self, place: Place) -> Mapping:
        entries: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event)
            if not isinstance(key, Scalar):
                key.place.refuse("a key is a text, got a list or a mapping")
            if key.text in keys:
                key.place.refuse(f"the key `{key.text}` is there twice, first in line {keys[key.text].line}")
            keys[key.text] = key.place
            entries[key.text] = self._node(next(self._events))
        return Mapping(entries, keys, place)

    def _place(self, event: yaml.Event) -> Place:
        mark = event.start_mark
        return Place(self._file, 1, 1) if mark is None else Place(self._file, mark.line + 1, mark.column + 1)


def laid_over(below: Node | None, above: Node | None) -> Node | None:
    """Return ``above`` with what it leaves open taken from ``below``.

    Mappings are joined key by key at any depth, lists of things that have an ``id`` thing by thing; a null takes away
    what is below, and everything else replaces it.
    """
    if above is None or below is None:
        return above if below is None else below
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        entries: dict[str, Node] = dict(below.entries)
        for key, node in above.entries.items():
            entries[key] = laid_over(entries.get(key), node) or node
        return Mapping(entries, below.keys | above.keys, above.place)
    if isinstance(below, Listing) and isinstance(above, Listing):
        named = {_id(item): item for item in below.items}
        if None not in named and all(_id(item) is not None for item in above.items):
            for item in above.items:
                named[_id(item)] = laid_over(named.get(_id(item)), item) or item
            return Listing(tuple(named.values()), above.place)
    return above


def _id(node: Node) -> str | None:
    found = node.entries.get("id") if isinstance(node, Mapping) else None
    return found.text if isinstance(found, Scalar) else None


def plain(node: Node, texts: frozenset[str] = frozenset()) -> object:
    """Return the tree as plain values; what stands under a key of ``texts`` is taken as texts, such as ``7995``."""
    return _plain(node, texts, is_text=False)


def _plain(node: Node, texts: frozenset[str], *, is_text: bool) -> object:
    match node:
        case Scalar():
            return node.text if is_text and not node.is_null else node.value()
        case Listing():
            return [_plain(item, texts, is_text=is_text) for item in node.items]
        case Mapping():
            return {key: _plain(item, texts, is_text=is_text or key in texts) for key, item in node.entries.items()}

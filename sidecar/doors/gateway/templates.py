"""Texts of a mapping with places for what a request says.

A place is what the path captured (``{tool}``), ``{method}``, ``{host}``, ``{path}`` or ``{header:x-name}``.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

METHOD: Final = "method"
HOST: Final = "host"
PATH: Final = "path"
OF_REQUEST: Final = frozenset({METHOD, HOST, PATH})
"""Places that every request fills."""

HEADER: Final = "header:"

_PLACE: Final = re.compile(r"\{([^{}]*)\}")
is_header: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,127}").fullmatch


class Template(msgspec.Struct, frozen=True):
    """A text in pieces, at even positions its own ones and at odd positions the names of places."""

    pieces: tuple[str, ...]

    @property
    def places(self) -> frozenset[str]:
        """The names of its places."""
        return frozenset(self.pieces[1::2])

    @property
    def headers(self) -> frozenset[str]:
        """The names of the headers that it shows."""
        return frozenset(place.removeprefix(HEADER) for place in self.places if place.startswith(HEADER))

    def fill(self, values: Mapping[str, str]) -> str | None:
        """Return the text with its places filled, None where one of them has no value."""
        if len(self.pieces) == 1:
            return self.pieces[0]
        found = [values.get(piece) if index % 2 else piece for index, piece in enumerate(self.pieces)]
        return None if None in found else "".join([each for each in found if each is not None])


def parse(text: str, captures: frozenset[str]) -> Template:
    """Return the template that ``text`` writes. Raises ValueError, with a sentence, for a place that nothing fills."""
    pieces = tuple(_PLACE.split(text))
    if any("{" in piece or "}" in piece for piece in pieces[::2]):
        raise ValueError("has a brace that belongs to no place")
    for place in pieces[1::2]:
        if place.startswith(HEADER):
            if is_header(place.removeprefix(HEADER)) is None:
                raise ValueError(f"`{{{place[:64]}}}` names no header, expected one in lower case")
        elif place not in OF_REQUEST and place not in captures:
            known = ", ".join(f"{{{name}}}" for name in sorted(OF_REQUEST | captures))
            raise ValueError(f"nothing fills `{{{place[:64]}}}`, expected {known} or {{header:x-name}}")
    return Template(pieces)

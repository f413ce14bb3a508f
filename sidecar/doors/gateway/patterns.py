"""Patterns of paths and hosts in a mapping: ``/v1/tools/{tool}``, ``/files/{name*}``, ``*.example.com``."""

import re
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from sidecar.core.errors import ValidationFailed
from sidecar.doors.gateway.paths import host_of, segments_of
from sidecar.doors.gateway.templates import OF_REQUEST

T = TypeVar("T")

_CAPTURE: Final = re.compile(r"\{([a-z][a-z0-9_]{0,63})(\*?)\}")
_ANY_LABEL: Final = "*."


class PathPattern(msgspec.Struct, frozen=True):
    """A path in segments: texts as they must be, and at the places in ``captures`` any text.

    ``tail`` names what takes all segments from there on, one or more of them; None without.
    """

    segments: tuple[str | None, ...]
    captures: tuple[str, ...]
    tail: str | None = None

    @property
    def names(self) -> frozenset[str]:
        """What it captures."""
        return frozenset(self.captures if self.tail is None else (*self.captures, self.tail))

    def match(self, path: tuple[str, ...]) -> dict[str, str] | None:
        """Return what is captured of the segments of a path, None where it is another path.

        An empty segment, which is what a trailing slash leaves, is only taken by a slash at the end of the pattern.
        """
        count = len(self.segments)
        if len(path) <= count if self.tail is not None else len(path) != count:
            return None
        found: list[str] = []
        for wanted, segment in zip(self.segments, path, strict=False):
            if wanted is None and segment:
                found.append(segment)
            elif wanted != segment:
                return None
        values = dict(zip(self.captures, found, strict=True))
        if self.tail is not None:
            if not path[-1]:
                return None
            values[self.tail] = "/".join(path[count:])
        return values


class HostPattern(msgspec.Struct, frozen=True):
    """A host, or with ``is_suffix`` every host below it."""

    text: str
    is_suffix: bool

    def match(self, host: str) -> bool:
        """Whether ``host``, as ``host_of`` returns it, is meant."""
        return host.endswith(self.text) if self.is_suffix else host == self.text


def path_pattern(text: str) -> PathPattern:
    """Return the pattern that ``text`` writes. Raises ValueError with a sentence for one that could match no path."""
    if not text.startswith("/"):
        raise ValueError("must begin with `/`")
    written = text[1:].split("/")
    captures: list[str] = []
    segments: list[str | None] = []
    tail = None
    for index, each in enumerate(written):
        capture = _CAPTURE.fullmatch(each)
        if capture is None:
            segments.append(_literal(each))
            continue
        name, is_tail = capture.groups()
        if name in OF_REQUEST or name in captures:
            raise ValueError(f"`{{{name}}}` is a name in use")
        if is_tail:
            if index + 1 < len(written):
                raise ValueError(f"`{{{name}*}}` takes the rest of a path and must be its end")
            tail = name
        else:
            captures.append(name)
            segments.append(None)
    if "" in segments[:-1] or (tail is not None and "" in segments):
        raise ValueError("has an empty segment")
    return PathPattern(tuple(segments), tuple(captures), tail)


def host_pattern(text: str) -> HostPattern:
    """Return the pattern that ``text`` writes: a host without a port, or ``*.`` before one. Raises ValueError."""
    is_suffix = text.startswith(_ANY_LABEL)
    host = text.removeprefix(_ANY_LABEL)
    if _read(host_of, host) != host:
        raise ValueError("is no host in lower case without a port")
    return HostPattern(f".{host}" if is_suffix else host, is_suffix)


def _literal(text: str) -> str:
    """Return a segment of a pattern, written as it is after decoding. Raises ValueError where no path can have it."""
    if "{" in text or "}" in text:
        raise ValueError("a place such as `{tool}` takes a whole segment, in lower case")
    if text and _read(segments_of, "/" + "".join(f"%{byte:02X}" for byte in text.encode())) != (text,):
        raise ValueError("has a segment that no path can have")
    return text


def _read(reader: Callable[[str], T], text: str) -> T | None:
    try:
        return reader(text)
    except ValidationFailed:
        return None

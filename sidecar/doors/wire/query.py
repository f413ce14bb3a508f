"""Query fields of lists: limits, cursors, times and numbers, each checked."""

import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

from sidecar.core.errors import ValidationFailed
from sidecar.core.instants import parse_utc
from sidecar.core.limits import LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX
from sidecar.service.paging import PageRequest

T = TypeVar("T", bound=str)

PAGE: Final = frozenset({"limit", "cursor"})
"""The fields that every list takes."""

_PLACE_BYTES: Final = 16
_INTEGER_DIGITS_MAX: Final = 15
"""Below 2^53, which every JSON reader takes exactly."""


def list_name(name: str, query: Mapping[str, str]) -> str:
    """Return the name of a list with what it is filtered by, for ``page_request`` and ``cursor_at``.

    A cursor asks for the rest of one list; under another filter it would skip what it never showed.
    """
    return "\n".join((name, *(f"{field}={value}" for field, value in sorted(query.items()) if field not in PAGE)))


def page_request(query: Mapping[str, str], name: str) -> PageRequest:
    """Return which page is asked for. Raises ValidationFailed for a bad limit or a cursor that is not this list's."""
    limit = integer(query, "limit", default=LIST_LIMIT_DEFAULT)
    if not 1 <= limit <= LIST_LIMIT_MAX:
        raise ValidationFailed(f"a page has 1 to {LIST_LIMIT_MAX} items", field="limit")
    cursor = query.get("cursor")
    return PageRequest(0 if cursor is None else _place(cursor, name), limit)


def cursor_at(place: int | None, name: str) -> str | None:
    """Return the text that asks for the page after ``place``; None for the end of a list."""
    if place is None:
        return None
    packed = place.to_bytes(_PLACE_BYTES)
    return urlsafe_b64encode(packed + _check(packed, name)).rstrip(b"=").decode()


def _place(cursor: str, name: str) -> int:
    try:
        packed = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except ValueError:
        packed = b""
    place = packed[:_PLACE_BYTES]
    if packed[_PLACE_BYTES:] != _check(place, name) or cursor_at(int.from_bytes(place), name) != cursor:
        raise ValidationFailed("the cursor is not one of this list's", field="cursor")
    return int.from_bytes(place)


def _check(packed: bytes, name: str) -> bytes:
    """Return a check that catches a mistyped cursor and one of another list.

    A cursor opens nothing, so it is no secret.
    """
    return zlib.crc32(packed + name.encode()).to_bytes(4)


def integer(query: Mapping[str, str], name: str, *, default: int) -> int:
    """Return a query field as a whole number."""
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= _INTEGER_DIGITS_MAX):
        raise ValidationFailed(f"`{name}` is a whole number", field=name)
    return int(text)


def one_of(query: Mapping[str, str], name: str, values: Sequence[T]) -> T | None:
    """Return a query field as one of ``values``, None where it is left out. Raises ValidationFailed listing them."""
    text = query.get(name)
    if text is None:
        return None
    for value in values:
        if value == text:
            return value
    raise ValidationFailed(f"`{name}` is {' or '.join(f'`{value}`' for value in values)}", field=name)


def instant(query: Mapping[str, str], name: str) -> int | None:
    """Return a query field as a time in microseconds, None where it is left out."""
    text = query.get(name)
    return None if text is None else parse_utc(text, name)

"""Where the calls of the tLedger dialect are, each with and without a slash at its end, and how its lists are paged."""

from collections.abc import Mapping
from typing import Final

from sidecar.core.errors import ValidationFailed, inside
from sidecar.doors.dialects.tledger_manner import TLEDGER
from sidecar.doors.wire.endpoint import Call, Function
from sidecar.doors.wire.manner import Manner
from sidecar.doors.wire.query import integer, one_of

PREFIX: Final = "/tledger/api/v1"

PAGE: Final = frozenset({"page_number", "page_size"})
"""The fields that every list takes."""

PAGE_SIZE_DEFAULT: Final = 10
PAGE_SIZE_MAX: Final = 100


def call(
    method: str,
    path: str,
    run: Function,
    *aliases: str,
    request: type | None = None,
    query: frozenset[str] = frozenset(),
    manner: Manner = TLEDGER,
) -> Call:
    """Return a call of this dialect; one with a body takes an ``Idempotency-Key``."""
    bare = [f"{PREFIX}{each}" for each in (path, *aliases)]
    return Call(
        method=method,
        path=bare[0],
        run=run,
        aliases=(*bare[1:], *(f"{each}/" for each in bare)),
        request=request,
        query=query,
        is_idempotent=request is not None,
        is_documented=False,
        manner=manner,
    )


def page(query: Mapping[str, str]) -> tuple[int, int]:
    """Return the number and the size of the page that is asked for. Raises ValidationFailed."""
    with inside("query"):
        number = integer(query, "page_number", default=1)
        size = integer(query, "page_size", default=PAGE_SIZE_DEFAULT)
        if number < 1:
            raise ValidationFailed("pages are counted from 1", field="page_number")
        if not 1 <= size <= PAGE_SIZE_MAX:
            raise ValidationFailed(f"a page has 1 to {PAGE_SIZE_MAX} items", field="page_size")
    return number, size


def is_newest_first(query: Mapping[str, str]) -> bool:
    """Return in which order a list is asked for: the newest first, unless said. Raises ValidationFailed."""
    with inside("query"):
        return one_of(query, "order", ("desc", "asc")) != "asc"

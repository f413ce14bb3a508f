"""Pages of lists: each starts after a place and ends at a limit, so it costs what it shows.

What an index finds (an owner, an external id, a time) is not searched for. Any other filter looks at ``SCANNED_MAX``
values at most and leaves the rest to the next page, which a client asks for as long as there is a ``next_cursor``.
"""

from collections.abc import Callable, Iterable
from typing import Final, Generic, NamedTuple, TypeVar

from sidecar.core.limits import LIST_LIMIT_DEFAULT
from sidecar.service.store import Listed

T = TypeVar("T")

SCANNED_MAX: Final = 2_000
"""Stored values that one page looks at for a filter, some 20 ms; a page may be short and still have a next one."""


class PageRequest(NamedTuple):
    """Where a page starts and how long it may be."""

    after: int = 0
    limit: int = LIST_LIMIT_DEFAULT


class Page(NamedTuple, Generic[T]):
    """Some values in order; ``next_after`` is where the next page starts, None at the end."""

    values: tuple[T, ...]
    next_after: int | None


def page_of(listed: Iterable[Listed[T]], request: PageRequest, wanted: Callable[[T], bool] = lambda _: True) -> Page[T]:
    """Return the first page of ``listed`` that fit ``wanted``."""
    values: list[T] = []
    place = request.after
    for scanned, item in enumerate(listed):
        if len(values) == request.limit or scanned == SCANNED_MAX:
            return Page(tuple(values), place)
        place = item.place
        if wanted(item.value):
            values.append(item.value)
    return Page(tuple(values), None)

"""Pages of lists: each starts after a place and ends at a limit, so it costs what it shows.

What an index finds (an owner, an external id, a time) is not searched for. Any other filter looks at ``SCANNED_MAX``
values at most and leaves the rest to the next page, which a client asks for as long as there is a ``next_cursor``.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Generic, NamedTuple, TypeVar

from sidecar.core.errors import ValidationFailed
from sidecar.core.limits import LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX
from sidecar.service.store import Listed

T = TypeVar("T")

SCANNED_MAX: Final = 2_000
"""Stored values that one page looks at for a filter, some 20 ms; a page may be short and still have a next one."""


NUMBERED_MAX: Final = 10_000
"""Values that can be reached by the number of a page: to find one, all in front of it are read."""


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


async def numbered(listed: Callable[[PageRequest], Page[T]], number: int, size: int) -> tuple[tuple[T, ...], bool]:
    """Return the values on a page that is asked for by number, counted from 1, and whether any come after it.

    ``listed`` gives a list page by page; all in front of the page is read, others having their turns in between. Raises
    ValidationFailed, naming ``page_number``, for a page that ends after ``NUMBERED_MAX`` values.
    """
    skipped = (number - 1) * size
    if skipped + size > NUMBERED_MAX:
        message = f"pages are counted over the first {NUMBERED_MAX} values, narrow the list down"
        raise ValidationFailed(message, field="page_number")
    found: list[T] = []
    after: int | None = 0
    while after is not None and len(found) <= skipped + size:
        page = listed(PageRequest(after, LIST_LIMIT_MAX))
        found += page.values
        after = page.next_after
        await asyncio.sleep(0)
    return tuple(found[skipped : skipped + size]), len(found) > skipped + size

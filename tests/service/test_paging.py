"""Pages: put together they are the list, whatever their length and whatever is filtered out."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import ValidationFailed
from sidecar.service import paging
from sidecar.service.paging import NUMBERED_MAX, Page, PageRequest, numbered, page_of
from sidecar.service.store import Listed


def pages(values: list[int], limit: int, wanted: Callable[[int], bool]) -> list[tuple[int, ...]]:
    """Every page of a list whose places are one above the values."""
    found, after = [], 0
    for _ in range(len(values) + 2):
        listed = (Listed(value + 1, value) for value in values if value + 1 > after)
        page = page_of(listed, PageRequest(after, limit), wanted)
        found.append(page.values)
        if page.next_after is None:
            return found
        assert page.next_after > after
        after = page.next_after
    raise AssertionError("the pages do not end")


@given(st.sets(st.integers(0, 100)), st.integers(1, 10), st.integers(1, 5))
def test_the_pages_of_a_list_are_the_list(values: set[int], limit: int, step: int) -> None:
    found = pages(sorted(values), limit, lambda value: value % step == 0)
    assert [value for page in found for value in page] == [value for value in sorted(values) if value % step == 0]
    assert all(len(page) <= limit for page in found)


def test_a_page_that_ends_with_the_list_has_no_next_one() -> None:
    assert page_of([Listed(1, "a"), Listed(2, "b")], PageRequest(0, 2)).next_after is None
    assert page_of([Listed(1, "a"), Listed(2, "b"), Listed(3, "c")], PageRequest(0, 2)).next_after == 2
    assert page_of([], PageRequest(7, 2)) == ((), None)


def test_a_filter_looks_at_so_many_values_and_the_next_page_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page costs what it may look at, never the whole list: it may be empty and still have a next one."""
    monkeypatch.setattr(paging, "SCANNED_MAX", 3)
    found = pages([*range(10)], 50, lambda value: value == 8)
    assert found == [(), (), (8,), ()]


def listed_up_to(count: int) -> Callable[[PageRequest], Page[int]]:
    """A list of so many numbers, page by page."""
    return lambda request: page_of((Listed(each + 1, each) for each in range(request.after, count)), request)


@given(st.integers(0, 500), st.integers(1, 9), st.integers(1, 100))
def test_a_page_that_is_asked_for_by_number_is_that_stretch_of_the_list(count: int, number: int, size: int) -> None:
    values, more = asyncio.run(numbered(listed_up_to(count), number, size))
    first = (number - 1) * size
    assert values == tuple(range(count))[first : first + size]
    assert more == (first + size < count)


def test_pages_are_counted_over_so_many_values_only() -> None:
    """To find a page by its number, all in front of it are read."""
    with pytest.raises(ValidationFailed) as refused:
        asyncio.run(numbered(listed_up_to(1), NUMBERED_MAX // 100 + 1, 100))
    assert refused.value.field == "page_number"

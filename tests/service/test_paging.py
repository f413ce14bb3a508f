"""Pages: put together they are the list, whatever their length and whatever is filtered out."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.service import paging
from sidecar.service.paging import PageRequest, page_of
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

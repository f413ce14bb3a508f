"""A page of a list as its answer."""

from collections.abc import Callable
from typing import TypeVar

from sidecar.doors.wire.endpoint import json_answer
from sidecar.doors.wire.http import Answer
from sidecar.doors.wire.query import cursor_at
from sidecar.service.paging import Page

T = TypeVar("T")


def page_answer(page: Page[T], shown: Callable[[T], object], name: str) -> Answer:
    """Return ``page`` of the list ``name`` with where the next one starts."""
    data = [shown(value) for value in page.values]
    return json_answer({"data": data, "next_cursor": cursor_at(page.next_after, name)})

"""One application and two tenants for all tests of a module."""

from collections.abc import Iterator

import pytest

from tests.doors.door import Door, House, build


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """An application."""
    with Door(tmp_path_factory.mktemp("door")) as opened:
        yield opened


@pytest.fixture(scope="module")
def house(door: Door) -> House:
    """A tenant of that application."""
    return build(door)


@pytest.fixture(scope="module")
def neighbour(door: Door) -> House:
    """Another tenant of it."""
    return build(door, "Other Co")

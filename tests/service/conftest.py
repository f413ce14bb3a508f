"""A fresh world per test, checked as a whole at its end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.builders import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world with the shipped policy files; whatever the test did, I1 to I4 hold afterwards."""
    with World(tmp_path) as made:
        yield made
        assert made.faults() == []

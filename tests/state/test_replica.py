"""What a follower keeps beside its records, as far as it is notes: each is there again as it was put."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.service.feed_store import Link
from sidecar.state.environment import Environment
from tests.state.builders import reading, store_in, writing


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    """A store with nothing in it."""
    with store_in(tmp_path) as opened:
        yield opened


def test_how_things_stand_is_kept(environment: Environment) -> None:
    with reading(environment) as txn:
        assert txn.replica.link() is None
    for link in (Link(is_connected=False, error="gone", head=7), Link(is_connected=True, head=8)):
        with writing(environment) as txn:
            txn.replica.keep_link(link)
        with reading(environment) as txn:
            assert txn.replica.link() == link

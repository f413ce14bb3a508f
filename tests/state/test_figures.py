"""What the store says of itself, without looking at what it holds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.core.snapshot import PolicyFiles
from sidecar.state.codec import U64
from sidecar.state.environment import Environment, MapResized
from sidecar.state.figures import Figures, measure
from tests.state.builders import MAP_SIZE, a_tenant, store_in, writing


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    """A store of its own."""
    with store_in(tmp_path) as opened:
        yield opened


def look(environment: Environment) -> Figures:
    """Measure a store that can be read."""
    figures = measure(environment)
    assert figures is not None
    return figures


def test_an_empty_store_has_figures(environment: Environment) -> None:
    figures = look(environment)
    assert figures.map_bytes == MAP_SIZE
    assert 0 < figures.used_bytes <= environment.data_file().stat().st_size
    assert figures.free_disk_bytes > 0
    assert figures.entries["tenants"] == 0
    assert (figures.next_expiry_us, figures.policies, figures.policies_since_us) == (None, None, None)


def test_rows_and_bytes_grow_with_what_is_written(environment: Environment) -> None:
    before = look(environment)
    with writing(environment) as txn:
        for number in range(1, 501):
            txn.tenants.add(a_tenant(number))
    after = look(environment)
    assert after.entries["tenants"] == 500
    assert after.used_bytes > before.used_bytes


def test_open_readers_are_counted(environment: Environment) -> None:
    assert look(environment).readers == 0
    with environment.read(), environment.read():
        assert environment.size().readers == 2


def test_the_earliest_end_of_a_hold_is_found(environment: Environment) -> None:
    parent = environment.begin_write()
    for due in (70_000, 5_000, 900_000):
        parent.put(U64.pack(due) + bytes(20), b"", db=environment.tables["expiry"])
    parent.commit()
    figures = look(environment)
    assert figures.next_expiry_us == 5_000
    assert figures.entries["expiry"] == 3


def test_the_policy_files_that_hold_are_named_with_their_time(environment: Environment) -> None:
    files = PolicyFiles(schemas=(), shared=(), by_tenant={})
    with writing(environment) as txn:
        txn.keep_policy_files(files)
        txn.keep_policy_files_since(77)
    figures = look(environment)
    assert figures.policies == files.digest()
    assert figures.policies_since_us == 77


def test_a_store_that_cannot_be_read_has_no_figures(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise MapResized("no")

    monkeypatch.setattr(environment, "size", broken)
    assert measure(environment) is None

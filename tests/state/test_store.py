"""The store of one process: what a broken one does to those who read it, and what keeps it in shape."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import pytest

from sidecar.core.errors import NotFound, StoreUnusable, Unavailable
from sidecar.core.snapshot import PolicyFiles
from sidecar.service.store import Revisions
from sidecar.state.headroom import Headroom
from sidecar.state.store import LmdbStore
from sidecar.state.tenants import DEPLOYMENT
from sidecar.state.transaction import Transaction
from tests.state.builders import a_tenant, open_store, reading, store_in, writing


class Shop:
    """A store and what it was told of."""

    def __init__(self, folder: Path, free_bytes_min: int = 0) -> None:
        """Open it."""
        self.environment = open_store(folder)
        self.headroom = Headroom(self.environment.data_file(), free_bytes_min)
        self.broken: list[StoreUnusable] = []
        self.store = LmdbStore(self.environment, self.headroom, shared=False, fail=self.broken.append)


def add(number: int) -> Callable[[Transaction], None]:
    """Work that stores a tenant."""

    def work(txn: Transaction) -> None:
        txn.tenants.add(a_tenant(number))

    return work


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A store of its own."""
    made = Shop(tmp_path)
    yield made
    made.store.close()


def test_what_was_written_is_read(shop: Shop) -> None:
    asyncio.run(shop.store.write(lambda txn: txn.tenants.add(a_tenant())))
    with shop.store.read() as txn:
        assert txn.tenants.find("t_1") == a_tenant()


@pytest.mark.parametrize("error", [lmdb.CorruptedError("bad page"), lmdb.PageNotFoundError("no page")])
def test_a_reader_that_finds_the_store_damaged_tells_the_process(shop: Shop, error: lmdb.Error) -> None:
    """Rule 19: reads end a broken process as writes do."""
    with pytest.raises(StoreUnusable, match="must not be used any more"), shop.store.read():
        raise error
    assert [type(told) for told in shop.broken] == [StoreUnusable]


def test_a_store_that_cannot_be_read_at_all_tells_the_process(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise lmdb.PanicError("panic")

    monkeypatch.setattr(shop.environment, "read", broken)
    with pytest.raises(StoreUnusable, match="must not be used any more"), shop.store.read():
        pytest.fail("nothing can be read")
    assert [type(told) for told in shop.broken] == [StoreUnusable]


def test_a_reader_that_finds_no_slot_is_told_to_come_again(shop: Shop) -> None:
    with pytest.raises(Unavailable), shop.store.read():
        raise lmdb.ReadersFullError("all taken")
    assert shop.broken == []


def test_an_error_of_a_reader_s_own_passes_through(shop: Shop) -> None:
    with pytest.raises(ZeroDivisionError), shop.store.read():
        raise ZeroDivisionError
    assert shop.broken == []


def test_room_is_asked_for_where_new_permits_are_given(tmp_path: Path) -> None:
    shop = Shop(tmp_path, free_bytes_min=1 << 60)
    with pytest.raises(Unavailable, match="MiB are free on the disk of the store"):
        shop.store.require_room()
    shop.store.close()


def test_tending_reserves_blocks_and_frees_the_slots_of_the_dead(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(shop.headroom, "reserve", lambda: done.append("reserve"))
    monkeypatch.setattr(shop.environment, "reap_readers", lambda: done.append("reap"))
    shop.store.tend()
    assert done == ["reserve", "reap"]


def test_a_closed_store_can_be_opened_again(tmp_path: Path) -> None:
    for number in (1, 2):
        shop = Shop(tmp_path)
        asyncio.run(shop.store.write(add(number)))
        shop.store.close()
    with store_in(tmp_path) as environment, reading(environment) as txn:
        assert [tenant.number for tenant in txn.tenants.after(0)] == [1, 2]


def test_a_write_that_raises_leaves_nothing(shop: Shop) -> None:
    def work(txn: Transaction) -> None:
        txn.tenants.add(a_tenant())
        raise NotFound("no such thing")

    with pytest.raises(NotFound):
        asyncio.run(shop.store.write(work))
    with shop.store.read() as txn:
        assert txn.tenants.find("t_1") is None
    assert shop.broken == []


@pytest.mark.parametrize("error", [lmdb.Error("?"), NotFound("no such thing")])
def test_a_read_ends_whatever_happens_in_it(shop: Shop, error: Exception) -> None:
    """An old reader would keep pages from being used again."""
    with pytest.raises((Unavailable, NotFound)), shop.store.read() as txn:
        raise error
    with pytest.raises(lmdb.Error):
        txn.tenants.find("t_1")


def test_without_room_for_permits_holds_can_still_end(tmp_path: Path) -> None:
    """Rule 9: a write asks for no room by itself."""
    shop = Shop(tmp_path, free_bytes_min=1 << 60)
    asyncio.run(shop.store.write(add(1)))
    with shop.store.read() as txn:
        assert txn.tenants.get(1) is not None
    shop.store.close()


def test_policy_files_are_replaced_as_one_and_raise_the_revision_of_the_deployment(shop: Shop) -> None:
    with shop.store.read() as txn:
        assert txn.policy_files() is None
        assert txn.policy_files_digest() is None
    for revision in (1, 2):
        files = PolicyFiles(schemas=(), shared=(), by_tenant={f"t_{revision}": ()})
        with writing(shop.environment) as txn:
            txn.keep_policy_files(files)
        with shop.store.read() as txn:
            assert txn.policy_files() == files
            assert txn.policy_files_digest() == files.digest()
            assert txn.tenants.revisions(DEPLOYMENT) == Revisions(revision, revision)


def test_which_checks_the_policy_files_have_passed_is_noted(shop: Shop) -> None:
    with shop.store.read() as txn:
        assert txn.policy_files_checks() is None
    with writing(shop.environment) as txn:
        txn.keep_policy_files_checks("engine 1")
        assert txn.policy_files_checks() == "engine 1"

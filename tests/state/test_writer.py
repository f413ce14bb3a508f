"""A process that is no worker writes in its turn, whole or not at all, and however much room the map has."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import lmdb
import pytest

from sidecar.core.errors import NotFound
from sidecar.state.committer import TURNSTILE
from sidecar.state.environment import Environment, Txn
from sidecar.state.transaction import Transaction
from sidecar.state.writer import Writer
from tests.state.builders import a_tenant, open_store, reading

MIB = 1 << 20


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    """A store in a small map that may grow a little."""
    with closing(open_store(tmp_path, map_size=MIB, map_size_max=4 * MIB)) as made:
        yield made


def is_free(environment: Environment) -> bool:
    """Whether nobody is inside the turnstile."""
    descriptor = os.open(environment.path.with_name(TURNSTILE), os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def test_what_is_written_is_there_and_its_result_is_returned(environment: Environment) -> None:
    """Behind the turnstile, which is free again afterwards."""
    free: list[bool] = []

    def work(txn: Transaction, _raw: Txn) -> int:
        free.append(is_free(environment))
        txn.tenants.add(a_tenant(1))
        return 7

    with closing(Writer(environment)) as writer:
        assert writer.write(work) == 7
        assert (free, is_free(environment)) == ([False], True)
    with reading(environment) as txn:
        assert txn.tenants.get(1) is not None


def test_what_raises_leaves_nothing(environment: Environment) -> None:
    def work(txn: Transaction, _raw: Txn) -> None:
        txn.tenants.add(a_tenant(1))
        raise NotFound("no")

    with closing(Writer(environment)) as writer:
        with pytest.raises(NotFound):
            writer.write(work)
        assert is_free(environment)
    with reading(environment) as txn:
        assert txn.tenants.get(1) is None


def test_a_map_that_is_full_grows_up_to_its_limit(environment: Environment) -> None:
    def work(_txn: Transaction, raw: Txn, size: int) -> None:
        raw.put(b"x", b"x" * size, db=environment.tables["facts"])

    with closing(Writer(environment)) as writer:
        writer.write(lambda txn, raw: work(txn, raw, 2 * MIB))
        with pytest.raises(lmdb.MapFullError):
            writer.write(lambda txn, raw: work(txn, raw, 8 * MIB))
        assert is_free(environment)


def test_a_map_that_another_process_has_grown_is_taken_over(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Environment.begin_write
    raised: list[int] = []

    def resized(self: Environment) -> Txn:
        if not raised:
            raised.append(1)
            raise lmdb.MapResizedError("map resized")
        return begin(self)

    monkeypatch.setattr(Environment, "begin_write", resized)
    with closing(Writer(environment)) as writer:
        assert writer.write(lambda _txn, _raw: 1) == 1

"""What the committer tells of its work: after it is on disk, before its callers know, and of what was kept only."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import pytest
from structlog.testing import capture_logs

from sidecar.core.errors import NotFound, Unavailable
from sidecar.state.committer import Committer
from sidecar.state.environment import Environment
from sidecar.state.observe import Batch, Guarded
from sidecar.state.transaction import Transaction
from tests.state.builders import a_tenant, open_store, reading


class Diary:
    """Implements ``CommitObserver`` and writes everything down."""

    def __init__(self, environment: Environment) -> None:
        """Begin with a blank page."""
        self._environment = environment
        self.queue: list[int] = []
        self.batches: list[Batch] = []
        self.visible: list[int] = []
        self.lost = 0

    def waiting(self, works: int) -> None:
        """Note how much waits."""
        self.queue.append(works)

    def committed(self, batch: Batch) -> None:
        """Note a batch, and how many tenants the store has at that moment."""
        self.batches.append(batch)
        with reading(self._environment) as txn:
            self.visible.append(len(list(txn.tenants.after(0))))

    def commit_failed(self) -> None:
        """Note a loss."""
        self.lost += 1


class Bench:
    """A committer that is observed."""

    def __init__(self, folder: Path) -> None:
        """Start it."""
        self.environment = open_store(folder)
        self.diary = Diary(self.environment)
        self.committer = Committer(self.environment, shared=False, fail=lambda _error: None, observer=self.diary)

    def close(self) -> None:
        """End it."""
        self.committer.close()
        self.environment.close()

    async def together(self, *works: Callable[[Transaction], object]) -> list[object]:
        """Submit several pieces of work in one round of the event loop, so that they share a batch."""
        return list(await asyncio.gather(*map(self.committer.submit, works), return_exceptions=True))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A committer of its own."""
    made = Bench(tmp_path)
    yield made
    made.close()


def record(number: int, kind: str) -> Callable[[Transaction], None]:
    """Work that stores a tenant and opens its log with a record."""

    def work(txn: Transaction) -> None:
        txn.tenants.add(a_tenant(number))
        txn.of(a_tenant(number)).audit.append(kind, 1, {})

    return work


def fail(txn: Transaction) -> None:
    """Work that records something and is refused nevertheless."""
    record(9, "refused")(txn)
    raise NotFound("no")


def test_a_batch_is_told_of_once_with_its_size_and_records(bench: Bench) -> None:
    asyncio.run(bench.together(record(1, "open"), record(2, "open"), record(3, "other")))
    assert [(batch.works, batch.appended) for batch in bench.diary.batches] == [(3, ("open", "open", "other"))]
    assert all(batch.commit_seconds > 0 and batch.waited_seconds > 0 for batch in bench.diary.batches)


def test_a_batch_is_told_of_when_it_is_in_the_store(bench: Bench) -> None:
    asyncio.run(bench.committer.submit(record(1, "open")))
    assert bench.diary.visible == [1]


def test_what_a_refused_request_recorded_is_not_told_of(bench: Bench) -> None:
    """Its neighbours in the batch are; it shared their fsync."""
    asyncio.run(bench.together(record(1, "open"), fail))
    assert bench.diary.batches[-1].works == 2
    assert bench.diary.batches[-1].appended == ("open",)
    assert bench.diary.lost == 0


def test_work_that_waits_for_a_batch_beside_the_loop_is_told_of_as_it_comes_and_goes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for the next round of the loop only is not: nobody could see it."""
    asyncio.run(bench.together(record(1, "open"), record(2, "open")))
    assert bench.diary.queue == []
    monkeypatch.setattr(bench.committer._pace, "is_slow", True)  # noqa: SLF001 -- as a slow disk does
    taken, go = threading.Event(), threading.Event()

    def hold(_: Transaction) -> None:
        taken.set()
        go.wait(10)

    async def call() -> None:
        first = asyncio.ensure_future(bench.committer.submit(hold))
        await asyncio.to_thread(taken.wait, 10)
        others = [asyncio.ensure_future(bench.committer.submit(record(number, "open"))) for number in (3, 4)]
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(first, *others)

    asyncio.run(call())
    assert bench.diary.queue == [1, 2, 0]


def test_a_lost_batch_is_told_of_as_lost(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise lmdb.MapFullError("full")

    monkeypatch.setattr(bench.environment, "begin_write", full)
    with pytest.raises(Unavailable):
        asyncio.run(bench.committer.submit(record(1, "open")))
    assert bench.diary.batches == []
    assert bench.diary.lost == 1


def test_a_jump_of_the_clock_is_told_of_as_the_record_it_is(bench: Bench) -> None:
    asyncio.run(bench.committer.submit(record(1, "open")))
    asyncio.run(bench.committer.submit(lambda txn: txn.keep_clock_event(1, 2)))
    asyncio.run(bench.committer.submit(lambda txn: txn.of(a_tenant(1)).audit.append("other", 3, {})))
    assert bench.diary.batches[-1].appended == ("clock_event", "other")


def test_whatever_an_observer_raises_is_logged_and_goes_no_further() -> None:
    """A mistake in counting must not become the answer of a request."""

    class Broken:
        def waiting(self, works: int) -> None:
            raise RuntimeError(works)

        def committed(self, batch: Batch) -> None:
            raise RuntimeError(batch)

        def commit_failed(self) -> None:
            raise RuntimeError

    guarded = Guarded(Broken())
    with capture_logs() as told:
        guarded.waiting(1)
        guarded.committed(Batch(1, ("decision",), 0.0, 0.0))
        guarded.commit_failed()
    assert [line["event"] for line in told] == ["observer_failed"] * 3

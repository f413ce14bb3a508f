"""Group commit: one transaction for all that wait, one failure for the one that failed, an answer only once it lies."""

import asyncio
import errno
import fcntl
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import lmdb
import pytest

from sidecar.core.errors import NotFound, StoreUnusable, Unavailable
from sidecar.state import committer as module
from sidecar.state import work
from sidecar.state.committer import BATCH_MAX, TURNSTILE, Committer
from sidecar.state.environment import Environment, Txn
from sidecar.state.observe import Batch, CommitObserver, Unobserved
from sidecar.state.pace import Pace
from sidecar.state.transaction import Transaction
from sidecar.state.turnstile import Turnstile
from tests.state.builders import a_tenant, open_store, reading, store_in

T = TypeVar("T")
ROOT = Path(__file__).parent.parent.parent
PATIENCE = 10.0
"""Seconds after which a test that went wrong goes on, so that it fails instead of hanging."""


class AlwaysSlow(Pace):
    """A disk that stays slow."""

    def __init__(self) -> None:
        """Be slow from the beginning."""
        super().__init__()
        self.is_slow = True

    def note(self, seconds: float) -> None:
        """Take no notice."""


class Bench:
    """A committer on an environment, and what it was told of."""

    def __init__(
        self, environment: Environment, *, shared: bool = False, observer: CommitObserver | None = None
    ) -> None:
        """Start it."""
        self.environment = environment
        self.broken: list[StoreUnusable] = []
        self.committer = Committer(environment, shared=shared, fail=self.broken.append, observer=observer)

    async def together(self, *works: Callable[[Transaction], T]) -> list[T | BaseException]:
        """Submit several pieces of work in one round of the event loop, so that they share a batch."""
        return await asyncio.gather(*map(self.committer.submit, works), return_exceptions=True)

    async def mixed(self, *works: tuple[Callable[[Transaction], T], bool]) -> list[T | BaseException]:
        """Do the same with work of which each says whether it is apart."""
        calls = [self.committer.submit(work, apart=apart) for work, apart in works]
        return await asyncio.gather(*calls, return_exceptions=True)

    def go_aside(self) -> None:
        """Commit in the thread beside the loop from now on, as on a slow disk."""
        self.committer._pace = AlwaysSlow()  # noqa: SLF001 -- no test shall depend on how fast its disk is

    def stored(self) -> list[int]:
        """The numbers of the tenants that are in the store."""
        with reading(self.environment) as txn:
            return [tenant.number for tenant in txn.tenants.after(0)]


def run(call: Coroutine[object, object, T]) -> T:
    """Await one call."""
    return asyncio.run(call)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A committer of its own."""
    with store_in(tmp_path) as environment:
        made = Bench(environment)
        yield made
        made.committer.close()


def add(number: int) -> Callable[[Transaction], int]:
    """Work that stores a tenant and returns its number."""

    def work(txn: Transaction) -> int:
        txn.tenants.add(a_tenant(number))
        return number

    return work


def fail_after_adding(number: int, error: Exception) -> Callable[[Transaction], int]:
    """Work that stores a tenant and then raises."""

    def work(txn: Transaction) -> int:
        txn.tenants.add(a_tenant(number))
        raise error

    return work


def test_a_result_comes_once_the_work_is_committed(bench: Bench) -> None:
    """Rule 3."""

    async def call() -> list[int]:
        assert await bench.committer.submit(add(1)) == 1
        return bench.stored()

    assert run(call()) == [1]


def test_nobody_is_answered_before_the_commit_has_returned(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 3, with a commit that takes its time: the work is done, and its caller still waits."""
    committing, go = threading.Event(), threading.Event()

    class SlowTxn(Wrapped):
        def commit(self) -> None:
            committing.set()
            go.wait(PATIENCE)
            super().commit()

    wrap(bench.environment, monkeypatch, SlowTxn)
    bench.go_aside()

    async def call() -> None:
        task = asyncio.ensure_future(bench.committer.submit(add(1)))
        await asyncio.to_thread(committing.wait, PATIENCE)
        await asyncio.sleep(0)
        assert not task.done()
        assert bench.stored() == []
        go.set()
        assert await task == 1

    run(call())


class Failing:
    """An observer whose counters cannot be written."""

    def waiting(self, works: int) -> None:
        """Fail."""
        raise OSError(28, f"{works} wait")

    def committed(self, batch: Batch) -> None:
        """Fail."""
        raise OSError(28, str(batch))

    def commit_failed(self) -> None:
        """Fail."""
        raise OSError(28, "no room")


def test_an_observer_that_fails_takes_no_work_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with store_in(tmp_path) as environment:
        bench = Bench(environment, observer=Failing())

        class LostTxn(Wrapped):
            def commit(self) -> None:
                raise lmdb.DiskError("lost")

        assert run(bench.together(add(1), add(2))) == [1, 2]
        with monkeypatch.context() as patch:
            wrap(environment, patch, LostTxn)
            with pytest.raises(Unavailable):
                run(bench.committer.submit(add(3)))
        assert run(bench.together(add(4))) == [4]
        assert bench.stored() == [1, 2, 4]
        bench.committer.close()


def test_work_of_one_batch_is_done_in_its_order_and_sees_what_came_before(bench: Bench) -> None:
    def count(txn: Transaction) -> int:
        return len(list(txn.tenants.after(0)))

    assert run(bench.together(add(1), count, add(2), count)) == [1, 1, 2, 2]


def test_a_batch_is_one_transaction_and_one_commit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    begin = bench.environment.begin_write

    def counted() -> Txn:
        begun.append(1)
        return begin()

    monkeypatch.setattr(bench.environment, "begin_write", counted)
    assert len(run(bench.together(*(add(number) for number in range(1, 20))))) == 19
    assert len(begun) == 1, "for all that arrived in one round of the event loop"


def test_a_batch_has_a_largest_size(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    begin = bench.environment.begin_write

    def counted() -> Txn:
        begun.append(1)
        return begin()

    monkeypatch.setattr(bench.environment, "begin_write", counted)
    run(bench.together(*(add(number) for number in range(1, BATCH_MAX + 2))))
    assert len(begun) == 2


@pytest.mark.parametrize("error", [NotFound("gone"), RuntimeError("a mistake"), lmdb.KeyExistsError("twice")])
def test_one_failure_leaves_its_neighbours_whole(bench: Bench, error: Exception) -> None:
    """Rule 4: an error of one request undoes that request and no other."""
    results = run(bench.together(add(1), fail_after_adding(2, error), add(3)))
    assert results[0] == 1
    assert results[2] == 3
    assert isinstance(results[1], Unavailable if isinstance(error, lmdb.Error) else type(error))
    assert bench.stored() == [1, 3]
    assert bench.broken == []


def test_work_that_fills_the_map_fails_alone_and_the_map_grows(tmp_path: Path) -> None:
    """Rules 4 and 19: no room is survivable, for the neighbours at once and for a retry after the map has grown."""
    environment = open_store(tmp_path, map_size=1 << 20, map_size_max=1 << 24)
    bench = Bench(environment)

    def big(txn: Transaction) -> int:
        txn.tokens._txn.put(b"big", b"x" * (1 << 20), db=environment.tables["meta"])  # noqa: SLF001 -- any big row
        return 0

    async def call() -> None:
        results = await bench.together(add(1), big, add(2))
        assert (results[0], results[2]) == (1, 2)
        assert isinstance(results[1], Unavailable)
        assert results[1].message == "the store is full, nothing was changed"
        assert await bench.committer.submit(big) == 0, "the map has grown meanwhile"

    run(call())
    assert bench.stored() == [1, 2]
    assert bench.broken == []
    bench.committer.close()
    environment.close()


class Wrapped:
    """A write transaction whose end can be made to fail; all else is the real one's."""

    def __init__(self, real: Txn) -> None:
        """Stand for ``real``."""
        self.real = real

    def __getattr__(self, name: str) -> object:
        """Do as the real one."""
        return getattr(self.real, name)

    def commit(self) -> None:
        """Commit."""
        self.real.commit()

    def abort(self) -> None:
        """Abort."""
        self.real.abort()


def wrap(environment: Environment, monkeypatch: pytest.MonkeyPatch, kind: type[Wrapped]) -> None:
    """Let the environment give such transactions from now on."""
    begin, child = environment.begin_write, environment.begin_child
    monkeypatch.setattr(environment, "begin_write", lambda: kind(begin()))
    monkeypatch.setattr(environment, "begin_child", lambda parent: child(parent.real))


@pytest.mark.parametrize("error", [lmdb.Error("mdb_txn_commit: ?"), RuntimeError("a mistake")])
def test_a_commit_that_fails_leaves_the_outcome_unknown_for_all_of_its_batch(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Rule 3: never “nothing was changed”, and never a made-up success."""

    class Failing(Wrapped):
        def commit(self) -> None:
            raise error

    async def call() -> None:
        with monkeypatch.context() as patch:
            wrap(bench.environment, patch, Failing)
            tasks = [bench.committer.submit(add(number)) for number in (1, 2)]
            results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [Unavailable, Unavailable]
        assert all("the outcome is unknown" in str(result) for result in results)
        assert await bench.committer.submit(add(3)) == 3, "the next batch is not affected"

    run(call())
    assert bench.stored() == [3]
    assert bench.broken == []


@pytest.mark.parametrize("error", [lmdb.PanicError("panic"), lmdb.CorruptedError("bad page")])
def test_after_a_commit_that_broke_the_store_nothing_is_accepted_any_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: lmdb.Error
) -> None:
    """Rule 19: those who wait are told, the process is told once, and whoever comes later is refused."""

    class Failing(Wrapped):
        def commit(self) -> None:
            raise error

    wrap(bench.environment, monkeypatch, Failing)

    async def call() -> None:
        results = await bench.together(add(1), add(2))
        assert {type(result) for result in results} == {StoreUnusable}
        with pytest.raises(StoreUnusable):
            await bench.committer.submit(add(3))

    run(call())
    assert bench.stored() == []
    assert len(bench.broken) == 1


def test_work_that_finds_the_store_broken_breaks_it_for_all(bench: Bench) -> None:
    async def call() -> None:
        results = await bench.together(fail_after_adding(1, StoreUnusable("a document cannot be read")), add(2))
        assert isinstance(results[0], StoreUnusable)
        with pytest.raises(StoreUnusable, match="a document cannot be read"):
            await bench.committer.submit(add(3))

    run(call())
    assert [error.message for error in bench.broken] == ["a document cannot be read"]
    assert 1 not in bench.stored()
    assert 3 not in bench.stored()


def test_the_first_reason_is_the_one_that_is_kept(bench: Bench) -> None:
    async def call() -> None:
        await bench.together(
            fail_after_adding(1, StoreUnusable("first")), fail_after_adding(2, StoreUnusable("second"))
        )
        with pytest.raises(StoreUnusable, match="first"):
            await bench.committer.submit(add(3))

    run(call())
    assert [error.message for error in bench.broken] == ["first"]


def test_a_caller_is_refused_before_anything_is_done_when_too_many_wait(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUEUE_MAX", 2)
    results = run(bench.together(add(1), add(2), add(3)))
    assert results[:2] == [1, 2]
    assert isinstance(results[2], Unavailable)
    assert results[2].message == "over 2 requests wait for the store, nothing was changed"
    assert bench.stored() == [1, 2]


def test_a_waiter_gives_up_after_a_while_and_the_work_goes_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry with the same idempotency key finds out."""
    bench.go_aside()
    monkeypatch.setattr(work, "WAIT_SECONDS_MAX", 0.01)
    go = threading.Event()

    def slow(txn: Transaction) -> int:
        go.wait(PATIENCE)
        return add(1)(txn)

    async def call() -> None:
        with pytest.raises(Unavailable, match=r"did not answer within 0.01 s, the outcome is unknown"):
            await bench.committer.submit(slow)
        go.set()

    run(call())
    bench.committer.close()
    assert bench.stored() == [1]


def test_the_answer_to_somebody_who_gave_up_is_dropped(bench: Bench) -> None:
    """And to somebody who was just told: an answer that comes twice changes nothing."""

    async def call() -> None:
        loop = asyncio.get_running_loop()
        piece = work.Work(add(1), loop.create_future(), outcome=1)
        work.resolve([piece])
        work._give_up(piece)  # noqa: SLF001 -- the order of two timers is not to be had from outside
        work.resolve([piece])
        assert await piece.future == 1

    run(call())
    assert bench.stored() == []


def test_a_caller_that_goes_away_changes_nothing(bench: Bench) -> None:
    """Its work stands or falls with the batch, and nobody else is disturbed."""
    bench.go_aside()

    async def call() -> None:
        go = threading.Event()

        def slow(txn: Transaction) -> int:
            go.wait(PATIENCE)
            return add(1)(txn)

        task = asyncio.ensure_future(bench.committer.submit(slow))
        await asyncio.sleep(0)
        other = asyncio.ensure_future(bench.committer.submit(add(2)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        go.set()
        assert await other == 2
        with pytest.raises(asyncio.CancelledError):
            await task

    run(call())
    assert bench.stored() == [1, 2]


def test_a_loop_that_has_ended_stops_nobody_else(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread outlives whoever it worked for, and the next loop does not wait for the one that is gone."""
    bench.go_aside()
    monkeypatch.setattr(work, "WAIT_SECONDS_MAX", 0.01)
    go, done = threading.Event(), threading.Event()

    def slow(txn: Transaction) -> int:
        go.wait(PATIENCE)
        done.set()
        return add(1)(txn)

    async def call() -> None:
        with pytest.raises(Unavailable):
            await bench.committer.submit(slow)

    run(call())
    go.set()
    assert done.wait(PATIENCE)
    monkeypatch.undo()
    assert run(bench.committer.submit(add(2))) == 2
    assert bench.stored() == [1, 2]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("aside", [False, True])
def test_closing_finishes_what_waits(tmp_path: Path, *, shared: bool, aside: bool) -> None:
    with store_in(tmp_path) as environment:
        bench = Bench(environment, shared=shared)
        if aside:
            bench.go_aside()

        async def call() -> list[int]:
            tasks = [asyncio.ensure_future(bench.committer.submit(add(number))) for number in range(1, 100)]
            await asyncio.sleep(0)
            bench.committer.close()
            return await asyncio.gather(*tasks)

        assert run(call()) == [*range(1, 100)]
        assert bench.stored() == [*range(1, 100)]


class Twice:
    """Work with an effect, and how often it was run."""

    def __init__(self, number: int) -> None:
        """Store the tenant of this number."""
        self.number = number
        self.runs = 0

    def __call__(self, txn: Transaction) -> int:
        """Count and do it."""
        self.runs += 1
        return add(self.number)(txn)


def test_work_beside_one_that_fails_is_run_again_and_has_one_effect(bench: Bench) -> None:
    before, after = Twice(1), Twice(3)
    results = run(bench.together(before, fail_after_adding(2, NotFound("gone")), after))
    assert (results[0], results[2]) == (1, 3)
    assert (before.runs, after.runs) == (2, 1), "what came after the failure had not been run"
    assert bench.stored() == [1, 3]


def test_work_that_fails_alone_is_not_run_again(bench: Bench) -> None:
    work = Twice(1)
    run(bench.committer.submit(add(1)))
    assert run(bench.committer.submit(lambda txn: txn.tenants.find("t_1"))) is not None

    def failing(txn: Transaction) -> None:
        work(txn)
        raise NotFound("gone")

    with pytest.raises(NotFound):
        run(bench.committer.submit(failing))
    assert work.runs == 1


def test_where_nothing_fails_there_is_no_transaction_inside_another(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One costs as much as the rows of a request."""
    monkeypatch.setattr(bench.environment, "begin_child", lambda _parent: pytest.fail("a child"))
    assert run(bench.together(*(add(number) for number in range(1, 9)))) == [*range(1, 9)]


def note(kind: str) -> Callable[[Transaction], int]:
    """Work that adds a record to the log of tenant 1 and returns its place."""
    return lambda txn: txn.of(a_tenant(1)).audit.append(kind, 1, {}).seq


def spoil(number: int) -> Callable[[Transaction], int]:
    """Work that adds a record, stores a tenant and then raises."""

    def work(txn: Transaction) -> int:
        note("spoilt")(txn)
        return fail_after_adding(number, NotFound("gone"))(txn)

    return work


def test_work_apart_that_fails_makes_nobody_run_again(bench: Bench) -> None:
    before, after = Twice(1), Twice(3)
    results = run(bench.mixed((before, False), (spoil(2), True), (after, False), (spoil(4), True)))
    assert [results[0], results[2]] == [1, 3]
    assert [str(results[1]), str(results[3])] == ["gone", "gone"]
    assert (before.runs, after.runs) == (1, 1)
    assert bench.stored() == [1, 3]


def test_work_apart_sees_what_came_before_and_is_seen_by_what_comes_after(tmp_path: Path) -> None:
    """Heads of logs are read once in a transaction: what follows must not go on from an older one."""
    told: list[Batch] = []

    class Listening(Unobserved):
        def committed(self, batch: Batch) -> None:
            told.append(batch)

    with store_in(tmp_path) as environment:
        bench = Bench(environment, observer=Listening())
        works = ((note("a"), False), (note("b"), True), (spoil(2), True), (note("c"), False), (note("d"), True))
        results = run(bench.mixed(*works))
        assert [*results[:2], *results[3:]] == [0, 1, 2, 3]
        assert [(batch.works, batch.appended) for batch in told] == [(5, ("a", "b", "c", "d"))]
        bench.committer.close()


def test_work_apart_beside_work_that_fails_is_answered_as_it_went_the_last_time(bench: Bench) -> None:
    """A batch with a failure that was not apart is run again as a whole, and this one fails in the first run only."""
    runs: list[int] = []

    def first_time(txn: Transaction) -> int:
        runs.append(len(runs))
        return add(1)(txn) if runs[1:] else fail_after_adding(1, NotFound("gone"))(txn)

    results = run(bench.mixed((first_time, True), (spoil(2), False), (add(3), True)))
    assert (results[0], str(results[1]), results[2]) == (1, "gone", 3)
    assert bench.stored() == [1, 3]


@pytest.mark.parametrize("work", [add(1), spoil(1)])
def test_work_apart_that_is_alone_needs_no_transaction_inside_another(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, work: Callable[[Transaction], int]
) -> None:
    monkeypatch.setattr(bench.environment, "begin_child", lambda _parent: pytest.fail("a child"))
    (result,) = run(bench.mixed((work, True)))
    assert bench.stored() == ([1] if result == 1 else [])


def test_on_a_quick_disk_everything_is_done_in_the_thread_of_the_loop(bench: Bench) -> None:
    assert set(run(bench.together(*[in_thread] * 20))) == {threading.current_thread().name}


def in_thread(_: Transaction) -> str:
    """Work that tells which thread runs it."""
    return threading.current_thread().name


def test_long_work_is_done_beside_the_loop_and_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes meanwhile waits behind it no longer than behind any other work, and is done all the same."""
    monkeypatch.setattr(work, "WAIT_SECONDS_MAX", 0.01)
    may_end = threading.Event()

    def take_long(_: Transaction) -> str:
        assert may_end.wait(PATIENCE)
        return threading.current_thread().name

    async def call() -> tuple[str, str]:
        long = asyncio.create_task(bench.committer.submit(take_long, is_long=True))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="did not answer within"):
            await bench.committer.submit(add(1))
        may_end.set()
        return await long, await bench.committer.submit(in_thread)

    assert run(call()) == ("committer", "MainThread")
    assert bench.stored() == [1]


@pytest.mark.parametrize("number", [1, BATCH_MAX])
def test_a_slow_disk_sends_commits_aside_while_the_loop_goes_on_and_a_quick_one_brings_them_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The clock is the commit's own: what counts is how long the disk says it took."""
    seconds = [0.0]
    ticks: list[int] = []
    done = threading.Event()

    class SlowTxn(Wrapped):
        def commit(self) -> None:
            seconds[0] += pauses[0]
            if threading.current_thread().name == "committer":
                done.wait(PATIENCE)  # for the loop to run on meanwhile
            super().commit()

    pauses = [0.02]
    monkeypatch.setattr(module, "perf_counter", lambda: seconds[0])
    wrap(bench.environment, monkeypatch, SlowTxn)

    async def tick() -> None:
        for _ in range(3):
            await asyncio.sleep(0)
            ticks.append(1)
        done.set()

    async def call() -> None:
        places = []
        for round_number in range(40):
            done.clear()
            pauses[0] = 0.02 if round_number < 2 else 0.0001
            both = await asyncio.gather(bench.together(*[in_thread] * number), tick())
            places.append(both[0][0])
        assert places[0] == threading.current_thread().name, "nobody knew yet"
        assert places[1:3] == ["committer"] * 2
        assert places[-1] == places[0]

    run(call())
    assert len(ticks) == 120


def test_two_committers_take_turns_at_the_turnstile(tmp_path: Path) -> None:
    """While one stands inside, the other one's loop waits for nothing; its work is done as soon as the first leaves."""
    with store_in(tmp_path) as environment:
        bench = Bench(environment, shared=True)
        other = Turnstile(environment.path.with_name(TURNSTILE))

        async def call() -> None:
            assert await bench.committer.submit(in_thread) == threading.current_thread().name
            assert other.try_enter(), "the committer has left"
            task = asyncio.ensure_future(bench.committer.submit(in_thread))
            await asyncio.sleep(0.01)
            assert not task.done()
            second = asyncio.ensure_future(bench.committer.submit(in_thread))
            await asyncio.sleep(0)
            other.leave()
            assert await task == "committer"
            assert await second == threading.current_thread().name
            assert other.try_enter()
            other.leave()

        run(call())
        other.close()
        bench.committer.close()


def test_a_worker_alone_passes_the_turnstile_only_while_another_process_writes(tmp_path: Path) -> None:
    """It pays for no turn at other times, and its event loop stands still at no time."""
    with store_in(tmp_path) as environment:
        bench = Bench(environment)
        other = Turnstile(environment.path.with_name(TURNSTILE))
        other.enter()
        assert run(bench.committer.submit(add(1))) == 1

        async def beside() -> None:
            with bench.committer.beside_others():
                waiting = asyncio.create_task(bench.committer.submit(add(2)))
                await asyncio.sleep(0.05)
                assert not waiting.done()
                other.leave()
                assert await waiting == 2

        run(beside())
        other.enter()
        assert run(bench.committer.submit(add(3))) == 3
        other.close()
        other.close()
        bench.committer.close()
        assert bench.stored() == [1, 2, 3]


def test_who_stands_at_the_turnstile_too_long_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was stopped inside stops the writes of the others, and none of their loops."""
    monkeypatch.setattr(work, "WAIT_SECONDS_MAX", 0.01)
    with store_in(tmp_path) as environment:
        bench = Bench(environment, shared=True)
        other = Turnstile(environment.path.with_name(TURNSTILE))
        assert other.try_enter()

        async def call() -> None:
            with pytest.raises(Unavailable, match="the outcome is unknown"):
                await bench.committer.submit(add(1))
            other.leave()

        run(call())
        other.close()
        bench.committer.close()
        assert bench.stored() == [1]


WRITER = """
import asyncio, sys
from pathlib import Path
from sidecar.state.committer import Committer
from sidecar.state.environment import open_environment
environment = open_environment(Path(sys.argv[1]), durability="process-crash")
committer = Committer(environment, shared=True, fail=lambda error: None)
key = sys.argv[2].encode()
def add(txn):
    meta = environment.tables["meta"]
    for name in (b"sum", key):
        txn._txn.put(name, b"%d" % (int(txn._txn.get(name, b"0", db=meta)) + 1), db=meta)
async def caller():
    for _ in range(100):
        await committer.submit(add)
async def call():
    await asyncio.gather(*(caller() for _ in range(4)))
asyncio.run(call())
committer.close()
environment.close()
"""


def test_two_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    with store_in(tmp_path):
        pass
    command = [sys.executable, "-c", WRITER, str(tmp_path / "db")]
    writers = [subprocess.Popen([*command, name], cwd=ROOT) for name in ("one", "two")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    with store_in(tmp_path) as environment, environment.read() as txn:
        found = [txn.get(name, db=environment.tables["meta"]) for name in (b"sum", b"one", b"two")]
    assert found == [b"800", b"400", b"400"]


GROW = """
import sys
from pathlib import Path
from sidecar.state.environment import open_environment
environment = open_environment(Path(sys.argv[1]), map_size=1 << 20)
environment.grow()
txn = environment.begin_write()
txn.put(b"big", b"x" * (1 << 20), db=environment.tables["meta"])
txn.commit()
environment.close()
"""


@pytest.mark.parametrize("aside", [False, True])
def test_the_size_that_another_process_has_set_is_taken_over(tmp_path: Path, *, aside: bool) -> None:
    environment = open_store(tmp_path, map_size=1 << 20)
    bench = Bench(environment)
    if aside:
        bench.go_aside()
    run(bench.committer.submit(add(1)))
    subprocess.run([sys.executable, "-c", GROW, str(tmp_path / "db")], cwd=ROOT, check=True, timeout=60)
    assert run(bench.committer.submit(add(2))) == 2
    assert bench.stored() == [1, 2]
    bench.committer.close()
    environment.close()


FULL_DISK = """
import asyncio, resource, signal, sys
from pathlib import Path
from sidecar.core.errors import StoreUnusable
from sidecar.state.committer import Committer
from sidecar.state.environment import open_environment
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
environment = open_environment(Path(sys.argv[1]))
broken = []
committer = Committer(environment, shared=False, fail=broken.append)
async def call():
    size = environment.data_file().stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 4096, resource.RLIM_INFINITY))
    big = lambda txn: txn.tokens._txn.put(b"big", b"x" * 100_000, db=environment.tables["meta"])
    for _ in range(2):
        try:
            await committer.submit(big)
        except StoreUnusable as error:
            print("unusable")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
asyncio.run(call())
committer.close()
with environment.read() as txn:
    print(len(broken), txn.get(b"big", db=environment.tables["meta"]))
"""


def test_a_write_that_the_disk_cuts_short_ends_the_process_and_leaves_the_old_state(tmp_path: Path) -> None:
    """Rule 19, with a real failure: LMDB reports a short write as an input/output error."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "db")],
        cwd=ROOT,
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split("\n") == ["unusable", "unusable", "1 None", ""]


@contextmanager
def no_thread_left() -> Iterator[None]:
    """Nothing that began inside still runs."""
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_closing_leaves_no_thread(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment, no_thread_left():
        Bench(environment).committer.close()


# --- What goes wrong at odd moments


async def _answered(call: "asyncio.Future[int]", seconds: float) -> object:
    """What becomes of a call, or that nothing did within a bound that no healthy committer comes near."""
    done, _ = await asyncio.wait({call}, timeout=seconds)
    if not done:
        call.cancel()
        return "still waiting"
    return call.exception() or call.result()


def test_a_disk_that_cannot_even_be_looked_at_breaks_the_store_and_hangs_nobody(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``_spoil`` asks the disk how much is free while it explains an error of that disk."""

    class Failing(Wrapped):
        def commit(self) -> None:
            error = lmdb.Error("mdb_txn_commit: Input/output error")
            error.code = errno.EIO  # type: ignore[misc]
            raise error

    def no_disk() -> int:
        raise OSError(errno.EIO, "Input/output error")

    wrap(bench.environment, monkeypatch, Failing)
    monkeypatch.setattr(bench.environment, "free_bytes", no_disk)

    async def call() -> None:
        first = await _answered(asyncio.ensure_future(bench.committer.submit(add(1))), 3.0)
        second = await _answered(asyncio.ensure_future(bench.committer.submit(add(2))), 3.0)
        assert isinstance(first, StoreUnusable | Unavailable), first
        assert isinstance(second, StoreUnusable | Unavailable), second

    run(call())


def test_a_turnstile_that_fails_hangs_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``flock`` can fail otherwise than by being taken (ENOLCK, EIO); later work must still get its turn."""
    with store_in(tmp_path) as environment:
        bench = Bench(environment, shared=True)
        flock, failing = fcntl.flock, [True, True]

        def lockless(descriptor: int, how: int) -> None:
            if failing:
                failing.pop()
                raise OSError(errno.ENOLCK, "No locks available")
            flock(descriptor, how)

        async def call() -> None:
            with monkeypatch.context() as patch:
                patch.setattr("sidecar.state.turnstile.fcntl.flock", lockless)
                first = await _answered(asyncio.ensure_future(bench.committer.submit(add(1))), 3.0)
            second = await _answered(asyncio.ensure_future(bench.committer.submit(add(2))), 3.0)
            assert second == 2, second
            assert isinstance(first, Unavailable), first

        run(call())
        bench.committer.close()


async def _closed_while_aside(bench: Bench) -> None:
    """Work that is under way beside the loop when the committer is closed is done and told of."""
    bench.go_aside()
    task = asyncio.ensure_future(bench.committer.submit(add(1)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    bench.committer.close()
    assert await _answered(task, 3.0) == 1


def test_work_whose_map_was_resized_is_finished_by_closing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """``_take_over`` hands the batch back to a thread that ``close`` has stopped meanwhile."""
    begin, resized = bench.environment.begin_write, [True]

    def begin_write() -> Txn:
        if resized and resized.pop():
            raise lmdb.MapResizedError("resized")
        return begin()

    monkeypatch.setattr(bench.environment, "begin_write", begin_write)
    run(_closed_while_aside(bench))


def test_work_that_closing_finished_is_told_of_afterwards(bench: Bench) -> None:
    """The thread has done it, the loop has not heard of it yet."""
    run(_closed_while_aside(bench))


def test_closing_leaves_no_turn_behind(tmp_path: Path) -> None:
    """A turn that is due when ``close`` has done its work runs on a closed store and a closed turnstile."""
    with store_in(tmp_path) as environment:
        bench = Bench(environment, shared=True)
        faults: list[dict[str, object]] = []

        async def call() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
            task = asyncio.ensure_future(bench.committer.submit(add(1)))
            await asyncio.sleep(0)
            bench.committer.close()
            await task
            await asyncio.sleep(0.05)

        run(call())
        assert faults == []

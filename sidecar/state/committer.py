"""Group commit: all work that is ready shares one LMDB transaction and one fsync.

Work that arrives in one round of the event loop is run and committed there in the next one, and only then are the
waiters told: **the return of ``commit()`` is the commit point**. Alone, a piece of work waits for nobody; under load,
the batch is what arrived in the meantime. A caller that stops waiting changes nothing: its work stands or falls with
the batch.

A batch goes to a thread beside the loop where the loop would stand still for it: while commits take long, while
another process writes, and for work that says that it is long. What arrives meanwhile is the next batch
(docs/decisions/0014, 0015).
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from time import perf_counter
from typing import Final, TypeVar

from sidecar.core.errors import StoreUnusable, Unavailable
from sidecar.state.environment import SHORT_WRITE_BYTES, Environment, MapFull, MapResized, StoreError, Txn, translate
from sidecar.state.observe import Batch, CommitObserver, Guarded, Unobserved
from sidecar.state.pace import Pace
from sidecar.state.transaction import Transaction
from sidecar.state.turnstile import Turnstile
from sidecar.state.work import Work, limit, resolve

BATCH_MAX: Final = 64
"""Pieces of work in one transaction; more adds waiting without saving a noticeable share of the fsync."""

QUEUE_MAX: Final = 1_000
"""Pieces of work that may wait; beyond it a caller is refused before anything is reserved."""

TURNSTILE: Final = "turn.lock"
"""File beside the store."""

T = TypeVar("T")


class Committer:
    """The one writer of this process. It serves one event loop at a time."""

    def __init__(
        self,
        environment: Environment,
        *,
        shared: bool,
        fail: Callable[[StoreUnusable], None],
        observer: CommitObserver | None = None,
    ) -> None:
        """Begin with nothing to do.

        ``shared`` says that other processes write too; ``fail`` is told once when the store broke.
        """
        self._observer = Guarded(observer or Unobserved())
        self._environment = environment
        self._turnstile = Turnstile(environment.path.with_name(TURNSTILE))
        self._others = int(shared)
        self._fail = fail
        self._pace = Pace()
        self._queue: deque[Work] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_aside = False
        self._is_closed = False
        self._resized: list[Work] = []
        self._told = 0
        self._broken: StoreUnusable | None = None
        self._handed: SimpleQueue[tuple[asyncio.AbstractEventLoop, list[Work]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="committer", daemon=True)
        self._thread.start()

    async def submit(self, run: Callable[[Transaction], T], *, apart: bool = False, is_long: bool = False) -> T:
        """Run ``run`` in a durable transaction and return its result once it is on disk.

        Where something in its batch fails, ``run`` is run again on the state from before it; what is ``apart`` has a
        child transaction of its own and spoils only itself, which costs a little more. What ``is_long`` is run beside
        the loop, and waited for however long it takes. Raises what ``run`` raised, with nothing of it kept; Unavailable
        when the store has no room, too much waits, or the outcome is unknown; StoreUnusable once the store is broken.
        Of the rest, only what goes beside the loop is given up after ``state.work.WAIT_SECONDS_MAX``; a commit on the
        loop is waited for as long as the disk takes.
        """
        if self._broken is not None:
            raise self._broken
        if len(self._queue) >= QUEUE_MAX:
            raise Unavailable(f"over {QUEUE_MAX} requests wait for the store, nothing was changed")
        loop = asyncio.get_running_loop()
        work = Work(run, loop.create_future(), apart=apart, is_long=is_long)
        self._queue.append(work)
        if self._loop is not loop:  # no turn is due; another loop's, which has ended, is not waited for
            self._loop = loop
            self._is_aside = False
            loop.call_soon(self._turn, loop)
        elif self._is_aside:
            limit(loop, work)
            self._tell_waiting()
        return await work.future  # type: ignore[return-value]  # the future carries what ``run`` returned

    def close(self) -> None:
        """Finish what waits, then stop the thread. A turn that the loop still has before it finds nothing to do."""
        self._is_closed = True
        self._handed.put(None)
        self._thread.join()
        if self._resized:
            self._environment.adopt()
            self._finish(self._resized, inside=False)
            resolve(self._resized)
        while self._queue:
            batch = self._take()
            self._finish(batch, inside=False)
            resolve(batch)
        self._turnstile.close()

    @contextmanager
    def beside_others(self) -> Iterator[None]:
        """Pass the turnstile for as long as another process may write too, which nobody does beside a worker alone."""
        self._others += 1
        try:
            yield
        finally:
            self._others -= 1

    def _take(self) -> list[Work]:
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_MAX))]
        self._tell_waiting()
        return batch

    def _tell_waiting(self) -> None:
        if self._told != len(self._queue):
            self._told = len(self._queue)
            self._observer.waiting(self._told)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """Do what waits, here or aside. Called by the loop between two other callbacks."""
        if self._is_closed:
            return
        batch = self._take()
        if self._pace.is_slow or any(work.is_long for work in batch) or not self._may_enter():
            self._is_aside = True
            for work in batch:
                limit(loop, work)
            self._handed.put((loop, batch))
        else:
            self._finish(batch, inside=True)
            self._go_on(loop, batch)

    def _may_enter(self) -> bool:
        return not self._others or self._turnstile.try_enter()

    def _finish(self, batch: list[Work], *, inside: bool) -> None:
        """Do ``batch`` in the thread of the loop, where no read transaction is open and so the map may change."""
        while True:
            try:
                return self._run(batch, inside=inside)
            except MapResized:
                self._environment.adopt()
                inside = False

    def _go_on(self, loop: asyncio.AbstractEventLoop, batch: list[Work]) -> None:
        """Tell the waiters of ``batch`` and see to the next one. Called by the loop."""
        self._is_aside = False
        resolve(batch)
        if self._is_closed:
            return
        if any(isinstance(work.cause, MapFull) for work in batch):
            self._environment.grow()
        if self._queue:
            loop.call_soon(self._turn, loop)
        else:
            self._loop = None

    def _serve(self) -> None:
        """Do what the loop hands over. The thread has no state of its own: the loop says what comes next."""
        while (handed := self._handed.get()) is not None:
            loop, batch = handed
            try:
                self._run(batch, inside=False)
                then = self._go_on
            except MapResized:
                self._resized = batch
                then = self._take_over
            with suppress(RuntimeError):  # the loop has ended, nobody waits there any more
                loop.call_soon_threadsafe(then, loop, batch)

    def _take_over(self, loop: asyncio.AbstractEventLoop, batch: list[Work]) -> None:
        """Take over the size of the map that another process has set, and try again. Called by the loop."""
        if self._is_closed:
            return
        self._resized = []
        self._environment.adopt()
        self._handed.put((loop, batch))

    def _run(self, batch: list[Work], *, inside: bool) -> None:
        """Do and commit ``batch``; every failure ends up in the work it belongs to. Raises MapResized, nothing else.

        ``inside`` says that the turnstile has been passed already where others write too.
        """
        has_entered = self._others > 0
        try:
            if has_entered and not inside:
                self._turnstile.enter()
            if not self._transact(batch, self._together) and len(batch) > 1:
                self._transact(batch, self._apart)
        except MapResized:
            raise
        except StoreError as error:
            self._observer.commit_failed()
            self._spoil(batch, error)
        except Exception as error:  # noqa: BLE001 -- whoever runs this must outlive whatever a batch does to it
            self._observer.commit_failed()
            for work in batch:
                work.cause, work.error = error, Unavailable(f"the outcome is unknown: {type(error).__name__}")
        finally:
            if has_entered:
                self._turnstile.leave()

    def _transact(self, batch: list[Work], attempt: Callable[[list[Work], Txn], tuple[str, ...] | None]) -> bool:
        """Run ``attempt`` in one transaction and commit it; False when it has none to commit, and nothing is kept.

        It returns the types of the audit records that it added, or None where a piece of work failed.
        """
        started = perf_counter()
        txn = self._environment.begin_write()
        begun = perf_counter()
        try:
            appended = attempt(batch, txn)
            if appended is None:
                txn.abort()
                return False
            done = perf_counter()
            txn.commit()
        except BaseException:
            txn.abort()
            raise
        seconds = perf_counter() - done
        self._pace.note(seconds)
        self._observer.committed(Batch(len(batch), appended, begun - started, seconds))
        return True

    def _together(self, batch: list[Work], txn: Txn) -> tuple[str, ...] | None:
        """Run all work directly in ``txn``, which costs least, up to the first that fails: that spoils ``txn``.

        Work that asks for a transaction of its own has one inside ``txn``, unless it is alone.
        """
        transaction = Transaction(txn, self._environment.tables)
        appended: list[str] = []
        try:
            for work in batch:
                if work.apart and len(batch) > 1:
                    appended += (*transaction.appended, *self._apart([work], txn))
                    transaction = Transaction(txn, self._environment.tables)  # the former has read what changed since
                else:
                    work.outcome = work.run(transaction)
        except Exception as error:  # noqa: BLE001 -- whatever one request raises is that request's answer
            if len(batch) == 1:
                self._spoil(batch, error)
            return None
        return (*appended, *transaction.appended)

    def _apart(self, batch: list[Work], txn: Txn) -> tuple[str, ...]:
        """Run each work in a transaction of its own inside ``txn``, so that one that fails leaves the others whole."""
        appended: list[str] = []
        for work in batch:
            child = self._environment.begin_child(txn)
            transaction = Transaction(child, self._environment.tables)
            try:
                work.outcome = work.run(transaction)
                child.commit()
            except Exception as error:  # noqa: BLE001 -- as above
                child.abort()
                self._spoil([work], error)
            else:
                work.cause = work.error = None  # from when it failed in a batch that is repeated
                appended += transaction.appended
        return tuple(appended)

    def _spoil(self, batch: list[Work], cause: Exception) -> None:
        error = translate(cause, self._free_bytes()) if isinstance(cause, StoreError) else cause
        for work in batch:
            work.cause, work.error = cause, error
        if isinstance(error, StoreUnusable) and self._broken is None:
            self._broken = error
            self._fail(error)

    def _free_bytes(self) -> int:
        """Return what is free on the store's disk; enough where it cannot be asked, so that it counts as broken."""
        try:
            return self._environment.free_bytes()
        except OSError:
            return SHORT_WRITE_BYTES

"""Group commit: all work that is ready shares one LMDB transaction and one fsync.

One thread of the process does every write. It takes what has gathered, runs each piece in a child transaction of its
own, so that one request's failure leaves its neighbours whole, commits once, and only then tells the waiters: **the
return of ``commit()`` is the commit point**. Alone, a piece of work waits for nobody; under load, the batch is what
arrived during the commit before. A caller that stops waiting changes nothing: its work stands or falls with the batch.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

import msgspec

from sidecar.core.errors import StoreUnusable, Unavailable
from sidecar.state.environment import Environment, MapFull, MapResized, StoreError, Txn, translate
from sidecar.state.observe import Batch, CommitObserver, Guarded, Unobserved
from sidecar.state.transaction import Transaction

BATCH_MAX: Final = 64
"""Pieces of work in one transaction; more adds waiting without saving a noticeable share of the fsync."""

QUEUE_MAX: Final = 1_000
"""Pieces of work that may wait; beyond it a caller is refused before anything is reserved."""

WAIT_SECONDS_MAX: Final = 2.0
"""After this a waiter is told that the outcome is unknown; the work itself goes on."""

TURN_SECONDS: Final = 0.00005
"""Pause after a commit where other processes write too: LMDB's lock is unfair, and without it they starve for 0.5 s."""


T = TypeVar("T")


class Work(msgspec.Struct):
    """One piece of work and who waits for it. ``future`` belongs to ``loop``."""

    run: Callable[[Transaction], object]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[object]
    since: float
    outcome: object = None
    error: Exception | None = None
    cause: Exception | None = None
    appended: tuple[str, ...] = ()


class Committer:
    """The one writer of this process."""

    def __init__(
        self,
        environment: Environment,
        *,
        shared: bool,
        fail: Callable[[StoreUnusable], None],
        observer: CommitObserver | None = None,
    ) -> None:
        """Start the thread.

        ``shared`` says that other processes write too; ``fail`` is told once when the store broke.
        """
        self._observer = Guarded(observer or Unobserved())
        self._environment = environment
        self._pause = TURN_SECONDS if shared else 0.0
        self._fail = fail
        self._ready = threading.Condition()
        self._queue: deque[Work] = deque()
        self._closing = False
        self._broken: StoreUnusable | None = None
        self._thread = threading.Thread(target=self._serve, name="committer", daemon=True)
        self._thread.start()

    async def submit(self, run: Callable[[Transaction], T]) -> T:
        """Run ``run`` in a durable transaction and return its result once it is on disk.

        Raises what ``run`` raised, with nothing of it kept; Unavailable when the store has no room, too much waits, or
        the outcome is unknown after ``WAIT_SECONDS_MAX``; StoreUnusable once the store is broken.
        """
        if self._broken is not None:
            raise self._broken
        if len(self._queue) >= QUEUE_MAX:
            raise Unavailable(f"over {QUEUE_MAX} requests wait for the store, nothing was changed")
        loop = asyncio.get_running_loop()
        work = Work(run, loop, loop.create_future(), time.monotonic())
        timer = loop.call_later(WAIT_SECONDS_MAX, _give_up, work)
        with self._ready:
            self._queue.append(work)
            self._observer.waiting(len(self._queue))
            self._ready.notify()
        try:
            return await work.future  # type: ignore[return-value]  # the future carries what ``run`` returned
        finally:
            timer.cancel()

    def close(self) -> None:
        """Finish what waits, then stop the thread."""
        with self._ready:
            self._closing = True
            self._ready.notify()
        self._thread.join()

    def _serve(self) -> None:
        while batch := self._take():
            self._run(batch)
            _tell(batch)
            if not self._closing and any(isinstance(work.cause, MapFull) for work in batch):
                _on_loop(batch[0].loop, self._environment.grow)
            if self._pause:
                time.sleep(self._pause)

    def _take(self) -> list[Work]:
        with self._ready:
            while not self._queue and not self._closing:
                self._ready.wait()
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_MAX))]
            self._observer.waiting(len(self._queue))
            return batch

    def _run(self, batch: list[Work]) -> None:
        """Do and commit ``batch``; every failure ends up in the work it belongs to."""
        started = time.perf_counter()
        try:
            parent = self._begin(batch[0].loop)
            begun = time.perf_counter()
            try:
                for work in batch:
                    self._attempt(work, parent)
                done = time.perf_counter()
                parent.commit()
            except BaseException:
                parent.abort()
                raise
        except StoreError as error:
            self._spoil(batch, error, self._explained(error))
        except Exception as error:  # noqa: BLE001 -- the thread must outlive whatever a batch does to it
            self._spoil(batch, error, Unavailable(f"the outcome is unknown: {type(error).__name__}"))
        else:
            appended = tuple(kind for work in batch for kind in work.appended)
            seconds = time.perf_counter() - done
            self._observer.committed(Batch(len(batch), appended, begun - started, seconds))
            return
        self._observer.commit_failed()

    def _begin(self, loop: asyncio.AbstractEventLoop) -> Txn:
        try:
            return self._environment.begin_write()
        except MapResized:
            _on_loop(loop, self._environment.adopt)
            return self._environment.begin_write()

    def _attempt(self, work: Work, parent: Txn) -> None:
        child = self._environment.begin_child(parent)
        try:
            transaction = Transaction(child, self._environment.tables)
            work.outcome = work.run(transaction)
            child.commit()
            work.appended = tuple(transaction.appended)
        except Exception as error:  # noqa: BLE001 -- whatever one request raises is that request's answer
            child.abort()
            self._spoil([work], error, self._explained(error))

    def _explained(self, error: Exception) -> Exception:
        return translate(error, self._environment.free_bytes()) if isinstance(error, StoreError) else error

    def _spoil(self, batch: list[Work], cause: Exception, error: Exception) -> None:
        for work in batch:
            work.cause, work.error = cause, error
        if isinstance(error, StoreUnusable):
            self._break(error)

    def _break(self, error: StoreUnusable) -> None:
        if self._broken is None:
            self._broken = error
            self._fail(error)


def _on_loop(loop: asyncio.AbstractEventLoop, resize: Callable[[], object]) -> None:
    """Run ``resize`` in the event loop and wait for it: there, between two callbacks, no read transaction is open.

    Where the loop has ended, nobody reads any more.
    """
    done = threading.Event()

    def run() -> None:
        try:
            resize()
        finally:
            done.set()

    try:
        loop.call_soon_threadsafe(run)
    except RuntimeError:
        run()
    done.wait(WAIT_SECONDS_MAX)


def _tell(batch: list[Work]) -> None:
    """Wake the waiters, each in its own loop and all of one loop at once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Work]] = {}
    for work in batch:
        by_loop.setdefault(work.loop, []).append(work)
    for loop, works in by_loop.items():
        with suppress(RuntimeError):  # the loop has ended, nobody waits there any more
            loop.call_soon_threadsafe(_resolve, works)


def _resolve(works: list[Work]) -> None:
    for work in works:
        if work.future.done():
            continue
        if work.error is not None:
            work.future.set_exception(work.error)
        else:
            work.future.set_result(work.outcome)


def _give_up(work: Work) -> None:
    if not work.future.done():
        message = f"the store did not answer within {WAIT_SECONDS_MAX} s, the outcome is unknown"
        work.future.set_exception(Unavailable(message))

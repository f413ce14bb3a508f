"""A piece of work for the committer, and whoever waits for it."""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from sidecar.core.errors import Unavailable
from sidecar.state.transaction import Transaction

WAIT_SECONDS_MAX: Final = 2.0
"""After this who waits for the thread beside the loop is told that the outcome is unknown; the work itself goes on.

Who waits for a commit on the loop is told nothing before it is over: if the disk stalls there, so does the loop, for as
long as the disk does, and no timer runs (docs/decisions/0014).
"""


class Work(msgspec.Struct):
    """One piece of work and who waits for it.

    ``apart`` asks for a transaction inside that of its batch. ``is_long`` says that the loop would stand still for it:
    it is done beside the loop however long it takes. ``cause`` is what went wrong and ``error`` what the
    waiter is told of it; ``timer`` runs where it may take long.
    """

    run: Callable[[Transaction], object]
    future: asyncio.Future[object]
    apart: bool = False
    is_long: bool = False
    timer: asyncio.TimerHandle | None = None
    outcome: object = None
    error: Exception | None = None
    cause: Exception | None = None


def resolve(works: list[Work]) -> None:
    """Tell the waiters what became of their work. Called by the loop."""
    for work in works:
        if work.timer is not None:
            work.timer.cancel()
        if work.future.done():
            continue
        if work.error is not None:
            work.future.set_exception(work.error)
        else:
            work.future.set_result(work.outcome)


def limit(loop: asyncio.AbstractEventLoop, work: Work) -> None:
    """Let the waiter of ``work`` give up after a while, where another process or a slow disk may keep it waiting.

    Who knows that it takes long waits for its end.
    """
    if work.timer is None and not work.is_long:
        work.timer = loop.call_later(WAIT_SECONDS_MAX, _give_up, work)


def _give_up(work: Work) -> None:
    if not work.future.done():
        message = f"the store did not answer within {WAIT_SECONDS_MAX} s, the outcome is unknown"
        work.future.set_exception(Unavailable(message))

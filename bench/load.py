"""The load generator's process: closed-loop keep-alive clients on one event loop, each with one request on its way.

A latency runs from the write of a request to the arrival of its last bytes, before the answer is looked at. Latencies
go into an array that is there before the first request, and the garbage collector is off while it fills.
"""

import asyncio
import gc
import itertools
import sys
import time
from array import array
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import httptools
import msgspec
import orjson
import uvloop

from bench.generator import Latencies, Outcome, Plan, requests

RATE_MAX: Final = 60_000
"""Answers a second that the array has room for, above what one Python process can receive."""

PATIENCE_SECONDS: Final = 10
"""How long the last answers may take."""

NANO: Final = 1_000_000_000
WRONG_SHOWN_MAX: Final = 300


class Run:
    """One plan under way: when it ends, and what was found so far."""

    def __init__(self, plan: Plan) -> None:
        """Make room for the latencies; the clock starts with ``begin``."""
        self.plan = plan
        self.requests = itertools.cycle(requests(plan))
        self.right = self.wrong = self.measured = 0
        self.first_wrong = ""
        self.latencies: Latencies = array("q", bytes(8 * (int(RATE_MAX * plan.seconds) + plan.connections)))
        self.starts = self.ends = self.newest = 0

    def begin(self) -> None:
        """Start the clock."""
        self.starts = self.newest = time.perf_counter_ns() + int(self.plan.warm_up_seconds * NANO)
        self.ends = self.starts + int(self.plan.seconds * NANO)

    def note(self, began: int, arrived: int, status: int, body: bytes) -> bool:
        """Judge one answer; returns whether another request is wanted."""
        if status == 200 and told(body, self.plan.path) == self.plan.value:
            self.right += 1
        else:
            self.note_wrong(f"{status} {body.decode(errors='replace')}")
        if arrived >= self.ends or self.measured == len(self.latencies):
            return False
        if arrived >= self.starts:
            self.latencies[self.measured] = arrived - began
            self.measured += 1
            self.newest = arrived
        return True

    def note_wrong(self, what: str) -> None:
        """Count something that is no right answer."""
        self.wrong += 1
        self.first_wrong = self.first_wrong or what[:WRONG_SHOWN_MAX]

    def outcome(self, busy: float) -> Outcome:
        """Return what came of it."""
        return Outcome(
            measured=self.measured,
            seconds=max(self.newest - self.starts, 1) / NANO,
            right=self.right,
            wrong=self.wrong,
            first_wrong=self.first_wrong,
            busy=busy,
        )


def told(body: bytes, path: Sequence[str | int]) -> object:
    """Return what an answer has at the end of ``path``, None where there is nothing."""
    found: Any = orjson.loads(body)
    try:
        for step in path:
            found = found[step]
    except (KeyError, IndexError, TypeError):
        return None
    return found


class Connection(asyncio.Protocol):
    """One client: sends, waits for the whole answer, sends again."""

    def __init__(self, run: Run, done: asyncio.Future[None]) -> None:
        """Work for ``run``; ``done`` is resolved when nothing more comes."""
        self._run = run
        self._done = done
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        self._began = self._arrived = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]  # of a stream connection
        self._send()

    def _send(self) -> None:
        self._body = b""
        request = next(self._run.requests)
        self._began = time.perf_counter_ns()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take the time first, then read; httptools calls back."""
        self._arrived = time.perf_counter_ns()
        self._parser.feed_data(data)

    def on_body(self, chunk: bytes) -> None:
        """Gather the body."""
        self._body += chunk

    def on_message_complete(self) -> None:
        """Judge the answer and go on, or end."""
        if self._run.note(self._began, self._arrived, self._parser.get_status_code(), self._body):
            self._send()
        else:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell of a connection that ended under a request."""
        if not self._done.done():
            self._run.note_wrong(f"the connection broke: {exc}")
            self._finish()

    def _finish(self) -> None:
        if not self._done.done():
            self._done.set_result(None)
        self._transport.close()


async def drive(run: Run) -> None:
    """Carry out the plan of ``run``."""
    loop, plan = asyncio.get_running_loop(), run.plan
    waiting = [loop.create_future() for _ in range(plan.connections)]
    run.begin()
    for done in waiting:
        connection = partial(Connection, run, done)
        try:
            if plan.uds:
                await loop.create_unix_connection(connection, plan.uds)
            else:
                await loop.create_connection(connection, plan.host, plan.port)
        except OSError as error:
            run.note_wrong(f"no connection: {error}")
            done.set_result(None)
    limit = plan.warm_up_seconds + plan.seconds + PATIENCE_SECONDS
    _, late = await asyncio.wait(waiting, timeout=limit)
    for _ in late:
        run.note_wrong(f"no answer within {PATIENCE_SECONDS} s")


def serve() -> None:
    """Carry out one plan after the other until the input ends."""
    for line in sys.stdin.buffer:
        run = Run(msgspec.json.decode(line, type=Plan))
        gc.collect()
        gc.disable()
        wall, processor = time.perf_counter(), time.process_time()
        uvloop.run(drive(run))
        busy = (time.process_time() - processor) / (time.perf_counter() - wall)
        gc.enable()
        sys.stdout.buffer.write(msgspec.json.encode(run.outcome(busy)) + b"\n")
        sys.stdout.buffer.write(run.latencies[: run.measured].tobytes())
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):  # Ctrl-C reaches the whole group, and the parent tells of it
        serve()

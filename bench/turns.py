"""``python -m bench.turns``: several processes that write one store, each way of taking turns measured in one run.

What is compared is how the processes of one data directory come to commit: through the turnstile that the server uses,
through LMDB's own lock in the event loop, or by sending their work to one process that commits for all. The work is the
same: some computing before (a ruling), the rows of a permit inside the transaction, and an answer.
"""

import asyncio
import multiprocessing
import sys
import tempfile
import time
from array import array
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path
from struct import Struct
from typing import Final, Literal, TypeAlias, get_args

import click
import uvloop
from rich.console import Console
from rich.table import Table

from bench.measure import quantile
from sidecar.core.errors import StoreUnusable
from sidecar.state.committer import Committer
from sidecar.state.environment import Durability, Environment, open_environment
from sidecar.state.transaction import Transaction

Way: TypeAlias = Literal["turnstile", "lock", "one committer"]
WAYS: Final[tuple[Way, ...]] = get_args(Way)

RULING_SECONDS: Final = 80e-6
WORK_SECONDS: Final = 30e-6
ROWS: Final = (("audit", 900), ("decisions", 700), ("facts", 300))
ENCODED: Final = 1_400
"""Bytes of a proposal, and of an answer, where they cross a socket."""

CODING_SECONDS: Final = 8e-6
"""What encoding or decoding one of them costs."""

_SIZE: Final = Struct(">I")
_KEY: Final = Struct(">II")
Submit: TypeAlias = Callable[[], Awaitable[object]]


def _busy(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


class Rows:
    """Writes the rows of one permit after the other."""

    def __init__(self, environment: Environment, slot: int) -> None:
        """Write for the process in ``slot``."""
        self._tables = environment.tables
        self._slot = slot
        self._number = 0

    def __call__(self, transaction: Transaction) -> None:
        """Move two counters and add one row to each of three tables."""
        txn = transaction._txn  # noqa: SLF001 -- rows without meaning, which no typed view would write
        self._number += 1
        for counter in range(2):
            key = _KEY.pack(self._slot, counter)
            used = int.from_bytes(txn.get(key, db=self._tables["counters"]) or b"")
            txn.put(key, (used + 1).to_bytes(40), db=self._tables["counters"])
        for table, length in ROWS:
            txn.put(_KEY.pack(self._slot, self._number), bytes(length), db=self._tables[table])
        _busy(WORK_SECONDS)


def _fail(error: StoreUnusable) -> None:
    sys.exit(f"the store broke: {error.message}")


async def _drive(submit: Submit, callers: int, seconds: float) -> "array[int]":
    """Return the latencies, in nanoseconds, of callers that ask again once they were answered."""
    found = array("q")
    end = time.perf_counter() + seconds

    async def call() -> None:
        while time.perf_counter() < end:
            _busy(RULING_SECONDS)
            began = time.perf_counter_ns()
            await submit()
            found.append(time.perf_counter_ns() - began)

    await asyncio.gather(*(call() for _ in range(callers)))
    return found


def _write(
    pipe: Connection, way: Way, store: Path, durability: Durability, slot: int, callers: int, seconds: float
) -> None:
    """Be one of the processes: wait for the word, measure, send the latencies."""

    async def run() -> None:
        if way == "one committer":
            reader, writer = await asyncio.open_unix_connection(str(store.with_name("committer")))
            remote = Remote(reader, writer)
            pipe.recv()
            pipe.send(await _drive(remote.submit, callers, seconds))
            remote.close()
            return
        environment = open_environment(store, durability=durability)
        committer = Committer(environment, shared=way == "turnstile", fail=_fail)
        rows = Rows(environment, slot)
        pipe.recv()
        pipe.send(await _drive(lambda: committer.submit(rows), callers, seconds))
        committer.close()
        environment.close()

    uvloop.run(run())


class Remote:
    """Sends work to the committing process; answers come back in the order of the questions."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk over one connection."""
        self._writer = writer
        self._waiting: list[asyncio.Future[None]] = []
        self._reading = asyncio.create_task(self._read(reader))

    async def submit(self) -> None:
        """Send one proposal and wait for its answer."""
        _busy(CODING_SECONDS)
        self._writer.write(_SIZE.pack(ENCODED) + bytes(ENCODED))
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def close(self) -> None:
        """Hang up."""
        self._reading.cancel()
        self._writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while True:
            await reader.readexactly(_SIZE.size + ENCODED)
            _busy(CODING_SECONDS)
            self._waiting.pop(0).set_result(None)


def _commit(pipe: Connection, store: Path, durability: Durability) -> None:
    """Be the committing process until told to end."""

    async def run() -> None:
        environment = open_environment(store, durability=durability)
        committer = Committer(environment, shared=False, fail=_fail)
        rows = Rows(environment, 0)
        tasks = set[asyncio.Task[None]]()

        async def answer(writer: asyncio.StreamWriter) -> None:
            await committer.submit(rows)
            _busy(CODING_SECONDS)
            writer.write(_SIZE.pack(ENCODED) + bytes(ENCODED))

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while not reader.at_eof():
                try:
                    await reader.readexactly(_SIZE.size + ENCODED)
                except asyncio.IncompleteReadError:
                    break
                _busy(CODING_SECONDS)
                task = asyncio.create_task(answer(writer))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            writer.close()

        server = await asyncio.start_unix_server(serve, str(store.with_name("committer")))
        pipe.send(None)
        await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
        server.close()
        committer.close()
        environment.close()

    uvloop.run(run())


def measure(way: Way, durability: Durability, processes: int, callers: int, seconds: float, folder: Path) -> list[int]:
    """Return the latencies of all callers, in order of size."""
    store = Path(tempfile.mkdtemp(dir=folder)) / "db"
    open_environment(store, durability=durability).close()
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    committing = spawn.Process(target=_commit, args=(theirs, store, durability))
    if way == "one committer":
        committing.start()
        ours.recv()
    pipes: list[Connection] = []
    writers = []
    for slot in range(processes):
        pipe, end = spawn.Pipe()
        writers.append(spawn.Process(target=_write, args=(end, way, store, durability, slot, callers, seconds)))
        writers[-1].start()
        pipes.append(pipe)
    time.sleep(1.5)  # all of them have imported what they need
    for pipe in pipes:
        pipe.send(None)
    latencies = [each for pipe in pipes for each in pipe.recv()]
    for writer in writers:
        writer.join()
    if way == "one committer":
        ours.send(None)
        committing.join()
    return sorted(latencies)


@click.command(context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
@click.option("--processes", type=click.IntRange(1, 16), multiple=True, default=(2, 4), help="Processes that write.")
@click.option("--callers", type=click.IntRange(1, 64), default=8, help="Callers in each.")
@click.option("--seconds", type=click.FloatRange(0.2, 60), default=2.0, help="How long each round takes.")
@click.option("--rounds", type=click.IntRange(1, 20), default=3, help="Rounds in which the ways take turns.")
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Disk to measure.")
def main(processes: tuple[int, ...], callers: int, seconds: float, rounds: int, data_dir: Path | None) -> None:
    """Compare how several processes take turns at writing one store."""
    table = Table("way", "durability", "processes", "per second", "p50 ms", "p99 ms", "max ms")
    durabilities: tuple[Durability, ...] = get_args(Durability)
    with tempfile.TemporaryDirectory(prefix="sidecar-turns-", dir=data_dir) as folder:
        for durability in durabilities:
            for count in processes:
                found: dict[Way, list[int]] = {way: [] for way in WAYS}
                for _ in range(rounds):
                    for way in WAYS:
                        found[way] += measure(way, durability, count, callers, seconds, Path(folder))
                for way, latencies in found.items():
                    ordered = sorted(latencies) or [0]
                    figures = [f"{quantile(ordered, share) / 1e6:.2f}" for share in (0.5, 0.99)]
                    rate = f"{len(latencies) / seconds / rounds:,.0f}"
                    table.add_row(way, durability, str(count), rate, *figures, f"{ordered[-1] / 1e6:.1f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main(prog_name="python -m bench.turns")

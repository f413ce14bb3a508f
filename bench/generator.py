"""The load generator as its user sees it: a process of its own, so that it takes no time from the server's interpreter.

It stays for the whole run; each plan is one line of JSON to it, each outcome a line of JSON and the raw latencies back.
"""

import subprocess
import sys
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Final, TypeAlias

import msgspec

from bench.servers import ROOT

Latencies: TypeAlias = "array[int]"
"""Nanoseconds in 8 bytes each. In quotes: an array takes no parameter when it runs, before Python 3.12."""

LATENCY_BYTES: Final = 8


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Send ``request``, a whole HTTP request, again and again on each of ``connections`` keep-alive connections.

    An answer is right when it is a 200 whose JSON has ``value`` at the end of ``path``, keys and positions from the
    outside in. What is answered in the first ``warm_up_seconds`` is checked and not measured. ``uds`` is the path of a
    socket that takes the place of host and port. Where ``varied`` is given, a text such as ``47.23``, each request has
    another amount in its place, and the same one comes back only after ``VARIANTS`` others.
    """

    host: str
    port: int
    request: bytes
    connections: int
    path: tuple[str | int, ...]
    value: str | bool
    uds: str = ""
    varied: str = ""
    warm_up_seconds: float = 0.0
    seconds: float = 0.0


VARIANTS: Final = 9_000
"""Amounts from 10.00 to 99.99, all of one length."""


def requests(plan: Plan) -> list[bytes]:
    """Return the requests that are sent in turn."""
    return varied(plan.request, plan.varied) if plan.varied else [plan.request]


def varied(request: bytes, text: str) -> list[bytes]:
    """Return ``request`` with each of ``VARIANTS`` amounts in the place of ``text``."""
    amounts = (b"%d.%02d" % divmod(cents, 100) for cents in range(1_000, 1_000 + VARIANTS))
    return [request.replace(text.encode(), amount) for amount in amounts]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a plan.

    ``measured`` latencies were taken in ``seconds``; ``right`` and ``wrong`` count all answers, warm-up included. A
    connection that broke or an answer that never came counts as wrong; ``first_wrong`` tells of one. ``busy`` is the
    share of the time in which the generator itself was running.
    """

    measured: int
    seconds: float
    right: int
    wrong: int
    first_wrong: str
    busy: float


class GeneratorDiedError(Exception):
    """The load generator ended before its time."""


class Generator:
    """A running load generator."""

    def __init__(self, to: IO[bytes], back: IO[bytes]) -> None:
        """Talk over two pipes."""
        self._to = to
        self._back = back

    def drive(self, plan: Plan) -> tuple[Outcome, Latencies]:
        """Carry out ``plan``; returns its outcome and the latencies in nanoseconds. Raises GeneratorDiedError."""
        self._to.write(msgspec.json.encode(plan) + b"\n")
        self._to.flush()
        line = self._back.readline()
        if not line:
            raise GeneratorDiedError("the load generator died")
        outcome = msgspec.json.decode(line, type=Outcome)
        latencies: Latencies = array("q")
        latencies.frombytes(self._back.read(outcome.measured * LATENCY_BYTES))
        return outcome, latencies


@contextmanager
def generator() -> Iterator[Generator]:
    """Run a load generator on this process's processors; it ends when its input does."""
    command = [sys.executable, "-m", "bench.load"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        if process.stdin is None or process.stdout is None:
            raise GeneratorDiedError("the load generator has no pipes")
        yield Generator(process.stdin, process.stdout)

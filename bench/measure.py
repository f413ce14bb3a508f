"""The measurement: every row in slices of about a second, the rows taking turns.

What disturbs the machine for some seconds then disturbs all rows alike, and their ratios stay worth quoting.
"""

import math
from array import array
from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from bench.generator import Generator, Latencies, Outcome, Plan
from bench.servers import Server

MS: Final = 1_000_000
FIRST_WARM_UP_SECONDS: Final = 0.5
LATER_WARM_UP_SHARE: Final = 0.1

Slice: TypeAlias = Callable[[float, float], tuple[Outcome, Latencies]]
"""Measures for some seconds after some seconds of warm-up."""

Kind: TypeAlias = Literal["disk", "echo", "own", "peer"]
"""A floor without HTTP, the floor with it, this project, or another one."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What a row comes to.

    ``rate`` is answers a second over ``answers`` that were measured; ``busy`` is the generator's share of its processor
    at most. ``wrong`` counts answers that were wrong or missing, warm-up included; ``first_wrong`` tells of one.
    """

    answers: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    rate: float
    busy: float
    wrong: int
    first_wrong: str = ""


class Row(msgspec.Struct):
    """What is measured at one number of connections, and what its slices found so far."""

    name: str
    connections: int
    measure: Slice
    kind: Kind = "own"
    latencies: Latencies = msgspec.field(default_factory=lambda: array("q"))
    outcomes: list[Outcome] = msgspec.field(default_factory=list)

    @property
    def right(self) -> int:
        """Right answers, warm-up included."""
        return sum(outcome.right for outcome in self.outcomes)

    def figures(self) -> Figures:
        """Return the row's figures; zeros when nothing was measured."""
        ordered = sorted(self.latencies) or [0]
        seconds = sum(outcome.seconds for outcome in self.outcomes if outcome.measured)
        return Figures(
            answers=len(self.latencies),
            p50_ms=quantile(ordered, 0.5) / MS,
            p99_ms=quantile(ordered, 0.99) / MS,
            max_ms=ordered[-1] / MS,
            rate=len(self.latencies) / seconds if seconds else 0.0,
            busy=max((outcome.busy for outcome in self.outcomes), default=0.0),
            wrong=sum(outcome.wrong for outcome in self.outcomes),
            first_wrong=next((outcome.first_wrong for outcome in self.outcomes if outcome.first_wrong), ""),
        )


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A whole HTTP request, and where its answer must hold what; ``varied`` is an amount that changes each time."""

    content: bytes
    path: tuple[str | int, ...]
    value: str | bool
    varied: str = ""


def quantile(ordered: Sequence[int], share: float) -> int:
    """Return the smallest value that at least ``share`` of the values do not exceed (nearest rank)."""
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def run(rows: Sequence[Row], seconds: float, told: Callable[[], None] = lambda: None) -> None:
    """Measure every row for ``seconds`` in all; ``told`` is called after each slice."""
    count = slices(seconds)
    length = seconds / count
    for number in range(count):
        warm_up = length * LATER_WARM_UP_SHARE if number else min(FIRST_WARM_UP_SECONDS, seconds)
        for row in rows:
            outcome, latencies = row.measure(length, warm_up)
            row.outcomes.append(outcome)
            row.latencies.extend(latencies)
            told()


def slices(seconds: float) -> int:
    """Return in how many parts a row's time is taken."""
    return max(1, round(seconds))


def row(name: str, kind: Kind, generator: Generator, server: Server, request: Request, connections: int) -> Row:
    """Return the row of one request sent again and again."""
    planned = plan(server, request, connections)

    def measure(seconds: float, warm_up_seconds: float) -> tuple[Outcome, Latencies]:
        return generator.drive(msgspec.structs.replace(planned, seconds=seconds, warm_up_seconds=warm_up_seconds))

    return Row(name, connections, measure, kind)


def plan(server: Server, request: Request, connections: int) -> Plan:
    """Return the plan of sending ``request``; as it stands, it sends one a connection."""
    return Plan(
        host=server.host,
        port=server.port,
        uds=server.uds,
        request=request.content,
        varied=request.varied,
        connections=connections,
        path=request.path,
        value=request.value,
    )


def post(server: Server, path: str, body: bytes, token: str = "") -> bytes:
    """Return a whole request with the headers that a client library would send."""
    lines = (
        f"POST {path} HTTP/1.1",
        f"Host: {server.host}:{server.port}",
        "Accept: */*",
        "User-Agent: bench",
        *([f"Authorization: Bearer {token}"] if token else []),
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def get(server: Server, path: str) -> bytes:
    """Return a whole request without a body."""
    return f"GET {path} HTTP/1.1\r\nHost: {server.host}:{server.port}\r\n\r\n".encode()

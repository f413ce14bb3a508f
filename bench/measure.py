"""The measurement: every row in slices of about a second, the rows taking turns.

What disturbs the machine for some seconds then disturbs all rows alike, and their ratios stay worth quoting.
"""

import math
from array import array
from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias

import msgspec
import orjson

from bench.generator import Generator, Latencies, Outcome, Plan
from bench.servers import Server
from bench.tenant import Tenant

MS: Final = 1_000_000
FIRST_WARM_UP_SECONDS: Final = 1.0
LATER_WARM_UP_SHARE: Final = 0.1

Slice: TypeAlias = Callable[[float, float], tuple[Outcome, Latencies]]
"""Measures for some seconds after some seconds of warm-up."""

Kind: TypeAlias = Literal["disk", "echo", "stage"]
"""A floor without HTTP, the floor with it, or a step of the server's own work."""


class Row(msgspec.Struct):
    """One line of the table: what is measured, and what its slices found so far."""

    name: str
    connections: int
    measure: Slice
    kind: Kind = "stage"
    latencies: Latencies = msgspec.field(default_factory=lambda: array("q"))
    outcomes: list[Outcome] = msgspec.field(default_factory=list)

    @property
    def right(self) -> int:
        """Right answers, warm-up included."""
        return sum(outcome.right for outcome in self.outcomes)

    @property
    def wrong(self) -> int:
        """Answers that were wrong or missing, warm-up included."""
        return sum(outcome.wrong for outcome in self.outcomes)

    def figures(self) -> "Figures":
        """Return the row's figures; zeros when nothing was measured."""
        ordered = sorted(self.latencies) or [0]
        seconds = sum(outcome.seconds for outcome in self.outcomes if outcome.measured)
        return Figures(
            p50_ms=quantile(ordered, 0.5) / MS,
            p99_ms=quantile(ordered, 0.99) / MS,
            max_ms=ordered[-1] / MS,
            rate=len(self.latencies) / seconds if seconds else 0.0,
            busy=max((outcome.busy for outcome in self.outcomes), default=0.0),
        )


class Figures(msgspec.Struct, frozen=True):
    """A row's figures. ``rate`` is answers a second, ``busy`` the generator's share of its processor at most."""

    p50_ms: float
    p99_ms: float
    max_ms: float
    rate: float
    busy: float


def quantile(ordered: Sequence[int], share: float) -> int:
    """Return the smallest value that at least ``share`` of the values do not exceed (nearest rank)."""
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def run(rows: Sequence[Row], seconds: float) -> None:
    """Measure every row for ``seconds`` in all."""
    slices = max(1, round(seconds))
    length = seconds / slices
    for number in range(slices):
        warm_up = length * LATER_WARM_UP_SHARE if number else min(FIRST_WARM_UP_SECONDS, seconds)
        for row in rows:
            outcome, latencies = row.measure(length, warm_up)
            row.outcomes.append(outcome)
            row.latencies.extend(latencies)


def echoes(generator: Generator, server: Server, tenant: Tenant, connections: int) -> Row:
    """Return the row of the floor: a permit's request, sent back as it is."""
    body = orjson.dumps(tenant.request())
    plan = _plan(server, _post(server, "/", tenant.token, body), connections, ("action", "card.authorize"))
    return Row("bare ASGI echo (floor)", connections, _slice(generator, plan), "echo")


def health(generator: Generator, server: Server, connections: int) -> Row:
    """Return the row of a call that decides nothing: routing and the door's own work."""
    request = f"GET /v1/health HTTP/1.1\r\nHost: {server.host}:{server.port}\r\n\r\n".encode()
    return Row("health", connections, _slice(generator, _plan(server, request, connections, ("status", "ok"))))


def permit_name(durability: str) -> str:
    """Return what the row of full permits is called."""
    return f"permit, {durability}"


def permits(durability: str, generator: Generator, server: Server, tenant: Tenant, connections: int) -> Row:
    """Return the row of a full permit, each a new reservation and a new audit record."""
    body = orjson.dumps(tenant.request())
    plan = _plan(server, _post(server, "/v1/authorize", tenant.token, body), connections, ("allowed", True))
    return Row(permit_name(durability), connections, _slice(generator, plan))


def dry_runs(generator: Generator, server: Server, tenant: Tenant, connections: int) -> Row:
    """Return the row of the same decision without reserving or recording."""
    body = orjson.dumps(tenant.request(dry_run=True))
    plan = _plan(server, _post(server, "/v1/authorize", tenant.token, body), connections, ("allowed", True))
    return Row("dry run", connections, _slice(generator, plan))


def _plan(server: Server, request: bytes, connections: int, right: tuple[str, str | bool]) -> Plan:
    return Plan(
        host=server.host,
        port=server.port,
        request=request,
        connections=connections,
        warm_up_seconds=0,
        seconds=0,
        field=right[0],
        value=right[1],
    )


def _slice(generator: Generator, plan: Plan) -> Slice:
    def measure(seconds: float, warm_up_seconds: float) -> tuple[Outcome, Latencies]:
        return generator.drive(msgspec.structs.replace(plan, seconds=seconds, warm_up_seconds=warm_up_seconds))

    return measure


def _post(server: Server, path: str, token: str, body: bytes) -> bytes:
    """Return a whole request with the headers that a client library would send."""
    lines = (
        f"POST {path} HTTP/1.1",
        f"Host: {server.host}:{server.port}",
        "Accept: */*",
        "User-Agent: bench",
        f"Authorization: Bearer {token}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

"""``python -m bench.doors``: what a decision costs at each foreign door, beside the native call that asks for the same.

In process: requests go straight into the real ASGI application, on a store of its own without fsync, and the clock is
the processor's, so that our own work is in the figures and nothing that others do meanwhile. On loopback: a real server
with Envoy's door over gRPC, one connection of each kind, and the clock on the wall. All ways take turns, so that what
disturbs one disturbs the others: quote the ratio.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import click
import httpx
import orjson
import uvloop

from bench.foreign import GATEWAY, HOST, Agent, Asked, Foreign, Way, set_up
from bench.servers import ROOT, Server, free_port, sidecar
from bench.steps import MICRO, OPERATOR, call, send
from sidecar.app.composition import Health, compose
from sidecar.app.logs import set_up_logs
from sidecar.app.prepare import prepare
from sidecar.settings import Settings

WARM_UP: Final = 50
GRPC: Final = "Envoy over gRPC"


class Size(NamedTuple):
    """How much is measured: rounds in which each way has so many turns."""

    rounds: int = 15
    turns: int = 60
    warm_up: int = WARM_UP


QUICK: Final = Size(rounds=1, turns=2, warm_up=1)


class Timed(NamedTuple):
    """A way to ask that is to be measured: it returns the seconds of one permit, its making not counted."""

    name: str
    once: Callable[[], Coroutine[Any, Any, float]]


class Cost(NamedTuple):
    """What a permit takes, and how many times what the native call takes: medians of the rounds' own medians."""

    name: str
    microseconds: float
    ratio: float


async def measure(ways: Sequence[Timed], size: Size) -> list[Cost]:
    """Return what each way costs beside the first of them."""
    for _ in range(size.warm_up):
        for way in ways:
            await way.once()
    rounds = [await _round(ways, size.turns) for _ in range(size.rounds)]
    return [
        Cost(
            way.name,
            statistics.median(each[number] for each in rounds) * MICRO,
            statistics.median(each[number] / each[0] for each in rounds),
        )
        for number, way in enumerate(ways)
    ]


async def _round(ways: Sequence[Timed], turns: int) -> list[float]:
    taken = [[await way.once() for way in ways] for _ in range(turns)]
    return [statistics.median(column) for column in zip(*taken, strict=True)]


Sent: TypeAlias = Callable[[Asked], Awaitable[tuple[int, bytes]]]
"""Send a request and return status and body of its answer."""


def timed(way: Way, sent: Sent, clock: Callable[[], float]) -> Timed:
    """Return ``way`` through ``sent`` by ``clock``; each time raises click.ClickException where there is no permit."""

    async def once() -> float:
        asked = way.ask()
        began = clock()
        status, body = await sent(asked)
        taken = clock() - began
        if not way.is_permit(status, body):
            raise click.ClickException(f"{way.name}: no permit: {status} {body.decode(errors='replace')}")
        return taken

    return Timed(way.name, once)


async def in_process(application: Any, size: Size) -> list[list[Cost]]:  # noqa: ANN401  # ASGI
    """Return what the doors of ``application`` cost: tool calls, then payments."""

    async def make(path: str, body: dict[str, object], token: str) -> dict[str, Any]:
        return await call(application, f"/v1/{path}", orjson.dumps(body), token)

    async def sent(asked: Asked) -> tuple[int, bytes]:
        return await send(application, asked.method, asked.path, asked.headers, asked.body)

    foreign = Foreign(await set_up(make, OPERATOR))
    tables = (foreign.tools(), foreign.cards())
    return [await measure([timed(way, sent, time.process_time) for way in ways], size) for ways in tables]


async def on_loopback(server: Server, place: str, size: Size) -> list[Cost]:
    """Return what a tool call costs natively, at Envoy's door over HTTP, and at the one over gRPC at ``place``."""
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:

        async def make(path: str, body: dict[str, object], token: str) -> dict[str, Any]:
            answer = await client.post(f"/v1/{path}", json=body, headers={"Authorization": f"Bearer {token}"})
            found: dict[str, Any] = answer.raise_for_status().json()
            return found

        agent = await set_up(make, server.operator)
    foreign = Foreign(agent)
    connection = Connection(*await asyncio.open_connection(server.host, server.port))
    ways = [way for way in foreign.tools() if way.name in {"native", "Envoy over HTTP"}]
    over_http = [timed(way, connection.send, time.perf_counter) for way in ways]
    try:
        return await _beside_grpc(over_http, foreign, agent, place, size)
    finally:
        await connection.close()


async def _beside_grpc(over_http: list[Timed], foreign: Foreign, agent: Agent, place: str, size: Size) -> list[Cost]:
    from envoy.service.auth.v3.external_auth_pb2 import (  # type: ignore[import-untyped]  # noqa: PLC0415 -- optional
        CheckRequest,
        CheckResponse,
    )
    from grpc import aio  # noqa: PLC0415 -- as above

    from sidecar.doors.gateway.grpc_check import ROUTE  # noqa: PLC0415 -- as above

    async with aio.insecure_channel(place) as channel:
        check = channel.unary_unary(
            ROUTE, request_serializer=CheckRequest.SerializeToString, response_deserializer=CheckResponse.FromString
        )

        async def once() -> float:
            request = CheckRequest()
            http = request.attributes.request.http
            http.method, http.host, http.path = "GET", HOST.decode(), f"/tools/{foreign.tool()}"
            for name, value in ((b"host", HOST), (b"authorization", f"Bearer {agent.token}".encode())):
                http.header_map.headers.add(key=name.decode(), raw_value=value)
            began = time.perf_counter()
            answer = await check(request)
            taken = time.perf_counter() - began
            if answer.status.code:
                raise click.ClickException(f"{GRPC}: no permit: {answer}")
            return taken

        return await measure([*over_http, Timed(GRPC, once)], size)


class Connection:
    """One kept connection, with no more of an HTTP client than has to be in the figures."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Ask over the two."""
        self._reader = reader
        self._writer = writer

    async def send(self, asked: Asked) -> tuple[int, bytes]:
        """Return status and body of the answer, which says how long it is."""
        lines = [f"{asked.method} {asked.path} HTTP/1.1".encode()]
        lines += [b"%b: %b" % header for header in asked.headers]
        self._writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + asked.body)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        _, _, rest = head.partition(b"\r\ncontent-length:")
        return int(head.split(b" ", 2)[1]), await self._reader.readexactly(int(rest.partition(b"\r\n")[0]))

    async def close(self) -> None:
        """Close it."""
        self._writer.close()
        await self._writer.wait_closed()


def run(folder: Path, size: Size) -> list[list[Cost]]:
    """Return what the doors cost: tool calls and payments in process, tool calls on loopback."""
    gateway = folder / "gateway.toml"
    gateway.write_text(GATEWAY)
    settings = Settings(
        data_dir=folder / "data",
        policies=ROOT / "policies",
        schemas=ROOT / "schemas",
        durability="process-crash",
        admin_token=OPERATOR,
        gateway=gateway,
    )
    worker = compose(prepare(settings), lambda: None, Health())
    try:
        found = uvloop.run(in_process(worker.application, size))
    finally:
        worker.store.close()
    place = f"127.0.0.1:{free_port()}"
    flags = {"--gateway": str(gateway), "--ext-authz-grpc": place}
    with sidecar(folder / "server", "process-crash", None, more=flags) as server:
        found.append(uvloop.run(on_loopback(server, place, size)))
    return found


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="Only see that it runs.")
def main(quick: bool) -> None:  # noqa: FBT001 -- a flag
    """Print one table for each of the three, a row per door."""
    set_up_logs("error")
    with tempfile.TemporaryDirectory(prefix="sidecar-bench-") as folder:
        tables = run(Path(folder), QUICK if quick else Size())
    for title, costs in zip(("tool call", "payment with a card", "tool call, on loopback"), tables, strict=True):
        click.echo(f"\n| {title} | median, µs | : native |\n|---|---:|---:|")
        for cost in costs:
            click.echo(f"| {cost.name} | {cost.microseconds:,.0f} | {cost.ratio:.2f} |")


if __name__ == "__main__":
    main()

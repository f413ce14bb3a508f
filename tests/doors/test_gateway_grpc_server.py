"""The gRPC server of a worker: what it takes, what it refuses by itself, and how it ends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import grpc
import pytest
from grpc import aio

from sidecar.core.errors import ConfigurationInvalid, Unavailable
from sidecar.doors.gateway import grpc_server
from sidecar.doors.gateway.grpc_check import ROUTE, Metadata
from sidecar.doors.gateway.grpc_server import MESSAGE_BYTES_MAX, Answering, CheckServer
from tests.process.following import free_port

Asking: TypeAlias = Callable[..., Awaitable[bytes]]

SECONDS = 5.0


async def echo(message: bytes, metadata: Metadata) -> bytes:
    """Answer with what was asked, and who asked."""
    return message + str(dict(metadata).get("x-own", "")).encode()


@asynccontextmanager
async def asking(answer: Answering, route: str = ROUTE) -> AsyncIterator[tuple[CheckServer, Asking]]:
    """Give a server that answers as ``answer`` does, and what asks it."""
    address = f"127.0.0.1:{free_port()}"
    server = CheckServer(answer, address, shared=False)
    await server.start()
    try:
        async with aio.insecure_channel(address) as channel:
            yield server, channel.unary_unary(route)
    finally:
        await server.stop(SECONDS)


async def refused(call: Awaitable[bytes]) -> grpc.StatusCode:
    """Return the code with which a call fails."""
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    return caught.value.code()


def test_a_message_is_answered_together_with_its_metadata() -> None:
    async def run() -> bytes:
        async with asking(echo) as (_, ask):
            return await ask(b"q", metadata=(("x-own", "a"),))

    assert asyncio.run(run()) == b"qa"


@pytest.mark.parametrize(("error", "why"), [(Unavailable("full"), "full"), (ValueError("bug"), "inside the sidecar")])
def test_a_fault_is_unavailable(error: Exception, why: str) -> None:
    async def fail(_message: bytes, _metadata: Metadata) -> bytes:
        raise error

    async def run() -> aio.AioRpcError:
        async with asking(fail) as (_, ask):
            with pytest.raises(aio.AioRpcError) as caught:
                await ask(b"q")
            return caught.value

    told = asyncio.run(run())
    assert told.code() == grpc.StatusCode.UNAVAILABLE
    assert why in (told.details() or "")
    assert "bug" not in (told.details() or "")


def test_a_message_that_is_too_long_reaches_nobody() -> None:
    async def run() -> grpc.StatusCode:
        async with asking(echo) as (_, ask):
            return await refused(ask(b"q" * (MESSAGE_BYTES_MAX + 1)))

    assert asyncio.run(run()) == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_there_is_no_other_method() -> None:
    async def run() -> grpc.StatusCode:
        async with asking(echo, f"{ROUTE}ed") as (_, ask):
            return await refused(ask(b"q"))

    assert asyncio.run(run()) == grpc.StatusCode.UNIMPLEMENTED


def test_over_the_bound_nothing_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_server, "CHECKS_MAX", 0)
    begun: list[bytes] = []

    async def keep(message: bytes, _metadata: Metadata) -> bytes:
        begun.append(message)
        return message

    async def run() -> grpc.StatusCode:
        address = f"127.0.0.1:{free_port()}"
        server = CheckServer(keep, address, shared=False)
        with monkeypatch.context() as open_:
            open_.setattr(grpc_server, "CHECKS_MAX", 1)
            await server.start()
        async with aio.insecure_channel(address) as channel:
            ask: Asking = channel.unary_unary(ROUTE)
            code = await refused(ask(b"q"))
        await server.stop(SECONDS)
        return code

    assert asyncio.run(run()) == grpc.StatusCode.UNAVAILABLE
    assert begun == []


def test_what_was_begun_is_finished_though_nobody_waits_any_more() -> None:
    """A decision is not left half made, and the end of the server waits for it."""
    done: list[bytes] = []

    async def run() -> None:
        begun, go = asyncio.Event(), asyncio.Event()

        async def late(message: bytes, _metadata: Metadata) -> bytes:
            begun.set()
            await go.wait()
            done.append(message)
            raise Unavailable("nobody hears this")

        async with asking(late) as (server, ask):
            asked = asyncio.ensure_future(ask(b"q"))
            await begun.wait()
            asked.cancel()
            await asyncio.wait({asked})
            stopping = asyncio.ensure_future(server.stop(SECONDS))
            await asyncio.sleep(0)
            assert done == []
            go.set()
            await stopping

    asyncio.run(run())
    assert done == [b"q"]


def test_the_end_of_the_server_waits_no_longer_than_it_was_told() -> None:
    async def run() -> None:
        begun, go = asyncio.Event(), asyncio.Event()

        async def stuck(message: bytes, _metadata: Metadata) -> bytes:
            begun.set()
            await go.wait()
            return message

        async with asking(stuck) as (server, ask):
            asked = asyncio.ensure_future(ask(b"q"))
            await begun.wait()
            await server.stop(0.01)
            with pytest.raises(aio.AioRpcError):
                await asked
            go.set()

    asyncio.run(run())


def test_a_server_that_never_listened_has_nothing_to_end() -> None:
    asyncio.run(CheckServer(echo, "127.0.0.1:1", shared=False).stop(0.0))


def test_an_address_that_somebody_has_is_named() -> None:
    async def run() -> None:
        async with asking(echo) as (server, _):
            await CheckServer(echo, server.address, shared=False).start()

    with pytest.raises(ConfigurationInvalid, match="cannot listen on `127"):
        asyncio.run(run())


def test_workers_share_an_address() -> None:
    async def run() -> None:
        address = f"127.0.0.1:{free_port()}"
        servers = [CheckServer(echo, address, shared=True) for _ in range(2)]
        for server in servers:
            await server.start()
        for server in servers:
            await server.stop(SECONDS)

    asyncio.run(run())

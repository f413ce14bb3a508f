"""A simulator behind a real socket, for followers that are processes of their own.

Plain asyncio instead of a server library: none of those would break off within an answer, which is what this is for.
"""

import asyncio
from collections.abc import Coroutine
from threading import Thread
from types import TracebackType
from typing import Any, Final, Self

from tests.replica.simulator import Asked, Given, Simulator

HELD_SECONDS: Final = 60.0
"""How long a connection is held on which nothing is to come; the asker gives up before."""

STOP_SECONDS: Final = 10.0


class SimulatedPort:
    """Serves a simulator on a port of this machine, in a thread with an event loop of its own."""

    def __init__(self, simulator: Simulator, port: int = 0) -> None:
        """Serve ``simulator``; port 0 takes a free one."""
        self._simulator = simulator
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = port

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(STOP_SECONDS)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, with all connections."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(STOP_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_SECONDS)
        self._loop.close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do some work in this port's event loop."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(STOP_SECONDS)

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._connected, "127.0.0.1", self.port)

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._serve(reader, writer):
                pass
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass  # the asker has gone, or the test is over
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; returns whether the connection goes on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        pairs = (line.split(":", 1) for line in head[1:] if line)
        headers = tuple((name.strip().lower(), value.strip()) for name, value in pairs)
        body = await reader.readexactly(int(dict(headers).get("content-length", "0")))
        reply = await self._simulator.answer(Asked(method, target, headers, body))
        if not isinstance(reply, Given):
            if reply == "timed out":
                await asyncio.sleep(HELD_SECONDS)
            return False
        writer.write(_written(reply))
        await writer.drain()
        if reply.is_cut:
            writer.close()  # what was written still arrives
            await writer.wait_closed()
        return not reply.is_cut


def _written(given: Given) -> bytes:
    """Return an answer as HTTP/1.1; a cut one announces more than comes."""
    kept = [f"{name}: {value}" for name, value in given.headers if name not in {"content-length", "connection"}]
    announced = given.header("content-length") or str(len(given.body))
    if given.is_cut:
        announced = str(max(int(announced), len(given.body) + 1))
    lines = [f"HTTP/1.1 {given.status} simulated", *kept]
    if given.status != 304:  # which has no body (RFC 9110 section 15.4.5)
        lines.append(f"content-length: {announced}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + given.body

"""Standard input and output of the proxy, and lines of them. Each is read or written in a thread of its own.

They may be pipes, sockets, files or a terminal, of which an event loop can wait for some only; and what is blocked on a
client that does not read must not keep the process from its end, so the threads are daemons.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from queue import SimpleQueue
from typing import Final

CHUNK_BYTES: Final = 64 * 1024
"""Read at once: what a pipe holds."""


class LineTooLong(Exception):
    """A line is over its limit; the rest of it is dropped, the next one is read."""


class Lines:
    """Cuts bytes into lines, each with its end."""

    def __init__(self, bytes_max: int) -> None:
        """Take lines of ``bytes_max`` at most."""
        self._bytes_max = bytes_max
        self._parts: list[bytes] = []
        self._length = 0

    def feed(self, chunk: bytes) -> Iterator[bytes | LineTooLong]:
        """Yield the lines that end in ``chunk``, and ``LineTooLong`` in the place of each that is over the limit."""
        while chunk:
            head, end, chunk = chunk.partition(b"\n")
            self._length += len(head) + len(end)
            if self._length <= self._bytes_max:
                self._parts.append(head + end)
            else:
                self._parts.clear()
            if end:
                yield from self.rest()

    def rest(self) -> Iterator[bytes | LineTooLong]:
        """Yield what is left as a line, if anything is."""
        parts, length = self._parts, self._length
        self._parts, self._length = [], 0
        if length > self._bytes_max:
            yield LineTooLong(f"a line is over {self._bytes_max} bytes")
        elif parts:
            yield b"".join(parts)


class Inlet:
    """Reads a file descriptor, never ahead of whoever takes what it read."""

    def __init__(self, descriptor: int) -> None:
        """Read ``descriptor``."""
        self._descriptor = descriptor
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(1)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield what is read until its end."""
        threading.Thread(target=self._run, args=(asyncio.get_running_loop(),), daemon=True).start()
        while chunk := await self._queue.get():
            yield chunk

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        chunk = b"-"
        # The loop is closed once nobody takes anything any more.
        with suppress(RuntimeError):
            while chunk:
                try:
                    chunk = os.read(self._descriptor, CHUNK_BYTES)
                except OSError:
                    chunk = b""
                asyncio.run_coroutine_threadsafe(self._queue.put(chunk), loop).result()


class Outlet:
    """Writes to a file descriptor, in the order of the calls. Once it cannot, ``closed`` is set and nothing is."""

    def __init__(self, descriptor: int) -> None:
        """Write to ``descriptor``; made in the event loop that it is used in."""
        self._descriptor = descriptor
        self._queue: SimpleQueue[tuple[bytes, asyncio.Future[None]]] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self.closed = asyncio.Event()
        threading.Thread(target=self._run, daemon=True).start()

    async def write(self, data: bytes) -> None:
        """Return when all of ``data`` is written, or never will be."""
        if not self.closed.is_set():
            written: asyncio.Future[None] = self._loop.create_future()
            self._queue.put((data, written))
            await written

    def _run(self) -> None:
        with suppress(RuntimeError):
            while True:
                data, written = self._queue.get()
                rest = memoryview(data)
                try:
                    while rest:
                        rest = rest[os.write(self._descriptor, rest) :]
                except OSError:
                    self._loop.call_soon_threadsafe(self.closed.set)
                self._loop.call_soon_threadsafe(_done, written)


def _done(written: "asyncio.Future[None]") -> None:
    if not written.done():
        written.set_result(None)

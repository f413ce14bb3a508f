"""The proxy as a process: it starts the server as its child and ends with it, whichever end goes first.

The child gets this process's environment without the token, and its standard error; its exit code is the proxy's own.
"""

import asyncio
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from sidecar.doors.mcp.holds import Arbiter
from sidecar.doors.mcp.messages import PARSE_ERROR, error_line
from sidecar.doors.mcp.pipes import CHUNK_BYTES, Inlet, Lines, LineTooLong, Outlet
from sidecar.doors.mcp.protocol import TOKEN_VARIABLE
from sidecar.doors.mcp.relay import Relay

CLIENT_LINE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of a message of the client, which the sidecar reads as a whole."""

SERVER_LINE_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of a message of the server: results hold images and documents."""

GRACE_SECONDS: Final = 5.0
"""How long the server may take to end by itself once the client is gone."""

KILL_SECONDS: Final = 2.0
"""How long it may take once it is asked to end."""

FINISH_SECONDS: Final = 5.0
"""How long settlements may take that are under way at the end."""

POLL_SECONDS: Final = 0.01
"""How late its end is seen."""

EXIT_SIGNALLED: Final = 128
EXIT_BAD: Final = 1


async def run(
    command: Sequence[str], environment: Mapping[str, str], arbiter: Arbiter, tell: Callable[[str], None], session: str
) -> int:
    """Stand between this process's standard streams and ``command`` until one of the two ends; return its exit code.

    Raises OSError where the command cannot be started.
    """
    kept = {name: value for name, value in environment.items() if name != TOKEN_VARIABLE}
    child = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=kept)
    outlet = Outlet(1)
    relay = Relay(arbiter, outlet.write, partial(_feed, child), tell, session)
    client = asyncio.ensure_future(_from_client(relay, outlet))
    server = asyncio.ensure_future(_from_server(child, relay))
    stopped = asyncio.ensure_future(_stopped(outlet))
    await asyncio.wait({client, server, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if client.done():
        asked = asyncio.ensure_future(relay.asked())
        await asyncio.wait({asked, server, stopped}, return_when=asyncio.FIRST_COMPLETED)
    await _end(child, server, stopped)
    await relay.server_ended()
    await relay.finish(FINISH_SECONDS)
    code = child.returncode
    for task in (client, server, stopped):
        if task.done() and (mistake := task.exception()) is not None:
            tell(str(mistake) if isinstance(mistake, LineTooLong) else f"the proxy ends by a mistake: {mistake!r}")
            code = code or EXIT_BAD
        task.cancel()
    return EXIT_BAD if code is None else code if code >= 0 else EXIT_SIGNALLED - code


async def _from_client(relay: Relay, outlet: Outlet) -> None:
    """Give the lines of standard input to the relay, until its end."""
    lines = Lines(CLIENT_LINE_BYTES_MAX)

    async def take(line: bytes | LineTooLong) -> None:
        if isinstance(line, LineTooLong):
            await outlet.write(error_line(None, PARSE_ERROR, str(line)))
        else:
            await relay.from_client(line)

    async for chunk in Inlet(0).chunks():
        for line in lines.feed(chunk):
            await take(line)
    for line in lines.rest():
        await take(line)


async def _from_server(child: Process, relay: Relay) -> None:
    """Give the lines of the server to the relay, until it ends. Raises LineTooLong."""
    lines, stream = Lines(SERVER_LINE_BYTES_MAX), child.stdout
    while stream is not None:
        chunk = await stream.read(CHUNK_BYTES)
        for line in lines.feed(chunk) if chunk else lines.rest():
            if isinstance(line, LineTooLong):
                raise LineTooLong(f"of the server, {line}")
            await relay.from_server(line if line.endswith(b"\n") else line + b"\n")
        if not chunk:
            return


async def _feed(child: Process, data: bytes) -> None:
    """Write to the server; when it is gone, whoever reads from it sees so."""
    if child.stdin is not None:
        with suppress(BrokenPipeError, ConnectionResetError):
            child.stdin.write(data)
            await child.stdin.drain()


async def _stopped(outlet: Outlet) -> None:
    """Return when this process is told to end, or its client does not take anything any more."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, outlet.closed.set)
    await outlet.closed.wait()


async def _end(child: Process, server: "asyncio.Future[None]", stopped: "asyncio.Future[None]") -> None:
    """End the server: it is asked by the end of its input first, then by a signal, then killed."""
    if child.stdin is not None:
        child.stdin.close()
    if not stopped.done():
        await asyncio.wait({server, stopped}, timeout=GRACE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    is_asked = not (server.done() and not stopped.done() and await _has_ended(child, KILL_SECONDS))
    for number in (signal.SIGTERM, signal.SIGKILL) if is_asked else ():
        if child.returncode is None:
            with suppress(ProcessLookupError):
                child.send_signal(number)
        if await _has_ended(child, KILL_SECONDS):
            break
    await asyncio.wait({server}, timeout=KILL_SECONDS)  # for what it wrote before its end


async def _has_ended(child: Process, seconds: float) -> bool:
    """Whether the server ends within ``seconds``. Not ``wait``: that waits for all who have its output, too."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while child.returncode is None and loop.time() < deadline:  # noqa: ASYNC110 -- no event tells of it alone
        await asyncio.sleep(POLL_SECONDS)
    return child.returncode is not None

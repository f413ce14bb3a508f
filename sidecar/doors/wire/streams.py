"""Answers that take long: made while they are sent, or not before something happens, and only while somebody is there.

A stream that cannot go on ends without its end: the connection is closed in the middle of the body, which every client
takes for the fault that it is, whatever it has read of the body.
"""

import asyncio
from collections.abc import Awaitable
from contextlib import aclosing, suppress
from typing import Any, Final

import structlog
from starlette.types import Receive, Send

from sidecar.core.errors import SidecarError
from sidecar.doors.wire.http import Answer, ClientGone, Header, send_start

log: Final = structlog.get_logger("sidecar.http")


async def while_there(work: Awaitable[Answer], receive: Receive) -> Answer:
    """Return what ``work`` returns. Raises ClientGone, and ends it, when the client goes away first."""
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone
    finally:
        await _end(working)
        await _end(gone)


async def send_stream(
    receive: Receive, send: Send, answer: Answer, request_id: str, more: tuple[Header, ...] = ()
) -> None:
    """Send an ``answer`` as its chunks are made, as long as its client is there.

    Whatever goes wrong after the head was sent is logged and leaves the body without its end.
    """
    if answer.chunks is None:
        raise ValueError("the answer has no chunks")
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await send_start(send, answer, request_id, more)
        async with aclosing(answer.chunks) as chunks:
            async for chunk in chunks:
                if gone.done():
                    return
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    except SidecarError as error:
        log.warning("stream_cut", reason=error.message, request_id=request_id)
    except Exception:
        log.exception("stream_cut", request_id=request_id)
    finally:
        await _end(gone)


async def _gone(receive: Receive) -> None:
    """Return when the client is gone; the whole request was read before."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(task: "asyncio.Future[Any]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task

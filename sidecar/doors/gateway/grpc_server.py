"""A gRPC server in the event loop of a worker: it listens, bounds what comes, and ends with what it has begun.

A question whose deadline passes is still answered to its end, so that no decision stays half made; nobody hears of it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final, TypeAlias

import grpc
import structlog
from grpc import aio

from sidecar.core.errors import ConfigurationInvalid, SidecarError
from sidecar.doors.gateway.grpc_check import METHOD, ROUTE, SERVICE, Metadata

log: Final = structlog.get_logger("sidecar.grpc")

MESSAGE_BYTES_MAX: Final = 256 * 1024
"""Envoy takes 60 KiB of headers unless told otherwise, and tells each of them once."""

METADATA_BYTES_MAX: Final = 16 * 1024
"""A token and what tracing adds."""

CHECKS_MAX: Final = 1024
"""Questions at work in one process, each answered in milliseconds: more of them is a flood."""

Answering: TypeAlias = Callable[[bytes, Metadata], Awaitable[bytes]]


class CheckServer:
    """Answers Envoy over gRPC."""

    def __init__(self, answer: Answering, address: str, *, shared: bool) -> None:
        """Answer at ``address``; ``shared`` lets other processes of this server listen there as well."""
        self._answer = answer
        self.address = address
        self._shared = shared
        self._server: aio.Server | None = None
        self._begun: set[asyncio.Task[bytes]] = set()

    async def start(self) -> None:
        """Listen. Raises ConfigurationInvalid where the address cannot be had."""
        server = aio.server(
            options=(
                ("grpc.so_reuseport", int(self._shared)),
                ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
                ("grpc.max_metadata_size", METADATA_BYTES_MAX),
                ("grpc.max_concurrent_streams", CHECKS_MAX),
            ),
            maximum_concurrent_rpcs=CHECKS_MAX,
        )
        # Messages stay bytes here: one that cannot be read is answered by the door, not by the library.
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(self._check)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
        try:
            server.add_insecure_port(self.address)
        except RuntimeError as error:
            raise ConfigurationInvalid(f"cannot listen on `{self.address}` for gRPC") from error
        await server.start()
        self._server = server

    async def stop(self, seconds: float) -> None:
        """Take no more questions, and return when those that were begun are answered, or after ``seconds``."""
        if self._server is not None:
            ends_at = monotonic() + seconds
            await self._server.stop(seconds)
            if self._begun:  # by those who wait no longer
                await asyncio.wait(self._begun, timeout=max(0.0, ends_at - monotonic()))

    async def _check(self, message: bytes, rpc: "aio.ServicerContext[bytes, bytes]") -> bytes:
        if len(self._begun) >= CHECKS_MAX:
            await rpc.abort(grpc.StatusCode.UNAVAILABLE, "too many requests are at work")
        task = asyncio.ensure_future(self._answered(message, rpc.invocation_metadata() or ()))
        self._begun.add(task)
        task.add_done_callback(self._end)
        try:
            return await asyncio.shield(task)
        except SidecarError as error:
            await rpc.abort(grpc.StatusCode.UNAVAILABLE, error.message)
        except Exception:
            log.exception("request_failed", path=ROUTE)
            await rpc.abort(grpc.StatusCode.UNAVAILABLE, "the request failed inside the sidecar")

    def _end(self, task: asyncio.Task[bytes]) -> None:
        self._begun.discard(task)
        if not task.cancelled():
            task.exception()  # somebody must look at it where nobody waits any more

    async def _answered(self, message: bytes, metadata: Metadata) -> bytes:
        return await self._answer(message, metadata)

"""Connections to the addresses that were judged: between the judgement and the connection no name is looked up again.

That leaves no moment in which a name could be bound anew, and no look-up in the event loop's few threads. What the
connection says to its peer, and what the peer's certificate must say, stays the name; so do the connections kept for
it, which two names at one address must not share.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

import httpcore
import httpx

CONNECT_SECONDS: Final = 4.0
"""How long an address may take before the next one of the same name is tried."""

_judged: Final[ContextVar[tuple[str, ...]]] = ContextVar("judged", default=())


@contextmanager
def connect_to(addresses: tuple[str, ...]) -> Iterator[None]:
    """Let what is connected to inside be one of ``addresses``; they all belong to the host that is called."""
    token = _judged.set(addresses)
    try:
        yield
    finally:
        _judged.reset(token)


def use_judged(client: httpx.AsyncClient) -> None:
    """Let ``client`` connect to what ``connect_to`` names and to nothing else.

    httpx passes no backend on to httpcore, so it is put where httpx_secure, which comes first, puts its own.
    """
    pool = client._transport._pool  # type: ignore[attr-defined] # noqa: SLF001
    pool._network_backend = _Judged(pool._network_backend)  # noqa: SLF001


class _Judged(httpcore.AsyncNetworkBackend):
    """Connects to the judged addresses one after the other in place of a name."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend) -> None:
        self._backend = backend

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 -- httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        *others, last = _judged.get() or (None,)
        if last is None:
            raise httpcore.ConnectError(f"no address of `{host}` was judged")
        for address in others:
            try:
                return await self._backend.connect_tcp(address, port, CONNECT_SECONDS, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._backend.connect_tcp(last, port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)

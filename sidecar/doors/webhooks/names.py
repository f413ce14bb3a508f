"""Names looked up in threads of their own, so that a name whose server keeps silent costs its own tenant time only.

The event loop's own look-up shares a few threads with everything else, and one that was given up keeps its thread until
the system gives up too, many seconds later. Here a thread counts until it returns, not until somebody stops waiting:
a tenant has ``TENANT_LOOKUPS_MAX`` at most, and a name is looked up once at a time, however many wait for it.
"""

import asyncio
import socket
import threading
from contextlib import suppress
from typing import Final, TypeAlias
from weakref import WeakValueDictionary

LOOKUPS_MAX: Final = 64
"""Look-ups at a time, a thread each: sixteen tenants have to hang before another one waits."""

TENANT_LOOKUPS_MAX: Final = 4
"""Of them, those of one tenant."""

Found: TypeAlias = "tuple[str, ...] | Exception"


class Names:
    """The addresses of names. Every method belongs to one event loop."""

    def __init__(self) -> None:
        """Begin without a thread."""
        self._running: dict[str, asyncio.Task[Found]] = {}
        self._room = asyncio.Semaphore(LOOKUPS_MAX)
        # A tenant's is there while one of its look-ups holds it or waits for it.
        self._rooms: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()

    async def addresses(self, host: str, tenant: int) -> tuple[str, ...]:
        """Return the addresses of ``host``, at the cost of ``tenant``. Raises OSError, and ValueError for no name."""
        running = self._running.get(host)
        if running is None:
            room = self._rooms.setdefault(tenant, asyncio.Semaphore(TENANT_LOOKUPS_MAX))
            running = self._running[host] = asyncio.create_task(self._look_up(host, room))
            running.add_done_callback(lambda _: self._running.pop(host))
        found = await asyncio.shield(running)  # who gives up leaves it running, for the thread cannot be stopped
        if isinstance(found, Exception):
            raise found
        return found

    async def _look_up(self, host: str, room: asyncio.Semaphore) -> Found:
        async with room, self._room:
            loop = asyncio.get_running_loop()
            told: asyncio.Future[Found] = loop.create_future()
            # A daemon, unlike the threads of an executor: those are waited for when the process ends.
            threading.Thread(target=_ask, args=(host, loop, told), name="webhook-name", daemon=True).start()
            return await told


def _ask(host: str, loop: asyncio.AbstractEventLoop, told: "asyncio.Future[Found]") -> None:
    found: Found
    try:
        rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        found = tuple(dict.fromkeys(str(row[4][0]) for row in rows))
    except Exception as error:  # noqa: BLE001 -- raised where it is waited for, if anybody still does
        found = error
    with suppress(RuntimeError):  # the loop is closed, nobody waits
        loop.call_soon_threadsafe(_tell, told, found)


def _tell(told: "asyncio.Future[Found]", found: Found) -> None:
    if not told.done():
        told.set_result(found)

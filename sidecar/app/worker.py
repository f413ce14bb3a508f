"""One worker process: uvicorn with uvloop and httptools on a socket that it was given."""

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog
import uvicorn
import uvloop

from sidecar.app.composition import Health, Worker, compose
from sidecar.app.duty import Duty
from sidecar.app.metrics import Share
from sidecar.app.watching import Watcher
from sidecar.core.errors import SidecarError
from sidecar.service.shadow import Shadow
from sidecar.settings import Settings

log: Final = structlog.get_logger("sidecar.worker")

EXIT_GOOD: Final = 0
EXIT_STORE: Final = 75
RELOAD_SIGNAL: Final = signal.SIGUSR1
"""What the supervisor sends to one worker when it gets SIGHUP."""

SWITCH_SECONDS: Final = 0.0005
"""How long the loop may keep the interpreter from the thread that commits beside it; without that thread, no cost."""

COLLECT_AFTER: Final = 10_000
"""New objects after which cycles are looked for. Requests leave none; Python's own 700 are those of fifty requests."""

DRAIN_SECONDS: Final = 5
"""How long running requests may take to finish after SIGTERM."""


def serve(settings: Settings, listener: socket.socket, ready: Callable[[], None], share: Share | None = None) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code; ``ready`` is called once requests are answered.

    ``share`` is where this worker counts together with others.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    return uvloop.run(_serve(settings, listener, ready, share))


async def _serve(settings: Settings, listener: socket.socket, ready: Callable[[], None], share: Share | None) -> int:
    loop = asyncio.get_running_loop()
    health = Health()
    stopping = asyncio.Event()

    def stop() -> None:
        loop.call_soon_threadsafe(stopping.set)

    worker = compose(settings, stop, health, share)
    _set_up_collector()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    shadows = () if worker.shadow is None else (worker.shadow,)
    works: tuple[Duty | Watcher | Shadow, ...] = (worker.duty, *worker.watchers, *shadows)
    beside = [asyncio.create_task(work.run()) for work in works]

    def reload() -> None:
        beside.append(loop.create_task(_reload(worker)))

    loop.add_signal_handler(RELOAD_SIGNAL, reload)
    if share is None:
        loop.add_signal_handler(signal.SIGHUP, reload)
    else:
        # The supervisor tells one of its workers: a SIGHUP to the whole group is no matter of each of them. Not by a
        # handler that does nothing: of two signals at the same moment, uvloop may call the other's handler twice.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    server = QuietServer(_config(worker))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():  # noqa: ASYNC110 -- uvicorn tells by an attribute only
        await asyncio.sleep(0.005)
    ready()
    await asyncio.wait({serving, asyncio.create_task(stopping.wait())}, return_when=asyncio.FIRST_COMPLETED)
    worker.waiting.end()
    server.should_exit = True
    await serving
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)
    if worker.shadow is not None:
        await worker.shadow.finish()
    worker.store.close()
    worker.rates.close()
    if health.broken is not None:
        log.error("store_unusable", reason=health.broken.message)
        return EXIT_STORE
    return EXIT_GOOD


async def _reload(worker: Worker) -> None:
    """Load the policy files; how that ended is logged where it ends."""
    try:
        await worker.reloader("SIGHUP")
    except SidecarError:
        pass  # told
    except Exception:
        log.exception("policy_files_not_looked_at", by="SIGHUP")


def _set_up_collector() -> None:
    """Keep the collector of cycles off the way of requests.

    What was made until now, some 70,000 objects, stays for good: walking through it at each full collection would make
    all requests of that moment wait for some 20 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def _config(worker: Worker) -> uvicorn.Config:
    return uvicorn.Config(
        worker.application,
        loop="none",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )


class QuietServer(uvicorn.Server):
    """A server that leaves signals to the worker, which has more to stop than the server."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

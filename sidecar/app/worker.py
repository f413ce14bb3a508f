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
from sidecar.app.follower import OnDuty
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

SYNC_POLL_SECONDS: Final = 0.02
"""How soon a follower says that it has something to decide by, once it has."""

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
    if worker.further is not None:
        await worker.further.start()
    _set_up_collector()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    beside = [asyncio.create_task(work.run()) for work in _works(worker)]

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
    if await _is_answering(server, serving, worker, stopping):
        ready()
    await asyncio.wait({serving, asyncio.create_task(stopping.wait())}, return_when=asyncio.FIRST_COMPLETED)
    worker.waiting.end()
    server.should_exit = True
    await asyncio.gather(serving, *([] if worker.further is None else [worker.further.stop(DRAIN_SECONDS)]))
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)
    await _close(worker)
    if health.broken is not None:
        log.error("store_unusable", reason=health.broken.message)
        return EXIT_STORE
    return EXIT_GOOD


def _works(worker: Worker) -> list[Duty | Watcher | Shadow | OnDuty]:
    """Return what runs beside the requests."""
    works: list[Duty | Watcher | Shadow | OnDuty] = [worker.duty, *worker.watchers]
    if worker.shadow is not None:
        works.append(worker.shadow)
    if worker.follower is not None:
        works.append(OnDuty(lambda: worker.duty.is_on_duty, worker.follower.works))
    return works


async def _is_answering(
    server: uvicorn.Server, serving: asyncio.Task[None], worker: Worker, stopping: asyncio.Event
) -> bool:
    """Wait until requests are answered and there is something to decide by; False when told to stop before."""
    while not server.started and not serving.done():  # noqa: ASYNC110 -- uvicorn tells by an attribute only
        await asyncio.sleep(0.005)
    while not (worker.is_synced() or serving.done() or stopping.is_set()):  # noqa: ASYNC110 -- another process syncs
        await asyncio.sleep(SYNC_POLL_SECONDS)
    return not stopping.is_set()


async def _close(worker: Worker) -> None:
    """Finish what waits and close what is open."""
    if worker.shadow is not None:
        await worker.shadow.finish()
    if worker.follower is not None:
        await worker.follower.plane.close()
    worker.store.close()
    worker.rates.close()


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

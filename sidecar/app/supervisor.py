"""Several workers on one socket and one store: started, announced once, restarted when they die, and ended together.

A worker is a process of its own, started anew and never forked from one that had a store open. Its standard input
carries the settings and then stays open: when the supervisor dies, however it dies, the pipe ends and so does the
worker.
"""

import asyncio
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog
import uvloop

from sidecar.app.metrics import Share
from sidecar.app.sharing import share_folder
from sidecar.app.worker import EXIT_GOOD, EXIT_STORE, RELOAD_SIGNAL
from sidecar.settings import Settings

log: Final = structlog.get_logger("sidecar.supervisor")

READY: Final = b"ready\n"
RESTART_SECONDS: Final = 0.5
"""Pause before a dead worker is started again."""

STOP_SECONDS: Final = 8.0
"""How long workers may take to end before they are killed; SIGTERM ends everything within 10 s."""


def supervise(settings: Settings, listener: socket.socket, ready: Callable[[], None]) -> int:
    """Run ``settings.workers`` workers until SIGTERM or SIGINT and return the exit code.

    ``ready`` is called once, when all of them answer.
    """
    folder = share_folder(settings.data_dir, settings.workers)
    try:
        return uvloop.run(_Supervisor(settings, listener, ready, folder).run())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Supervisor:
    def __init__(self, settings: Settings, listener: socket.socket, ready: Callable[[], None], folder: Path) -> None:
        self._share = Share(folder, 0, time.time())
        self._settings = settings
        self._listener = listener
        self._ready = ready
        self._answering: set[int] = set()
        self._present: set[int] = set()  # of those, whose process answers now: only it knows the signal to reload
        self._announced = False
        self._stopping = asyncio.Event()
        self._code = EXIT_GOOD
        self._processes: dict[int, asyncio.subprocess.Process] = {}

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        keepers = [asyncio.create_task(self._keep(slot)) for slot in range(self._settings.workers)]
        await self._stopping.wait()
        for process in self._processes.values():
            if process.returncode is None:
                process.terminate()
        _, late = await asyncio.wait(keepers, timeout=STOP_SECONDS)
        if late:
            for process in self._processes.values():
                if process.returncode is None:
                    process.kill()
            await asyncio.wait(late)
        return self._code

    def _reload(self) -> None:
        """Have one worker load the policy files, which lie in the store then for all."""
        for slot in sorted(self._present):
            process = self._processes[slot]
            if process.returncode is None:
                process.send_signal(RELOAD_SIGNAL)
                return
        log.warning("policy_files_not_looked_at", by="SIGHUP", reason="no worker answers at this moment")

    async def _keep(self, slot: int) -> None:
        """Keep one worker running; one that never answered, or that found the store broken, ends all of them."""
        while not self._stopping.is_set():
            code = await self._run_once(slot)
            if self._stopping.is_set():
                return
            # A follower's worker may be killed while it waits for its control plane: that is no reason to give up.
            is_hopeless = slot not in self._answering and not (self._settings.is_follower and code < 0)
            if code == EXIT_STORE or is_hopeless:
                self._code = code
                self._stopping.set()
                return
            log.warning("worker_died", slot=slot, code=code)
            await asyncio.sleep(RESTART_SECONDS)

    async def _run_once(self, slot: int) -> int:
        share = msgspec.structs.replace(self._share, slot=slot)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "sidecar.app.child",
            str(self._listener.fileno()),
            msgspec.json.encode(share, enc_hook=str).decode(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=(self._listener.fileno(),),
        )
        self._processes[slot] = process
        if self._stopping.is_set():
            process.terminate()
        if process.stdin is None or process.stdout is None:
            return EXIT_STORE
        process.stdin.write(msgspec.json.encode(self._settings, enc_hook=str) + b"\n")
        if await process.stdout.readline() == READY:
            self._answering.add(slot)
            self._present.add(slot)
            if len(self._answering) == self._settings.workers and not self._announced:
                self._announced = True
                self._ready()
        code = await process.wait()
        self._present.discard(slot)
        return code

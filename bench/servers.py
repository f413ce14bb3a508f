"""Server processes under measurement: started, pinned, awaited until ready, and ended however the run ends."""

import http.client
import os
import re
import secrets
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from bench import cores

ROOT: Final = Path(__file__).resolve().parent.parent
READY_SECONDS: Final = 60.0
"""How long a server may take to get ready; one that takes longer is not measured, and the table says so."""

STOP_SECONDS: Final = 12
"""A server ends within 10 s of SIGTERM."""

POLL_SECONDS: Final = 0.05
TOLD_MAX: Final = 200

_LATE: Final = f"not ready within {READY_SECONDS:g} s"
_READY: Final = re.compile(r"ready on (?:http://([\w.]+):(\d+)|unix:(\S+))")


class Server(msgspec.Struct, frozen=True):
    """Where a server answers, its process, and the operator's token of a sidecar. ``uds`` replaces host and port."""

    host: str = "127.0.0.1"
    port: int = 0
    uds: str = ""
    pid: int = 0
    operator: str = ""

    @property
    def url(self) -> str:
        """The address that requests begin with."""
        return f"http://{self.host}:{self.port}"


class NotReadyError(Exception):
    """A server ended, or said something else, before it was ready."""


@contextmanager
def sidecar(  # what a server is started with
    folder: Path,
    durability: str,
    core: int | None,
    *,
    policies: Path = ROOT / "policies",
    over_uds: bool = False,
    operator: str | None = None,
    follows: tuple[str, str] | None = None,
    more: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Run the real server on the store in ``folder``, which is made if need be; raises NotReadyError.

    ``operator`` is the operator's token of a store that has one already, ``follows`` the address of a control plane and
    a follower's token of it, ``more`` further flags.
    """
    operator = operator or secrets.token_urlsafe(32)
    # Settings of the machine's own server must not reach this one: neither variables nor a file in the folder.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")}
    environment |= {"SIDECAR_ADMIN_TOKEN": operator}
    if follows is not None:
        environment |= {"SIDECAR_CONTROL_PLANE": follows[0], "SIDECAR_CONTROL_PLANE_TOKEN": follows[1]}
    folder.mkdir(exist_ok=True)
    listen = {"--uds": str(folder / "socket")} if over_uds else {"--host": "127.0.0.1", "--port": "0"}
    flags = listen | {
        "--data-dir": str(folder / "data"),
        "--policies": str(policies),
        "--schemas": str(ROOT / "schemas"),
        "--durability": durability,
        "--log-level": "warning",
        **(more or {}),
    }
    command = [sys.executable, "-m", "sidecar", "serve", *(word for flag in flags.items() for word in flag)]
    with running(command, folder, core, environment) as server:
        yield msgspec.structs.replace(server, operator=operator)


@contextmanager
def echo(folder: Path, core: int | None) -> Iterator[Server]:
    """Run the bare ASGI application; raises NotReadyError."""
    with running([sys.executable, "-m", "bench.echo"], folder, core, {**os.environ, "PYTHONPATH": str(ROOT)}) as server:
        yield server


@contextmanager
def running(
    command: Sequence[str], folder: Path, core: int | None, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run a server that prints ``ready on ADDRESS``, in ``folder``; raises NotReadyError."""

    def await_ready(process: subprocess.Popen[bytes], log: Path) -> Server:
        line = _first_line(process)
        found = None if line is None else _READY.match(line)
        if found is None:
            raise NotReadyError(_LATE if line is None else _ended(log, line))
        return Server(found[1] or "localhost", int(found[2] or 0), found[3] or "", process.pid)

    with _started(command, folder, core, environment, await_ready) as server:
        yield server


@contextmanager
def answering(
    command: Sequence[str], folder: Path, core: int | None, port: int, health: str, environment: Mapping[str, str]
) -> Iterator[Server]:
    """Run a server that prints nothing of use, in ``folder``, until ``health`` answers 200; raises NotReadyError."""

    def await_ready(process: subprocess.Popen[bytes], log: Path) -> Server:
        end = time.monotonic() + READY_SECONDS
        while not _is_healthy(port, health):
            if process.poll() is not None or time.monotonic() > end:
                raise NotReadyError(_LATE if process.poll() is None else _ended(log, ""))
            time.sleep(POLL_SECONDS)
        return Server(port=port, pid=process.pid)

    with _started(command, folder, core, environment, await_ready) as server:
        yield server


def free_port() -> int:
    """Return a port that nothing listens on, for servers that cannot choose one themselves."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def _started(
    command: Sequence[str],
    folder: Path,
    core: int | None,
    environment: Mapping[str, str] | None,
    await_ready: Callable[[subprocess.Popen[bytes], Path], Server],
) -> Iterator[Server]:
    log = folder / "server.log"
    # Pinned from its first instruction: some runtimes count their processors once, as they start.
    with cores.held(core), log.open("wb") as errors:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=errors)
    try:
        yield await_ready(process, log)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _first_line(process: subprocess.Popen[bytes]) -> str | None:
    """Return the first line that a server prints, empty when it ends without one, None when its time is over."""
    if process.stdout is None:
        return ""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return process.stdout.readline().decode() if selector.select(READY_SECONDS) else None


def _ended(log: Path, line: str) -> str:
    """Return why a server that said ``line`` is not ready."""
    last = log.read_text(errors="replace").strip().splitlines()[-1:]
    return f"it ended before it was ready: {(line.strip() or ' '.join(last))[:TOLD_MAX]}"


def _is_healthy(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()

"""Server processes under measurement: started, pinned, awaited until ready, and ended however the run ends."""

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from bench.cores import pin

ROOT: Final = Path(__file__).resolve().parent.parent
STOP_SECONDS: Final = 12
"""A server ends within 10 s of SIGTERM."""

_READY: Final = re.compile(r"ready on http://([\w.]+):(\d+)")


class Server(msgspec.Struct, frozen=True):
    """Where a server answers, and the operator's token of a sidecar."""

    host: str
    port: int
    operator: str = ""

    @property
    def url(self) -> str:
        """The address that requests begin with."""
        return f"http://{self.host}:{self.port}"


class NotReadyError(Exception):
    """A server ended, or said something else, before it was ready."""


@contextmanager
def sidecar(folder: Path, durability: str, core: int | None) -> Iterator[Server]:
    """Run the real server with the shipped policies and a store of its own in ``folder``; raises NotReadyError."""
    operator = secrets.token_urlsafe(32)
    # Settings of the machine's own server must not reach this one: neither variables nor a file in the folder.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")}
    environment |= {"SIDECAR_ADMIN_TOKEN": operator}
    home = folder / durability
    home.mkdir()
    flags = {
        "--host": "127.0.0.1",
        "--port": "0",
        "--data-dir": str(home / "data"),
        "--policies": str(ROOT / "policies"),
        "--schemas": str(ROOT / "schemas"),
        "--durability": durability,
        "--log-level": "warning",
    }
    command = ["-m", "sidecar", "serve", *(word for flag in flags.items() for word in flag)]
    with _running(command, environment, home, core) as (host, port):
        yield Server(host, port, operator)


@contextmanager
def echo(core: int | None) -> Iterator[Server]:
    """Run the bare ASGI application; raises NotReadyError."""
    with _running(["-m", "bench.echo"], dict(os.environ), ROOT, core) as (host, port):
        yield Server(host, port)


@contextmanager
def _running(
    command: Sequence[str], environment: dict[str, str], folder: Path, core: int | None
) -> Iterator[tuple[str, int]]:
    process = subprocess.Popen(
        [sys.executable, *command], env=environment, cwd=folder, stdout=subprocess.PIPE, text=True
    )
    try:
        pin(process.pid, core)
        line = "" if process.stdout is None else process.stdout.readline()
        found = _READY.match(line)
        if found is None:
            raise NotReadyError(f"`{' '.join(command[:3])}` did not get ready, it said `{line.strip()}`")
        yield found[1], int(found[2])
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

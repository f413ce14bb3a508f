"""The main module of a worker process that a supervisor started.

Settings come from standard input, the socket by its number, and where to count as the second argument.
"""

import os
import signal
import socket
import sys
import threading
from pathlib import Path

import msgspec

from sidecar.app.logs import set_up_logs
from sidecar.app.metrics import Share
from sidecar.app.supervisor import READY
from sidecar.app.worker import serve
from sidecar.settings import Settings


def main() -> int:
    """Serve until told to stop, or until the supervisor is gone; returns the exit code."""
    settings = msgspec.json.decode(sys.stdin.buffer.readline(), type=Settings, dec_hook=_decode)
    set_up_logs(settings.log_level)
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    listener = socket.socket(fileno=int(sys.argv[1]))
    return serve(settings, listener, _announce, msgspec.json.decode(sys.argv[2], type=Share, dec_hook=_decode))


def _decode(wanted: type, value: object) -> object:
    if wanted is Path:
        return Path(str(value))
    raise NotImplementedError


def _announce() -> None:
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()


def _end_with_supervisor() -> None:
    """Wait for the end of standard input, which only the supervisor's end brings, then stop this process."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())

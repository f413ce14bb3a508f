"""Lock files of a data directory: who holds one does something that no other process may do at the same time."""

import fcntl
import os
from pathlib import Path
from typing import Final

RELOAD_LOCK: Final = "reload.lock"
"""Held while policy files are loaded, by whoever started it and by the process that does it."""

SERVER_LOCK: Final = "server.lock"
"""Held by the server of the data directory for as long as it runs."""

LOCK_POLL_SECONDS: Final = 0.02


def try_lock(path: Path) -> int | None:
    """Return the descriptor of the lock file ``path``, held until it is closed in every process that inherited it.

    None when another process holds it. Raises OSError where it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor

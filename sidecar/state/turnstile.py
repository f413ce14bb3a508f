"""The order in which the processes that share a store come to write: an flock on a file of its own.

LMDB's lock is unfair: whoever has just let it go takes it again before those who sleep on it have woken, and it cannot
be tried without waiting. So every worker passes here first: the event loop tries, the thread beside it waits. For a
process that dies, the kernel lets go (docs/decisions/0015).
"""

import fcntl
import os
from pathlib import Path


class Turnstile:
    """Lets one process at a time pass. Used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open or make the file ``path``, which nobody else may open: closing a file of another one's ends no turn."""
        self._is_closed = False
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def try_enter(self) -> bool:
        """Pass if nobody is inside, and tell whether that was so; where it cannot be found out, ``enter`` says why."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def enter(self) -> None:
        """Wait until nobody is inside, then pass. Raises OSError where the system cannot lock."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def leave(self) -> None:
        """Let the next one pass."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file, which ends a turn as well; once closed it stays so."""
        if not self._is_closed:
            self._is_closed = True
            os.close(self._descriptor)

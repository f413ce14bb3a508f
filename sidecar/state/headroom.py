"""Room on the disk for ending holds when nothing else may be written any more.

Releasing and settling need new pages too, since LMDB never overwrites one in place: on a full disk they fail as well.
So new permits are refused early, and blocks behind the end of the data file are reserved that only the growing file can
use.
"""

import ctypes
import os
import time
from pathlib import Path
from typing import Final

from sidecar.core.errors import Unavailable
from sidecar.state.environment import free_bytes

FREE_BYTES_MIN: Final = 256 * 1024 * 1024
"""Free space below which no new permit is given."""

LOOK_SECONDS: Final = 0.1
"""How old a look at the disk may be: to use up ``FREE_BYTES_MIN`` unseen takes 2.7 GB a second from all who write.

Where that happens, permits take from the reserved blocks too until the next look.
"""

HEADROOM_BYTES: Final = 64 * 1024 * 1024
"""Blocks kept behind the end of the file: some hundred thousand settlements."""

_KEEP_SIZE: Final = 1
"""FALLOC_FL_KEEP_SIZE: reserve blocks, leave the length of the file alone (``posix_fallocate`` would change it)."""


class Headroom:
    """The disk under one data directory."""

    def __init__(self, data_file: Path, free_bytes_min: int = FREE_BYTES_MIN) -> None:
        """Look at the disk that holds ``data_file``."""
        self._data_file = data_file
        self._free_bytes_min = free_bytes_min
        self._free = 0
        self._looked = float("-inf")

    def free_bytes(self) -> int:
        """Return what an unprivileged process could still write."""
        return free_bytes(self._data_file.parent)

    def require(self) -> None:
        """Raise Unavailable when new permits must not be given."""
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._free, self._looked = self.free_bytes(), now
        if self._free < self._free_bytes_min:
            needed = f"{self._free_bytes_min >> 20} MiB are needed"
            raise Unavailable(f"{self._free >> 20} MiB are free on the disk of the store, {needed}")

    def reserve(self) -> bool:
        """Reserve blocks behind the end of the data file; returns whether the file system could.

        Reserving what is reserved already costs nothing, so this is called again and again as the file grows.
        """
        descriptor = os.open(self._data_file, os.O_RDWR)
        try:
            length = os.fstat(descriptor).st_size
            return _allocate(descriptor, length, HEADROOM_BYTES)
        finally:
            os.close(descriptor)


def _allocate(descriptor: int, offset: int, length: int) -> bool:
    allocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if allocate is None:
        return False
    result: int = allocate(descriptor, _KEEP_SIZE, ctypes.c_int64(offset), ctypes.c_int64(length))
    return result == 0

"""What the disk itself takes to make 4 KiB durable: the part of a permit that no program can make faster."""

import os
import time
from array import array
from pathlib import Path
from typing import Final

BLOCK: Final = b"\x5a" * 4096
"""One page, which is the least that a commit of the store writes."""


def sync_appended(folder: Path, seconds: float) -> array[int]:
    """Append blocks to a file in ``folder`` for ``seconds``, each with an ``fdatasync``; returns nanoseconds of each.

    The file is removed afterwards. ``fsync`` stands in where the system has no ``fdatasync``.
    """
    path = folder / "fdatasync.bin"
    taken: array[int] = array("q")
    sync = getattr(os, "fdatasync", os.fsync)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        end = time.perf_counter_ns() + int(seconds * 1e9)
        while (began := time.perf_counter_ns()) < end:
            os.write(descriptor, BLOCK)
            sync(descriptor)
            taken.append(time.perf_counter_ns() - began)
    finally:
        os.close(descriptor)
        path.unlink()
    return taken

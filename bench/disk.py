"""What the disk itself takes to make 4 KiB durable: the part of a permit that no program can make faster."""

import os
import time
from array import array
from pathlib import Path
from typing import Final

from bench.generator import Latencies, Outcome
from bench.measure import Row

BLOCK: Final = b"\x5a" * 4096
"""One page, which is the least that a commit of the store writes."""

NAME: Final = "fdatasync of 4 KiB (floor)"
NANO: Final = 1_000_000_000


def syncs(folder: Path) -> Row:
    """Return the row of the disk: appended blocks, each with an ``fdatasync``."""

    def measure(seconds: float, warm_up_seconds: float) -> tuple[Outcome, Latencies]:
        append_synced(folder, warm_up_seconds)
        began = time.perf_counter_ns()
        taken = append_synced(folder, seconds)
        elapsed = (time.perf_counter_ns() - began) / NANO
        outcome = Outcome(measured=len(taken), seconds=elapsed, right=len(taken), wrong=0, first_wrong="", busy=0.0)
        return outcome, taken

    return Row(NAME, 1, measure, "disk")


def append_synced(folder: Path, seconds: float) -> Latencies:
    """Append blocks to a file in ``folder`` for ``seconds``, each with an ``fdatasync``; returns nanoseconds of each.

    The file is removed afterwards. ``fsync`` stands in where the system has no ``fdatasync``.
    """
    path = folder / "synced.bin"
    taken: Latencies = array("q")
    sync = getattr(os, "fdatasync", os.fsync)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        end = time.perf_counter_ns() + int(seconds * NANO)
        while (began := time.perf_counter_ns()) < end:
            os.write(descriptor, BLOCK)
            sync(descriptor)
            taken.append(time.perf_counter_ns() - began)
    finally:
        os.close(descriptor)
        path.unlink()
    return taken

"""The counts of rate limits, shared by every process of a data directory: a file of fixed size behind one file lock.

It is no part of the decision store and never waits for that one's writer. Nothing in it is worth a sync: a power cut
loses counts, so that some callers may send up to one quota more. A slot whose arrival time is over means the same as an
empty one, so nothing is ever pruned; where a row is full of live slots, the one that is nearest its end gives way.

Invariants: the lock is held for one read and write only, and waited for only so long (LMDB's has no timeout, and a
stopped process would hold up every request of all others). What goes wrong here refuses nobody: the limits are not
applied for a moment, and the log says so.
"""

import fcntl
import os
import time
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

import structlog

from sidecar.core.admission import Admission, Bucket, admit

log: Final = structlog.get_logger("sidecar.rates")

SLOTS_PER_ROW: Final = 8
"""Slots that are read together: at a hundred thousand live callers, one row in some 100,000 has more."""

ROWS: Final = 1 << 15
"""262,144 slots: 6 MiB, of which only what was used takes disk."""

PLACES_KEPT: Final = 4096
"""Callers whose row a process remembers; working it out is an eighth of a check."""

TRIES: Final = 400
PAUSE_SECONDS: Final = 0.000_05
"""Between two tries for the lock; with the timer's own slack, all of them take some 50 ms."""

REST_US: Final = 1_000_000
"""How long limits are not applied after a failure, so that a broken disk or a stopped process costs each second one
request some milliseconds, not all of them."""

WARNING_US: Final = 60_000_000
"""How often the log tells of it."""

_KEY_BYTES: Final = 16
_SLOT: Final = Struct(f"<{_KEY_BYTES}sQ")
_ROW: Final = Struct("<" + f"{_KEY_BYTES}sQ" * SLOTS_PER_ROW)
_FORMAT: Final = b"sidecar-rates/1\n".ljust(_ROW.size, b"\0")
"""The first row. A file that begins otherwise is made anew: there is nothing in it to be lost."""


class _Slot(NamedTuple):
    """Where a count lies, or will lie."""

    offset: int
    key: bytes
    arrival: int


class RateCounts:
    """The counts in the file ``path``, which is made at the first request under a limit. For one thread."""

    def __init__(self, path: Path) -> None:
        """Open nothing yet."""
        self._path = path
        self._descriptor: int | None = None
        self._rests_until_us: int | None = None
        self._warned_us: int | None = None

    def admit(self, buckets: Sequence[Bucket], now_us: int) -> Admission | None:
        """Count a request under ``buckets``; None when it could not be counted, and is therefore not limited."""
        if self._rests_until_us is not None and now_us < self._rests_until_us:
            return None
        try:
            return self._count(buckets, now_us)
        except OSError as error:
            self._rests_until_us = now_us + REST_US
            if self._warned_us is None or now_us >= self._warned_us + WARNING_US:
                self._warned_us = now_us
                log.warning("rate_limits_not_applied", path=str(self._path), reason=error.strerror or str(error))
            return None

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _count(self, buckets: Sequence[Bucket], now_us: int) -> Admission:
        if self._descriptor is None:
            self._descriptor = _open(self._path)
        descriptor = self._descriptor
        _lock(descriptor)
        try:
            slots: list[_Slot] = []
            for bucket in buckets:
                slots.append(_find(descriptor, bucket.key, {slot.offset for slot in slots}))
            arrivals, admission = admit(buckets, [slot.arrival for slot in slots], now_us)
            for slot, arrival in zip(slots, arrivals, strict=True):
                if arrival != slot.arrival:
                    os.pwrite(descriptor, _SLOT.pack(slot.key, arrival), slot.offset)
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        return admission


def _open(path: Path) -> int:
    """Open the file, made anew where it is not one of ours."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor)
        if os.pread(descriptor, _ROW.size, 0) != _FORMAT:
            os.ftruncate(descriptor, 0)
            os.ftruncate(descriptor, (1 + ROWS) * _ROW.size)
            os.pwrite(descriptor, _FORMAT, 0)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _lock(descriptor: int) -> None:
    """Take the lock, which the system frees when its holder dies. Raises TimeoutError when it is held for too long."""
    for _ in range(TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(PAUSE_SECONDS)
        else:
            return
    raise TimeoutError("another process does not give the counts free")


def _find(descriptor: int, key: str, taken: set[int]) -> _Slot:
    """Return the slot of ``key``, or the one it may have: the emptiest of its row that is not ``taken``."""
    digest, start = _place(key)
    row = _ROW.unpack(os.pread(descriptor, _ROW.size, start).ljust(_ROW.size, b"\0"))
    keys = row[::2]
    if digest in keys:
        index = keys.index(digest)
        return _Slot(start + index * _SLOT.size, digest, row[2 * index + 1])
    places = range(start, start + _ROW.size, _SLOT.size)
    _, offset = min(each for each in zip(row[1::2], places, strict=True) if each[1] not in taken)
    return _Slot(offset, digest, 0)


@lru_cache(PLACES_KEPT)
def _place(key: str) -> tuple[bytes, int]:
    """Return what stands for a key, and where its row begins."""
    digest = blake2b(key.encode(), digest_size=_KEY_BYTES).digest()
    return digest, (1 + int.from_bytes(digest[:4]) % ROWS) * _ROW.size

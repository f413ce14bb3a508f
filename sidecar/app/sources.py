"""Where ids and secrets come from: the operating system's randomness, with ids that ascend within a process."""

import os
import random
from collections.abc import Iterator
from threading import Lock
from typing import Final

from sidecar.core.ids import RANDOMNESS_BYTES, ULID_BYTES, id_of
from sidecar.core.webhooks import JITTER_BP_MAX

RANDOMNESS_BITS: Final = RANDOMNESS_BYTES * 8

POOL_BYTES: Final = 409 * RANDOMNESS_BYTES
"""Randomness for ids that is fetched at once, about a page: a system call per id costs more than the id."""


class AscendingIds:
    """Makes ids of which a later one sorts after an earlier one, so that stored things lie in the order they came.

    Ids are unique, not secret. Within a millisecond the random part counts up, as the ULID specification has it.
    """

    def __init__(self) -> None:
        """Begin anywhere."""
        self._lock = Lock()
        self._pool: Iterator[int] = iter(())
        self._newest = 0

    def __call__(self, prefix: str, now_us: int) -> str:
        """Return a new id of ``prefix``; where the clock stands still or goes back, the newest millisecond goes on.

        The event loop and the thread beside it both make ids.
        """
        earliest = now_us // 1000 << RANDOMNESS_BITS
        with self._lock:
            self._newest = newest = self._newest + 1 if self._newest >= earliest else earliest | self._draw()
        return id_of(prefix, newest.to_bytes(ULID_BYTES, "big"))

    def _draw(self) -> int:
        """Return a random number with its top bit clear, so that counting up from it never runs over."""
        drawn = next(self._pool, None)
        if drawn is None:
            fetched = os.urandom(POOL_BYTES)
            starts = range(0, POOL_BYTES, RANDOMNESS_BYTES)
            self._pool = iter([int.from_bytes(fetched[at : at + RANDOMNESS_BYTES], "big") >> 1 for at in starts])
            drawn = next(self._pool)
        return drawn


def random_bytes(length: int) -> bytes:
    """Return ``length`` unpredictable bytes."""
    return os.urandom(length)


def retry_jitter_bp() -> int:
    """Return by how much the pause before a webhook's next attempt grows, in hundredths of a percent."""
    return random.randint(0, JITTER_BP_MAX)  # noqa: S311 -- spreads load, guards nothing

"""Where ids and secrets come from: the operating system's randomness, with ids that ascend within a process."""

import os
import random
from typing import Final

from sidecar.core.ids import RANDOMNESS_BYTES, new_id
from sidecar.core.webhooks import JITTER_BP_MAX

POOL_BYTES: Final = 409 * RANDOMNESS_BYTES
"""Randomness for ids that is fetched at once, about a page: a system call per id costs more than the id."""


class AscendingIds:
    """Makes ids of which a later one sorts after an earlier one, so that stored things lie in the order they came.

    Ids are unique, not secret. Within a millisecond the random part counts up, as the ULID specification has it.
    """

    def __init__(self) -> None:
        """Begin anywhere."""
        self._pool = b""
        self._millisecond = 0
        self._random = 0

    def __call__(self, prefix: str, now_us: int) -> str:
        """Return a new id of ``prefix``; where the clock stands still or goes back, the newest millisecond goes on."""
        millisecond = now_us // 1000
        if millisecond > self._millisecond:
            self._millisecond = millisecond
            self._random = self._draw()
        else:
            self._random += 1
        return new_id(prefix, self._millisecond * 1000, self._random.to_bytes(RANDOMNESS_BYTES))

    def _draw(self) -> int:
        """Return a random number with its top bit clear, so that counting up from it never runs over."""
        if not self._pool:
            self._pool = os.urandom(POOL_BYTES)
        drawn, self._pool = self._pool[:RANDOMNESS_BYTES], self._pool[RANDOMNESS_BYTES:]
        return int.from_bytes(drawn) >> 1


def random_bytes(length: int) -> bytes:
    """Return ``length`` unpredictable bytes."""
    return os.urandom(length)


def retry_jitter_bp() -> int:
    """Return by how much the pause before a webhook's next attempt grows, in hundredths of a percent."""
    return random.randint(0, JITTER_BP_MAX)  # noqa: S311 -- spreads load, guards nothing

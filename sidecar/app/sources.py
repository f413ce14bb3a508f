"""Where ids and secrets come from: the operating system's randomness, with ids that ascend within a process."""

import os
from typing import Final

from sidecar.core.ids import RANDOMNESS_BYTES, new_id

_RANDOM_MAX: Final = (1 << (8 * RANDOMNESS_BYTES)) - 1


class AscendingIds:
    """Makes ids of which a later one sorts after an earlier one, so that stored things lie in the order they came."""

    def __init__(self) -> None:
        """Begin anywhere."""
        self._millisecond = 0
        self._random = 0

    def __call__(self, prefix: str, now_us: int) -> str:
        """Return a new id of ``prefix``.

        Within a millisecond the random part counts up, as the ULID specification has it.
        """
        millisecond = max(now_us // 1000, self._millisecond)
        if millisecond == self._millisecond and self._random < _RANDOM_MAX:
            self._random += 1
        else:
            millisecond = max(millisecond, self._millisecond + 1) if self._random == _RANDOM_MAX else millisecond
            self._random = int.from_bytes(os.urandom(RANDOMNESS_BYTES)) >> 1
        self._millisecond = millisecond
        return new_id(prefix, millisecond * 1000, self._random.to_bytes(RANDOMNESS_BYTES))


def random_bytes(length: int) -> bytes:
    """Return ``length`` unpredictable bytes."""
    return os.urandom(length)

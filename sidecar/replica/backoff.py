"""How long to pause after failures: drawn from zero up to a limit that doubles with each one (full jitter).

Whoever lost the same control plane at the same moment does not come back at the same moment.
"""

from collections.abc import Callable
from typing import Final

_DOUBLINGS_MAX: Final = 16
"""Beyond every limit; a count of failures has no end."""


def doubled(failures: int, least_seconds: float, most_seconds: float) -> float:
    """Return ``least_seconds``, twice as much for each failure, and never more than ``most_seconds``."""
    return min(most_seconds, least_seconds * (1 << min(failures, _DOUBLINGS_MAX)))


def full_jitter(failures: int, least_seconds: float, most_seconds: float, draw: Callable[[], float]) -> float:
    """Return a pause in seconds after ``failures`` before the last one; ``draw`` gives numbers from 0 up to 1.

    The limit is ``least_seconds`` after the first failure, and never above ``most_seconds``.
    """
    return doubled(failures, least_seconds, most_seconds) * draw()

"""How long commits take of late: whether the event loop can wait for one, or would stand still for too long."""

from typing import Final

SLOW_SECONDS: Final = 0.002
"""A commit that takes longer than this on the average is made beside the event loop."""

QUICK_SECONDS: Final = 0.001
"""Below this average commits come back to the loop; in between they stay where they are."""

SHARE: Final = 1 / 8
"""How much of the average is the newest commit: one of 16 ms is enough to go aside, a dozen quick ones to come back."""


class Pace:
    """A moving average of what commits took, on the loop and beside it alike, with a memory of where they are made."""

    def __init__(self) -> None:
        """Take the disk for a quick one."""
        self._average = 0.0
        self.is_slow = False

    def note(self, seconds: float) -> None:
        """Count a commit that took so long."""
        self._average += (seconds - self._average) * SHARE
        self.is_slow = self._average > (QUICK_SECONDS if self.is_slow else SLOW_SECONDS)

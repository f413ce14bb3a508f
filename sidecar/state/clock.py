"""The one clock of a process: wall time that never goes back, and the jumps that it made.

It starts at the newest time in the store, so a machine whose clock went back while it was off goes on from there. A
jump ahead is told apart from a sleeping machine by CLOCK_BOOTTIME, which counts sleep (RELIABILITY rule 17).
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from sidecar.core.staleness import Instant

JUMP_US: Final = 5_000_000
"""How far wall time may run away from elapsed time before it is called a jump."""


def wall_us() -> int:
    """Return wall time in microseconds since the epoch."""
    return time.time_ns() // 1_000


def elapsed_us() -> int:
    """Return microseconds since boot, sleep included where the platform counts it."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1_000


BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
"""Names this run of the machine."""


def boot_id(path: Path = BOOT_ID) -> str:
    """Return the name of this run of the machine; where it has none, a new one, which no other run is taken for."""
    try:
        return path.read_text().strip()
    except OSError:
        return os.urandom(16).hex()


class Instants:
    """A callable that gives the present moment on both clocks of this machine."""

    def __init__(
        self, boot_id: str, wall: Callable[[], int] = wall_us, elapsed: Callable[[], int] = elapsed_us
    ) -> None:
        """Tell of the run of the machine that ``boot_id`` names."""
        self._boot_id = boot_id
        self._wall = wall
        self._elapsed = elapsed

    def __call__(self) -> Instant:
        """Return the moment."""
        return Instant(self._boot_id, self._elapsed(), self._wall())


class Jump(msgspec.Struct, frozen=True):
    """Wall time was ``seen_us`` where ``expected_us`` had been due."""

    expected_us: int
    seen_us: int


class Clock:
    """A callable that gives the time of a request in microseconds since the epoch, UTC."""

    def __init__(
        self, floor_us: int, wall: Callable[[], int] = wall_us, elapsed: Callable[[], int] = elapsed_us
    ) -> None:
        """Start at wall time, or at ``floor_us`` where wall time is behind it."""
        self._wall = wall
        self._elapsed = elapsed
        self._wall_us = wall()
        self._elapsed_us = elapsed()
        self._now_us = max(floor_us, self._wall_us)
        self._jump = Jump(floor_us, self._wall_us) if floor_us - self._wall_us > JUMP_US else None

    def __call__(self) -> int:
        """Return the time.

        Wall time, or, while that is behind the newest answer, the newest answer and what elapsed since.
        """
        wall, elapsed = self._wall(), self._elapsed()
        passed = max(0, elapsed - self._elapsed_us)
        if abs(wall - self._wall_us - passed) > JUMP_US:
            self._jump = Jump(self._wall_us + passed, wall)
        self._now_us = wall if wall >= self._now_us else self._now_us + self._counted(passed)
        self._wall_us, self._elapsed_us = wall, elapsed
        return self._now_us

    def _counted(self, passed_us: int) -> int:
        """Return how much of what elapsed counts while the wall is behind."""
        return passed_us

    def take_jump(self) -> Jump | None:
        """Return the newest jump once, None when there was none since the last call."""
        jump, self._jump = self._jump, None
        return jump


class PatientClock(Clock):
    """A follower's: ahead of the wall it goes on so slowly that the wall catches up.

    Nothing is permitted meanwhile, since the control plane's clock says that this one is wrong; at full pace it would be
    wrong by as much for ever.
    """

    def _counted(self, passed_us: int) -> int:
        return passed_us // PATIENCE


PATIENCE: Final = 10
"""Of time that elapses one in so many parts counts: an hour ahead is over in 67 minutes."""

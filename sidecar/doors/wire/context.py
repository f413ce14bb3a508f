"""What endpoints need of their process, and what they tell of each request that they answered."""

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from sidecar.core.access import Caller
from sidecar.core.admission import Admission
from sidecar.core.rates import DoorLimit


def unlimited(_caller: Caller, _now_us: int, _door: DoorLimit | None = None) -> Admission | None:
    """Let every request in."""
    return None


OTHER: Final = "other"
"""Stands for every method and path that is none of ours, which a caller could make up without end."""


class Served(NamedTuple):
    """One answered request, as it is counted. ``route`` is a path template or ``other``.

    ``parse_seconds`` is how long it took until the request was read, known to be someone's and understood; None when
    it was refused before that.
    """

    method: str
    route: str
    status: int
    seconds: float = 0.0
    parse_seconds: float | None = None
    is_decision: bool = False
    is_replay: bool = False


def uncounted(_served: Served) -> None:
    """Count nothing."""


class Context(msgspec.Struct, frozen=True):
    """What an endpoint needs of its process. ``admit`` counts a request under its caller's rate limits."""

    authenticate: Callable[[str, int], Caller]
    clock: Callable[[], int]
    new_request_id: Callable[[int], str]
    admit: Callable[[Caller, int, DoorLimit | None], Admission | None] = unlimited
    count: Callable[[Served], None] = uncounted

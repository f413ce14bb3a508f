"""Which processor runs what: the server has one to itself, and everything that drives it has another.

Where the machine has one processor, or its system cannot pin, nothing is pinned, and the report says so.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec


class Cores(msgspec.Struct, frozen=True):
    """Processor numbers; None for a side that is not pinned."""

    server: int | None = None
    load: int | None = None

    def told(self) -> str:
        """Return how the sides are placed, as one clause."""
        if self.server is None or self.load is None:
            return "not pinned: server and load share the processors"
        return f"server pinned to core {self.server}, load to core {self.load}"


def choose() -> Cores:
    """Return one processor for each side, out of those that this process may use."""
    if not hasattr(os, "sched_setaffinity"):
        return Cores()
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[0], allowed[1]) if len(allowed) > 1 else Cores()


@contextmanager
def held(core: int | None) -> Iterator[None]:
    """Keep this process on ``core`` for a while: what it starts meanwhile stays there. None changes nothing."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)

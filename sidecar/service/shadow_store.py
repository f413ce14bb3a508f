"""What the use cases need of a store for shadow policies: the part of a tenant's transaction about differences."""

from collections.abc import Iterator
from typing import Protocol

from sidecar.core.shadow import Difference, Tally


class Shadows(Protocol):
    """The differences of one tenant under the shadow files that are loaded, and how many there were of everything."""

    def tally(self) -> Tally:
        """Return what was counted since the shadow files were loaded."""

    def keep_tally(self, tally: Tally) -> None:
        """Store what was counted."""

    def add(self, difference: Difference) -> None:
        """Store a difference behind the others and forget the oldest one where they are too many."""

    def all(self, *, after: int = 0) -> Iterator[tuple[int, Difference]]:
        """Yield the differences with their places, the oldest first, from the one after that place."""

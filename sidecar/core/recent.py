"""Values that were used lately, within a bound; those that nobody asked for are forgotten.

Two generations instead of an order of use: a look-up that hits changes nothing, which is what a hot path and several
threads want. When the younger generation is full it becomes the older one, and what the older one still held is gone
unless it was asked for meanwhile.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Keeps values by their keys up to a total weight, and in any case the newest one.

    Keys are compared in full. Two threads at once can lose an entry or weigh one wrong, never find a wrong value.
    """

    def __init__(self, weight_max: int, weigh: Callable[[V], int] = lambda _: 1) -> None:
        """Keep values of ``weight_max`` together; each weighs one unless ``weigh`` says otherwise."""
        self._half = weight_max // 2
        self._weigh = weigh
        self._weight = 0
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def __len__(self) -> int:
        """How many values are kept."""
        return len(self._young.keys() | self._old.keys())

    def get(self, key: K) -> V | None:
        """Return what is kept under ``key``."""
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key)
            if found is not None:
                self.keep(key, found)
        return found

    def keep(self, key: K, value: V) -> None:
        """Keep a value, in the place of another one with this key."""
        if self._weight >= self._half:
            self._old, self._young, self._weight = self._young, {}, 0
        former = self._young.get(key)
        self._young[key] = value
        self._weight += self._weigh(value) - (0 if former is None else self._weigh(former))

"""Numbers in memory that several processes may map, each with its name beside it: counting costs one addition.

A file is a row of cells of ``CELL_BYTES``: a float of 8 bytes and a name, zeros behind it; the first cell without a
name ends the row. A file has one process that writes and any that read, and a cell one thread that writes at a time: so
no addition is lost, and an aligned float is never seen half written. A process that goes on in the file of one that was
killed finds its cells there.
"""

import mmap
import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

CELL_BYTES: Final = 128
CELLS_MAX: Final = 4096
"""Every route with every status, three times over; a test fills them."""

FILE_BYTES: Final = CELL_BYTES * CELLS_MAX

_VALUE_BYTES: Final = 8
_NAME_BYTES: Final = CELL_BYTES - _VALUE_BYTES
_STRIDE: Final = CELL_BYTES // _VALUE_BYTES
_SEPARATOR: Final = "\t"


class Cells:
    """The cells of one process. ``values`` holds each one's number at the place that ``place`` gives."""

    def __init__(self, path: Path | None = None) -> None:
        """Go on in the file at ``path``, which is ``FILE_BYTES`` long, or begin in memory of this process's own."""
        self._map = _mapped(path, mmap.ACCESS_WRITE) if path is not None else mmap.mmap(-1, FILE_BYTES)
        self.values = memoryview(self._map).cast("d")
        self._places = {name: number * _STRIDE for number, name in enumerate(_names(self._map))}
        self._used = len(self._places)
        self._adding = threading.Lock()

    def place(self, *names: str) -> int:
        """Return the place of the cell of these names, which is made when it is new.

        Where none is left, or for a name that fits no cell, it is the last one, which is never shown: what is counted
        must not be what ends a process.
        """
        name = _SEPARATOR.join(names)
        with self._adding:
            place = self._places.get(name)
            if place is None:
                place = self._places[name] = self._make(name.encode())
            return place

    def _make(self, name: bytes) -> int:
        last = CELLS_MAX - 1
        if self._used == last or len(name) > _NAME_BYTES:
            return last * _STRIDE
        start = self._used * CELL_BYTES + _VALUE_BYTES
        # All of it: a process that was killed in here left a part of another name behind.
        self._map[start + 1 : start + _NAME_BYTES] = name[1:].ljust(_NAME_BYTES - 1, b"\0")
        self._map[start] = name[0]  # last: only now is the cell there for those who read
        self._used += 1
        return (self._used - 1) * _STRIDE

    def shown(self) -> Mapping[tuple[str, ...], float]:
        """Return every cell's number by its names."""
        return _by_names(self._map)


class Timer:
    """Counts numbers by the bucket that they fall in, and sums them up."""

    __slots__ = ("_bounds", "_places", "_sum", "_values")

    def __init__(self, cells: Cells, names: tuple[str, ...], bounds: tuple[float, ...]) -> None:
        """Count into ``cells`` of ``names`` and of each bucket's inclusive upper end; the last bucket has none."""
        self._values = cells.values
        self._bounds = bounds
        self._places = [cells.place(*names, end) for end in ends_of(bounds)]
        self._sum = cells.place(*names, SUM)

    def observe(self, number: float) -> None:
        """Count ``number``."""
        values = self._values
        values[self._places[bisect_left(self._bounds, number)]] += 1
        values[self._sum] += number


SUM: Final = "sum"
"""The name of the cell with the sum of all that a ``Timer`` counted."""


def ends_of(bounds: tuple[float, ...]) -> tuple[str, ...]:
    """Return the names of the buckets that end at ``bounds`` and of the one behind them, as Prometheus has them."""
    return (*(str(float(bound)) for bound in bounds), "+Inf")


def read_cells(path: Path) -> Mapping[tuple[str, ...], float]:
    """Return every number in another process's file by its names."""
    with _mapped(path, mmap.ACCESS_READ) as seen:
        return _by_names(seen)


def _mapped(path: Path, access: int) -> mmap.mmap:
    with path.open("rb" if access == mmap.ACCESS_READ else "r+b") as file:
        return mmap.mmap(file.fileno(), FILE_BYTES, access=access)


def _by_names(seen: mmap.mmap) -> dict[tuple[str, ...], float]:
    with memoryview(seen) as whole, whole.cast("d") as values:
        return {tuple(name.split(_SEPARATOR)): values[n * _STRIDE] for n, name in enumerate(_names(seen))}


def _names(seen: mmap.mmap) -> Iterator[str]:
    for start in range(_VALUE_BYTES, FILE_BYTES, CELL_BYTES):
        if not seen[start]:
            return
        yield seen[start : start + _NAME_BYTES].rstrip(b"\0").decode()

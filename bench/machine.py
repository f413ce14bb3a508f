"""What the run was made on: without it no figure can be compared with another."""

import os
import platform
import time
from pathlib import Path
from typing import Final

import msgspec

IN_MEMORY: Final = frozenset({"tmpfs", "ramfs", "devtmpfs"})
"""File systems on which an fsync costs nothing, so that durable figures mean nothing."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Processor, kernel, interpreter, and the file system of the stores."""

    processor: str
    cores: int
    kernel: str
    python: str
    file_system: str

    @property
    def is_disk_real(self) -> bool:
        """Whether an fsync reaches a disk."""
        return self.file_system not in IN_MEMORY


class Strain(msgspec.Struct, frozen=True):
    """Processor seconds up to a moment: of this process and its ended children, of all, and taken by the host."""

    own: float
    everybody: float
    stolen: float
    at: float

    def told_since(self, earlier: "Strain") -> str:
        """Return what else went on between two moments, as shares of the machine's processors."""
        available = (self.at - earlier.at) * (os.cpu_count() or 1)
        others = max((self.everybody - earlier.everybody) - (self.own - earlier.own), 0.0) / available
        stolen = (self.stolen - earlier.stolen) / available
        return f"during the run other processes took {others:.0%} of the processors, and the host {stolen:.0%}"


def strain() -> Strain:
    """Return the present state; where the system does not tell, nobody else takes anything."""
    path = Path("/proc/stat")
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    if not path.exists():
        return Strain(own, own, 0.0, time.monotonic())
    tick = os.sysconf("SC_CLK_TCK")
    user, nice, system, _idle, _waiting, irq, soft_irq, stolen = map(int, path.read_text().split()[1:9])
    return Strain(own, (user + nice + system + irq + soft_irq) / tick, stolen / tick, time.monotonic())


def describe(folder: Path) -> Machine:
    """Return what this machine is, with the file system that ``folder`` lies on."""
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        kernel=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        file_system=_file_system(folder.resolve()),
    )


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else ():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def _file_system(folder: Path) -> str:
    """Return the type of the mount with the longest path above ``folder``; ``unknown`` where the system hides it."""
    path = Path("/proc/mounts")
    mounts = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    above = [(len(where), kind) for _, where, kind, *_ in mounts if folder.is_relative_to(where)]
    return max(above)[1] if above else "unknown"

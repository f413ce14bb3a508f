"""What the run was made on: without it no figure can be compared with another."""

import os
import platform
from pathlib import Path
from typing import Final

import msgspec

IN_MEMORY: Final = frozenset({"tmpfs", "ramfs", "devtmpfs"})
"""File systems on which an fsync costs nothing, so that durable figures mean nothing."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Processor, kernel, interpreter, file system of the stores, and how busy it was before the run (one minute)."""

    processor: str
    cores: int
    kernel: str
    python: str
    file_system: str
    load_before: float

    @property
    def is_disk_real(self) -> bool:
        """Whether an fsync reaches a disk."""
        return self.file_system not in IN_MEMORY


def describe(folder: Path) -> Machine:
    """Return what this machine is, with the file system that ``folder`` lies on."""
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        kernel=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        file_system=_file_system(folder.resolve()),
        load_before=os.getloadavg()[0],
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

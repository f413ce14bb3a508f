"""How much memory a server holds."""

from pathlib import Path
from typing import Final

_KIB_PER_MIB: Final = 1024


def resident_mib(pid: int) -> float | None:
    """Return what ``pid`` and the processes it started keep in memory; None where the system does not tell.

    A page that several of them share is counted in each.
    """
    sizes = [_resident_kib(each) for each in _family(pid)]
    return sum(sizes) / _KIB_PER_MIB if sizes and all(sizes) else None


def _family(pid: int) -> list[int]:
    found = [pid]
    for path in Path("/proc").glob(f"{pid}/task/*/children"):
        for child in path.read_text().split():
            found += _family(int(child))
    return found


def _resident_kib(pid: int) -> int:
    path = Path(f"/proc/{pid}/status")
    for line in path.read_text().splitlines() if path.exists() else ():
        name, _, value = line.partition(":")
        if name == "VmRSS":
            return int(value.split()[0])
    return 0

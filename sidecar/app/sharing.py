"""The folder in which several workers keep what they count, made before the first of them starts.

Its files are mapped into memory and written there, and a write into a mapped page for which the disk has no block kills
the process. So every file gets all its blocks here: a full disk is then a reason not to use the folder, and never the
end of a worker that could still settle and release.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

import structlog

from sidecar.app.cells import FILE_BYTES
from sidecar.app.metrics import cells_file

log: Final = structlog.get_logger("sidecar.sharing")


def share_folder(data_dir: Path, slots: int) -> Path:
    """Return a folder with empty files for ``slots`` workers: in ``data_dir``, or in memory when that is full.

    What an earlier server counted there is gone: counters begin at zero with the server.
    """
    folder = data_dir / "metrics"
    try:
        return _fill(folder, slots)
    except OSError as error:
        log.warning("metrics_folder_unusable", path=str(folder), reason=error.strerror)
        shutil.rmtree(folder, ignore_errors=True)
    return _fill(Path(tempfile.mkdtemp(prefix="sidecar-metrics-", dir=_memory())), slots)


def _fill(folder: Path, slots: int) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    for slot in range(slots):
        descriptor = os.open(cells_file(folder, slot), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, FILE_BYTES)
        finally:
            os.close(descriptor)
    return folder


def _memory() -> str | None:
    """Return the folder of files in memory where the machine has one, None for the usual temporary folder."""
    place = Path("/dev/shm")  # noqa: S108 -- the folder made there has a random name and is ours alone
    return str(place) if os.access(place, os.W_OK) else None

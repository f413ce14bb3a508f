"""What lies in folders of policies, schemas and tests, as one digest of its content, by which a change is seen.

Names and contents count, times and places do not: a folder that was swapped for an equal one (Kubernetes exchanges the
symbolic link ``..data`` of a ConfigMap), or a file that was written again as it was, is the same. Links are followed.
Folders whose name begins with a dot are not looked at, so what lies behind a ConfigMap's links is seen once. A folder
or file that cannot be read is content of its own kind, which differs from any other.

A look is cheap: contents are read only where a file's metadata is not what it was, or is so young that a second write
may have left no trace in it.
"""

import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

SUFFIXES: Final = (".cedar", ".cedarschema", ".yaml", ".yml", ".json")
"""Of policies, schemas, tests, and what tests refer to."""

DEPTH_MAX: Final = 8
"""Folders below folders; a link to a folder above would otherwise lead on without end."""

FILES_MAX: Final = 100_000
"""Files of one look; a folder that holds more was not meant."""

YOUNG_NS: Final = 2_000_000_000
"""How long after a write another one may leave the same metadata: file systems round times, up to two seconds."""


class Seen(NamedTuple):
    """A file or folder as one look found it: its name, and its metadata or what kept them from being read."""

    name: str
    path: str
    meta: tuple[int, ...]


class WatchedFolders:
    """Looks at folders again and again. Used by one thread at a time."""

    def __init__(self, folders: Iterable[Path]) -> None:
        """Have seen nothing yet."""
        self._folders = tuple(folders)
        self._seen: list[Seen] = []
        self._content = b""
        self._is_young = True

    def look(self) -> bytes:
        """Return the digest of the content as it is now."""
        seen = list(_walk(self._folders))
        if self._is_young or seen != self._seen:
            newest_ns = max((each.meta[-1] for each in seen if len(each.meta) > 1), default=0)
            self._is_young = newest_ns > time.time_ns() - YOUNG_NS
            self._content = _digest(seen)
            self._seen = seen
        return self._content


def content_of(folders: Iterable[Path]) -> bytes:
    """Return the digest of the content of ``folders`` as it is now."""
    return _digest(_walk(tuple(folders)))


def _digest(seen: Iterable[Seen]) -> bytes:
    whole = hashlib.sha256()
    for each in seen:
        if len(each.meta) > 1:
            try:
                content = Path(each.path).read_bytes()
            except OSError as error:
                content = b"errno %d" % (error.errno or 0)
        else:
            content = b"errno %d" % each.meta[0]
        whole.update(hashlib.sha256(each.name.encode(errors="surrogateescape")).digest())
        whole.update(hashlib.sha256(content).digest())
    return whole.digest()


def _walk(folders: tuple[Path, ...]) -> Iterator[Seen]:
    left = FILES_MAX
    for number, folder in enumerate(folders):
        for seen in _below(os.fspath(folder), str(number), DEPTH_MAX):
            if left == 0:
                return
            left -= 1
            yield seen


def _below(folder: str, name: str, depth: int) -> Iterator[Seen]:
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        yield Seen(name, folder, (error.errno or 0,))
        return
    for entry in found:
        own = f"{name}/{entry.name}"
        try:
            meta = entry.stat()
        except OSError as error:
            if entry.name.endswith(SUFFIXES):
                yield Seen(own, entry.path, (error.errno or 0,))
            continue
        if stat.S_ISDIR(meta.st_mode):
            if depth and not entry.name.startswith("."):
                yield from _below(entry.path, own, depth - 1)
        elif stat.S_ISREG(meta.st_mode) and entry.name.endswith(SUFFIXES):
            changed = max(meta.st_mtime_ns, meta.st_ctime_ns)
            yield Seen(own, entry.path, (meta.st_dev, meta.st_ino, meta.st_size, meta.st_mtime_ns, changed))

"""The LMDB environment: how it is created, opened, grown and closed. The only module that imports ``lmdb``.

Every flag is written out, since each wrong one loses or corrupts data in a way that a kill test cannot see (RELIABILITY
1). Three things are never done here: opening ``lock.mdb`` by hand (closing that descriptor drops LMDB's own locks and
lets two writers in), using an environment after a fork, and creating a store where a damaged one lies (that would be a
rollback to zero). Every handle is opened once, in one write transaction.
"""

import errno
import os
from pathlib import Path
from typing import Final, Literal, NamedTuple

import lmdb

from sidecar.core.errors import ConfigurationInvalid, SidecarError, StoreUnusable, Unavailable

Durability = Literal["power-loss", "process-crash"]
Txn = lmdb.Transaction
Table = lmdb._Database  # noqa: SLF001 -- the binding has no public name for the type of a handle
Cursor = lmdb.Cursor
StoreError = lmdb.Error
MapResized = lmdb.MapResizedError
MapFull = lmdb.MapFullError

FORMAT: Final = b"sidecar-store/1"
"""Version of everything below; a store with another one is refused."""

MAP_SIZE_DEFAULT: Final = 1 << 38
"""Address space, not disk: the file is sparse, so a disk is full long before this is."""

MAP_SIZE_MAX: Final = 1 << 42
"""How far the map doubles by itself when it is full after all."""

READERS_MAX: Final = 512
"""Reader slots, fixed by whoever opens first; one per worker thread plus every verifier and backup."""

TABLES: Final = (
    "meta",
    "tenants",
    "tenant_ids",
    "tenant_externals",
    "revisions",
    "records",
    "index",
    "changes",
    "tokens",
    "former_secrets",
    "former_secrets_expiry",
    "counters",
    "rolling",
    "reservations",
    "expiry",
    "decisions",
    "idempotency",
    "idempotency_expiry",
    "audit",
    "heads",
    "facts",
    "webhooks",
    "webhook_secrets",
    "webhook_secrets_expiry",
    "webhook_interests",
    "webhook_deliveries",
    "outbox_heads",
    "outbox_lanes",
    "outbox",
    "outbox_due",
    "outbox_ready",
    "outbox_dropped",
    "budget_marks",
    "readings",
    "shadow_differences",
    "shadow_tallies",
    "balances",
    "journal",
    "payments",
    "payment_lists",
    "payment_requests",
    "payments_due",
    "changes_floors",
    "replica",
    "staged",
    "intents",
    "followers",
    "shipped_audit",
    "shipped_heads",
    "shipped_facts",
    "shipped_usage",
    "delegated",
    "card_authorizations",
    "card_seen",
    "card_programs",
)

TABLES_MAX: Final = 64
"""Room for the tables of later formats without a new environment."""


class Size(NamedTuple):
    """How much of the address space is taken, and by how many read transactions of any process it is looked at."""

    map_bytes: int
    used_bytes: int
    readers: int


class Environment:
    """One open environment of this process, and its tables by name."""

    def __init__(self, env: lmdb.Environment, path: Path, map_size_max: int) -> None:
        """Open every table of an environment that carries the right format."""
        self._env = env
        self._map_size_max = map_size_max
        self.path = path
        with env.begin(write=True) as txn:
            self.tables = {name: env.open_db(name.encode(), txn=txn) for name in TABLES}
            _check_format(txn, self.tables["meta"], path)

    def read(self) -> Txn:
        """Return a read transaction: the committed state of this moment, whatever is written meanwhile.

        It is a context manager and must end before control returns to the event loop: an old reader keeps pages from
        being used again.
        """
        try:
            return self._env.begin(write=False)
        except MapResized:
            self.adopt()
            return self._env.begin(write=False)

    def begin_write(self) -> Txn:
        """Wait for the writer lock, which spans all processes, and return the transaction that holds it.

        Raises MapResized when another process grew the map: ``adopt`` its size, then try again.
        """
        return self._env.begin(write=True)

    def begin_child(self, parent: Txn) -> Txn:
        """Return a transaction inside ``parent``: aborted, it leaves the parent and its other children whole."""
        return self._env.begin(write=True, parent=parent)

    def adopt(self) -> None:
        """Take over the map size that another process has set. No transaction of this process may be open."""
        self._env.set_mapsize(0)

    def grow(self) -> bool:
        """Double the map, up to its limit, and tell whether it grew. No transaction of this process may be open."""
        size = int(self._env.info()["map_size"])
        if size >= self._map_size_max:
            return False
        self._env.set_mapsize(min(size * 2, self._map_size_max))
        return True

    def reap_readers(self) -> int:
        """Free the reader slots of processes that died, which would keep pages from being used again."""
        return int(self._env.reader_check())

    def size(self) -> Size:
        """Return how much is in use."""
        info = self._env.info()
        used = (int(info["last_pgno"]) + 1) * int(self._env.stat()["psize"])
        lines = self._env.readers().splitlines()
        return Size(int(info["map_size"]), used, len(lines) - 1)  # a heading, or the sentence that there is none

    def free_bytes(self) -> int:
        """Return what is free on the disk of the store."""
        return free_bytes(self.path)

    def data_file(self) -> Path:
        """Return the file with the pages. Its sibling ``lock.mdb`` is never to be opened."""
        return self.path / "data.mdb"

    def close(self) -> None:
        """Close the environment; every transaction must have ended."""
        self._env.close()


def free_bytes(folder: Path) -> int:
    """Return what an unprivileged process could still write on the disk of ``folder``."""
    stats = os.statvfs(folder)
    return stats.f_bavail * stats.f_frsize


def open_environment(
    path: Path,
    *,
    durability: Durability = "power-loss",
    map_size: int = MAP_SIZE_DEFAULT,
    map_size_max: int = MAP_SIZE_MAX,
) -> Environment:
    """Open the environment in the folder ``path``, creating it only where nothing is.

    Raises StoreUnusable for a store that is damaged or of another format, ConfigurationInvalid for a place that cannot
    hold one.
    """
    try:
        if not path.exists():
            _create(path)
        return Environment(_open(path, durability, map_size), path, map_size_max)
    except OSError as error:
        raise ConfigurationInvalid(f"the data directory `{path.parent}` cannot be used: {error.strerror}") from error
    except lmdb.Error as error:
        raise StoreUnusable(f"the store in `{path}` cannot be opened: {error}") from error


def open_existing(path: Path) -> Environment:
    """Open a store for looking at it, beside a running server or without one. Never creates one."""
    data_file = path / "data.mdb"
    if not data_file.is_file() or data_file.stat().st_size == 0:
        raise ConfigurationInvalid(f"`{path.parent}` holds no store, expected `{path / 'data.mdb'}`")
    return open_environment(path)


def _open(path: Path, durability: Durability, map_size: int) -> lmdb.Environment:
    synced = durability == "power-loss"
    return lmdb.open(
        str(path),
        lib_version=0,
        map_size=map_size,
        subdir=True,
        readonly=False,
        metasync=synced,
        sync=synced,
        map_async=False,
        mode=0o700,
        create=False,
        readahead=False,
        writemap=False,
        meminit=True,
        max_readers=READERS_MAX,
        max_dbs=TABLES_MAX,
        max_spare_txns=0,
        lock=True,
    )


def _create(path: Path) -> None:
    """Make a new store under another name, sync it, and rename it: a power cut leaves a whole store or none."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(f".new-{os.getpid()}")
    env = lmdb.open(
        str(fresh), lib_version=0, map_size=1 << 20, max_dbs=TABLES_MAX, mode=0o700, sync=True, metasync=True
    )
    with env.begin(write=True) as txn:
        meta = env.open_db(b"meta", txn=txn)
        txn.put(b"format", FORMAT, db=meta)
    env.close()
    _sync(fresh / "data.mdb")
    _sync(fresh)
    fresh.rename(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_format(txn: Txn, meta: Table, path: Path) -> None:
    found = txn.get(b"format", db=meta)
    if found != FORMAT:
        shown = "none" if found is None else bytes(found).decode(errors="replace")
        raise StoreUnusable(f"the store in `{path}` has format `{shown}`, this version reads `{FORMAT.decode()}`")


FATAL: Final = (
    lmdb.PanicError,
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
)

ROOMLESS: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


SHORT_WRITE_BYTES: Final = 4 * 1024 * 1024
"""On a disk with less room than this, an I/O error is a write that did not fit: LMDB reports a short one as EIO."""


def translate(error: lmdb.Error, free_bytes: int = SHORT_WRITE_BYTES) -> SidecarError:
    """Return what an error of the store means to us: no room is survivable, a damaged store or disk is not.

    ``free_bytes`` is what is free on the store's disk. LMDB has thrown the transaction away in either case.
    """
    code = getattr(error, "code", None)
    is_short = code == errno.EIO and free_bytes < SHORT_WRITE_BYTES
    if isinstance(error, lmdb.MapFullError) or code in ROOMLESS or is_short:
        return Unavailable("the store is full, nothing was changed")
    if isinstance(error, FATAL) or code == errno.EIO:
        return StoreUnusable(f"the store must not be used any more: {error}")
    return Unavailable(f"the store did not commit, the outcome is unknown: {type(error).__name__}")

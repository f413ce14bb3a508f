"""What the store can say about itself in constant time, for metrics."""

from typing import NamedTuple

from sidecar.state.codec import U64
from sidecar.state.environment import Environment, StoreError, Txn
from sidecar.state.transaction import Transaction


class Figures(NamedTuple):
    """One look at the store.

    ``used_bytes`` are the pages that were ever in use: the length that the file needs. ``next_expiry_us`` is when the
    earliest hold ends, None without any; ``policies_since_us`` when the policy files were loaded that hold.
    """

    map_bytes: int
    used_bytes: int
    free_disk_bytes: int
    readers: int
    entries: dict[str, int]
    next_expiry_us: int | None
    policies: bytes | None
    policies_since_us: int | None


def measure(environment: Environment) -> Figures | None:
    """Return the figures of this moment; None when the store cannot be read. Called in the event loop's thread."""
    try:
        size = environment.size()
        with environment.read() as txn:
            view = Transaction(txn, environment.tables)
            return Figures(
                map_bytes=size.map_bytes,
                used_bytes=size.used_bytes,
                free_disk_bytes=environment.free_bytes(),
                readers=size.readers,
                entries={name: int(txn.stat(table)["entries"]) for name, table in environment.tables.items()},
                next_expiry_us=_first_expiry(environment, txn),
                policies=view.policy_files_digest(),
                policies_since_us=view.policy_files_since(),
            )
    except (StoreError, OSError):
        return None


def _first_expiry(environment: Environment, txn: Txn) -> int | None:
    with txn.cursor(db=environment.tables["expiry"]) as cursor:
        if not cursor.first():
            return None
        earliest: int = U64.unpack(bytes(cursor.key())[:8])[0]
        return earliest

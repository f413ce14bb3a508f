"""What is checked before a store is used: quick looks that find what a crash, a bad disk or a hand could have left.

The whole history is ``sidecar audit verify``'s, and counters and holds are checked by ``sidecar.state.fsck``; here each
log's end is re-hashed and compared with its head. Any fault means that the store must not be used (exit code 75).
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from sidecar.core.errors import SidecarError, StoreUnusable
from sidecar.core.verification import Anchor, verify
from sidecar.service.audit import link_before
from sidecar.service.log_store import LogReader
from sidecar.state.codec import decode, fitting
from sidecar.state.environment import Environment, StoreError, Table, Txn, open_existing
from sidecar.state.records import Kind, Record
from sidecar.state.rows import tenant_rows
from sidecar.state.transaction import Transaction

TAIL_RECORDS: Final = 1_000
"""Records re-hashed at the end of one log."""

BUDGET_RECORDS: Final = 5_000
"""Records re-hashed at boot over all logs, some 0.2 s; at least the newest of each log, 0.03 s for 1,000 of them.

Of shipped logs the newest record each, for as long as there is something left.
"""


PROBE_SECONDS_MAX: Final = 60
"""How long the check may take in its own process."""

EXIT_GOOD: Final = 0
EXIT_STORE: Final = 75


class _Typed(msgspec.Struct, frozen=True):
    """Of a stored identity, its type alone."""

    type: str


_record: Final = msgspec.msgpack.Decoder(Record)
_typed: Final = msgspec.msgpack.Decoder(_Typed)


def probe(path: Path) -> None:
    """Check the store in the folder ``path`` in a process of its own, since a data file cut short ends its reader.

    LMDB reads through a map, and touching a page behind the end of the file is a SIGBUS. Raises StoreUnusable.
    """
    command = [sys.executable, "-m", "sidecar.state.boot", str(path)]
    try:
        done = subprocess.run(  # noqa: S603 -- our own module in our own interpreter
            command, capture_output=True, text=True, check=False, timeout=PROBE_SECONDS_MAX
        )
    except subprocess.TimeoutExpired:
        raise StoreUnusable(f"the store in `{path}` could not be checked within {PROBE_SECONDS_MAX} s") from None
    if done.returncode < 0:
        raise StoreUnusable(f"the store in `{path}` is damaged: reading it ends with signal {-done.returncode}")
    if done.returncode != EXIT_GOOD:
        lines = done.stderr.strip().splitlines() or [f"its check ended with {done.returncode}"]
        raise StoreUnusable(lines[-1])


def main(path: Path) -> int:
    """Check a store and return the exit code; what is wrong goes to standard error. Called in the probe's process."""
    try:
        environment = open_existing(path)
        try:
            check_store(environment)
        finally:
            environment.close()
    except (SidecarError, StoreError) as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_STORE
    return EXIT_GOOD


def check_store(environment: Environment) -> None:
    """Raise StoreUnusable naming the first fault."""
    environment.reap_readers()
    left = BUDGET_RECORDS
    with environment.read() as txn:
        whole = Transaction(txn, environment.tables)
        for tenant in whole.tenants.after(0):
            part = whole.of(tenant)
            name = f"the audit log of tenant `{tenant.tenant_id}`"
            left -= _check_tail(name, part.audit, tenant.tenant_id, max(1, min(TAIL_RECORDS, left)))
            for log in part.shipments.all_logs() if left > 0 else ():
                name = f"the log `{log.origin}` of follower `{log.token_id}`"
                left -= _check_tail(name, part.shipments.reader(log), tenant.tenant_id, 1)


def newest_time(environment: Environment) -> int:
    """Return the newest time in any log, in microseconds: no process's clock may start before it."""
    with environment.read() as txn:
        whole = Transaction(txn, environment.tables)
        return max((whole.of(tenant).audit.head().last_us for tenant in whole.tenants.after(0)), default=0)


def typed_identities(txn: Txn, tables: dict[str, Table], number: int) -> Iterator[tuple[str, str]]:
    """Yield id and type of each identity of a tenant; the rest of it is not decoded: there can be a million."""
    for key, value in tenant_rows(txn, tables["records"], number):
        if key[0] != Kind.IDENTITY:  # the first kind
            return
        yield key[1:].decode(), fitting(decode(value, _record).document, _typed).type


def _check_tail(name: str, log: LogReader, tenant_id: str, most: int) -> int:
    head = log.head()
    start = max(0, head.next_index - most)
    before = None if start == 0 else link_before(log, start)
    anchor = Anchor(head.next_index, head.link)
    report = verify(log.origin, tenant_id, log.read(start, most + 1), anchor, start=start, previous=before)
    fault = report.first_invalid
    if fault is not None:
        raise StoreUnusable(f"{name} is broken at {fault.seq}: {fault.reason}")
    return head.next_index - start


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

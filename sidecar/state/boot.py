"""What is checked before a store is used: quick looks that find what a crash, a bad disk or a hand could have left.

The whole history is ``sidecar audit verify``'s, and counters and holds are checked by ``sidecar.state.fsck``; here each
log's end is re-hashed and compared with its head. Any fault means that the store must not be used (exit code 75).
"""

from typing import Final

from sidecar.core.errors import StoreUnusable
from sidecar.core.verification import Anchor, verify
from sidecar.service.audit import link_before
from sidecar.state.environment import Environment
from sidecar.state.transaction import TenantTransaction, Transaction

TAIL_RECORDS: Final = 1_000
"""Records re-hashed at the end of one log."""

BUDGET_RECORDS: Final = 20_000
"""Records re-hashed at boot over all logs: about a second."""


def check_store(environment: Environment) -> None:
    """Raise StoreUnusable naming the first fault."""
    environment.reap_readers()
    left = BUDGET_RECORDS
    with environment.read() as txn:
        whole = Transaction(txn, environment.tables)
        for tenant in whole.tenants.after(0):
            left -= _check_tail(whole.of(tenant), max(1, min(TAIL_RECORDS, left)))


def newest_time(environment: Environment) -> int:
    """Return the newest time in any log, in microseconds: no process's clock may start before it."""
    with environment.read() as txn:
        whole = Transaction(txn, environment.tables)
        return max((whole.of(tenant).audit.head().last_us for tenant in whole.tenants.after(0)), default=0)


def _check_tail(part: TenantTransaction, most: int) -> int:
    head = part.audit.head()
    start = max(0, head.next_index - most)
    before = None if start == 0 else link_before(part.audit, start)
    report = verify(
        part.audit.origin,
        part.tenant.tenant_id,
        part.audit.read(start, most + 1),
        Anchor(head.next_index, head.link),
        start=start,
        previous=before,
    )
    fault = report.first_invalid
    if fault is not None:
        raise StoreUnusable(
            f"the audit log of tenant `{part.tenant.tenant_id}` is broken at {fault.seq}: {fault.reason}"
        )
    return head.next_index - start

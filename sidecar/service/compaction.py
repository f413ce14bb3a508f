"""The change feed is kept as far back as followers may come from; who is further behind takes a snapshot."""

from itertools import islice
from typing import Final

from sidecar.core.directory import Tenant
from sidecar.service.store import Store, Transaction

TENANTS_LOOKED: Final = 500
"""Tenants that one round looks at, some microseconds each."""

FORGOTTEN_MAX: Final = 1_000
"""Entries that one transaction forgets, so that no decision waits long for the writer."""


class Compactor:
    """Forgets old entries of the change feed, tenant by tenant."""

    def __init__(self, store: Store, kept: int) -> None:
        """Keep the last ``kept`` revisions of each tenant in ``store``."""
        self._store = store
        self._kept = kept
        self._after = 0

    async def compact_some(self) -> bool:
        """Forget some entries of some tenants; returns whether there is more to do at once."""
        with self._store.read() as txn:
            tenants = list(islice(txn.tenants.after(self._after), TENANTS_LOOKED))
            late = next((each for each in tenants if self._has_old(txn, each)), None)
        if late is not None:
            self._after = late.number - 1
            await self._store.write(lambda txn: txn.of(late).feed.forget(self._end(txn, late), FORGOTTEN_MAX))
            return True
        is_over = len(tenants) < TENANTS_LOOKED
        self._after = 0 if is_over else tenants[-1].number
        return not is_over

    def _end(self, txn: Transaction, tenant: Tenant) -> int:
        """Return the revision up to which nothing need be kept."""
        return txn.tenants.revisions(tenant.number).entities - self._kept

    def _has_old(self, txn: Transaction, tenant: Tenant) -> bool:
        feed, end = txn.of(tenant).feed, self._end(txn, tenant)
        return end > feed.floor() and any(entry.revision <= end for entry in feed.told(0, 1))

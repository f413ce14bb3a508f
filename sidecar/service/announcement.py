"""Every tenant is told that policy files were replaced: by a record in its log, and by an event to its endpoints.

The load itself wrote one notice for all (``sidecar.state.notices``); telling tenants one after the other happens behind
it, some in each transaction, so that no decision waits for all of them. How far it got is stored with it: whoever does
the background work next goes on there, and no tenant is told twice or left out. Where other files are loaded before it
got to a tenant, that tenant is told of those.
"""

from itertools import islice, takewhile
from typing import Final

from sidecar.service.events import tell_policy_files
from sidecar.service.store import Store, Transaction

TENANTS_AT_ONCE: Final = 32
"""Tenants told in one transaction: some 3 ms."""


class Announcer:
    """Tells the tenants."""

    def __init__(self, store: Store) -> None:
        """Work on ``store``."""
        self._store = store

    async def announce_some(self, now_us: int) -> bool:
        """Tell some tenants of the newest load, and return whether there may be more to tell."""
        with self._store.read() as txn:
            if txn.untold_load() is None:
                return False
        return await self._store.write(lambda txn: _tell(txn, now_us))


def _tell(txn: Transaction, now_us: int) -> bool:
    untold = txn.untold_load()
    if untold is None:
        return False
    below = untold.loaded.tenants_below  # later ones were made under these files
    found = takewhile(lambda tenant: tenant.number < below, txn.tenants.after(untold.after))
    tenants = list(islice(found, TENANTS_AT_ONCE))
    for tenant in tenants:
        part = txn.of(tenant)
        part.audit.tell_notices(now_us)
        tell_policy_files(part, untold.loaded, now_us)
    has_more = len(tenants) == TENANTS_AT_ONCE
    txn.keep_told(untold.loaded, tenants[-1].number if has_more else None)
    return has_more

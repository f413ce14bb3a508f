"""Everything at and below an identity, read a page at a time, so that a large subtree holds nobody else up.

Each page is a read transaction of its own: what changes meanwhile may or may not be seen.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice
from typing import Final, TypeVar

from sidecar.core.directory import Identity, IdentityChain
from sidecar.service.store import Listed, Store, TenantTransaction
from sidecar.service.subtrees import subtree

T = TypeVar("T")

PAGE: Final = 100
"""Stored values that one look reads: some 2 ms, then whatever else waits has its turn."""


def everybody(_part: TenantTransaction, _identity: Identity) -> bool:
    """Want each identity."""
    return True


async def descend(
    store: Store,
    tenant_id: str,
    top: IdentityChain,
    wanted: Callable[[TenantTransaction, Identity], bool] = everybody,
) -> AsyncIterator[IdentityChain]:
    """Yield the identity chain ``top`` and that of everybody below its first identity who is ``wanted``.

    Depth first; ``wanted`` is asked in the transaction that reads the identity.
    """
    top_id = top[0].identity_id

    def read(part: TenantTransaction, after: int) -> Iterator[Listed[tuple[Identity, bool]]]:
        for place, identity in subtree(part.identities, top_id, after=after):
            yield Listed(place, (identity, wanted(part, identity)))

    chain = top
    async for identity, is_wanted in paged(store, tenant_id, read):
        if identity.identity_id != top_id:
            while chain[0].identity_id != identity.parent_id:
                chain = chain[1:]
            chain = (identity, *chain)
        if is_wanted:
            yield chain


async def paged(
    store: Store, tenant_id: str, read: Callable[[TenantTransaction, int], Iterator[Listed[T]]]
) -> AsyncIterator[T]:
    """Yield a whole list in order; ``read`` gives what comes after a place."""
    after, more = 0, True
    while more:
        with store.read() as txn:
            tenant = txn.tenants.find(tenant_id)
            page = [] if tenant is None else list(islice(read(txn.of(tenant), after), PAGE))
        for listed in page:
            yield listed.value
        more = len(page) == PAGE
        after = page[-1].place if page else after
        await asyncio.sleep(0)

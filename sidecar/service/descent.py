"""Everything at and below an identity, read a page at a time, so that a large subtree holds nobody else up.

Each page is a read transaction of its own: what changes meanwhile may or may not be seen.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice
from typing import Final, TypeVar

from sidecar.core.directory import Identity, IdentityChain
from sidecar.service.store import Listed, Store, TenantTransaction

T = TypeVar("T")

PAGE: Final = 500
"""Stored values that one look reads: some 5 ms, then whatever else waits has its turn."""


async def descend(store: Store, tenant_id: str, top: IdentityChain) -> AsyncIterator[IdentityChain]:
    """Yield the identity chain ``top`` and that of everybody below its first identity."""
    waiting = [top]
    while waiting:
        chain = waiting.pop()
        yield chain
        children = paged(store, tenant_id, _children_of(chain[0].identity_id))
        waiting.extend([(child, *chain) async for child in children])


def _children_of(identity_id: str) -> Callable[[TenantTransaction, int], Iterator[Listed[Identity]]]:
    return lambda part, after: part.identities.owned(identity_id, after=after)


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

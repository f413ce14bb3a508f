"""What a follower has staged, and what of it would change anything: read some at a time, so that others may go on.

Only whoever follows changes the records that are followed and what is staged, so what was read in one transaction is
still so in the next.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TypeVar

import msgspec

from sidecar.core.directory import Tenant
from sidecar.core.feed import KINDS, Change, Page, RecordKind
from sidecar.core.feed_snapshot import MARK_EVERY
from sidecar.service.feed_store import Staging
from sidecar.service.following_intake import AT_ONCE, Intake
from sidecar.service.following_plan import Key, differs, key_of
from sidecar.service.following_switch import Kept
from sidecar.service.store import Store, Transaction

T = TypeVar("T")


class Stage:
    """What is staged in one store."""

    def __init__(self, store: Store, intake: Intake) -> None:
        """Work on ``store``; ``intake`` stages snapshots in it."""
        self._store = store
        self._intake = intake

    async def add(self, kept: Kept, page: Page) -> None:
        """Put the changes of a page behind those that are staged."""
        staging = kept.staging
        if staging is None:
            await self._intake.clear()
            since = page.from_revision
            staging = Staging(
                origin=page.origin,
                tenant_id=page.tenant.tenant_id,
                scope=page.scope,
                is_snapshot=False,
                began=since,
                since=since,
            )
        for some in parts(page.changes, MARK_EVERY):
            await self._store.write(partial(_stage, changes=some))
        reached = msgspec.structs.replace(staging, since=page.to_revision, is_complete=True, mark=page.mark)
        await self._store.write(lambda txn: txn.replica.keep_staging(reached))

    async def differing(self, kept: Kept, page: Page) -> list[Change]:
        """Return what differs of all that is staged and of the page behind it.

        Of a snapshot that is the removal, too, of whatever neither of them tells of.
        """
        told = self._newest(page.changes)
        found: list[Change] = []
        position = b""
        while True:
            with self._store.read() as txn:
                some, position = txn.replica.staged(position, AT_ONCE)
            if not some:
                break
            found += await self.news(kept.tenant, [each for each in some if key_of(each) not in told])
        found += await self.news(kept.tenant, told.values())
        if kept.tenant is not None and kept.staging is not None and kept.staging.is_snapshot:
            for kind in KINDS:
                gone = await self._untold(kept.tenant, kind, page.to_revision)
                found += [each for each in gone if key_of(each) not in told]
        return found

    def _newest(self, changes: Iterable[Change]) -> dict[Key, Change]:
        """Return those of a page's changes that are no older than what is staged of the same record."""
        with self._store.read() as txn:
            return {
                key_of(change): change
                for change in changes
                if (known := txn.replica.staged_one(change.kind, change.id)) is None
                or known.revision <= change.revision
            }

    async def news(self, tenant: Tenant | None, changes: Iterable[Change]) -> list[Change]:
        """Return those of the changes that change something; without a tenant, all but removals."""
        found: list[Change] = []
        for some in parts(changes, AT_ONCE):
            await asyncio.sleep(0)
            if tenant is None:
                found += [change for change in some if change.value is not None]
                continue
            with self._store.read() as txn:
                part = txn.of(tenant)
                found += [change for change in some if differs(part, change)]
        return found

    async def _untold(self, tenant: Tenant, kind: RecordKind, to_revision: int) -> list[Change]:
        """Return the removal of each record of a kind that a staged snapshot does not tell of."""
        gone: list[Change] = []
        after = 0
        while True:
            await asyncio.sleep(0)
            with self._store.read() as txn:
                some = list(islice(txn.of(tenant).feed.all(kind, after=after), AT_ONCE))
                absent = [each.id for each in some if txn.replica.staged_one(kind, each.id) is None]
            if not some:
                return gone
            gone += [Change(kind=kind, id=each, revision=to_revision) for each in absent]
            after = some[-1].place


def _stage(txn: Transaction, changes: Sequence[Change]) -> None:
    txn.replica.stage(changes)


def parts(found: Iterable[T], most: int) -> Iterator[list[T]]:
    """Yield what was ``found`` in lists of at most ``most``."""
    left = iter(found)
    while some := list(islice(left, most)):
        yield some

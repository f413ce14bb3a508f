"""The change feed of a control plane: what changed in a tenant since a revision, as far as its follower is told.

A page is put together in several short read transactions, each of which sees a newer state: a record that changes in
between is told again where its newest change is met, so the page is whole however long it took. Tokens are told with
the digests of their secrets, which open nothing.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from sidecar.core.access import Caller
from sidecar.core.errors import Conflict, Forbidden
from sidecar.core.feed import Page, TenantProfile, files_digest, files_of
from sidecar.core.model import AuditMark
from sidecar.core.recent import Recent
from sidecar.core.snapshot import CompiledFiles, PolicyFiles
from sidecar.service.access import require_alive, tenant_of
from sidecar.service.feed_mark import mark_of, require_continued
from sidecar.service.feed_page import Gathered
from sidecar.service.feed_waiting import Seen, Waiting
from sidecar.service.scope import Lookers, Scope
from sidecar.service.snapshots import DEPLOYMENT, Snapshots
from sidecar.service.store import Store, TenantTransaction, Transaction

ROUNDS_MAX: Final = 100
"""Read transactions that one page takes: of a follower that is told little, many entries are passed over."""

FILES_KEPT: Final = 512
"""Tenants of which the policy files that hold are kept with their digest."""


class Reader(NamedTuple):
    """Whom the feed of which tenant is told to, in one read transaction."""

    part: TenantTransaction
    follower_id: str | None
    scope: Scope


class Asked(NamedTuple):
    """Which page is asked for: of which tenant, after which revision, and by whom who has which policy files.

    ``mark`` is that of the last page or snapshot that the asker has taken, None where it had none.
    """

    tenant_id: str | None
    since: int
    files_digest: str | None
    mark: AuditMark | None = None


class Audience:
    """Tells each caller apart: whose feed it may read, and what of it."""

    def __init__(self, snapshots: Snapshots) -> None:
        """Take the policies from ``snapshots``."""
        self._snapshots = snapshots
        self._lookers = Lookers()

    def reader(self, txn: Transaction, caller: Caller, tenant_id: str | None, now_us: int) -> Reader:
        """Return whom a call reads for.

        Raises Forbidden for an agent's token and for another tenant's feed, Unauthenticated where the caller's token
        has ended since the request was read, NotFound and ValidationFailed for the operator's tenant.
        """
        if caller.kind == "agent":
            message = "a token of kind `agent` cannot do this, expected a follower's, a tenant key or the operator"
            raise Forbidden(message)
        require_alive(txn, caller, now_us)
        part = txn.of(tenant_of(txn, caller, tenant_id))
        scope = Scope(part, caller.top, lambda: self._snapshots.policies(txn, part), self._lookers)
        return Reader(part, caller.name if caller.kind == "follower" else None, scope)


class Publisher:
    """Tells followers what changed."""

    def __init__(self, store: Store, snapshots: Snapshots, audience: Audience, waiting: Waiting) -> None:
        """Tell of ``store``; calls wait in ``waiting``."""
        self._store = store
        self._snapshots = snapshots
        self._waiting = waiting
        self._audience = audience
        self._files: Recent[str, tuple[CompiledFiles, PolicyFiles, str]] = Recent(FILES_KEPT)

    async def awaited(self, caller: Caller, asked: Asked, wait_seconds: int, clock: Callable[[], int]) -> Page:
        """Return a page as soon as there is something new in it, or what there is after ``wait_seconds``.

        Raises as ``page``, also where the caller's token has ended meanwhile.
        """
        page, seen = await self._made(caller, asked, clock())
        try:
            async with asyncio.timeout(wait_seconds):
                while wait_seconds and not has_news(page) and await self._waiting.changed(seen):
                    page, seen = await self._made(caller, asked, clock())
        except TimeoutError:
            page, _ = await self._made(caller, asked, clock())
        return page

    async def page(self, caller: Caller, asked: Asked, now_us: int) -> Page:
        """Return what changed after the revision that is ``asked`` for, at most ``PAGE_RECORDS_MAX`` records.

        Beside them come the identities outside of the follower's subtree that told policies look into, unchanged. The
        policy files come with the last page, where the asker has others. Where the changes are not all kept any more,
        the page is empty and says ``is_compacted``. Raises as ``Audience.reader``, and Conflict where the asker knows a
        revision that this store has not reached, or a mark that is not of its log, as when it was put back to an older
        state.
        """
        return (await self._made(caller, asked, now_us))[0]

    async def _made(self, caller: Caller, asked: Asked, now_us: int) -> tuple[Page, Seen]:
        gathered = Gathered(asked.since)
        rounds = 0
        while True:
            with self._store.read() as txn:
                reader = self._audience.reader(txn, caller, asked.tenant_id, now_us)
                number = reader.part.tenant.number
                head, files_revision = (
                    txn.tenants.revisions(number).entities,
                    txn.tenants.revisions(DEPLOYMENT).policies,
                )
                if asked.since > head:
                    message = f"revision `{asked.since}` is not reached here, the tenant is at `{head}`"
                    raise Conflict(message, field="since")
                require_continued(reader.part.audit, asked.mark)
                gathered.look(reader.part.feed, reader.scope, head)
                rounds += 1
                if gathered.to == head or gathered.is_full or gathered.is_compacted or rounds == ROUNDS_MAX:
                    page = self._page(txn, reader, gathered, asked, head, now_us)
                    return page, Seen(number, head, files_revision)
            await asyncio.sleep(0)

    def _page(self, txn: Transaction, reader: Reader, gathered: Gathered, asked: Asked, head: int, now_us: int) -> Page:
        """Return the page of what was gathered; ``txn`` is the transaction that the last of it was read in."""
        tenant, feed = reader.part.tenant, reader.part.feed
        files, digest = self._files_of(txn, tenant.tenant_id)
        are_told = gathered.to == head and asked.files_digest != digest and not gathered.is_compacted
        if are_told and reader.scope.top is not None:
            gathered.add_beside(feed, reader.scope.outside)
        is_outside_told = reader.scope.top is not None and gathered.to == head and (are_told or head > asked.since)
        return Page(
            origin=reader.part.audit.origin,
            follower_id=reader.follower_id,
            scope=reader.scope.top,
            from_revision=asked.since,
            to_revision=asked.since if gathered.is_compacted else gathered.to,
            head=head,
            time_us=now_us,
            tenant=TenantProfile(
                tenant_id=tenant.tenant_id,
                name=tenant.name,
                mode=tenant.mode,
                time_zone=tenant.time_zone,
                root_identity_id=tenant.root_identity_id,
                created_at_us=tenant.created_at_us,
                rate_limit=tenant.rate_limit,
                authzen=tenant.authzen,
            ),
            files_digest=digest,
            files=files if are_told else None,
            is_compacted=gathered.is_compacted,
            mark=mark_of(reader.part.audit),
            outside=tuple(sorted(reader.scope.outside)) if is_outside_told else None,
            changes=() if gathered.is_compacted else gathered.changes(),
        )

    def _files_of(self, txn: Transaction, tenant_id: str) -> tuple[PolicyFiles, str]:
        """Return the policy files that hold for a tenant, and what stands for them."""
        compiled = self._snapshots.files(txn)
        kept = self._files.get(tenant_id)
        if kept is None or kept[0] is not compiled:
            files = files_of(compiled.files, tenant_id)
            kept = compiled, files, files_digest(files)
            self._files.keep(tenant_id, kept)
        return kept[1:]


def has_news(page: Page) -> bool:
    """Whether a page tells its asker anything."""
    return page.to_revision > page.from_revision or page.files is not None or page.is_compacted

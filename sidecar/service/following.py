"""What a control plane tells, applied to the store of a follower: whole or not at all, in order, never back.

What came last and was good holds until all of what is newer is here and has passed every check. Then one transaction
brings the records, the policy files, the revision and the audit record of it, so a decision sees the one or the other.
What comes in parts waits beside the records, where no decision looks.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Final, Literal, TypeAlias

import msgspec

from sidecar.core.directory import Tenant
from sidecar.core.feed import FeedRefused, Page
from sidecar.core.feed_review import review_page
from sidecar.core.feed_snapshot import SnapshotHead
from sidecar.core.model import AuditMark
from sidecar.core.snapshot import PolicyFiles
from sidecar.core.staleness import Contact, Instant
from sidecar.service.feed_store import ReplicaState
from sidecar.service.following_inspection import Inspection
from sidecar.service.following_intake import ANEW, Intake
from sidecar.service.following_order import (
    files_of_page,
    has_older_files,
    is_other_source,
    require_newer,
    require_next,
    require_same,
    require_same_follower,
)
from sidecar.service.following_outside import parted
from sidecar.service.following_plan import Plan, key_of
from sidecar.service.following_policies import Doorkeeper, VetPolicies
from sidecar.service.following_staging import Stage
from sidecar.service.following_switch import Kept, Switch, kept_in, switch
from sidecar.service.snapshots import Snapshots
from sidecar.service.store import Store, Transaction


class WantsPage(msgspec.Struct, frozen=True):
    """A page from revision ``since`` on is to be asked for; ``files_digest`` names the policy files that are here.

    ``mark`` is where the log that it continues ended. ``is_staged`` says that it continues what is not applied yet.
    """

    since: int
    files_digest: str | None
    mark: AuditMark | None = None
    is_staged: bool = False


class WantsSnapshot(msgspec.Struct, frozen=True):
    """A snapshot is to be asked for, from its mark ``cursor`` on; None from its beginning.

    ``mark`` is where the log ended that it has to continue, None where nothing holds yet.
    """

    cursor: str | None
    mark: AuditMark | None = None


Wanted: TypeAlias = WantsPage | WantsSnapshot

SHORT_MAX: Final = 500
"""Records that are applied on the event loop, in some tens of milliseconds; more are applied beside it."""

Taken = Literal["applied", "confirmed", "staged", "compacted", "ignored"]
"""What became of a page.

It changed what holds; nothing is newer than what holds; it waits for those behind it; a snapshot has to be taken; it
was not the answer to what is wanted, but an older one that came once more.
"""


async def _as_it_is() -> None:
    """Ask nobody about the log."""


class Following:
    """Applies what one control plane tells of one tenant. One at a time may do so in a store."""

    def __init__(
        self,
        store: Store,
        snapshots: Snapshots,
        vet: VetPolicies,
        new_log_id: Callable[[], str],
        clock: Callable[[], int],
        instant: Callable[[], Instant],
        *,
        confirm_log: Callable[[], Awaitable[None]] = _as_it_is,
    ) -> None:
        """Work on ``store``.

        ``new_log_id`` names the log that a new store gets, ``clock`` is the time of records, ``instant`` that of data.
        ``confirm_log`` is awaited before data becomes fresh: a store that was set back is to know it before it decides.
        """
        self._store = store
        self._inspection = Inspection(store, Doorkeeper(store, snapshots, vet))
        self._intake = Intake(store)
        self._stage = Stage(store, self._intake)
        self._new_log_id = new_log_id
        self._clock = clock
        self._instant = instant
        self._confirm_log = confirm_log

    def wanted(self) -> Wanted:
        """Return what to ask the control plane for next, as the store says it."""
        return _wanted(self._kept())

    async def begin_anew(self) -> None:
        """Drop what is staged, and want a snapshot from its beginning: what holds holds on until that is applied."""
        await self._intake.clear()
        await self._store.write(lambda txn: txn.replica.keep_staging(ANEW))

    async def take_page(self, page: Page, asked: Instant) -> Taken:
        """Take the answer to a question that was put at ``asked``, just before it was sent.

        Raises FeedRefused where it is not what may follow here, PolicyInvalid and ValidationFailed for policies that
        may not hold, all naming the place, and Unavailable where it could not be stored: each time the last good state
        holds on, and the same page may be tried again.
        """
        review_page(page)
        kept = self._kept()
        require_same(kept, page.origin, page.tenant.tenant_id)
        require_same_follower(kept, page)
        if page.is_compacted or is_other_source(kept, page):
            await self.begin_anew()
            return "compacted"
        wanted = _wanted(kept)
        if isinstance(wanted, WantsSnapshot) or page.from_revision < wanted.since or has_older_files(kept, page):
            return "ignored"
        require_next(page, wanted.since)
        files = files_of_page(kept, page) if page.is_last else None
        if page.is_last:
            await self._confirm_log()
        if kept.staging is None and page.is_last:
            changes = await self._stage.news(kept.tenant, page.changes)
            return await self._apply(kept, page, asked, files, Plan({key_of(change): change for change in changes}))
        if not page.is_last:
            await self._stage.add(kept, page)
            return "staged"
        # The last page is not staged: where it is refused, the next one must be able to tell the same otherwise.
        changes = await self._stage.differing(kept, page)
        try:
            taken = await self._apply(kept, page, asked, files, Plan({key_of(change): change for change in changes}))
        except FeedRefused:
            await self.begin_anew()  # what does not hold together may be what is staged: no page would ever mend it
            raise
        await self._intake.clear()
        return taken

    async def take_snapshot(self, lines: AsyncIterator[bytes]) -> None:
        """Stage what a snapshot tells, up to its end; a page from ``wanted`` on completes it.

        Raises FeedRefused where it is not whole or not what may follow here. What was staged up to the last mark is
        kept when the stream is cut off or raises, and the next snapshot goes on there.
        """
        kept = self._kept()

        def accept(head: SnapshotHead) -> None:
            require_same(kept, head.origin, head.tenant_id)
            require_newer(kept, head.revision)

        await self._intake.take(lines, accept)

    def _kept(self) -> Kept:
        with self._store.read() as txn:
            kept = kept_in(txn)
            if kept.state is None and next(iter(txn.tenants.after(0)), None) is not None:
                raise FeedRefused("this data directory has tenants of its own, a follower needs an empty one")
            return kept

    async def _apply(self, kept: Kept, page: Page, asked: Instant, files: PolicyFiles | None, plan: Plan) -> Taken:
        """Apply what was planned, once it has passed; where there is nothing to apply, note the contact alone."""
        tenant = self._tenant(kept, page)
        state = ReplicaState(
            tenant_id=tenant.tenant_id,
            origin=page.origin,
            follower_id=page.follower_id or "",
            scope=page.scope,
            revision=page.to_revision,
            files_digest=page.files_digest,
            files_told_us=page.time_us if files is not None or kept.state is None else kept.state.files_told_us,
            mark=page.mark,
        )
        plan = await parted(self._store, tenant, page, plan)
        contact = Contact(asked, page.head, self._skew_us(page, asked))
        if not plan.changes and files is None and _is_same(kept, state, tenant):
            await self._store.write(partial(_confirm, state=state, contact=contact))
            return "confirmed"
        await self._inspection.require(tenant, plan, files)
        wanted = Switch(
            kept=kept,
            tenant=tenant,
            plan=plan,
            files=files,
            state=state,
            contact=contact,
            now_us=self._clock(),
            outside=page.outside,
        )
        is_long = len(plan.changes) > SHORT_MAX
        await self._store.write(partial(switch, wanted=wanted), apart=True, is_long=is_long)
        return "applied"

    def _tenant(self, kept: Kept, page: Page) -> Tenant:
        """Return the tenant as it is to be here. Raises FeedRefused where it changed in what never changes."""
        told, known = page.tenant, kept.tenant
        if known is not None:
            if (told.mode, told.time_zone, told.root_identity_id) != (
                known.mode,
                known.time_zone,
                known.root_identity_id,
            ):
                raise FeedRefused("the tenant has another mode, time zone or root than before")
            return msgspec.structs.replace(known, name=told.name, rate_limit=told.rate_limit, authzen=told.authzen)
        with self._store.read() as txn:
            number = txn.tenants.next_number()
        return Tenant(
            tenant_id=told.tenant_id,
            number=number,
            name=told.name,
            mode=told.mode,
            time_zone=told.time_zone,
            root_identity_id=told.root_identity_id,
            log_id=self._new_log_id(),
            created_at_us=told.created_at_us,
            rate_limit=told.rate_limit,
            authzen=told.authzen,
        )

    def _skew_us(self, page: Page, asked: Instant) -> int:
        """Return how far the control plane's clock is from all moments at which it can have answered."""
        now_us = self._instant().wall_us
        return max(page.time_us - now_us, 0) or min(page.time_us - asked.wall_us, 0)


def _is_same(kept: Kept, state: ReplicaState, tenant: Tenant) -> bool:
    """Whether a state is the one that holds. Logs grow by what is not followed too."""
    here = kept.state
    is_same = here is not None and msgspec.structs.replace(state, mark=here.mark) == here
    return is_same and (tenant, None) == (kept.tenant, kept.staging)


def _confirm(txn: Transaction, state: ReplicaState, contact: Contact) -> None:
    txn.replica.keep_contact(contact)
    here = txn.replica.state()
    if here is not None and here.mark is None:  # from before there were marks
        txn.replica.keep_state(state)


def _wanted(kept: Kept) -> Wanted:
    state, staging = kept.state, kept.staging
    if staging is not None and not staging.is_complete:
        return WantsSnapshot(staging.cursor, None if state is None else state.mark)
    if staging is not None:
        # Behind a snapshot all is told: also what went beside the records meanwhile.
        digest = None if state is None or staging.is_snapshot else state.files_digest
        return WantsPage(staging.since, digest, staging.mark, is_staged=True)
    if state is None:
        return WantsSnapshot(None)
    return WantsPage(state.revision, state.files_digest, state.mark)

"""A control plane and its followers in one process, each a world of its own, and a network between them that fails.

Followers take pages as the product does; nothing is applied unless it was asked for. Everything runs on one event loop.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec

from sidecar.core.access import Caller
from sidecar.core.budget import OnExceeded, OnExpiry
from sidecar.core.delegation import Word
from sidecar.core.errors import NotFound, SidecarError, Unavailable
from sidecar.core.feed import KINDS, Change, Page, TenantProfile, files_digest, files_of, write_change
from sidecar.core.feed_snapshot import SnapshotEnd, SnapshotHead, extended, snapshot_start, write_line
from sidecar.core.history import Ended, read_event
from sidecar.core.model import AuthorizeRequest
from sidecar.core.snapshot import PolicyFiles, PolicyRecord
from sidecar.core.staleness import Instant, StalenessLimits
from sidecar.core.windows import Period
from sidecar.service.authorize import Authorizer
from sidecar.service.batch import BatchAuthorizer
from sidecar.service.delegation import Delegation, NotSent
from sidecar.service.following import Following, WantsPage
from sidecar.service.freshness import Freshness
from sidecar.service.intents import Canceller
from sidecar.service.remote_endings import apply_ending
from sidecar.service.reservations import Reservations
from sidecar.service.settlement import Settler
from sidecar.service.tokens import TokenDraft
from tests.service.builders import NOON, OPERATOR, World, limit
from tests.service.histories import chronicle, prove

Fault = Literal["none", "cut", "unsent", "lost", "late", "twice", "refused"]
LIMITS = StalenessLimits({"default": 3_600})
APART = 1_000_000


class Line:
    """The network between one follower and the control plane; what it does with the next calls is set."""

    def __init__(self, reservations: Reservations, caller: Caller, now_us: int) -> None:
        """Reach the control plane as ``caller``."""
        self.reservations = reservations
        self.caller = caller
        self.now_us = now_us
        self.fault: Fault = "none"
        self.asked = 0
        self.late: list[tuple[str, AuthorizeRequest]] = []

    async def reserve(self, decision_id: str, request: AuthorizeRequest) -> Word:
        """Have a request decided, or not."""
        self.asked += 1
        match self.fault:
            case "cut":
                raise Unavailable("cut off")
            case "unsent":
                raise NotSent("no connection")
            case "late":
                self.late.append((decision_id, request))
                raise Unavailable("too slow")
            case "lost":
                await self._reserve(decision_id, request)
                raise Unavailable("the answer was lost")
            case "refused":
                raise NotFound("never heard of it")
            case "twice":
                await self._reserve(decision_id, request)
        return await self._reserve(decision_id, request)

    async def _reserve(self, decision_id: str, request: AuthorizeRequest) -> Word:
        word = await self.reservations.reserve(self.caller, None, decision_id, request, self.now_us)
        return msgspec.json.decode(msgspec.json.encode(word), type=Word)

    async def cancel(self, decision_id: str) -> None:
        """Cancel, or not."""
        if self.fault == "cut":
            raise Unavailable("cut off")
        await self.reservations.cancel(self.caller, None, decision_id, self.now_us)
        if self.fault == "lost":
            raise Unavailable("the answer was lost")

    async def deliver(self) -> list[Word]:
        """Have what was late arrive now."""
        late, self.late = self.late, []
        return [await self._reserve(decision_id, request) for decision_id, request in late]


class Fleet:
    """The control plane of tenant `t_one`, in which every action is granted, and its followers."""

    def __init__(self, folder: Path, followers: int = 1) -> None:
        """Found it with two agents below the root, one of them below the other."""
        self.folder, self.began_us = folder, NOON
        self.plane = World(folder / "plane")
        self.plane.tenant()
        self.plane.identity("ann")
        self.plane.identity("bob", "ann")
        self.reservations = Reservations(self.plane.store, self.plane.authorizer)
        self.callers = [self.token(f"follower {number}") for number in range(followers)]
        self.followers: list[FollowerWorld] = []
        for number in range(followers):
            self.followers.append(FollowerWorld(self, number))

    def __enter__(self) -> Self:
        """Give the fleet."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End it."""
        for follower in self.followers:
            follower.world.store.close()
        self.plane.close()

    def require_sound(self) -> None:
        """Fail unless every store holds together and every log proves."""
        for world in (self.plane, *(follower.world for follower in self.followers)):
            assert world.faults() == []
            proof = prove(chronicle(world))
            assert (proof.difference, proof.missing) == (None, ())

    def token(self, name: str, identity_id: str | None = None) -> Caller:
        """Make a follower's token."""
        draft = TokenDraft(name, "follower", identity_id, may_release=False, expires_at_us=None)
        minted = self.plane.run(self.plane.desk.create(OPERATOR, "t_one", draft, self.plane.now_us)).value
        return Caller("follower", minted.token)

    def budget(
        self,
        amount: int,
        owner: str = "ann",
        follower: int | None = None,
        *,
        period: Period = "daily",
        dimension: str = "amount",
        on_exceeded: OnExceeded = "deny",
        on_expiry: OnExpiry = "release",
    ) -> str:
        """Make a budget, of the control plane or of a follower; all hear of it."""
        draft = limit(amount, owner, period=period, dimension=dimension, on_exceeded=on_exceeded, on_expiry=on_expiry)
        assigned = None if follower is None else self.callers[follower].name
        made = self.plane.budget(msgspec.structs.replace(draft, follower_id=assigned))
        self.sync()
        return made.budget.budget_id

    @property
    def hidden(self) -> set[str]:
        """The tokens of followers, of which none hears."""
        return {caller.name for caller in self.callers}

    def sync(self) -> None:
        """Let every follower hear what is new."""
        for follower in self.followers:
            follower.sync()

    def set_time(self, now_us: int) -> None:
        """Set all clocks."""
        self.plane.now_us = now_us
        for follower in self.followers:
            follower.world.now_us = follower.line.now_us = now_us

    def page(self, caller: Caller, since: int) -> Page:
        """Return the page of all that changed after a revision, as it is now."""
        with self.plane.store.read() as txn:
            tenant = txn.tenants.find("t_one")
            assert tenant is not None
            part = txn.of(tenant)
            changes: dict[tuple[str, str], Change] = {}
            for entry in part.feed.told(since, APART):
                if entry.kind is not None and entry.id not in self.hidden:
                    gone = Change(kind=entry.kind, id=entry.id, revision=entry.revision, owner=entry.owner)
                    changes[entry.kind, entry.id] = part.feed.find(entry.kind, entry.id) or gone
            head = txn.tenants.revisions(tenant.number).entities
            files = files_of(txn.policy_files() or PolicyFiles(schemas=(), shared=(), by_tenant={}), "t_one")
            profile = TenantProfile(
                tenant_id=tenant.tenant_id,
                name=tenant.name,
                mode=tenant.mode,
                time_zone=tenant.time_zone,
                root_identity_id=tenant.root_identity_id,
                created_at_us=tenant.created_at_us,
                rate_limit=tenant.rate_limit,
                authzen=tenant.authzen,
            )
            return Page(
                origin=part.audit.origin,
                follower_id=caller.name,
                scope=None,
                from_revision=since,
                to_revision=head,
                head=head,
                time_us=self.plane.now_us,
                tenant=profile,
                files_digest=files_digest(files),
                files=files,
                changes=tuple(sorted(changes.values(), key=lambda change: change.revision)),
            )

    async def snapshot(self) -> AsyncIterator[bytes]:
        """Yield the lines of a snapshot."""
        with self.plane.look() as part:
            changes = [change for kind in KINDS for change in part.feed.all(kind) if change.id not in self.hidden]
            origin = part.audit.origin
        revision = max(change.revision for change in changes)
        digest = snapshot_start(origin, None, revision)
        yield write_line(
            SnapshotHead(origin=origin, tenant_id="t_one", scope=None, revision=revision, records=0, digest=digest)
        )
        for change in changes:
            line = write_change(change)
            digest = extended(digest, line)
            yield line
        yield write_line(SnapshotEnd(revision=revision, records=len(changes), digest=digest))


class FollowerWorld:
    """One follower: its store, which stays, and what lives in memory, which a crash takes away."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        """Follow the control plane of ``fleet`` with one of its tokens."""
        self.fleet = fleet
        self.caller = fleet.callers[number]
        self.world = World(fleet.folder / f"follower{number}", beside=fleet.plane)
        self.world.ids.made = (number + 1) * APART  # so that no two stores make the same id
        self.told = 0
        self.start()
        self.sync()

    def start(self) -> None:
        """Begin to live, or again after a crash."""
        world = self.world
        self.line = Line(self.fleet.reservations, self.caller, world.now_us)
        self.freshness = Freshness(LIMITS, self.instant)
        delegation = Delegation(world.store, self.line)
        world.authorizer = Authorizer(
            world.store, world.snapshots, world.ids, freshness=self.freshness, delegation=delegation
        )
        world.batches = BatchAuthorizer(world.store, world.authorizer)
        world.settler = Settler(world.store, self.freshness)
        self.canceller = Canceller(world.store, self.line)
        self.following = Following(
            world.store, world.snapshots, trusting, lambda: f"log{self.caller.name.lower()}", self.time, self.instant
        )

    def time(self) -> int:
        """Return the time."""
        return self.world.now_us

    def instant(self) -> Instant:
        """Return this moment."""
        return Instant("boot_1", self.world.now_us - NOON, self.world.now_us)

    def sync(self) -> None:
        """Take what is new at the control plane."""
        wanted = self.following.wanted()
        if not isinstance(wanted, WantsPage):
            self.world.run(self.following.take_snapshot(self.fleet.snapshot()))
            wanted = self.following.wanted()
        assert isinstance(wanted, WantsPage)
        self.world.run(self.following.take_page(self.fleet.page(self.caller, wanted.since), self.instant()))
        self.world.write(lambda txn: txn.replica.acknowledge(self.caller.name))  # what it ships is taken here

    def ship(self, most: int = APART) -> None:
        """Have the control plane take the next endings of this follower's log."""
        with self.world.look() as part:
            bodies = list(part.audit.read(self.told, most))
        for seq, body in bodies:
            self.told = seq + 1
            event = read_event(body)
            if isinstance(event, Ended):
                self.tell(event)

    def tell(self, event: Ended) -> None:
        """Have the control plane take one ending."""
        plane = self.fleet.plane

        def work(txn: object) -> None:
            part = txn.of(txn.tenants.find("t_one"))  # type: ignore[attr-defined]
            apply_ending(txn, part, self.caller.name, event, plane.now_us)  # type: ignore[arg-type]

        plane.write(work)

    def cancel(self) -> int:
        """Let the canceller have a turn; a failing network leaves all as it is."""
        try:
            return self.world.run(self.canceller.cancel_due(self.world.now_us))
        except SidecarError:
            return 0

    def intents(self) -> list[str]:
        """The decisions for which the control plane may hold something."""
        with self.world.store.read() as txn:
            return [intent.decision_id for intent in txn.intents.all()]


async def trusting(
    files: PolicyFiles, passed: PolicyFiles | None, records: list[tuple[PolicyRecord, str | None]]
) -> None:
    """Let every policy text pass: those of the tests are our own."""

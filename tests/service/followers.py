"""A follower below its doors: a store of its own that is told by a control plane's services, without a network between.

What would go over the wire is written and read as bytes. ``Follower.sync`` does what the loop of a follower does, and
each step of it can be done by hand, with something else in between or in its place.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import msgspec

from sidecar.core.access import Caller
from sidecar.core.delegation import Word
from sidecar.core.directory import Tenant
from sidecar.core.feed import KINDS, FollowedToken, Page, read_page, state_digest, write_page
from sidecar.core.model import AuthorizeRequest
from sidecar.core.policy_files import check_files, check_records
from sidecar.core.snapshot import PolicyFiles, PolicyRecord
from sidecar.core.staleness import Instant
from sidecar.service.authorize import Authorizer
from sidecar.service.delegation import Delegation
from sidecar.service.feed import Asked, Audience, Publisher
from sidecar.service.feed_snapshot import Begun, SnapshotTeller
from sidecar.service.feed_store import ReplicaState, Staging
from sidecar.service.feed_waiting import Waiting
from sidecar.service.following import Following, Taken, WantsPage, WantsSnapshot
from sidecar.service.reservations import Reservations
from sidecar.service.snapshots import Snapshots
from sidecar.service.tokens import TokenDraft
from sidecar.state.transaction import Transaction
from tests.service.builders import MAP_SIZE, OPERATOR, World, shipped_files

ROUNDS_MAX = 1_000


def follower_token(control: World, identity_id: str | None = None) -> Caller:
    """The caller of a new token of a follower, of tenant `t_one` or of a subtree of it."""
    draft = TokenDraft("a follower", "follower", identity_id, may_release=False, expires_at_us=None)
    minted = control.run(control.desk.create(OPERATOR, "t_one", draft, control.now_us)).value
    return control.desk.authenticate(minted.text, control.now_us)


class Plane:
    """The control plane of one follower, as far as it decides for it; nothing goes wrong on the way."""

    def __init__(self, control: World, caller: Caller) -> None:
        """Be ``control``, asked by ``caller``."""
        self._control = control
        self._caller = caller
        self._reservations = Reservations(control.store, control.authorizer)

    async def reserve(self, decision_id: str, request: AuthorizeRequest) -> Word:
        """Decide, and hold what is granted."""
        return await self._reservations.reserve(self._caller, None, decision_id, request, self._control.now_us)

    async def cancel(self, decision_id: str) -> None:
        """Release what is held."""
        await self._reservations.cancel(self._caller, None, decision_id, self._control.now_us)


class Follower(World):
    """A world that follows another one's tenant `t_one`, or the subtree of an identity in it."""

    def __init__(
        self, folder: Path, control: World, identity_id: str | None = None, *, map_size: int = MAP_SIZE
    ) -> None:
        """Know nothing yet."""
        self.control = control
        self.caller = follower_token(control, identity_id)
        self.follower_id = self.caller.name
        self.vetted_files: list[tuple[PolicyFiles, PolicyFiles | None, list[str]]] = []
        super().__init__(folder, now_us=control.now_us, map_size=map_size, beside=control)
        self.ids.made = 1_000_000  # so that no decision here has the id of one there
        self.restart()

    def load(self, files: PolicyFiles) -> None:
        """Load none: they come from the control plane."""

    def load_own(self) -> None:
        """Load the shipped policy files, as no follower does."""
        super().load(shipped_files())

    def restart(self) -> None:
        """Forget what is in memory."""
        audience = Audience(self.control.snapshots)
        self.publisher = Publisher(
            self.control.store, self.control.snapshots, audience, Waiting(self.control.store, asyncio.sleep)
        )
        self.teller = SnapshotTeller(self.control.store, audience, lambda: False)
        self.snapshots = Snapshots()
        delegation = Delegation(self.store, Plane(self.control, self.caller))
        self.authorizer = Authorizer(self.store, self.snapshots, self.ids, delegation=delegation)
        self.following = Following(
            self.store, self.snapshots, self._check, lambda: "followerlog", lambda: self.control.now_us, self.instant
        )

    async def _check(
        self, files: PolicyFiles, passed: PolicyFiles | None, records: list[tuple[PolicyRecord, str | None]]
    ) -> None:
        self.vetted_files.append((files, passed, [record.policy_id for record, _ in records]))
        check_records(records, check_files(files, passed))

    def instant(self) -> Instant:
        """The moment, as the control plane's clock has it too."""
        return Instant("boot", self.control.now_us, self.control.now_us)

    # --- What is asked and told -----------------------------------------------------------------------------------

    def page(self, since: int | None = None) -> Page:
        """What the control plane answers to what is wanted, or to another question, once it went over the wire.

        It is told to the same follower whichever token asks, as a token of another scope may.
        """
        wanted = self.following.wanted()
        digest, mark = (wanted.files_digest, wanted.mark) if isinstance(wanted, WantsPage) else (None, None)
        if since is None:
            assert isinstance(wanted, WantsPage)
            since = wanted.since
        self.control.now_us += 1
        page = self.control.run(self.publisher.page(self.caller, Asked(None, since, digest, mark), self.control.now_us))
        return read_page(write_page(msgspec.structs.replace(page, follower_id=self.follower_id)))

    def lines(self, begun: Begun | None = None) -> list[bytes]:
        """The snapshot from a place on, each line without its end."""
        self.begun: dict[str, Begun] = getattr(self, "begun", {})

        def write(at: Begun) -> str:
            self.begun[at.digest] = at
            return at.digest

        async def read() -> bytes:
            wanted = self.following.wanted()
            mark = wanted.mark if isinstance(wanted, WantsSnapshot) else None
            at = self.teller.begin(self.caller, None, begun, self.control.now_us, mark)
            told = self.teller.lines(self.caller, at, write, lambda: self.control.now_us)
            return b"".join([each async for each in told])

        return self.control.run(read()).splitlines()

    def wanted_lines(self) -> list[bytes]:
        """The snapshot that is wanted, from the mark that is named."""
        wanted = self.following.wanted()
        assert isinstance(wanted, WantsSnapshot)
        return self.lines(None if wanted.cursor is None else self.begun[wanted.cursor])

    def take(self, page: Page) -> Taken:
        """Take a page that was asked for just now."""
        taken = self.run(self.following.take_page(page, self.instant()))
        with self.store.read() as txn:
            is_acknowledged = txn.replica.acknowledged() == self.follower_id
        if not is_acknowledged:  # nothing is shipped, as if all were
            self.write(lambda txn: txn.replica.acknowledge(self.follower_id))
        return taken

    def take_lines(self, lines: Iterable[bytes]) -> None:
        """Take the lines of a snapshot."""

        async def streamed() -> AsyncIterator[bytes]:
            for line in lines:
                yield line

        self.run(self.following.take_snapshot(streamed()))

    def sync(self) -> None:
        """Ask and take until nothing is newer."""
        for _ in range(ROUNDS_MAX):
            if isinstance(self.following.wanted(), WantsSnapshot):
                self.take_lines(self.wanted_lines())
            elif self.take(self.page()) == "confirmed":
                self.now_us = self.control.now_us
                return
        raise AssertionError("it never comes to an end")

    # --- Looking ----------------------------------------------------------------------------------------------------

    @property
    def state(self) -> ReplicaState | None:
        """What is followed."""
        with self.store.read() as txn:
            return txn.replica.state()

    @property
    def staging(self) -> Staging | None:
        """What is staged."""
        with self.store.read() as txn:
            return txn.replica.staging()

    def own(self) -> Tenant:
        """The tenant here."""
        with self.look() as part:
            return part.tenant


def followed_digest(world: World) -> str:
    """What stands for all records of tenant `t_one` that are followed: equal here and there."""
    with world.look() as part:
        changes = [change for kind in KINDS for change in part.feed.all(kind)]
    return state_digest(
        change
        for change in changes
        if not (isinstance(change.value, FollowedToken) and change.value.token.kind == "follower")
    )


def revision_of(world: World) -> int:
    """The revision of tenant `t_one`."""
    with world.store.read() as txn:
        tenant = txn.tenants.find("t_one")
        assert tenant is not None
        return txn.tenants.revisions(tenant.number).entities


def forget_changes(control: World, most: int = 10_000) -> None:
    """Forget what the change feed could tell, the oldest first."""

    def work(txn: Transaction) -> None:
        tenant = txn.tenants.find("t_one")
        assert tenant is not None
        txn.of(tenant).feed.forget(txn.tenants.revisions(tenant.number).entities, most)

    control.write(work)

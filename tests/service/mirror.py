"""A follower as simple as can be: what it was told, by kind and id; and what it should have been told, the slow way."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from sidecar.core.access import Caller
from sidecar.core.cards import Card
from sidecar.core.directory import Status, Tenant
from sidecar.core.feed import Change, Page, read_page, write_page
from sidecar.core.feed_snapshot import Mark, SnapshotEnd, SnapshotHead, extended, read_line, snapshot_start
from sidecar.core.money import Major
from sidecar.core.snapshot import PolicyFiles
from sidecar.doors.native.feed import read_cursor, write_cursor
from sidecar.service.card_drafts import CardDraft
from sidecar.service.compaction import Compactor
from sidecar.service.feed import Asked, Audience, Publisher, has_news
from sidecar.service.feed_snapshot import SnapshotTeller
from sidecar.service.feed_waiting import Waiting
from sidecar.service.identities import IdentityPatch
from sidecar.service.tokens import TokenDraft
from sidecar.service.treasury import CardDesk
from tests.service.builders import OPERATOR, World

LOOKS = 'forbid (principal in ?principal, action, resource) when {{ Agent::"{0}".status == "suspended" }};'
"""A policy of an identity that looks into an agent."""


def follower(world: World, identity_id: str | None = None, life_us: int | None = None) -> Caller:
    """Make a follower's token of tenant `t_one`, perhaps limited to a subtree; returns its caller."""
    expires_at_us = None if life_us is None else world.now_us + life_us
    draft = TokenDraft("follows", "follower", identity_id, may_release=False, expires_at_us=expires_at_us)
    made = world.run(world.desk.create(OPERATOR, "t_one", draft, world.now_us)).value
    return world.desk.authenticate(made.text, world.now_us)


def card(org: World, identity_id: str) -> Card:
    """Make a card with a limit."""
    draft = CardDraft(identity_id=identity_id, currency="CAD", spend_limit_daily=Major("5"))
    desk = CardDesk(org.store, org.treasurer, org.ids)
    return org.run(desk.create(OPERATOR, "t_one", draft, None, org.now_us)).value.card


def suspend(org: World, identity_id: str, status: Status = "suspended") -> None:
    """Suspend an identity, or resume it."""
    patch = IdentityPatch(status=status)
    org.run(org.registry.change(OPERATOR, "t_one", identity_id, patch, org.now_us))


def delete_policy(org: World, policy_id: str) -> None:
    """Delete a policy."""
    org.run(org.legislator.delete(OPERATOR, "t_one", policy_id, org.now_us))


def compact(org: World, kept: int) -> None:
    """Forget old changes."""

    async def compacted() -> None:
        compactor = Compactor(org.store, kept)
        while await compactor.compact_some():
            pass

    org.run(compacted())


def head_of(org: World) -> int:
    """The tenant's revision."""
    with org.store.read() as txn:
        return txn.tenants.revisions(1).entities


def tenant_of(org: World) -> Tenant:
    """The tenant."""
    with org.store.read() as txn:
        tenant = txn.tenants.find("t_one")
        assert tenant is not None
        return tenant


class Desk:
    """What a control plane tells its followers with, over the store of a world."""

    def __init__(self, world: World, rest: Callable[[float], Any] | None = None) -> None:
        """Tell of ``world``; nobody waits unless ``rest`` is given."""

        async def never(_seconds: float) -> None:
            raise AssertionError("nobody waits here")

        self.world = world
        self.waiting = Waiting(world.store, rest or never)
        audience = Audience(world.snapshots)
        self.publisher = Publisher(world.store, world.snapshots, audience, self.waiting)
        self.teller = SnapshotTeller(world.store, audience, lambda: self.waiting.is_over)

    def page(self, caller: Caller, since: int = 0, files: str | None = None, tenant_id: str | None = None) -> Page:
        """Return a page as it is read behind the wire."""
        asked = Asked(tenant_id, since, files)
        page = self.world.run(self.publisher.page(caller, asked, self.world.now_us))
        assert read_page(write_page(page)) == page
        return page

    def lines(self, caller: Caller, cursor: str | None = None) -> AsyncIterator[bytes]:
        """Return a snapshot, some lines at a time."""
        begun = None if cursor is None else read_cursor(cursor)
        begun = self.teller.begin(caller, None, begun, self.world.now_us)
        return self.teller.lines(caller, begun, write_cursor, lambda: self.world.now_us)

    def snapshot(self, caller: Caller, cursor: str | None = None, most: int | None = None) -> list[bytes]:
        """Return the lines of a snapshot; of ``most`` pieces where it is cut off."""

        async def read() -> list[bytes]:
            found: list[bytes] = []
            pieces = 0
            async for piece in self.lines(caller, cursor):
                found += piece.splitlines()
                pieces += 1
                if pieces == most:
                    break
            return found

        return self.world.run(read())


class Mirror:
    """One follower."""

    def __init__(self, desk: Desk, caller: Caller) -> None:
        """Know nothing yet."""
        self.desk = desk
        self.caller = caller
        self.revision = 0
        self.head = -1
        self.files_digest: str | None = None
        self.files: PolicyFiles | None = None
        self.known: dict[tuple[str, str], Change] = {}
        self.told: list[Change] = []
        self._cursor: str | None = None
        self._digest = ""

    def take(self, page: Page) -> None:
        """Apply a page."""
        assert page.from_revision == self.revision
        for change in page.changes:
            self._put(change)
        self.revision, self.head = page.to_revision, page.head
        if page.files is not None:
            self.files, self.files_digest = page.files, page.files_digest

    def _put(self, change: Change) -> None:
        self.told.append(change)
        if change.value is None:
            self.known.pop((change.kind, change.id), None)
        else:
            known = self.known.get((change.kind, change.id))
            assert known is None or known.revision <= change.revision
            self.known[change.kind, change.id] = change

    def catch_up(self) -> None:
        """Take pages, and a snapshot where they are compacted, until all is known."""
        while has_news(self.desk.page(self.caller, self.revision, self.files_digest)):
            self.step()

    def step(self) -> None:
        """Take one page, or a snapshot where it says so."""
        page = self.desk.page(self.caller, self.revision, self.files_digest)
        if page.is_compacted:
            assert not page.changes
            self.restart()
            while not self.load():
                pass
        else:
            self.take(page)

    def restart(self) -> None:
        """Forget everything, for a snapshot."""
        self.known, self._cursor, self.revision, self.head = {}, None, 0, -1

    def load(self, most: int | None = None) -> bool:
        """Take a snapshot, or the rest of one; of ``most`` pieces where it is cut off. Returns whether it is whole."""
        first, *written = self.desk.snapshot(self.caller, self._cursor, most)
        head = read_line(first)
        assert isinstance(head, SnapshotHead)
        if self._cursor is None:
            self._digest = snapshot_start(head.origin, head.scope, head.revision)
            assert head.records == 0
        assert head.digest == self._digest
        waiting: list[Change] = []
        digest, records = head.digest, head.records
        for line in written:
            told = read_line(line)
            if isinstance(told, Change):
                digest, records = extended(digest, line), records + 1
                waiting.append(told)
                continue
            assert isinstance(told, Mark | SnapshotEnd)
            assert (told.digest, told.records) == (digest, records)
            for change in waiting:
                self._put(change)
            waiting = []
            if isinstance(told, SnapshotEnd):
                assert told.revision == head.revision
                self.revision, self.head = told.revision, -1
                return True
            self._cursor, self._digest = told.cursor, told.digest
        return False

    def ids(self) -> set[str]:
        """Return the ids of all that is known."""
        return {key for _, key in self.known}

"""The roster: agents by the names they were registered under, whichever door made them, and what they were granted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.core.access import Caller
from sidecar.core.accounts import Account
from sidecar.core.directory import Status
from sidecar.core.errors import Conflict, Forbidden, NotFound
from sidecar.core.grants import Grant, GrantStatus
from sidecar.service import descent
from sidecar.service.identities import IdentityPatch
from sidecar.service.paging import PageRequest
from sidecar.service.roster import Entry, Roster
from sidecar.state.transaction import Transaction
from tests.service.builders import DAY, OPERATOR, SECOND, World
from tests.service.wallets import Wallets


class Office:
    """A world with a tenant and its roster."""

    def __init__(self, world: World) -> None:
        """Found the tenant."""
        self.world = world
        world.found(mode="test")
        self.roster = Roster(world.store, world.registry)

    def register(self, name: str, caller: Caller = OPERATOR) -> Entry:
        """Put an agent on the roster."""
        return self.world.run(self.roster.register(caller, _tenant(caller), name, self.world.now_us))

    def get(self, name: str, caller: Caller = OPERATOR) -> Entry:
        """Look an agent up."""
        return self.roster.get(caller, _tenant(caller), name, self.world.now_us)

    def remove(self, name: str, caller: Caller = OPERATOR) -> None:
        """Take an agent off the roster."""
        self.world.run(self.roster.remove(caller, _tenant(caller), name, self.world.now_us))

    def names(self, caller: Caller = OPERATOR) -> list[str]:
        """The names of everyone."""
        found = self.world.run(self.roster.everyone(caller, _tenant(caller), self.world.now_us))
        return [entry.name for entry in found]

    def pages(self, size: int, caller: Caller = OPERATOR) -> list[list[str]]:
        """The names page by page."""
        found, after = [], 0
        while True:
            request = PageRequest(after, size)
            page = self.world.run(self.roster.listed(caller, _tenant(caller), request, self.world.now_us))
            found.append([entry.name for entry in page.values])
            if page.next_after is None:
                return found
            after = page.next_after

    def grant(
        self, grant_id: str, identity_id: str, status: GrantStatus = "pending", expires_at_us: int | None = None
    ) -> None:
        """Store a grant, or change the one that is there."""

        def work(txn: Transaction) -> None:
            tenant = txn.tenants.find("t_one")
            assert tenant is not None
            part, revision = txn.of(tenant), txn.tenants.advance(tenant.number)
            grant = Grant(
                grant_id=grant_id,
                identity_id=identity_id,
                account_id="acct_1",
                owner_id="root",
                asset="USDC",
                status=status,
                expires_at_us=expires_at_us,
                nonce=b"n",
                created_at_us=self.world.now_us,
                revision=revision,
            )
            if part.grants.get(grant_id) is None:
                part.grants.add(grant_id, grant, revision, owner=identity_id)
            else:
                part.grants.change(grant_id, grant, revision)

        self.world.write(work)

    def counted(self, name: str) -> tuple[int, int, bool]:
        """How many grants of an agent are active and pending, and whether it may pay."""
        entry = self.get(name)
        return entry.active, entry.pending, entry.may_pay


def _tenant(caller: Caller) -> str | None:
    return "t_one" if caller.token is None else None


@pytest.fixture
def office(world: World) -> Office:
    """An office in a world that is checked at the end."""
    return Office(world)


@pytest.fixture
def granting(tmp_path: Path) -> Iterator[Office]:
    """An office whose grants are written by hand, behind the log."""
    with World(tmp_path) as world:
        yield Office(world)


# --- Registering ------------------------------------------------------------------------------------------------------


def test_an_agent_is_registered_below_the_root_and_permits_nothing(office: Office) -> None:
    entry = office.register("research-bot")
    assert (entry.name, entry.mode, entry.created_at_us) == ("research-bot", "test", office.world.now_us)
    assert (entry.active, entry.pending, entry.may_pay, entry.block) == (0, 0, False, None)
    with office.world.look() as part:
        made = part.identities.by_external_id("research-bot")
        assert made is not None
        assert (made.parent_id, made.type, made.name) == ("root", "agent", "research-bot")
        assert (list(part.policies.all()), list(part.budgets.all())) == ([], [])


def test_registering_again_changes_nothing_and_shows_the_same(office: Office) -> None:
    first, before = office.register("bot"), office.world.bodies()
    office.world.now_us += SECOND
    assert office.register("bot") == first
    assert office.world.bodies() == before


def test_who_registers_at_the_same_time_gets_the_same_agent(office: Office) -> None:
    world = office.world
    calls = [office.roster.register(OPERATOR, "t_one", "bot", world.now_us) for _ in range(3)]
    entries = world.together(*calls)
    assert entries == [entries[0]] * 3
    assert world.kinds().count("identity_created") == 2, "the root and the agent"


def test_a_name_of_another_type_is_a_conflict_and_no_agent(office: Office) -> None:
    office.world.identity("crew", type_name="team")
    office.world.identity("x1", type_name="service", external_id="robot")
    before = office.world.bodies()
    for name in ("root", "crew", "robot"):
        with pytest.raises(Conflict, match=f"`{name}` is an identity of type"):
            office.register(name)
        with pytest.raises(NotFound, match=f"unknown agent `{name}`"):
            office.get(name)
    assert office.world.bodies() == before
    assert office.names() == []


def test_below_a_revoked_root_nobody_is_registered(office: Office) -> None:
    office.world.revoke("root")
    with pytest.raises(Conflict):
        office.register("bot")


# --- Names ------------------------------------------------------------------------------------------------------------


def test_agents_of_other_doors_are_on_the_roster_under_their_external_or_own_ids(office: Office) -> None:
    office.world.identity("crew", type_name="team")
    office.world.identity("plain", "crew")
    office.world.identity("id-of-named", "crew", external_id="named")
    office.register("own")
    assert office.names() == ["plain", "named", "own"]
    assert office.get("plain").name == "plain"
    assert office.get("named").name == "named"
    with pytest.raises(NotFound):
        office.get("id-of-named")
    assert office.register("plain") == office.get("plain"), "it is there already"


def test_an_external_id_goes_before_an_own_id(office: Office) -> None:
    office.world.identity("a", external_id="same")
    office.world.identity("same")
    assert office.get("same").place < max(entry.place for entry in office.world.run(
        office.roster.everyone(OPERATOR, "t_one", office.world.now_us)
    ))  # fmt: skip
    office.remove("same")
    assert office.get("same").name == "same", "now the other one"


def test_a_removed_agent_is_revoked_and_its_name_is_free(office: Office) -> None:
    office.world.identity("plain")
    office.register("bot")
    for name in ("bot", "plain"):
        office.remove(name)
        with pytest.raises(NotFound, match=f"unknown agent `{name}`"):
            office.get(name)
        with pytest.raises(NotFound, match=f"unknown agent `{name}`"):
            office.remove(name)
    assert office.names() == []
    assert office.world.kinds()[-2:] == ["identity_revoked", "identity_revoked"]
    again = [office.register(name).name for name in ("plain", "bot")]
    assert office.names() == again == ["plain", "bot"]


def test_what_a_removed_agent_acted_by_goes_with_it(office: Office) -> None:
    office.register("bot")
    with office.world.look() as part:
        made = part.identities.by_external_id("bot")
    assert made is not None
    identity_id = made.identity_id
    office.world.minted(identity_id)
    office.world.cedar(
        'permit (principal in ?principal, action, resource) when { context.mode == "live" };', identity_id
    )
    office.remove("bot")
    with office.world.look() as part:
        assert [*part.tokens.owned(identity_id)] == []
        assert [*part.policies.owned(identity_id)] == []


# --- Lists ------------------------------------------------------------------------------------------------------------


def test_everyone_is_given_in_order_of_creation_however_they_were_stored(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descent, "PAGE", 2)
    office.world.now_us += SECOND
    for name in ("b", "c"):
        office.register(name)
    office.world.now_us -= SECOND
    office.register("a")
    assert office.names() == ["a", "b", "c"]
    assert office.pages(2) == [["b", "c"], ["a"]], "pages go on from a place in the store"


def test_pages_show_each_agent_once_and_nobody_else(office: Office) -> None:
    for number in range(5):
        office.world.identity(f"crew-{number}", type_name="team")
        office.register(f"bot-{number}")
    office.remove("bot-2")
    assert office.pages(2) == [["bot-0", "bot-1"], ["bot-3", "bot-4"]]
    assert office.pages(10) == [office.names()]


def test_a_token_of_one_agent_sees_itself_and_those_below(office: Office) -> None:
    world = office.world
    for name, parent in (("lead", "root"), ("other", "root"), ("one", "lead"), ("two", "lead"), ("three", "one")):
        world.identity(name, parent)
    caller = world.token("lead")
    assert office.names(caller) == ["lead", "one", "two", "three"]
    assert office.pages(3, caller) == [["lead", "one", "two"], ["three"]]
    assert office.get("three", caller).name == "three"
    with pytest.raises(NotFound, match="unknown agent `other`"):
        office.get("other", caller)


def test_a_token_of_one_agent_changes_nothing(office: Office) -> None:
    office.register("bot")
    office.world.identity("lead")
    caller, before = office.world.token("lead"), office.world.bodies()
    for change in (office.register, office.remove):
        for name in ("bot", "new", "lead"):
            with pytest.raises(Forbidden):
                change(name, caller)
    assert office.world.bodies() == before


# --- Grants -----------------------------------------------------------------------------------------------------------


def test_grants_are_counted_as_they_wait_hold_run_out_and_end(granting: Office) -> None:
    granting.world.identity("bot")
    granting.world.identity("other")
    now_us = granting.world.now_us
    assert granting.counted("bot") == (0, 0, False)
    granting.grant("g1", "bot")
    granting.grant("g2", "bot", expires_at_us=now_us + SECOND)
    granting.grant("g3", "other", "active")
    assert granting.counted("bot") == (0, 2, False)
    granting.grant("g2", "bot", "active", now_us + SECOND)
    assert granting.counted("bot") == (1, 1, True)
    granting.world.now_us += SECOND
    assert granting.counted("bot") == (0, 1, False)
    granting.grant("g1", "bot", "active")
    assert granting.counted("bot") == (1, 0, True)
    granting.grant("g1", "bot", "revoked")
    assert granting.counted("bot") == (0, 0, False)
    found = granting.world.run(granting.roster.everyone(OPERATOR, "t_one", granting.world.now_us))
    assert [(entry.name, entry.active) for entry in found] == [("bot", 0), ("other", 1)]


def test_the_owners_signature_makes_an_agent_one_that_may_pay(tmp_path: Path) -> None:
    """What `may_pay` says is what the next payment is answered with, from the first grant to its end."""
    with World(tmp_path) as world:
        world.found()
        wallets = Wallets(world)
        roster = Roster(world.store, world.registry)

        def seen() -> tuple[int, int, bool, bool]:
            entry = roster.get(OPERATOR, "t_one", "bot", world.now_us)
            return entry.active, entry.pending, entry.may_pay, wallets.pay() == ["permitted"]

        assert seen() == (0, 0, False, False)
        waiting = wallets.make(expires_at_us=world.now_us + DAY)
        assert seen() == (0, 1, False, False)
        wallets.approve(waiting)
        assert seen() == (1, 0, True, True)
        world.run(world.registry.change(OPERATOR, "t_one", "team", IdentityPatch(status="suspended"), world.now_us))
        assert seen() == (1, 0, False, False)
        world.run(world.registry.change(OPERATOR, "t_one", "team", IdentityPatch(status="active"), world.now_us))
        assert seen() == (1, 0, True, True)
        world.now_us += DAY
        assert seen() == (0, 0, False, False)
        lasting = wallets.active()
        assert seen() == (1, 0, True, True)
        wallets.revoke(lasting)
        assert seen() == (0, 0, False, False)


@pytest.mark.parametrize("who", ["lead", "bot"])
def test_whoever_is_blocked_may_not_pay_whatever_was_granted(granting: Office, who: str) -> None:
    world = granting.world
    world.identity("lead")
    world.identity("bot", "lead")
    granting.grant("g1", "bot", "active")

    def turn(status: Status) -> None:
        world.run(world.registry.change(OPERATOR, "t_one", who, IdentityPatch(status=status), world.now_us))

    turn("suspended")
    assert granting.counted("bot") == (1, 0, False)
    turn("active")
    assert granting.counted("bot") == (1, 0, True)


def test_grants_are_listed_by_status_with_their_wallets(granting: Office) -> None:
    world = granting.world
    world.identity("bot", external_id="named")
    wallet = Account(account_id="acct_1", identity_id="root", asset="USDC", created_at_us=0, revision=1)
    granting.grant("g0", "bot", "active")

    def listed(status: GrantStatus) -> list[tuple[str, str, Account | None]]:
        found = granting.roster.granted(OPERATOR, "t_one", "named", status, world.now_us)
        return [(each.name, each.grant.grant_id, each.wallet) for each in found]

    assert listed("active") == [("named", "g0", None)]

    def open_wallet(txn: Transaction) -> None:
        tenant = txn.tenants.find("t_one")
        assert tenant is not None
        txn.of(tenant).accounts.add("acct_1", wallet, txn.tenants.advance(tenant.number), owner="root")

    world.write(open_wallet)
    granting.grant("g1", "bot", "revoked")
    granting.grant("g2", "bot")
    assert listed("active") == [("named", "g0", wallet)]
    assert listed("pending") == [("named", "g2", wallet)]
    assert listed("revoked") == [("named", "g1", wallet)]
    with pytest.raises(NotFound):
        granting.roster.granted(OPERATOR, "t_one", "nobody", "active", world.now_us)

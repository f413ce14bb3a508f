"""Spenders: what an identity may spend and has spent, whatever door its budget was made at."""

import msgspec
import pytest

from sidecar.core.access import Caller
from sidecar.core.errors import Forbidden, NotFound, ValidationFailed
from sidecar.core.event_formats import LEDGER_FREQUENCIES
from sidecar.core.windows import PERIODS, Period
from sidecar.service.accounts import AccountDraft, open_account
from sidecar.service.card_drafts import CardDraft
from sidecar.service.identities import IdentityPatch
from sidecar.service.paging import PageRequest
from sidecar.service.spenders import LIMIT_PERIODS, Roles, Spender, SpenderFilter, Spenders
from sidecar.service.treasury import CardDesk
from tests.service.builders import OPERATOR, World, limit, payment

ROLES = Roles("agent", "user")


class Ground:
    """Tenant `t_one`: root → ann (user) → bot → sub, both agents; root → team → helper, an agent."""

    def __init__(self, world: World) -> None:
        """Make the tenant."""
        self.world = world
        self.spenders = Spenders(world.store, ROLES)
        self.desk = CardDesk(world.store, world.treasurer, world.ids)
        world.tenant()
        world.identity("ann", type_name="user")
        world.identity("bot", "ann", external_id="e-bot")
        world.identity("sub", "bot")
        world.identity("team", type_name="team")
        world.identity("helper", "team")

    def get(self, identity_id: str = "bot", caller: Caller = OPERATOR) -> Spender:
        """Return a spender."""
        tenant_id = None if caller.token is not None else "t_one"
        return self.spenders.get(caller, tenant_id, identity_id, self.world.now_us)

    def ids(self, wanted: SpenderFilter | None = None, request: PageRequest | None = None) -> list[str]:
        """Return the ids of the spenders of a list."""
        page = self.spenders.listed(
            OPERATOR, "t_one", wanted or SpenderFilter(), request or PageRequest(), self.world.now_us
        )
        return [spender.described.identity.identity_id for spender in page.values]

    def card(self, identity_id: str = "bot") -> str:
        """Make a card; returns its id."""
        made = self.desk.create(OPERATOR, "t_one", CardDraft(identity_id=identity_id), None, self.world.now_us)
        return self.world.run(made).value.card.card_id

    def set(self, identity_id: str, **changes: object) -> None:
        """Change an identity."""
        patch = msgspec.structs.replace(IdentityPatch(), **changes)
        self.world.run(self.world.registry.change(OPERATOR, "t_one", identity_id, patch, self.world.now_us))


@pytest.fixture
def ground(world: World) -> Ground:
    """A tenant with spenders."""
    return Ground(world)


# --- One --------------------------------------------------------------------------------------------------------------


def test_a_spender_without_a_limit_has_none(ground: Ground) -> None:
    spender = ground.get()
    assert (spender.limit, spender.cards, spender.status, spender.funder_id) == (None, 0, "active", "ann")


@pytest.mark.parametrize("period", PERIODS)
def test_a_limit_is_a_budget_of_amounts_in_one_of_six_periods(ground: Ground, period: Period) -> None:
    ground.world.budget(limit(50, "bot", period=period))
    found = ground.get().limit
    assert (found is not None) == (period in LIMIT_PERIODS)
    assert found is None or (found.budget.period, found.budget.limit) == (period, 5_000)


def test_each_of_the_six_periods_has_a_word_in_the_format_of_ledger() -> None:
    assert set(LEDGER_FREQUENCIES) == LIMIT_PERIODS


def test_the_first_of_several_is_the_limit(ground: Ground) -> None:
    ground.world.budget(limit(1, "bot", dimension="count", period="total"))
    ground.world.budget(limit(2, "ann", period="total"))
    with ground.world.store.read() as txn:
        tenant = txn.tenants.find("t_one")
    assert tenant is not None
    draft = AccountDraft(identity_id="bot", asset="CAD")
    account = ground.world.write(
        lambda txn: open_account(txn, txn.of(tenant), draft, ground.world.ids, "operator", ground.world.now_us)
    )
    ground.world.budget(msgspec.structs.replace(limit(3, "bot", period="total"), account_id=account.account_id))
    ground.world.budget(limit(4, "bot", period="monthly"))
    ground.world.budget(limit(5, "bot", period="total"))
    found = ground.get().limit
    assert found is not None
    assert found.budget.limit == 400


def test_what_is_reserved_and_settled_has_been_spent(ground: Ground) -> None:
    ground.world.budget(limit(50, "bot", period="monthly"))
    first, second = (ground.world.decide(payment(amount, "bot")) for amount in ("10.00", "5.00"))
    assert first.decision_id is not None
    assert second.decision_id is not None
    ground.world.settle(first.decision_id, "7.00")
    found = ground.get().limit
    assert found is not None
    assert found.usage.total == 1_200
    ground.world.release(second.decision_id)
    found = ground.get().limit
    assert found is not None
    assert found.usage.total == 700


def test_cards_count_until_they_are_closed(ground: Ground) -> None:
    first, _ = ground.card(), ground.card()
    ground.card("sub")
    assert ground.get().cards == 2
    ground.world.run(ground.desk.freeze(OPERATOR, "t_one", first, None, ground.world.now_us))
    assert ground.get().cards == 2
    ground.world.run(ground.desk.close(OPERATOR, "t_one", first, None, ground.world.now_us))
    assert ground.get().cards == 1


@pytest.mark.parametrize(("identity_id", "funder_id"), [("bot", "ann"), ("sub", "ann"), ("helper", "root")])
def test_the_funder_is_the_nearest_above_or_the_root(ground: Ground, identity_id: str, funder_id: str) -> None:
    assert ground.get(identity_id).funder_id == funder_id


def test_what_holds_above_holds_for_a_spender(ground: Ground) -> None:
    ground.set("ann", status="suspended")
    assert ground.get("sub").status == "suspended"
    ground.world.revoke("bot")
    assert ground.get("sub").status == "revoked"


def test_who_is_of_another_type_or_out_of_reach_is_unknown(ground: Ground) -> None:
    for identity_id in ("ann", "team", "nobody"):
        with pytest.raises(NotFound, match=identity_id):
            ground.get(identity_id)
    agent = ground.world.token("bot")
    assert ground.get("sub", agent).funder_id == "ann"
    with pytest.raises(NotFound):
        ground.get("helper", agent)


# --- Lists ------------------------------------------------------------------------------------------------------------


def test_spenders_are_listed_in_order_of_creation(ground: Ground) -> None:
    assert ground.ids() == ["bot", "sub", "helper"]
    assert ground.ids(request=PageRequest(limit=2)) == ["bot", "sub"]


def test_those_of_one_funder_are_listed_with_those_below(ground: Ground) -> None:
    """Who funds the root's subtree does not fund what another one funds."""
    assert ground.ids(SpenderFilter("ann")) == ["bot", "sub"]
    assert ground.ids(SpenderFilter("root")) == ["helper"]
    page = ground.spenders.listed(OPERATOR, "t_one", SpenderFilter("ann"), PageRequest(limit=1), ground.world.now_us)
    assert page.next_after is not None
    assert ground.ids(SpenderFilter("ann"), PageRequest(page.next_after)) == ["sub"]
    with pytest.raises(NotFound):
        ground.ids(SpenderFilter("nobody"))
    with pytest.raises(ValidationFailed):
        ground.ids(SpenderFilter("team"), PageRequest(page.next_after))


def test_an_external_id_finds_who_has_it(ground: Ground) -> None:
    assert ground.ids(SpenderFilter(external_id="e-bot")) == ["bot"]
    assert ground.ids(SpenderFilter("ann", "e-bot")) == ["bot"]
    assert ground.ids(SpenderFilter("root", "e-bot")) == []
    assert ground.ids(SpenderFilter(external_id="e-other")) == []
    ground.world.identity("user", external_id="e-user", type_name="user")
    assert ground.ids(SpenderFilter(external_id="e-user")) == []


def test_those_that_are_revoked_are_listed_only_where_they_are_asked_for(ground: Ground) -> None:
    ground.set("helper", status="suspended")
    ground.world.revoke("bot")
    assert ground.ids() == ["helper"]
    assert ground.ids(SpenderFilter(status="active")) == []
    assert ground.ids(SpenderFilter(status="suspended")) == ["helper"]
    assert ground.ids(SpenderFilter(status="revoked")) == ["bot", "sub"]
    assert ground.ids(SpenderFilter(external_id="e-bot")) == []
    assert ground.ids(SpenderFilter(external_id="e-bot", status="revoked")) == ["bot"]


def test_an_agent_lists_nobody(ground: Ground) -> None:
    with pytest.raises(Forbidden):
        ground.spenders.listed(ground.world.token("bot"), None, SpenderFilter(), PageRequest(), 0)

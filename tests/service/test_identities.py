"""Identities: below a parent, found, listed, changed, suspended, and revoked for good with all below."""

from collections.abc import Callable, Coroutine

import pytest

from sidecar.core.access import Caller
from sidecar.core.directory import CardDefaults, Identity
from sidecar.core.errors import Conflict, Forbidden, NotFound, Unauthenticated, ValidationFailed
from sidecar.core.limits import CHAIN_DEPTH_MAX
from sidecar.core.money import Major
from sidecar.service.identities import CardDefaultsDraft, IdentityDraft, IdentityPatch
from sidecar.service.paging import PageRequest
from sidecar.service.subtrees import IdentityFilter
from tests.service.builders import OPERATOR, SECOND, World, codes, payment, tool_call


@pytest.fixture
def org(world: World) -> World:
    """Root → team → ann → sub, and root → bob."""
    world.tenant()
    world.identity("team", type_name="team")
    world.identity("ann", "team", external_id="e-ann", metadata={"cost_center": "7"})
    world.identity("sub", "ann")
    world.identity("bob")
    return world


def change(org: World, identity_id: str, patch: IdentityPatch, caller: Caller = OPERATOR) -> Identity:
    """Change an identity."""
    tenant_id = None if caller.token else "t_one"
    return org.run(org.registry.change(caller, tenant_id, identity_id, patch, org.now_us)).identity


def listed(org: World, wanted: IdentityFilter, caller: Caller = OPERATOR) -> list[str]:
    """Who is listed."""
    tenant_id = None if caller.token else "t_one"
    page = org.registry.listed(caller, tenant_id, wanted, PageRequest())
    return [described.identity.identity_id for described in page.values]


# --- Making -----------------------------------------------------------------------------------------------------------


def test_an_identity_is_made_below_its_parent_with_a_record_and_a_fact(org: World) -> None:
    draft = IdentityDraft("team", "service", "Mailer", None, "e-1", {"k": 1}, 3)
    made = org.run(org.registry.create(OPERATOR, "t_one", draft, org.now_us)).value
    identity = made.identity
    assert identity.identity_id.startswith("id_")
    assert (identity.parent_id, identity.type, identity.max_cards, identity.metadata) == (
        "team",
        "service",
        3,
        {"k": 1},
    )
    assert (made.tenant_id, made.block) == ("t_one", None)
    record = org.bodies()[-1]
    assert (record["type"], record["identity"], record["revision"]) == (
        "identity_created",
        identity.identity_id,
        identity.revision,
    )
    assert org.registry.get(OPERATOR, "t_one", identity.identity_id).identity == identity


def test_a_type_that_the_schema_does_not_declare_is_refused_listing_those_it_does(org: World) -> None:
    for type_name in ("robot", "merchant"):
        with pytest.raises(ValidationFailed, match="only `Agent`, `Organization`, `Project`") as refused:
            org.identity("x", type_name=type_name)
        assert refused.value.field == "type"


def test_a_parent_that_does_not_exist_is_not_found(org: World) -> None:
    with pytest.raises(NotFound) as refused:
        org.identity("x", "nobody")
    assert refused.value.field == "parent_id"


def test_a_chain_has_a_greatest_length(world: World) -> None:
    """32 identities, the root counted."""
    world.tenant()
    parent = "root"
    for number in range(CHAIN_DEPTH_MAX - 1):
        world.identity(f"n{number}", parent)
        parent = f"n{number}"
    assert len(world.registry.chain(OPERATOR, "t_one", parent)) == CHAIN_DEPTH_MAX
    assert world.decide(payment(identity_id=parent)).allowed
    with pytest.raises(ValidationFailed, match="at most 32 identities"):
        world.identity("too-deep", parent)


def test_when_an_identity_was_revoked_is_kept(org: World) -> None:
    """The first time, however often it is revoked."""
    org.now_us += 7
    org.revoke("team")
    org.now_us += 7
    org.revoke("team")
    described = org.registry.get(OPERATOR, "t_one", "team")
    assert described.identity.revoked_at_us == org.now_us - 7
    assert org.registry.get(OPERATOR, "t_one", "root").identity.revoked_at_us is None


def test_nothing_is_made_below_who_was_revoked(org: World) -> None:
    org.revoke("team")
    with pytest.raises(Conflict, match="identity `team` is revoked"):
        org.identity("x", "ann")


def test_what_is_made_below_who_is_suspended_is_blocked_from_the_start(org: World) -> None:
    change(org, "team", IdentityPatch(status="suspended"))
    draft = IdentityDraft("ann", "agent", "New", "new")
    block = org.run(org.registry.create(OPERATOR, "t_one", draft, org.now_us)).value.block
    assert block is not None
    assert (block.status, block.identity.identity_id) == ("suspended", "team")


def test_an_id_in_use_is_a_conflict(org: World) -> None:
    with pytest.raises(Conflict) as refused:
        org.identity("ann")
    assert refused.value.field == "id"


def test_an_external_id_is_its_identitys_until_that_is_revoked(org: World) -> None:
    with pytest.raises(Conflict) as refused:
        org.identity("eve", external_id="e-ann")
    assert refused.value.field == "external_id"
    change(org, "ann", IdentityPatch(status="suspended"))
    with pytest.raises(Conflict):
        org.identity("eve", external_id="e-ann")
    org.revoke("ann")
    org.identity("eve", external_id="e-ann")
    assert listed(org, IdentityFilter(external_id="e-ann", status="active")) == ["eve"]
    assert listed(org, IdentityFilter(external_id="e-ann")) == ["eve"]
    assert listed(org, IdentityFilter(external_id="e-ann", status="revoked")) == ["ann"]


def test_two_tenants_have_their_own_ids(org: World) -> None:
    org.tenant("t_two")
    org.identity("ann", tenant_id="t_two", external_id="e-ann")
    assert org.registry.get(OPERATOR, "t_two", "ann").identity.parent_id == "root"


@pytest.mark.parametrize("call", ["create", "change", "revoke"])
def test_agents_change_nobody(org: World, call: str) -> None:
    agent = org.token("ann", may_release=True)
    before = org.kinds()
    calls: dict[str, Callable[[], Coroutine[object, object, object]]] = {
        "create": lambda: org.registry.create(agent, None, IdentityDraft("ann", "agent", "X"), org.now_us),
        "change": lambda: org.registry.change(agent, None, "ann", IdentityPatch(name="X"), org.now_us),
        "revoke": lambda: org.registry.revoke(agent, None, "sub", org.now_us),
    }
    with pytest.raises(Forbidden):
        org.run(calls[call]())
    assert org.kinds() == before


def test_a_key_that_ran_out_changes_nobody(org: World) -> None:
    key = org.token(None, life_us=SECOND)
    org.now_us += SECOND
    for call in (
        org.registry.create(key, None, IdentityDraft("ann", "agent", "X"), org.now_us),
        org.registry.change(key, None, "ann", IdentityPatch(name="X"), org.now_us),
        org.registry.revoke(key, None, "ann", org.now_us),
    ):
        with pytest.raises(Unauthenticated):
            org.run(call)


# --- Finding ----------------------------------------------------------------------------------------------------------


def test_the_chain_goes_from_the_identity_to_the_root(org: World) -> None:
    chain = org.registry.chain(OPERATOR, "t_one", "sub")
    assert [identity.identity_id for identity in chain] == ["sub", "ann", "team", "root"]


def test_an_identity_shows_what_blocks_it(org: World) -> None:
    assert org.registry.get(OPERATOR, "t_one", "sub").block is None
    change(org, "sub", IdentityPatch(status="suspended"))
    org.revoke("team")
    described = org.registry.get(OPERATOR, "t_one", "sub")
    assert described.identity.status == "suspended"
    assert described.block is not None
    assert (described.block.status, described.block.identity.identity_id) == ("revoked", "team")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (IdentityFilter(), ["root", "team", "ann", "sub", "bob"]),
        (IdentityFilter(parent_id="root"), ["team", "bob"]),
        (IdentityFilter(parent_id="sub"), []),
        (IdentityFilter(type="agent"), ["ann", "sub", "bob"]),
        (IdentityFilter(type="agent", parent_id="root"), ["bob"]),
        (IdentityFilter(external_id="e-ann"), ["ann"]),
        (IdentityFilter(status="suspended"), ["bob"]),
    ],
)
def test_lists_are_filtered_and_in_order_of_creation(org: World, wanted: IdentityFilter, found: list[str]) -> None:
    change(org, "bob", IdentityPatch(status="suspended"))
    assert listed(org, wanted) == found


def test_a_list_below_who_does_not_exist_is_not_found(org: World) -> None:
    with pytest.raises(NotFound) as refused:
        listed(org, IdentityFilter(parent_id="nobody"))
    assert refused.value.field == "parent_id"


def test_a_list_comes_a_page_at_a_time(org: World) -> None:
    first = org.registry.listed(OPERATOR, "t_one", IdentityFilter(), PageRequest(0, 2))
    assert [described.identity.identity_id for described in first.values] == ["root", "team"]
    assert first.next_after is not None
    second = org.registry.listed(OPERATOR, "t_one", IdentityFilter(), PageRequest(first.next_after, 10))
    assert [described.identity.identity_id for described in second.values] == ["ann", "sub", "bob"]
    assert second.next_after is None


def test_an_agent_sees_itself_and_whoever_is_below(org: World) -> None:
    ann = org.token("ann")
    assert listed(org, IdentityFilter(), ann) == ["ann", "sub"]
    assert org.registry.get(ann, None, "sub").identity.identity_id == "sub"
    assert [identity.identity_id for identity in org.registry.chain(ann, None, "ann")] == ["ann", "team", "root"]
    for outside in ("team", "bob", "nobody"):
        with pytest.raises(NotFound):
            org.registry.get(ann, None, outside)
        with pytest.raises(NotFound):
            listed(org, IdentityFilter(parent_id=outside), ann)


# --- Changing ---------------------------------------------------------------------------------------------------------


def test_a_change_is_a_new_revision_with_a_record(org: World) -> None:
    before = org.registry.get(OPERATOR, "t_one", "ann").identity
    after = change(org, "ann", IdentityPatch(name="Anna", metadata={"cost_center": "8"}))
    assert (after.name, after.metadata, after.external_id) == ("Anna", {"cost_center": "8"}, "e-ann")
    assert after.revision > before.revision
    assert org.kinds()[-1] == "identity_updated"
    assert org.decide(tool_call("ann")).entity_revision == after.revision


def test_a_change_that_changes_nothing_leaves_no_trace(org: World) -> None:
    before = org.kinds()
    for patch in (IdentityPatch(), IdentityPatch(name="Ann", status="active")):
        change(org, "ann", patch)
    assert org.kinds() == before


def test_what_an_identity_is_described_by_and_gives_its_cards_is_set_changed_and_taken_away(org: World) -> None:
    defaults = CardDefaultsDraft(Major("500"), "CAD", "monthly")
    after = change(org, "ann", IdentityPatch(description="Buys", max_cards=2, card_defaults=defaults))
    assert (after.description, after.max_cards, after.card_defaults) == (
        "Buys",
        2,
        CardDefaults(50_000, "CAD", "monthly"),
    )
    same = change(org, "ann", IdentityPatch(name="Anna"))
    assert (same.description, same.max_cards, same.card_defaults) == ("Buys", 2, after.card_defaults)
    none = change(org, "ann", IdentityPatch(description=None, max_cards=None, card_defaults=None))
    assert (none.description, none.max_cards, none.card_defaults) == (None, None, None)


@pytest.mark.parametrize(
    ("limit", "currency", "field"),
    [("1.005", "CAD", "card_defaults.limit"), ("1", "XTS", "card_defaults.currency")],
)
def test_a_limit_of_cards_is_an_amount_of_its_currency(org: World, limit: str, currency: str, field: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        change(org, "ann", IdentityPatch(card_defaults=CardDefaultsDraft(Major(limit), currency, "monthly")))
    assert refused.value.field == field


def test_a_suspension_blocks_all_below_until_it_is_lifted(org: World) -> None:
    change(org, "team", IdentityPatch(status="suspended"))
    assert org.kinds()[-1] == "identity_suspended"
    assert codes(org.decide(tool_call("sub"))) == ["identity_suspended"]
    change(org, "team", IdentityPatch(status="active"))
    assert org.kinds()[-1] == "identity_updated"
    assert org.decide(tool_call("sub")).allowed


def test_who_does_not_exist_cannot_be_changed_or_revoked(org: World) -> None:
    for call in (
        org.registry.change(OPERATOR, "t_one", "nobody", IdentityPatch(name="X"), org.now_us),
        org.registry.revoke(OPERATOR, "t_one", "nobody", org.now_us),
    ):
        with pytest.raises(NotFound) as refused:
            org.run(call)
        assert refused.value.field == "identity_id"


def test_metadata_that_changed_are_seen_by_the_next_decision(org: World) -> None:
    assert org.decide(payment(identity_id="ann")).allowed
    change(org, "ann", IdentityPatch(metadata={"spending": "off"}))
    assert codes(org.decide(payment(identity_id="ann"))) == ["forbidden"]


# --- Revoking ---------------------------------------------------------------------------------------------------------


def test_a_revocation_is_one_mark_that_blocks_all_below(org: World) -> None:
    """DESIGN 18: whoever is below keeps its status."""
    before = org.kinds()
    revoked = org.run(org.registry.revoke(OPERATOR, "t_one", "ann", org.now_us)).value
    assert (revoked.described.identity.status, revoked.affected) == ("revoked", 2)
    assert org.kinds() == [*before, "identity_revoked"]
    assert org.registry.get(OPERATOR, "t_one", "sub").identity.status == "active"
    for below in ("ann", "sub"):
        assert codes(org.decide(payment(identity_id=below))) == ["identity_revoked"]
    assert org.decide(payment(identity_id="bob")).allowed


def test_a_revocation_is_final_and_a_second_one_changes_nothing(org: World) -> None:
    org.revoke("ann")
    before = org.kinds()
    again = org.run(org.registry.revoke(OPERATOR, "t_one", "ann", org.now_us)).value
    assert again.affected == 2
    assert org.kinds() == before
    for patch in (IdentityPatch(status="active"), IdentityPatch(name="X"), IdentityPatch()):
        with pytest.raises(Conflict, match="is revoked, which is final"):
            change(org, "ann", patch)


def test_after_a_revocation_no_permit_below_it_carries_its_revision_or_a_later_one(org: World) -> None:
    """I6."""
    before = org.decide(payment(identity_id="sub"))
    revision = org.run(org.registry.revoke(OPERATOR, "t_one", "team", org.now_us)).value.described.identity.revision
    after = org.decide(payment(identity_id="sub"))
    assert before.allowed
    assert before.entity_revision < revision <= after.entity_revision
    assert not after.allowed


def test_the_root_is_the_operators_to_revoke(org: World) -> None:
    with pytest.raises(Forbidden):
        org.run(org.registry.revoke(org.token(None), None, "root", org.now_us))
    assert org.run(org.registry.revoke(OPERATOR, "t_one", "root", org.now_us)).value.affected == 5
    assert codes(org.decide(payment(identity_id="sub"))) == ["identity_revoked"]


def test_a_metadata_change_from_one_to_true_is_stored(world: World) -> None:
    """They are equal in Python; their tags are ``1`` and ``true``."""
    world.tenant()
    world.identity("ann", metadata={"level": 1})
    told = world.run(
        world.registry.change(OPERATOR, "t_one", "ann", IdentityPatch(metadata={"level": True}), world.now_us)
    )
    with world.look() as part:
        stored = part.identities.get("ann")
    assert stored is not None
    assert repr(stored.metadata) == repr(told.identity.metadata)

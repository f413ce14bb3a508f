"""Tenants: made whole, by the operator, each to be seen by its own."""

import msgspec
import pytest

from sidecar.core.directory import Mode, Tenant
from sidecar.core.errors import Conflict, Forbidden, NotFound, ValidationFailed
from sidecar.service.paging import PageRequest
from sidecar.service.tenants import TenantDraft
from tests.service.builders import OPERATOR, World

DRAFT = TenantDraft("Acme", None, "America/Toronto", "test", None, "Dana", "user")


def test_a_tenant_is_made_with_its_root_its_first_key_and_a_log_that_opens_with_its_name(world: World) -> None:
    founded = world.found(time_zone="America/Toronto", mode="test")
    tenant = founded.tenant
    assert (tenant.tenant_id, tenant.number, tenant.mode, tenant.time_zone) == ("t_one", 1, "test", "America/Toronto")
    root = world.registry.get(OPERATOR, "t_one", tenant.root_identity_id).identity
    assert (root.parent_id, root.type, root.name, root.status) == (None, "user", "Root", "active")
    assert world.desk.authenticate(founded.key.text, world.now_us).kind == "tenant"
    assert founded.key.text.startswith("sk_test_")
    assert world.kinds() == ["open", "identity_created", "token_created"]
    assert world.bodies()[0]["tenant_id"] == "t_one"


def test_ids_that_are_not_named_are_made(world: World) -> None:
    tenant = world.run(world.tenancy.create(OPERATOR, DRAFT, world.now_us)).value.tenant
    assert tenant.tenant_id.startswith("t_")
    assert tenant.root_identity_id.startswith("id_")


def test_the_name_of_a_log_is_its_own_and_fits_its_grammar(world: World) -> None:
    """RELIABILITY: 26 lower-case characters, new for every store."""
    logs = [world.found(f"t_{number}").tenant.log_id for number in range(3)]
    assert len(set(logs)) == 3
    assert all(len(log) == 26 and log == log.lower() for log in logs)


def test_numbers_count_up(world: World) -> None:
    assert [world.found(f"t_{number}").tenant.number for number in range(1, 4)] == [1, 2, 3]


def test_an_id_in_use_is_a_conflict_and_leaves_no_trace(world: World) -> None:
    world.found()
    before = world.bodies()
    with pytest.raises(Conflict) as refused:
        world.found()
    assert refused.value.field == "id"
    assert world.bodies() == before


@pytest.mark.parametrize(
    ("draft", "field"),
    [
        (TenantDraft("A", None, "Mars/Olympus", "live", None, "R", "user"), "time_zone"),
        (TenantDraft("A", None, "UTC", "live", None, "R", "merchant"), "type"),
    ],
)
def test_a_zone_and_a_root_type_that_do_not_exist_are_refused(world: World, draft: TenantDraft, field: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        world.run(world.tenancy.create(OPERATOR, draft, world.now_us))
    assert refused.value.field == field


def test_only_the_operator_makes_tenants(world: World) -> None:
    world.found()
    with pytest.raises(Forbidden):
        world.run(world.tenancy.create(world.token(None), DRAFT, world.now_us))


def test_a_tenant_is_shown_to_the_operator_and_to_its_own_keys(world: World) -> None:
    world.found()
    world.found("t_two")
    key = world.token(None)
    assert world.tenancy.get(OPERATOR, "t_two").tenant_id == "t_two"
    assert world.tenancy.get(key, "t_one").tenant_id == "t_one"
    for unseen in ("t_two", "t_none"):
        with pytest.raises(NotFound, match=f"unknown tenant `{unseen}`"):
            world.tenancy.get(key, unseen)


def test_an_agent_cannot_ask_for_tenants(world: World) -> None:
    world.found()
    agent = world.token("root")
    with pytest.raises(Forbidden):
        world.tenancy.get(agent, "t_one")
    with pytest.raises(Forbidden):
        world.tenancy.listed(agent, PageRequest())


def test_tenants_are_listed_in_order_of_creation_a_page_at_a_time(world: World) -> None:
    for number in range(5):
        world.found(f"t_{number}")
    first = world.tenancy.listed(OPERATOR, PageRequest(0, 2))
    assert [tenant.tenant_id for tenant in first.values] == ["t_0", "t_1"]
    second = world.tenancy.listed(OPERATOR, PageRequest(first.next_after or 0, 3))
    assert [tenant.tenant_id for tenant in second.values] == ["t_2", "t_3", "t_4"]
    assert second.next_after is None


def test_a_tenant_key_lists_its_own(world: World) -> None:
    world.found()
    world.found("t_two")
    page = world.tenancy.listed(world.token(None), PageRequest())
    assert ([tenant.tenant_id for tenant in page.values], page.next_after) == (["t_one"], None)


def called(world: World, external_id: str | None, mode: Mode) -> Tenant:
    """Make a tenant that its maker calls so."""
    draft = msgspec.structs.replace(DRAFT, external_id=external_id, mode=mode)
    return world.run(world.tenancy.create(OPERATOR, draft, world.now_us)).value.tenant


def test_an_external_id_is_shared_by_a_live_and_a_test_tenant_and_by_no_others(world: World) -> None:
    test, live = called(world, "acme", "test"), called(world, "acme", "live")
    for mode in ("live", "test"):
        with pytest.raises(Conflict, match="external id `acme` is in use by a tenant of mode") as refused:
            called(world, "acme", mode)
        assert refused.value.field == "external_id"
    assert world.tenancy.listed(OPERATOR, PageRequest(), external_id="acme").values == (test, live)
    assert called(world, None, "live").external_id is called(world, None, "live").external_id is None


def test_tenants_are_listed_by_external_id(world: World) -> None:
    world.found()
    test, live = called(world, "acme", "test"), called(world, "acme", "live")
    first = world.tenancy.listed(OPERATOR, PageRequest(0, 1), external_id="acme")
    assert first.values == (test,)
    rest = world.tenancy.listed(OPERATOR, PageRequest(first.next_after or 0, 1), external_id="acme")
    assert (rest.values, rest.next_after) == ((live,), None)
    assert world.tenancy.listed(OPERATOR, PageRequest(), external_id="nobody").values == ()
    assert world.tenancy.listed(OPERATOR, PageRequest(), test.tenant_id, "acme").values == (test,)
    assert world.tenancy.listed(OPERATOR, PageRequest(), test.tenant_id, "other").values == ()
    assert world.tenancy.listed(world.token(None), PageRequest(), external_id="acme").values == (), "another's"

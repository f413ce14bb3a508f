"""What a caller says of entities takes part in a decision only where its tenant allows it, by name."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doors.authzen import ONE, ask, evaluate, evaluate_all, question, refusal
from tests.doors.door import Door, House, build, check_refusal, named
from tests.process.server import Document

PAY = 'forbid(principal, action == Action::"card.authorize", resource)'
CALL = 'forbid(principal, action == Action::"tool.call", resource)'
RULES = (
    f'{PAY} unless {{ principal.hasTag("role") && principal.getTag("role") == "admin" }};',
    f'{CALL} when {{ resource has server && resource.server == "far" }};',
)
NOTHING = {"subject_properties": [], "resource_properties": [], "item_context": False}


@pytest.fixture(scope="module")
def guild(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A tenant in which only admins pay, and only at home."""
    with Door(tmp_path_factory.mktemp("guild")) as door:
        house = build(door)
        for number, text in enumerate(RULES):
            house.ok("POST", "/v1/policies", {"name": f"p{number}", "cedar": text})
        house.ok("POST", "/v1/policies", {"name": "tools", "rules": {"actions": ["tool.call"]}})
        yield house


def allow(house: House, **allowed: object) -> Document:
    """Let the callers of AuthZEN say something."""
    return house.door.ok("PATCH", f"/v1/tenants/{house.tenant_id}", {"authzen": allowed})


def admin(house: House, role: object = "admin") -> Document:
    """A payment by someone who says to be an admin, among other things."""
    subject = {"type": "agent", "id": house.agent, "properties": {"role": role, "score": 0.5, "__entity": {}}}
    return question(house, 1, subject=subject)


def tool(house: House, server: object) -> Document:
    """A call of a tool."""
    where = {"type": "tool", "id": "search", "properties": {"server": server, "weight": 1.5}}
    return question(house, action={"name": "tool.call"}, resource=where)


def test_nobody_becomes_an_admin_by_saying_so(guild: House) -> None:
    """What is not allowed takes no part, however it is spelled."""
    allow(guild)
    assert evaluate(guild, admin(guild))["decision"] is False
    assert evaluate(guild, tool(guild, "far"))["decision"] is True


def test_where_a_tenant_allows_it_the_caller_is_believed(guild: House) -> None:
    """The record says what was claimed."""
    allow(guild, subject_properties=["role"], resource_properties=["server"])
    assert evaluate(guild, admin(guild))["decision"] is True
    record = guild.ok("GET", "/v1/audit?limit=200")["data"][-1]
    assert record["claimed"] == {"principal": ["role"], "resource": []}
    assert evaluate(guild, admin(guild, "clerk"))["decision"] is False
    assert evaluate(guild, question(guild, 1))["decision"] is False
    assert evaluate(guild, tool(guild, "far"))["decision"] is False
    assert evaluate(guild, tool(guild, "near"))["decision"] is True
    items = [{"subject": admin(guild)["subject"]}, {}]
    assert evaluate_all(guild, *items, amount=1) == [{"decision": True}, {"decision": False}]


def test_a_property_that_no_attribute_can_be_is_a_mistake(guild: House) -> None:
    allow(guild, subject_properties=["role"], resource_properties=["server", "weight"])
    refusal(ask(guild, tool(guild, 3)), 400)
    refusal(ask(guild, admin(guild, {"__entity": 1})), 400)
    assert refusal(ask(guild, admin(guild, "x" * 3_000)), 400).endswith("at `subject.properties`")
    assert refusal(ask(guild, tool(guild, "near")), 400).endswith("at `resource.properties.weight`")


def test_one_tenant_allows_nothing_in_another(guild: House) -> None:
    neighbour = build(guild.door, "Other Co")
    allow(guild, subject_properties=["role"])
    assert guild.door.ok("GET", f"/v1/tenants/{neighbour.tenant_id}")["authzen"] == NOTHING


def test_the_settings_are_shown_replaced_and_taken_away(guild: House) -> None:
    path = f"/v1/tenants/{guild.tenant_id}"
    some = {"subject_properties": ["b", "a"], "resource_properties": [], "item_context": True}
    assert allow(guild, subject_properties=["b", "a", "b"], item_context=True)["authzen"] == some
    assert guild.ok("GET", path)["authzen"] == some
    assert guild.door.ok("PATCH", path, {"name": "Guild"})["authzen"] == some, "what is left out stays"
    last = guild.ok("GET", "/v1/audit?limit=200")["data"][-2:]
    assert [(each["type"], each.get("authzen")) for each in last] == [
        ("tenant_updated", some),
        ("tenant_updated", None),
    ]
    assert allow(guild, item_context=True)["authzen"] == NOTHING | {"item_context": True}
    assert guild.door.ok("PATCH", path, {"authzen": None})["authzen"] == NOTHING


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown field": ({"properties": []}, "authzen.properties"),
    "no list": ({"subject_properties": "role"}, "authzen.subject_properties"),
    "empty name": ({"subject_properties": ["role", ""]}, "authzen.subject_properties[1]"),
    "too many": ({"resource_properties": [str(each) for each in range(65)]}, "authzen.resource_properties"),
    "Cedar's escape": ({"resource_properties": ["__entity"]}, "authzen.resource_properties.__entity"),
    "no truth": ({"item_context": 1}, "authzen.item_context"),
}


@pytest.mark.parametrize(("settings", "field"), named(BAD))
def test_settings_that_make_no_sense_are_refused(guild: House, settings: dict[str, Any], field: str) -> None:
    answer = guild.door.call("PATCH", f"/v1/tenants/{guild.tenant_id}", {"authzen": settings})
    check_refusal(answer, 400, field)


def test_no_key_of_a_tenant_widens_what_is_believed(guild: House) -> None:
    body = {"authzen": {"subject_properties": ["role"]}}
    check_refusal(guild.call("PATCH", f"/v1/tenants/{guild.tenant_id}", body), 403)


def test_the_settings_survive_a_restart(tmp_path: Path) -> None:
    with Door(tmp_path) as door:
        house = build(door)
        allow(house, subject_properties=["role"])
    with Door(tmp_path) as door:
        assert door.ok("GET", f"/v1/tenants/{house.tenant_id}")["authzen"]["subject_properties"] == ["role"]
        assert door.call("POST", f"/{house.tenant_id}{ONE}", question(house)).document["decision"] is True

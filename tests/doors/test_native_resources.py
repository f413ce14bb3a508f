"""Tenants, identities, policies, budgets and tokens over the native door: their answers, and what they refuse."""

from collections.abc import Iterator

import pytest

from tests.doors.door import Door, House, build, check_refusal, named
from tests.process.server import OPERATOR, Document

LONG = "a" * 10_000


@pytest.fixture
def untouched(house: House) -> Iterator[House]:
    """The tenant, which the test must leave as it is."""
    before = house.state()
    yield house
    assert house.state() == before


# --- Tenants ----------------------------------------------------------------------------------------------------------


def test_a_tenant_is_answered_with_its_root_and_its_key(door: Door) -> None:
    """The key is shown in this answer only."""
    made = door.ok("POST", "/v1/tenants", {"name": "Shape Co"})
    key = made.pop("api_key")
    assert key.startswith("sk_live_")
    assert made["tenant_id"].startswith("t_")
    assert made["root_identity_id"].startswith("id_")
    assert made | {"tenant_id": "t", "root_identity_id": "id"} == {
        "tenant_id": "t",
        "root_identity_id": "id",
        "name": "Shape Co",
        "mode": "live",
        "time_zone": "UTC",
        "rate_limit": None,
        "external_id": None,
        "authzen": {"subject_properties": [], "resource_properties": [], "item_context": False},
        "created_at": "2026-03-09T12:00:00Z",
    }
    assert door.ok("GET", f"/v1/tenants/{made['tenant_id']}") == made
    assert made in door.ok("GET", "/v1/tenants?limit=200")["data"]
    assert door.ok("GET", "/v1/tenants", token=key)["data"] == [made]
    root = door.ok("GET", f"/v1/identities/{made['root_identity_id']}", token=key)
    assert (root["type"], root["name"], root["parent_id"]) == ("user", "Shape Co", None)


def test_a_tenant_takes_chosen_ids_and_a_mode(door: Door) -> None:
    body = {"name": "Chosen", "id": "chosen.co", "mode": "test", "root": {"id": "ann@chosen.co", "name": "Ann"}}
    made = door.ok("POST", "/v1/tenants", body)
    assert (made["tenant_id"], made["root_identity_id"]) == ("chosen.co", "ann@chosen.co")
    assert made["api_key"].startswith("sk_test_")
    check_refusal(door.call("POST", "/v1/tenants", body), 409, "id")


def test_a_live_and_a_test_tenant_share_an_external_id_by_which_they_are_listed(door: Door) -> None:
    body = {"name": "Shared", "external_id": "acct-7"}
    pair = [door.ok("POST", "/v1/tenants", body | {"mode": mode}) for mode in ("test", "live")]
    keys = [made.pop("api_key") for made in pair]
    assert [made["external_id"] for made in pair] == ["acct-7", "acct-7"]
    for mode in ("test", "live"):
        check_refusal(door.call("POST", "/v1/tenants", body | {"mode": mode}), 409, "external_id")
    assert door.ok("GET", "/v1/tenants?external_id=acct-7") == {"data": pair, "next_cursor": None}
    assert door.ok("GET", "/v1/tenants?external_id=acct-7", token=keys[1])["data"] == pair[1:]
    first = door.ok("GET", "/v1/tenants?external_id=acct-7&limit=1")
    rest = door.ok("GET", f"/v1/tenants?external_id=acct-7&limit=1&cursor={first['next_cursor']}")
    assert (first["data"], rest) == (pair[:1], {"data": pair[1:], "next_cursor": None})
    assert door.ok("GET", "/v1/tenants?external_id=nobody")["data"] == []
    check_refusal(door.call("GET", "/v1/tenants?external_id="), 400, "external_id")


TENANTS: dict[str, tuple[object, ...]] = {
    "no name": ({}, "name"),
    "an empty name": ({"name": ""}, "name"),
    "a long name": ({"name": LONG}, "name"),
    "a line break": ({"name": "a\nb"}, "name"),
    "an odd id": ({"name": "x", "id": "-x"}, "id"),
    "a long id": ({"name": "x", "id": LONG}, "id"),
    "an id with a slash": ({"name": "x", "id": "a/b"}, "id"),
    "no such zone": ({"name": "x", "time_zone": "Mars/Olympus"}, "time_zone"),
    "a path for a zone": ({"name": "x", "time_zone": "../../etc/passwd"}, "time_zone"),
    "no such mode": ({"name": "x", "mode": "dead"}, "mode"),
    "an empty name of the root": ({"name": "x", "root": {"name": ""}}, "root.name"),
    "a type that is none": ({"name": "x", "root": {"type": "Robot"}}, "root.type"),
    "a type that is not declared": ({"name": "x", "root": {"type": "robot"}}, None),
    "an unknown field": ({"name": "x", "plan": "free"}, "plan"),
    "an unknown field of the root": ({"name": "x", "root": {"mail": "x"}}, "root.mail"),
}


@pytest.mark.parametrize(("body", "field"), named(TENANTS))
def test_a_tenant_that_breaks_a_rule_is_not_made(door: Door, body: Document, field: str | None) -> None:
    before = door.ok("GET", "/v1/tenants?limit=200")
    check_refusal(door.call("POST", "/v1/tenants", body), 400, field)
    assert door.ok("GET", "/v1/tenants?limit=200") == before


# --- Identities -------------------------------------------------------------------------------------------------------


def test_an_identity_is_answered_with_its_place_and_status(house: House) -> None:
    body = {"parent_id": house.team, "type": "agent", "name": "Worker", "id": "worker-7", "external_id": "ext-7"}
    made = house.ok("POST", "/v1/identities", body | {"metadata": {"cost_center": "7"}, "tenant_id": house.tenant_id})
    assert made == {
        "identity_id": "worker-7",
        "tenant_id": house.tenant_id,
        "parent_id": house.team,
        "type": "agent",
        "name": "Worker",
        "status": "active",
        "effective_status": "active",
        "blocked_by": None,
        "external_id": "ext-7",
        "metadata": {"cost_center": "7"},
        "max_cards": None,
        "description": None,
        "card_defaults": None,
        "revoked_at": None,
        "created_at": "2026-03-09T12:00:00Z",
        "updated_at": None,
        "revision": made["revision"],
    }
    assert house.ok("GET", "/v1/identities/worker-7") == made
    assert house.ok("GET", "/v1/identities?external_id=ext-7")["data"] == [made]
    assert made in house.ok("GET", f"/v1/identities?parent_id={house.team}&type=agent&status=active")["data"]
    chain = house.ok("GET", "/v1/identities/worker-7/chain")
    assert [link["identity_id"] for link in chain["chain"]] == ["worker-7", house.team, house.root]
    assert chain["identity_id"] == "worker-7"
    assert set(chain["chain"][0]) == {"identity_id", "type", "name", "status"}
    check_refusal(house.call("POST", "/v1/identities", body | {"external_id": "new"}), 409, "id")
    check_refusal(house.call("POST", "/v1/identities", body | {"id": "new"}), 409, "external_id")


IDENTITIES: dict[str, tuple[object, ...]] = {
    "an unknown parent": ({"parent_id": "id_nobody"}, 404, "parent_id"),
    "itself as parent": ({"parent_id": "loop", "id": "loop"}, 404, "parent_id"),
    "a parent of ten thousand characters": ({"parent_id": LONG}, 404, "parent_id"),
    "no parent": ({"parent_id": None}, 400, "parent_id"),
    "a type that is none": ({"type": "Agent"}, 400, "type"),
    "a type that is not declared": ({"type": "robot"}, 400, "type"),
    "a resource's type": ({"type": "merchant"}, 400, "type"),
    "an empty name": ({"name": ""}, 400, "name"),
    "an odd id": ({"id": "a b"}, 400, "id"),
    "a long id": ({"id": "a" * 129}, 400, "id"),
    "an id in other letters": ({"id": "\u0430gent"}, 400, "id"),
    "a long external id": ({"external_id": LONG}, 400, "external_id"),
    "metadata over 2 KiB": ({"metadata": {"x": "y" * 2_100}}, 400, "metadata"),
    "an entity in the metadata": ({"metadata": {"x": {"__entity": {}}}}, 400, "metadata.x.__entity"),
    "a list for metadata": ({"metadata": []}, 400, "metadata"),
    "less than no cards": ({"max_cards": -1}, 400, "max_cards"),
    "a status": ({"status": "active"}, 400, "status"),
}


@pytest.mark.parametrize(("change", "status", "field"), named(IDENTITIES))
def test_an_identity_that_breaks_a_rule_is_not_made(
    untouched: House, change: Document, status: int, field: str
) -> None:
    body = {"parent_id": untouched.team, "type": "agent", "name": "x"} | change
    check_refusal(untouched.call("POST", "/v1/identities", body), status, field)


def test_an_undeclared_type_is_answered_with_those_that_are(untouched: House) -> None:
    body = {"parent_id": untouched.team, "type": "robot", "name": "x"}
    sentence = check_refusal(untouched.call("POST", "/v1/identities", body), 400, "type")
    assert all(name.lower() in sentence.lower() for name in ("agent", "organization", "project", "service", "team"))


def test_a_hierarchy_has_no_cycles(untouched: House) -> None:
    """An identity is made below one that exists, and never moves."""
    change = {"parent_id": untouched.agent}
    check_refusal(untouched.call("PATCH", f"/v1/identities/{untouched.team}", change), 400, "parent_id")


def test_a_hierarchy_is_at_most_32_deep(door: Door) -> None:
    house = build(door, "Deep Co")
    parent = house.agent
    for _ in range(32 - 3):
        parent = house.ok("POST", "/v1/identities", {"parent_id": parent, "type": "agent", "name": "x"})["identity_id"]
    assert house.ok("POST", "/v1/authorize", house.request() | {"identity_id": parent})["allowed"] is True
    body = {"parent_id": parent, "type": "agent", "name": "x"}
    check_refusal(house.call("POST", "/v1/identities", body), 400, "parent_id")


def test_an_identity_is_changed_suspended_and_revoked(door: Door) -> None:
    """A change raises its revision; a revocation is final, tells how many it reaches, and shows below as blocked."""
    house = build(door, "Life Co")
    path = f"/v1/identities/{house.team}"
    renamed = house.ok("PATCH", path, {"name": "New", "metadata": {"a": [1, {"b": None, "c": 0.25}]}})
    assert (renamed["name"], renamed["metadata"]) == ("New", {"a": [1, {"b": None, "c": 0.25}]})
    assert house.ok("PATCH", path, {"status": "suspended"})["effective_status"] == "suspended"
    below = house.ok("GET", f"/v1/identities/{house.agent}")
    assert (below["status"], below["effective_status"], below["blocked_by"]) == ("active", "suspended", house.team)
    assert house.ok("PATCH", path, {"status": "active"})["revision"] > renamed["revision"]
    revoked = house.ok("POST", f"{path}/revoke")
    assert (revoked["status"], revoked["affected"]) == ("revoked", 2)
    assert house.ok("POST", f"{path}/revoke", {}) == revoked
    below = house.ok("GET", f"/v1/identities/{house.agent}")
    assert (below["status"], below["effective_status"], below["blocked_by"]) == ("active", "revoked", house.team)
    check_refusal(house.call("PATCH", path, {"status": "active"}), 409)
    check_refusal(house.call("PATCH", path, {"name": "x"}), 409)
    body = {"parent_id": house.agent, "type": "agent", "name": "x"}
    check_refusal(house.call("POST", "/v1/identities", body), 409)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"status": "revoked"}, "status"),
        ({"status": "asleep"}, "status"),
        ({"name": ""}, "name"),
        ({"type": "user"}, "type"),
        ({"external_id": "x"}, "external_id"),
        ({"metadata": {"x": "y" * 2_100}}, "metadata"),
    ],
)
def test_a_change_that_breaks_a_rule_is_not_made(untouched: House, body: Document, field: str) -> None:
    check_refusal(untouched.call("PATCH", f"/v1/identities/{untouched.agent}", body), 400, field)


def test_the_root_is_revoked_by_the_operator_alone(door: Door) -> None:
    house = build(door, "Root Co")
    path = f"/v1/identities/{house.root}/revoke"
    check_refusal(house.call("POST", path), 403)
    assert door.ok("POST", path, {"tenant_id": house.tenant_id})["affected"] == 4
    assert house.ok("POST", "/v1/authorize", house.request())["reasons"][0]["code"] == "identity_revoked"


def test_a_freed_external_id_can_be_given_again(door: Door) -> None:
    """It is unique among the identities that are not revoked."""
    house = build(door, "Again Co")
    body = {"parent_id": house.team, "type": "agent", "name": "x", "external_id": "e"}
    first = house.ok("POST", "/v1/identities", body)["identity_id"]
    house.ok("POST", f"/v1/identities/{first}/revoke")
    second = house.ok("POST", "/v1/identities", body)["identity_id"]
    assert [each["identity_id"] for each in house.ok("GET", "/v1/identities?external_id=e&status=active")["data"]] == [
        second
    ]


# --- Policies ---------------------------------------------------------------------------------------------------------


def test_a_rules_policy_is_answered_with_the_cedar_it_became(house: House) -> None:
    rules = {
        "actions": ["card.authorize"],
        "max_amount": 200,
        "currencies": ["CAD"],
        "allowed_mccs": ["5814"],
        "blocked_mccs": ["7995"],
        "allowed_hours": [22, 6],
        "allowed_days": [1, 7],
        "allowed_resources": [{"type": "merchant", "id": "AWS"}],
        "blocked_resources": [{"type": "merchant", "id": 'X"); permit(principal, action, resource);//'}],
    }
    made = house.ok("POST", "/v1/policies", {"identity_id": house.other, "name": "night", "rules": rules})
    assert made["policy_id"].startswith("pol_")
    assert (made["tenant_id"], made["identity_id"], made["name"]) == (house.tenant_id, house.other, "night")
    assert (made["rules"], made["warnings"]) == (rules, [])
    for key in rules.keys() - {"actions"}:
        assert f'@id("{made["policy_id"]}/{key}")' in made["cedar"]
    assert house.ok("GET", f"/v1/policies/{made['policy_id']}") == made
    assert house.ok("GET", f"/v1/policies?identity_id={house.other}")["data"] == [made]
    assert house.call("DELETE", f"/v1/policies/{made['policy_id']}").status == 204
    check_refusal(house.call("GET", f"/v1/policies/{made['policy_id']}"), 404)
    check_refusal(house.call("DELETE", f"/v1/policies/{made['policy_id']}"), 404)


def test_a_cedar_policy_on_an_identity_is_a_template(door: Door) -> None:
    """It is linked to the identity; without one, a policy has any scope within the tenant."""
    house = build(door, "Cedar Co")
    linked = 'permit (principal in ?principal, action == Action::"tool.call", resource);'
    house.ok("POST", "/v1/policies", {"identity_id": house.team, "name": "tools", "cedar": linked})
    tool = {"action": "tool.call", "resource": {"type": "tool", "id": "search"}}
    assert house.ok("POST", "/v1/authorize", {"identity_id": house.agent} | tool)["allowed"] is True
    assert house.ok("POST", "/v1/authorize", {"identity_id": house.other} | tool)["allowed"] is False
    whole = '@id("no-search") forbid (principal, action, resource == Tool::"search");'
    made = house.ok("POST", "/v1/policies", {"name": "none", "cedar": whole})
    assert (made["identity_id"], made["rules"], made["cedar"]) == (None, None, whole)
    reason = house.ok("POST", "/v1/authorize", {"identity_id": house.agent} | tool)["reasons"][0]
    assert (reason["code"], reason["policy_id"]) == ("forbidden", made["policy_id"])
    assert "no-search" in check_refusal(house.call("POST", "/v1/policies", {"name": "again", "cedar": whole}), 400)


RULES: dict[str, tuple[object, ...]] = {
    "an unknown key": ({"max_amonut": 1}, "rules.max_amonut"),
    "an amount without a currency": ({"max_amount": 200}, "rules.max_amount"),
    "an over-precise amount": ({"max_amount": 0.001, "currencies": ["CAD"]}, "rules.max_amount"),
    "a negative amount": ({"max_amount": -1, "currencies": ["CAD"]}, "rules.max_amount"),
    "an unknown currency": ({"currencies": ["XQQ"]}, "rules.currencies"),
    "no currencies": ({"currencies": []}, "rules.currencies"),
    "no actions": ({"actions": []}, "rules.actions"),
    "an unknown action": ({"actions": ["card.steal"]}, "rules.actions"),
    "an action twice": ({"actions": ["tool.call", "tool.call"]}, "rules.actions"),
    "an action without the field": (
        {"actions": ["tool.call"], "max_amount": 1, "currencies": ["CAD"], "allowed_mccs": ["5814"]},
        "rules.allowed_mccs",
    ),
    "a category that is none": ({"allowed_mccs": ["58"]}, "rules.allowed_mccs"),
    "equal hours": ({"allowed_hours": [9, 9]}, "rules.allowed_hours"),
    "hour 25": ({"allowed_hours": [9, 25]}, "rules.allowed_hours"),
    "three hours": ({"allowed_hours": [1, 2, 3]}, "rules.allowed_hours"),
    "day 0": ({"allowed_days": [0]}, "rules.allowed_days"),
    "a resource without an id": ({"allowed_resources": [{"type": "merchant"}]}, "rules.allowed_resources[0].id"),
    "no alternatives": ({"any": []}, "rules.any"),
    "an alternative that always holds": ({"any": [{}]}, "rules.any[0]"),
    "a list": ([], "rules"),
}


@pytest.mark.parametrize(("rules", "field"), named(RULES))
def test_rules_that_break_a_rule_are_refused_with_their_place(untouched: House, rules: object, field: str) -> None:
    body = {"identity_id": untouched.team, "name": "x", "rules": rules}
    answer = untouched.call("POST", "/v1/policies", body)
    check_refusal(answer, 400)
    assert str(answer.document["field"]).startswith(field.removesuffix("[0]")), answer.document


NESTED = "(" * 500 + "true" + ")" * 500
CEDAR: dict[str, tuple[object, ...]] = {
    "nothing": ("", "no policy"),
    "a comment alone": ("// hello", "no policy"),
    "a word": ("nonsense", ":1:9"),
    "an end that is missing": ("permit (principal,\n  action, resource)", ":2:"),
    "a fault on the third line": ("permit (\n  principal,\n  nonsense, resource);", ":3:3"),
    "an attribute that is not declared": (
        "permit (principal, action, resource)\nwhen {\n  context.foo };",
        ":",
    ),
    "an action that is not declared": ('permit (principal, action == Action::"fly", resource);', ":1:"),
    "types that do not go together": (
        'permit (principal, action == Action::"card.authorize", resource)\nwhen { context.amount == "x" };',
        ":",
    ),
    "hundreds of parentheses": (f"permit (principal, action, resource) when {{ {NESTED} }};", ":1:"),
    "hundreds of brackets": (f"permit (principal, action, resource) when {{ {'[' * 800}{']' * 800} == [] }};", ":1:"),
    "hundreds of negations": (f"permit (principal, action, resource) when {{ {'!' * 800}true }};", ":1:"),
    "hundreds of conditions": (
        "permit (principal, action, resource) when { " + "if true then true else " * 600 + "true };",
        ":1:",
    ),
    "a slot without an identity": ("permit (principal in ?principal, action, resource);", "template"),
}


@pytest.mark.parametrize(("text", "place"), named(CEDAR))
def test_cedar_that_does_not_parse_or_fit_is_refused_with_line_and_column(
    untouched: House, text: str, place: str
) -> None:
    """And whatever it holds, the process that reads it for others lives on."""
    sentence = check_refusal(untouched.call("POST", "/v1/policies", {"name": "x", "cedar": text}), 400)
    assert place in sentence


POLICIES: dict[str, tuple[object, ...]] = {
    "neither rules nor cedar": ({}, 400, "cedar"),
    "both": ({"rules": {}, "cedar": "permit (principal, action, resource);"}, 400, "rules"),
    "an unknown identity": ({"rules": {}, "identity_id": "id_nobody"}, 404, "identity_id"),
    "an empty name": ({"rules": {}, "name": ""}, 400, "name"),
    "a template that is none": ({"cedar": "permit (principal, action, resource);"}, 400, None),
}


@pytest.mark.parametrize(("change", "status", "field"), named(POLICIES))
def test_a_policy_that_breaks_a_rule_is_not_made(
    untouched: House, change: Document, status: int, field: str | None
) -> None:
    body = {"name": "x", "identity_id": untouched.team} | change
    check_refusal(untouched.call("POST", "/v1/policies", body), status, field)


# --- Budgets ----------------------------------------------------------------------------------------------------------


def test_a_budget_is_answered_with_its_usage(door: Door) -> None:
    """The window is the calendar's in the tenant's zone; a changed limit shows at once."""
    house = build(door, "Budget Co")
    body = {"identity_id": house.agent, "name": "Daily", "dimension": "amount", "period": "daily", "limit": 120.5}
    made = house.ok("POST", "/v1/budgets", body | {"currency": "CAD", "notify_at": 0.5, "actions": ["spend"]})
    house.permit(20)
    usage = {
        "window_start": "2026-03-09T04:00:00Z",
        "window_end": "2026-03-10T04:00:00Z",
        "settled": 0,
        "reserved": 20,
        "remaining": 100.5,
    }
    found = house.ok("GET", f"/v1/budgets/{made['budget_id']}")
    assert found | {"limit": float(found["limit"])} == {
        "budget_id": made["budget_id"],
        "tenant_id": house.tenant_id,
        "identity_id": house.agent,
        "card_id": None,
        "name": "Daily",
        "dimension": "amount",
        "period": "daily",
        "limit": 120.5,
        "currency": "CAD",
        "actions": ["spend"],
        "on_exceeded": "deny",
        "on_expiry": "release",
        "account_id": None,
        "follower_id": None,
        "notify_at": 0.5,
        "usage": usage,
        "warnings": [],
        "created_at": "2026-03-09T12:00:00Z",
        "updated_at": None,
        "revision": made["revision"],
    }
    house.door.clock.now_us += 1_000_000
    lowered = house.ok("PATCH", f"/v1/budgets/{made['budget_id']}", {"limit": "15", "name": "Less"})
    house.door.clock.now_us -= 1_000_000
    assert lowered["updated_at"] == "2026-03-09T12:00:01Z"
    assert (lowered["limit"], lowered["name"], lowered["usage"]["remaining"]) == (15, "Less", 0)
    assert [each["budget_id"] for each in house.ok("GET", f"/v1/budgets?identity_id={house.agent}")["data"]] == [
        made["budget_id"]
    ]
    assert house.call("DELETE", f"/v1/budgets/{made['budget_id']}").status == 204
    check_refusal(house.call("GET", f"/v1/budgets/{made['budget_id']}"), 404)


def test_a_budget_that_leaves_no_currency_in_common_is_warned_of(door: Door) -> None:
    house = build(door, "Warn Co")
    body = {"identity_id": house.agent, "name": "x", "dimension": "amount", "period": "total", "limit": 1}
    assert len(house.ok("POST", "/v1/budgets", body | {"currency": "EUR"})["warnings"]) == 1


BUDGETS: dict[str, tuple[object, ...]] = {
    "an unknown identity": ({"identity_id": "id_nobody"}, 404, "identity_id"),
    "no currency": ({"currency": None}, 400, "currency"),
    "an unknown currency": ({"currency": "XQQ"}, 400, None),
    "a currency for a count": ({"dimension": "count"}, 400, "currency"),
    "an odd dimension": ({"dimension": "Tokens", "currency": None}, 400, "dimension"),
    "an unknown period": ({"period": "fortnightly"}, 400, "period"),
    "a negative limit": ({"limit": -1}, 400, "limit"),
    "an over-precise limit": ({"limit": 1.005}, 400, "limit"),
    "a fraction of a call": ({"dimension": "count", "currency": None, "limit": 1.5}, 400, "limit"),
    "a huge limit": ({"limit": 10**14}, 400, "limit"),
    "an unknown action": ({"actions": ["fly"]}, 400, "actions[0]"),
    "an odd action": ({"actions": ["a b"]}, 400, "actions[0]"),
    "an unknown way": ({"on_exceeded": "panic"}, 400, "on_exceeded"),
    "a share over one": ({"notify_at": 1.5}, 400, "notify_at"),
    "an identity and a card": ({"card_id": "card_x"}, 400, "card_id"),
    "neither identity nor card": ({"identity_id": None}, 400, "identity_id"),
    "an unknown card": ({"identity_id": None, "card_id": "card_x"}, 404, "card_id"),
}


@pytest.mark.parametrize(("change", "status", "field"), named(BUDGETS))
def test_a_budget_that_breaks_a_rule_is_not_made(
    untouched: House, change: Document, status: int, field: str | None
) -> None:
    usual = {"identity_id": untouched.team, "name": "x", "dimension": "amount", "period": "daily", "limit": 1}
    body = {name: value for name, value in (usual | {"currency": "CAD"} | change).items() if value is not None}
    check_refusal(untouched.call("POST", "/v1/budgets", body), status, field)
    if status == 400 and set(change) & {"limit", "on_exceeded", "notify_at"} and "dimension" not in change:
        check_refusal(untouched.call("PATCH", f"/v1/budgets/{untouched.budget}", change), status, field)


# --- Tokens -----------------------------------------------------------------------------------------------------------


def test_a_token_is_shown_once_and_opens_until_it_is_deleted_or_runs_out(door: Door) -> None:
    house = build(door, "Token Co")
    body = {"name": "mine", "identity_id": house.agent, "expires_at": "2026-03-09T12:01:00Z"}
    made = house.ok("POST", "/v1/tokens", body)
    token = made.pop("token")
    assert token.startswith("at_live_")
    assert token.startswith(made["prefix"])
    assert made == {
        "token_id": made["token_id"],
        "tenant_id": house.tenant_id,
        "prefix": made["prefix"],
        "kind": "agent",
        "name": "mine",
        "identity_id": house.agent,
        "may_release": False,
        "rate_limit": None,
        "created_at": "2026-03-09T12:00:00Z",
        "expires_at": "2026-03-09T12:01:00Z",
        "rotated_at": None,
        "former_expires_at": None,
    }
    assert made in house.ok("GET", f"/v1/tokens?identity_id={house.agent}")["data"]
    assert house.call("POST", "/v1/authorize", house.request(), token=token).status == 200
    door.clock.now_us += 60_000_000
    check_refusal(house.call("POST", "/v1/authorize", house.request(), token=token), 401)
    assert house.call("DELETE", f"/v1/tokens/{house.agent_token_id}").status == 204
    check_refusal(house.call("POST", "/v1/authorize", house.request(), token=house.agent_token), 401)
    check_refusal(house.call("DELETE", f"/v1/tokens/{house.agent_token_id}"), 404)
    door.clock.now_us -= 60_000_000


TOKENS: dict[str, tuple[object, ...]] = {
    "an unknown identity": ({"identity_id": "id_nobody"}, 404, "identity_id"),
    "an agent without an identity": ({"kind": "agent"}, 400, "identity_id"),
    "an unknown kind": ({"kind": "operator"}, 400, "kind"),
    "an empty name": ({"name": ""}, 400, "name"),
    "a time that is none": ({"expires_at": "tomorrow"}, 400, "expires_at"),
    "a time that is over": ({"expires_at": "2026-03-09T11:00:00Z"}, 400, "expires_at"),
}


@pytest.mark.parametrize(("change", "status", "field"), named(TOKENS))
def test_a_token_that_breaks_a_rule_is_not_made(untouched: House, change: Document, status: int, field: str) -> None:
    check_refusal(untouched.call("POST", "/v1/tokens", {"name": "x"} | change), status, field)


# --- Pages ------------------------------------------------------------------------------------------------------------


def test_a_list_comes_in_pages_that_hold_everything_once(door: Door) -> None:
    """Newest last, and the last page says that it is."""
    house = build(door, "Page Co")
    for number in range(7):
        body = {"parent_id": house.team, "type": "service", "name": f"s{number}"}
        house.ok("POST", "/v1/identities", body)
    names: list[str] = []
    path = "/v1/identities?type=service&limit=3"
    cursor = ""
    for _ in range(10):
        page = house.ok("GET", path + cursor)
        names += [each["name"] for each in page["data"]]
        if page["next_cursor"] is None:
            break
        assert len(page["data"]) <= 3
        cursor = f"&cursor={page['next_cursor']}"
    assert names == [f"s{number}" for number in range(7)]


def test_the_operator_names_the_tenant(house: House) -> None:
    """In the query of a call without a body, in the body otherwise."""
    for path in ("/v1/budgets", "/v1/policies", "/v1/tokens", "/v1/identities", "/v1/audit", "/v1/audit/verify"):
        assert house.door.call("GET", f"{path}?tenant_id={house.tenant_id}", token=OPERATOR).status == 200
    body = house.request(dry_run=True, tenant_id=house.tenant_id)
    assert house.door.ok("POST", "/v1/authorize", body)["dry_run"] is True

"""Who reaches what: no call of any kind tells a token of one tenant, or of one identity, about anything beyond it."""

import pytest

from tests.doors.door import Door, House, build, check_refusal
from tests.process.server import OPERATOR, Document

# Method, path and body of every call, with the names of the things that are filled in.
CALLS: tuple[tuple[str, str, Document | None], ...] = (
    ("GET", "/v1/tenants/{tenant_id}", None),
    ("GET", "/v1/identities/{agent}", None),
    ("GET", "/v1/identities/{agent}/chain", None),
    ("PATCH", "/v1/identities/{agent}", {"name": "mine"}),
    ("POST", "/v1/identities/{agent}/revoke", {}),
    ("POST", "/v1/identities", {"parent_id": "{team}", "type": "agent", "name": "x"}),
    ("GET", "/v1/identities?parent_id={team}", None),
    ("POST", "/v1/policies", {"identity_id": "{team}", "name": "x", "rules": {}}),
    ("GET", "/v1/policies/{policy}", None),
    ("DELETE", "/v1/policies/{policy}", None),
    (
        "POST",
        "/v1/budgets",
        {"identity_id": "{team}", "name": "x", "dimension": "count", "period": "total", "limit": 1},
    ),
    ("GET", "/v1/budgets/{budget}", None),
    ("GET", "/v1/budgets?identity_id={team}", None),
    ("PATCH", "/v1/budgets/{budget}", {"limit": 1}),
    ("DELETE", "/v1/budgets/{budget}", None),
    ("POST", "/v1/authorize", {"identity_id": "{agent}", "action": "x", "resource": {"type": "tool", "id": "x"}}),
    ("POST", "/authorize", {"identity_id": "{agent}", "action": "x", "resource": {"type": "tool", "id": "x"}}),
    ("GET", "/v1/decisions/{decision}", None),
    ("POST", "/v1/decisions/{decision}/settle", {}),
    ("POST", "/v1/decisions/{decision}/release", {}),
    ("POST", "/v1/decisions/{decision}/refund", {"amount": 1}),
    ("POST", "/v1/tokens", {"name": "x", "identity_id": "{agent}"}),
    ("GET", "/v1/tokens?identity_id={agent}", None),
    ("PATCH", "/v1/tokens/{agent_token_id}", {"name": "mine"}),
    ("POST", "/v1/tokens/{agent_token_id}/rotate", {}),
    ("DELETE", "/v1/tokens/{agent_token_id}", None),
    ("GET", "/v1/audit?identity_id={agent}", None),
    ("POST", "/v1/treasury/cards", {"identity_id": "{agent}", "currency": "CAD"}),
    ("GET", "/v1/treasury/cards?identity_id={agent}", None),
    ("GET", "/v1/treasury/cards/{card}", None),
    ("POST", "/v1/treasury/cards/{card}/freeze", {}),
    ("POST", "/v1/treasury/cards/{card}/unfreeze", {}),
    ("POST", "/v1/treasury/cards/{card}/close", {}),
    ("POST", "/v1/treasury/kill-switch", {"identity_id": "{agent}"}),
    ("GET", "/v1/budgets?card_id={card}", None),
    ("GET", "/v1/webhooks/{webhook}", None),
    ("PATCH", "/v1/webhooks/{webhook}", {"description": "mine"}),
    ("DELETE", "/v1/webhooks/{webhook}", None),
    ("POST", "/v1/webhooks/{webhook}/test", {}),
    ("POST", "/v1/webhooks/{webhook}/rotate", {}),
    ("GET", "/v1/webhooks/{webhook}/deliveries", None),
    (
        "POST",
        "/v1/budgets",
        {"card_id": "{card}", "name": "x", "dimension": "count", "period": "total", "limit": 1},
    ),
)

LISTS = (
    "/v1/identities",
    "/v1/policies",
    "/v1/budgets",
    "/v1/tokens",
    "/v1/audit",
    "/v1/audit/verify",
    "/v1/treasury/cards",
    "/v1/webhooks",
    "/v1/shadow",
    "/v1/followers",
)
NAMES = [f"{method} {path}" for method, path, _ in CALLS]


@pytest.fixture(scope="module")
def decision(house: House) -> str:
    """A permit of the tenant that others must not see."""
    return house.permit()


@pytest.fixture(scope="module", autouse=True)
def _endpoints(house: House, neighbour: House) -> None:
    """A webhook of each tenant."""
    for each in (house, neighbour):
        each.ok("POST", "/v1/webhooks", {"url": "https://hooks.example.com/sidecar", "events": ["webhook.disabled"]})


def filled(house: House, decision: str, path: str, body: Document | None) -> tuple[str, Document | None]:
    """Return a call with the ids of ``house`` filled in."""
    webhook = house.ok("GET", "/v1/webhooks")["data"][0]["webhook_id"]
    names = house._asdict() | {"decision": decision, "webhook": webhook}
    if body is None:
        return path.format(**names), None
    return path.format(**names), {
        key: value.format(**names) if isinstance(value, str) else value for key, value in body.items()
    }


@pytest.mark.parametrize(("method", "path", "body"), CALLS, ids=NAMES)
def test_another_tenants_ids_do_not_exist(
    house: House, neighbour: House, decision: str, method: str, path: str, body: Document | None
) -> None:
    """They are answered exactly like ids that nobody has, and nothing changes."""
    before, own = house.state(), neighbour.state()
    place, content = filled(house, decision, path, body)
    check_refusal(neighbour.call(method, place, content), 404)
    assert (house.state(), neighbour.state()) == (before, own)


# The path to a tenant is an id: to others it does not exist, as the test before says.
@pytest.mark.parametrize(("method", "path", "body"), CALLS[1:], ids=NAMES[1:])
def test_another_tenants_name_is_forbidden(
    house: House, neighbour: House, decision: str, method: str, path: str, body: Document | None
) -> None:
    """With its own ids as much as with the other's."""
    before = house.state()
    for owner in (house, neighbour):
        place, content = filled(owner, decision, path, body)
        joint = "&" if "?" in place else "?"
        answer = neighbour.call(method, f"{place}{joint}tenant_id={house.tenant_id}", content)
        check_refusal(answer, 403, "tenant_id")
        if content is not None:
            answer = neighbour.call(method, place, content | {"tenant_id": house.tenant_id})
            check_refusal(answer, 403, "tenant_id")
    assert house.state() == before


@pytest.mark.parametrize("path", LISTS)
def test_a_list_shows_its_own_tenant_only(house: House, neighbour: House, path: str) -> None:
    answer = neighbour.call("GET", path)
    assert answer.status == 200
    text = answer.body.decode()
    for foreign in (
        house.tenant_id,
        house.root,
        house.team,
        house.agent,
        house.policy,
        house.budget,
        house.card,
    ):
        assert foreign not in text
    check_refusal(neighbour.call("GET", f"{path}?tenant_id={house.tenant_id}"), 403, "tenant_id")


def test_ids_may_be_the_same_in_two_tenants(door: Door) -> None:
    """An id is unique in its tenant; each tenant gets its own."""
    houses = [build(door, f"Same {number}") for number in range(2)]
    for house in houses:
        body = {"parent_id": house.team, "type": "agent", "name": house.tenant_id, "id": "same", "external_id": "e"}
        house.ok("POST", "/v1/identities", body)
    for house in houses:
        assert house.ok("GET", "/v1/identities/same")["name"] == house.tenant_id
    houses[0].ok("POST", "/v1/identities/same/revoke")
    assert houses[1].ok("GET", "/v1/identities/same")["status"] == "active"


@pytest.mark.parametrize(("method", "path", "body"), CALLS, ids=NAMES)
def test_every_call_wants_a_token(house: House, decision: str, method: str, path: str, body: Document | None) -> None:
    place, content = filled(house, decision, path, body)
    check_refusal(house.door.call(method, place, content, token=None), 401)
    check_refusal(house.door.call(method, place, content, token="sk_live_AAAAAAAAAA_x_y"), 401)


# --- Tokens of one identity -------------------------------------------------------------------------------------------

ADMINISTRATION: tuple[tuple[str, str, Document | None], ...] = (
    ("POST", "/v1/tenants", {"name": "x"}),
    ("GET", "/v1/tenants", None),
    ("PATCH", "/v1/tenants/{tenant_id}", {"name": "mine"}),
    ("POST", "/v1/identities", {"parent_id": "{agent}", "type": "agent", "name": "x"}),
    ("PATCH", "/v1/identities/{agent}", {"name": "mine"}),
    ("POST", "/v1/identities/{agent}/revoke", {}),
    ("POST", "/v1/policies", {"identity_id": "{agent}", "name": "x", "rules": {}}),
    ("GET", "/v1/policies", None),
    ("DELETE", "/v1/policies/{policy}", None),
    (
        "POST",
        "/v1/budgets",
        {"identity_id": "{agent}", "name": "x", "dimension": "count", "period": "total", "limit": 1},
    ),
    ("PATCH", "/v1/budgets/{budget}", {"limit": 1000}),
    ("DELETE", "/v1/budgets/{budget}", None),
    ("POST", "/v1/tokens", {"name": "x", "identity_id": "{agent}", "may_release": True}),
    ("GET", "/v1/tokens", None),
    ("PATCH", "/v1/tokens/{agent_token_id}", {"rate_limit": None}),
    ("POST", "/v1/tokens/{agent_token_id}/rotate", {}),
    ("DELETE", "/v1/tokens/{agent_token_id}", None),
    ("GET", "/v1/audit/verify", None),
    ("GET", "/v1/shadow", None),
    ("POST", "/v1/treasury/cards", {"identity_id": "{agent}", "currency": "CAD"}),
    ("POST", "/v1/treasury/cards/{card}/freeze", {}),
    ("POST", "/v1/treasury/cards/{card}/unfreeze", {}),
    ("POST", "/v1/treasury/cards/{card}/close", {}),
    ("POST", "/v1/treasury/kill-switch", {"identity_id": "{agent}"}),
    ("POST", "/v1/webhooks", {"url": "https://hooks.example.com/x", "events": ["*"]}),
    ("GET", "/v1/webhooks", None),
    ("GET", "/v1/webhooks/{webhook}", None),
    ("PATCH", "/v1/webhooks/{webhook}", {"description": "mine"}),
    ("DELETE", "/v1/webhooks/{webhook}", None),
    ("POST", "/v1/webhooks/{webhook}/test", {}),
    ("POST", "/v1/webhooks/{webhook}/rotate", {}),
    ("GET", "/v1/webhooks/{webhook}/deliveries", None),
)


@pytest.mark.parametrize(
    ("method", "path", "body"), ADMINISTRATION, ids=[f"{method} {path}" for method, path, _ in ADMINISTRATION]
)
def test_an_agents_token_can_never_administer(
    house: House, decision: str, method: str, path: str, body: Document | None
) -> None:
    """Not even below its own identity."""
    before = house.state()
    place, content = filled(house, decision, path, body)
    check_refusal(house.call(method, place, content, token=house.agent_token), 403)
    assert house.state() == before


def test_a_tenants_key_makes_no_tenants(house: House) -> None:
    check_refusal(house.call("POST", "/v1/tenants", {"name": "x"}), 403)


def test_an_agents_token_reaches_its_identity_and_what_is_below(door: Door) -> None:
    """Its parent, its siblings and their decisions do not exist for it."""
    house = build(door, "Reach Co")
    token = house.agent_token
    child = house.ok("POST", "/v1/identities", {"parent_id": house.agent, "type": "agent", "name": "c"})["identity_id"]
    for identity_id in (house.agent, child):
        decided = house.call("POST", "/v1/authorize", house.request() | {"identity_id": identity_id}, token=token)
        assert decided.document["allowed"] is True
        assert house.call("GET", f"/v1/identities/{identity_id}/chain", token=token).status == 200
        assert house.call("GET", f"/v1/decisions/{decided.document['decision_id']}", token=token).status == 200
    others = house.ok("POST", "/v1/authorize", house.request() | {"identity_id": house.other})["decision_id"]
    for identity_id in (house.team, house.other, house.root, "id_nobody"):
        body = house.request() | {"identity_id": identity_id}
        check_refusal(house.call("POST", "/v1/authorize", body, token=token), 404, "identity_id")
        check_refusal(house.call("GET", f"/v1/identities/{identity_id}", token=token), 404)
        check_refusal(house.call("GET", f"/v1/audit?identity_id={identity_id}", token=token), 404)
        check_refusal(house.call("GET", f"/v1/budgets?identity_id={identity_id}", token=token), 404)
    for call in (("GET", ""), ("POST", "/settle"), ("GET", "")):
        check_refusal(house.call(call[0], f"/v1/decisions/{others}{call[1]}", token=token), 404)
    check_refusal(house.call("GET", f"/v1/budgets/{house.budget}", token=token), 404)
    assert house.call("GET", "/v1/budgets", token=token).document["data"] == []
    seen = house.call("GET", "/v1/identities", token=token).document["data"]
    assert [identity["identity_id"] for identity in seen] == [house.agent, child]
    records = house.call("GET", "/v1/audit?limit=200", token=token).document["data"]
    assert {record["identity_id"] for record in records} == {house.agent, child}


def test_an_agent_settles_in_full_and_frees_nothing(door: Door) -> None:
    """Or it could spend and then free its own budget; a token with ``may_release`` may."""
    house = build(door, "Free Co")
    token = house.agent_token
    body = {"name": "free", "identity_id": house.agent, "may_release": True}
    free = house.ok("POST", "/v1/tokens", body)["token"]
    first, second, third = house.permit(), house.permit(), house.permit()
    for kind, content in (("release", {}), ("refund", {"amount": 1}), ("settle", {"amount": 1})):
        check_refusal(house.call("POST", f"/v1/decisions/{first}/{kind}", content, token=token), 403)
    assert house.call("POST", f"/v1/decisions/{first}/settle", {}, token=token).status == 200
    assert house.call("POST", f"/v1/decisions/{second}/settle", {"amount": 10}, token=token).status == 200
    assert house.call("POST", f"/v1/decisions/{third}/release", {}, token=free).status == 200
    assert house.call("POST", f"/v1/decisions/{second}/refund", {"amount": 1}, token=free).status == 200


def test_a_key_of_a_tenant_is_not_the_operator(house: House) -> None:
    """The operator sees every tenant, a tenant's key its own."""
    assert [tenant["tenant_id"] for tenant in house.ok("GET", "/v1/tenants")["data"]] == [house.tenant_id]
    seen = {tenant["tenant_id"] for tenant in house.door.ok("GET", "/v1/tenants?limit=200", token=OPERATOR)["data"]}
    assert house.tenant_id in seen
    assert len(seen) > 1

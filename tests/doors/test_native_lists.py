"""What every list of the native door has in common: filters that are checked, limits, and cursors that are its own."""

import pytest

from sidecar.doors.wire.query import cursor_at
from tests.doors.door import Door, House, build, check_refusal, named
from tests.process.server import OPERATOR

LISTS = ("/v1/tenants", "/v1/identities", "/v1/policies", "/v1/budgets", "/v1/tokens", "/v1/audit")


@pytest.fixture(scope="module")
def full(door: Door) -> House:
    """A tenant with at least three of everything, and two tenants beside it."""
    house = build(door, "Full Co")
    for number in range(3):
        build(door, f"Beside {number}")
        house.ok("POST", "/v1/policies", {"identity_id": house.team, "name": f"p{number}", "rules": {}})
        limit = {"dimension": "count", "period": "daily", "limit": 5, "name": f"b{number}"}
        house.ok("POST", "/v1/budgets", {"identity_id": house.agent} | limit)
        house.ok("POST", "/v1/tokens", {"name": f"t{number}", "identity_id": house.agent})
        house.ok("POST", "/v1/identities", {"parent_id": house.agent, "type": "agent", "name": f"i{number}"})
    return house


def token_for(house: House, path: str) -> str:
    """Who sees more than one page of a list."""
    return OPERATOR if path == "/v1/tenants" else house.key


@pytest.mark.parametrize("path", LISTS)
def test_pages_put_together_are_the_list(full: House, path: str) -> None:
    token = token_for(full, path)
    whole = full.door.ok("GET", f"{path}?limit=200", token=token)
    assert whole["next_cursor"] is None
    found, cursor = [], ""
    for _ in range(100):
        page = full.door.ok("GET", f"{path}?limit=2{cursor}", token=token)
        assert 1 <= len(page["data"]) <= 2
        found += page["data"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert found == whole["data"]
    assert len(found) > 2


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("limit", ["0", "201", "-1", "1e3", "", "1.0", "%2B5", "0x5", "9" * 40, "0" * 40 + "5"])
def test_a_limit_is_a_number_from_1_to_200(full: House, path: str, limit: str) -> None:
    check_refusal(full.call("GET", f"{path}?limit={limit}"), 400, "limit")
    for good in ("1", "200"):
        assert full.call("GET", f"{path}?limit={good}").status == 200


@pytest.mark.parametrize("path", LISTS)
def test_a_cursor_is_good_for_its_own_list_with_its_own_filter(full: House, path: str) -> None:
    """Under another one it would skip what was never shown. How many are on a page may change."""
    token = token_for(full, path)
    cursor = full.door.ok("GET", f"{path}?limit=1", token=token)["next_cursor"]
    assert full.door.call("GET", f"{path}?limit=5&cursor={cursor}", token=token).status == 200
    others = [other for other in LISTS if other != path]
    for other in others:
        check_refusal(full.call("GET", f"{other}?cursor={cursor}"), 400, "cursor")
    tenant = f"tenant_id={full.tenant_id}"
    for query in (tenant, f"identity_id={full.agent}", f"parent_id={full.team}", "type=agent", "status=active"):
        answer = full.door.call("GET", f"{path}?{query}&cursor={cursor}", token=token)
        assert answer.document["field"] in {"cursor", query.partition("=")[0]}
        check_refusal(answer, 400)


@pytest.mark.parametrize("path", LISTS)
def test_a_cursor_with_any_character_changed_is_refused(full: House, path: str) -> None:
    token = token_for(full, path)
    cursor = full.door.ok("GET", f"{path}?limit=1", token=token)["next_cursor"]
    spoilt = [f"{cursor[:at]}{'B' if cursor[at] == 'A' else 'A'}{cursor[at + 1 :]}" for at in range(len(cursor))]
    for other in (*spoilt, cursor[:-1], cursor + "A", cursor + "=", cursor.swapcase(), "a" * 10_000, "%F0%9F%92%A9"):
        check_refusal(full.door.call("GET", f"{path}?cursor={other}", token=token), 400, "cursor")


@pytest.mark.parametrize("path", [*LISTS, "/v1/treasury/cards", "/v1/webhooks", "/v1/webhooks/deliveries"])
@pytest.mark.parametrize("place", [2**64 - 2, 2**64 - 1, 2**64, 2**127, 2**128 - 1])
def test_a_made_up_cursor_beyond_all_places_asks_for_the_end_of_the_list(full: House, path: str, place: int) -> None:
    """A cursor opens nothing, so anybody can write one down."""
    name = path.removeprefix("/v1/").removeprefix("treasury/")
    if name == "webhooks/deliveries":
        endpoint = {"url": "https://hooks.example.com/", "events": ["*"]}
        webhook_id = full.ok("POST", "/v1/webhooks", endpoint)["webhook_id"]
        name, path = f"deliveries of {webhook_id}", f"/v1/webhooks/{webhook_id}/deliveries"
    answer = full.door.call("GET", f"{path}?cursor={cursor_at(place, name)}", token=token_for(full, path))
    assert (answer.status, answer.document) == (200, {"data": [], "next_cursor": None})
    if name.startswith("deliveries"):
        full.ok("DELETE", path.removesuffix("/deliveries"))


def test_an_agents_cursor_is_that_of_its_subtree(full: House) -> None:
    """Budgets come identity by identity; a cursor of the tenant's whole list stands elsewhere."""
    for path, field in (("/v1/identities", "identity_id"), ("/v1/budgets", "budget_id")):
        found, cursor = [], ""
        while True:
            page = full.call("GET", f"{path}?limit=2{cursor}", token=full.agent_token).document
            found += [each[field] for each in page["data"]]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        whole = full.call("GET", f"{path}?limit=200", token=full.agent_token).document["data"]
        assert found == [each[field] for each in whole]
        assert len(found) > 2
    above = full.ok("GET", "/v1/identities?limit=1")["next_cursor"]
    check_refusal(full.call("GET", f"/v1/identities?cursor={above}", token=full.agent_token), 400, "cursor")


FILTERS: dict[str, tuple[object, ...]] = {
    "a status that is none": ("/v1/identities?status=foo", 400, "status", "`active` or `suspended` or `revoked`"),
    "an empty status": ("/v1/identities?status=", 400, "status", "`active`"),
    "a type that is none": ("/v1/identities?type=Agent", 400, "type", "not a type"),
    "an unknown parent": ("/v1/identities?parent_id=id_nobody", 404, "parent_id", "id_nobody"),
    "a verdict that is none": ("/v1/audit?verdict=foo", 400, "verdict", "`allow` or `deny`"),
    "an action that is none": ("/v1/audit?action=a%20b", 400, "action", "not an action"),
    "an unknown identity of the log": ("/v1/audit?identity_id=id_nobody", 404, "identity_id", "id_nobody"),
    "an unknown owner of policies": ("/v1/policies?identity_id=id_nobody", 404, "identity_id", "id_nobody"),
    "an unknown owner of budgets": ("/v1/budgets?identity_id=id_nobody", 404, "identity_id", "id_nobody"),
    "an unknown owner of tokens": ("/v1/tokens?identity_id=id_nobody", 404, "identity_id", "id_nobody"),
    "an owner of ten thousand characters": (f"/v1/tokens?identity_id={'a' * 10_000}", 404, "identity_id", ""),
}


@pytest.mark.parametrize(("path", "status", "field", "said"), named(FILTERS))
def test_a_filter_that_cannot_be_meant_is_refused_saying_what_can(
    full: House, path: str, status: int, field: str, said: str
) -> None:
    assert said in check_refusal(full.call("GET", path), status, field)


def test_a_type_that_nobody_has_is_an_empty_list(full: House) -> None:
    assert full.ok("GET", "/v1/identities?type=starship") == {"data": [], "next_cursor": None}
    assert full.ok("GET", "/v1/identities?external_id=nobody%20has%20it") == {"data": [], "next_cursor": None}
    assert full.ok("GET", "/v1/audit?action=nobody.does") == {"data": [], "next_cursor": None}


def test_the_list_of_tenants_names_a_tenant_like_every_other_call(full: House, neighbour: House) -> None:
    """One that is unknown or another's is no filter that fits everything."""
    own, other = full.tenant_id, neighbour.tenant_id
    for token in (full.key, OPERATOR):
        data = full.door.ok("GET", f"/v1/tenants?tenant_id={own}", token=token)["data"]
        assert [each["tenant_id"] for each in data] == [own]
    check_refusal(full.call("GET", f"/v1/tenants?tenant_id={other}"), 403, "tenant_id")
    check_refusal(full.door.call("GET", "/v1/tenants?tenant_id=t_nobody"), 404, "tenant_id")
    check_refusal(full.call("GET", f"/v1/tenants/{own}?tenant_id={other}"), 400, "tenant_id")
    check_refusal(full.door.call("POST", f"/v1/tenants?tenant_id={own}", {"name": "x"}), 400, "tenant_id")

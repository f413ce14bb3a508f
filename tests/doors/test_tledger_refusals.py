"""What the tLedger dialect refuses: in its own shape, at the place that is at fault, and with nothing changed."""

import json

import pytest

from sidecar.core.errors import StoreUnusable, Unavailable
from sidecar.doors.dialects.tledger_manner import error_answer
from tests.doors.door import Door, House, named
from tests.doors.tledger import API, Portal, check_detail, opened, pair
from tests.process.server import OPERATOR, Document


@pytest.fixture(scope="module")
def portal(door: Door) -> Portal:
    """A tenant with a project and two agents; one of them has money."""
    found = opened(door)
    found.deposit(found.buyer, 50)
    return found


def state(portal: Portal) -> Document:
    """What a refused call must leave as it is."""
    accounts = portal.house.ok("GET", "/v1/accounts?limit=200")["data"]
    return portal.house.state() | {"accounts": accounts}


PROJECT: Document = {"name": "Research", "description": "All desks", "daily_limit": 10}

PROJECTS: dict[str, tuple[object, ...]] = {
    "no name": ({"name": ...}, "name", "missing"),
    "no description": ({"description": ...}, "description", "missing"),
    "no limit": ({"daily_limit": ...}, "daily_limit", "missing"),
    "an empty name": ({"name": ""}, "name", "value_error"),
    "a long name": ({"name": "n" * 31}, "name", "value_error"),
    "a name in two lines": ({"name": "a\nb"}, "name", "value_error"),
    "a long description": ({"description": "d" * 101}, "description", "value_error"),
    "a description in two lines": ({"description": "a\nb"}, "description", "value_error"),
    "a negative limit": ({"daily_limit": -1}, "daily_limit", "value_error"),
    "a limit in words": ({"daily_limit": "much"}, "daily_limit", "value_error"),
    "a limit finer than an asset": ({"daily_limit": 1.0000001}, "daily_limit", "value_error"),
    "a huge limit": ({"daily_limit": 10**12}, "daily_limit", "value_error"),
    "an unknown network": ({"network": "moon"}, "network", "value_error"),
    "one field more": ({"colour": "red"}, "colour", "extra_forbidden"),
}


def changed(body: Document, changes: Document) -> Document:
    """The body with changes; a field whose change is an ellipsis is left out."""
    return {name: value for name, value in (body | changes).items() if value is not ...}


@pytest.mark.parametrize(("changes", "field", "kind"), named(PROJECTS))
def test_a_project_that_breaks_a_rule(portal: Portal, changes: Document, field: str, kind: str) -> None:
    before = state(portal)
    answer = portal.call("POST", "/projects", changed(PROJECT, changes))
    check_detail(answer, 422, "body", field, kind=kind)
    assert state(portal) == before


AGENTS: dict[str, tuple[object, ...]] = {
    "no name": ({"name": ...}, 422, "name"),
    "no project": ({"project_id": ...}, 422, "project_id"),
    "an unknown project": ({"project_id": "id_nothing"}, 404, "project_id"),
    "an agent for a project": ({"project_id": "buyer"}, 404, "project_id"),
    "a negative limit": ({"agent_daily_limit": -1}, 422, "agent_daily_limit"),
    "no type": ({"agent_type": ""}, 422, "agent_type"),
    "a type that is no text": ({"agent_type": 7}, 422, "agent_type"),
    "one field more": ({"wallet": "mine"}, 422, "wallet"),
}


@pytest.mark.parametrize(("changes", "status", "field"), named(AGENTS))
def test_an_agent_that_breaks_a_rule(portal: Portal, changes: Document, status: int, field: str) -> None:
    if changes.get("project_id") == "buyer":
        changes = {"project_id": portal.buyer["id"]}
    body: Document = {"name": "Worker", "description": "", "project_id": portal.project["id"]}
    before = state(portal)
    check_detail(portal.call("POST", "/agent_profiles", changed(body, changes)), status, "body", field)
    assert state(portal) == before


LIMITS: dict[str, tuple[object, ...]] = {
    "no amount": ({"limit_amount": ...}, "limit_amount"),
    "a negative amount": ({"limit_amount": -1}, "limit_amount"),
    "an amount finer than its asset": ({"limit_amount": "1.0000001"}, "limit_amount"),
    "an unknown asset": ({"limit_currency": "DOGE"}, "limit_currency"),
    "an unknown period": ({"limit_refresh_period": "MONTHLY"}, "limit_refresh_period"),
    "one field more": ({"agent_id": "id_x"}, "agent_id"),
}


@pytest.mark.parametrize("currency", ["USDC", "XRP"])
@pytest.mark.parametrize(("changes", "field"), named(LIMITS))
def test_a_limit_that_breaks_a_rule(portal: Portal, changes: Document, field: str, currency: str) -> None:
    """Whether there is one that would be changed, or none yet."""
    body: Document = {"limit_amount": 5, "limit_currency": currency, "limit_refresh_period": "DAILY"}
    before = state(portal)
    path = f"/agent_profiles/{portal.buyer['id']}/agent_limits"
    check_detail(portal.call("POST", path, changed(body, changes)), 422, "body", field)
    check_detail(portal.call("POST", "/agent_profiles/id_x/agent_limits", body), 404, "path", "agent_id")
    assert state(portal) == before


PAYMENTS: dict[str, tuple[object, ...]] = {
    "nobody who pays": ({"sending_agent_id": ...}, 422, "sending_agent_id"),
    "nobody who is paid": ({"receiving_agent_id": ...}, 422, "receiving_agent_id"),
    "an unknown payer": ({"sending_agent_id": "id_x"}, 404, "sending_agent_id"),
    "an unknown receiver": ({"receiving_agent_id": "id_x"}, 404, "receiving_agent_id"),
    "no amount": ({"payment_amount": ...}, 422, "payment_amount"),
    "nothing": ({"payment_amount": 0}, 422, "payment_amount"),
    "less than nothing": ({"payment_amount": -1}, 422, "payment_amount"),
    "finer than the asset": ({"payment_amount": "1.0000001"}, 422, "payment_amount"),
    "more than is there": ({"payment_amount": 50.01}, 409, "payment_amount"),
    "no asset": ({"currency": ...}, 422, "currency"),
    "an unknown asset": ({"currency": "DOGE"}, 422, "currency"),
    "an asset without an account": ({"currency": "CAD"}, 404, "sending_agent_id"),
    "another network": ({"settlement_network": "base"}, 404, "sending_agent_id"),
    "a network that is none": ({"settlement_network": "a\nb"}, 422, "settlement_network"),
    "to oneself": ({"receiving_agent_id": "buyer"}, 422, "receiving_agent_id"),
    "a trace without end": ({"trace_context": "x" * 2100}, 422, "trace_context"),
    "a trace that is no text": ({"trace_context": {}}, 422, "trace_context"),
    "an odd request id": ({"request_id": ""}, 422, "request_id"),
    "a switch in words": ({"debug_mode": "yes"}, 422, "debug_mode"),
    "one field more": ({"memo": "lunch"}, 422, "memo"),
}


@pytest.mark.parametrize(("changes", "status", "field"), named(PAYMENTS))
def test_a_payment_that_breaks_a_rule(portal: Portal, changes: Document, status: int, field: str) -> None:
    if changes.get("receiving_agent_id") == "buyer":
        changes = {"receiving_agent_id": portal.buyer["id"]}
    before = state(portal)
    check_detail(portal.call("POST", "/payment", changed(portal.order(), changes)), status, "body", field)
    assert state(portal) == before
    assert portal.ok("GET", "/payments")["data"] == []


def test_wrong_credentials(portal: Portal, neighbour: House) -> None:
    """The id of one token with the text of another opens nothing, not even where both are the tenant's."""
    second = portal.ok("POST", "/api_key/generate-api-key")
    foreign = neighbour.ok("POST", f"{API}/api_key/generate-api-key", {})
    for headers in (
        (),
        (("X-API-Key", portal.key),),
        (("X-API-Secret", portal.secret),),
        (("X-API-Key", ""), ("X-API-Secret", portal.secret)),
        (("Authorization", f"Bearer {portal.secret}"),),
        pair(second["api_key"], portal.secret),
        pair(portal.key, second["api_secret"]),
        pair(foreign["api_key"], portal.secret),
        pair(portal.key, portal.secret[:-1]),
        pair(portal.key, OPERATOR),
    ):
        answer = portal.house.door.call("GET", f"{API}/projects", token=None, headers=headers)
        check_detail(answer, 401, "header", "X-API-Key", kind="unauthenticated")
        assert answer.headers["www-authenticate"] == "ApiKey"
    for headers in ((), (("X-API-Key", portal.key), ("Authorization", f"Bearer {portal.secret}"))):
        answer = portal.house.door.call("POST", f"{API}/api_key/generate-api-key", token=None, headers=headers)
        check_detail(answer, 401, "header", "X-API-Key")
    twice = (*pair(portal.key, portal.secret), ("X-API-Key", portal.key))
    check_detail(portal.house.door.call("GET", f"{API}/projects", token=None, headers=twice), 422)


QUERIES: dict[str, tuple[object, ...]] = {
    "no page": ("page_number=0", "page_number"),
    "a page in words": ("page_number=first", "page_number"),
    "a page too far": ("page_number=1001", "page_number"),
    "an empty page": ("page_size=0", "page_size"),
    "a long page": ("page_size=101", "page_size"),
    "an odd order": ("order=upward", "order"),
    "an odd status": ("status=lost", "status"),
    "one field more": ("colour=red", "colour"),
}


@pytest.mark.parametrize(("query", "field"), named(QUERIES))
def test_a_list_that_breaks_a_rule(portal: Portal, query: str, field: str) -> None:
    check_detail(portal.call("GET", f"/payments?{query}"), 422, "query", field)


def test_what_is_not_there(portal: Portal) -> None:
    for path, field in (
        ("/projects/id_x", "project_id"),
        (f"/projects/{portal.buyer['id']}", "project_id"),
        ("/agent_profiles/id_x", "agent_id"),
        (f"/agent_profiles/{portal.project['id']}", "agent_id"),
        ("/agent_profiles/id_x/agent_limits", "agent_id"),
        ("/balance/agent/id_x", "agent_id"),
        ("/accounts/acct_x", "account_id"),
        ("/payment/pay_x", "payment_id"),
    ):
        check_detail(portal.call("GET", path), 404, "path", field, kind="not_found")
    check_detail(portal.call("GET", "/agent_profiles?project_id=id_x"), 404, "query", "project_id")
    for field in ("sending_agent_id", "receiving_agent_id"):
        check_detail(portal.call("GET", f"/payments?{field}=id_x"), 404, "query", field)
    check_detail(portal.call("GET", "/payments?account_id=acct_x"), 404, "query", "account_id")
    check_detail(portal.call("GET", "/wallets"), 404, "path", kind="not_found")
    refused = portal.call("PUT", "/projects", {})
    check_detail(refused, 405, "path", kind="method_not_allowed")
    assert refused.headers["allow"] == "GET, POST"


def test_a_body_that_cannot_be_read(portal: Portal) -> None:
    for body in (b"{", b'{"name": "a", "name": "b"}', b'"text"', b"[]", b"null"):
        answer = portal.call("POST", "/projects", body)
        check_detail(answer, 422, "body")
    check_detail(portal.call("POST", "/projects", b" " * 70_000), 413, kind="too_large")


@pytest.mark.parametrize("name", ["query", "path", "header", "body", "a.b", "unknown query field"])
def test_a_field_too_many_is_one_of_the_body_whatever_its_name(portal: Portal, name: str) -> None:
    check_detail(portal.call("POST", "/projects", PROJECT | {name: 1}), 422, "body", name, kind="extra_forbidden")


def test_a_sentence_that_quotes_the_caller_is_not_taken_for_another(portal: Portal) -> None:
    for quoted in ("object missing required field", "unknown query field", "object contains unknown field"):
        answer = portal.call("POST", "/payment", portal.order(currency=quoted))
        check_detail(answer, 422, "body", "currency", kind="value_error")


def test_what_is_no_part_of_the_body_is_not_looked_for_there(portal: Portal) -> None:
    key = (("Idempotency-Key", ""), *pair(portal.key, portal.secret))
    empty = portal.house.door.call("POST", f"{API}/projects", PROJECT, token=None, headers=key)
    check_detail(empty, 422, "header", "Idempotency-Key", kind="value_error")
    key = (("Idempotency-Key", "taken"), *pair(portal.key, portal.secret))
    first, taken = (
        portal.house.door.call("POST", f"{API}/projects", PROJECT | {"daily_limit": limit}, token=None, headers=key)
        for limit in (1, 2)
    )
    assert first.status == 200
    check_detail(taken, 422, "header", "Idempotency-Key", kind="idempotency_conflict")
    operators = portal.house.door.call("POST", f"{API}/api_key/generate-api-key", {}, token=OPERATOR)
    check_detail(operators, 422, "query", "tenant_id")
    foreign = portal.call("POST", "/projects?tenant_id=t_other", PROJECT)
    check_detail(foreign, 403, "query", "tenant_id", kind="forbidden")


def test_a_body_is_json_whatever_it_is_declared_as(portal: Portal) -> None:
    """As `curl -d` declares a form."""
    headers = (*pair(portal.key, portal.secret), ("Content-Type", "application/x-www-form-urlencoded"))
    answer = portal.house.door.call("POST", f"{API}/payment", portal.order(0), token=None, headers=headers)
    check_detail(answer, 422, "body", "payment_amount")


def test_what_cannot_be_recorded_now_may_be_tried_again() -> None:
    for error in (Unavailable("no room"), StoreUnusable("broken")):
        told = error_answer(error, "req_1", ())
        assert (told.status, told.headers) == (503, (("Retry-After", "1"),))
        assert json.loads(told.body) == {"detail": [{"loc": [], "msg": error.message, "type": "unavailable"}]}


def test_who_asks_too_often_is_told_when_to_come_back(portal: Portal) -> None:
    portal.house.ok("PATCH", f"/v1/tokens/{portal.key}", {"rate_limit": "1/hour"})
    answers = [portal.call("GET", "/projects") for _ in range(2)]
    assert answers[0].status == 200
    assert answers[0].headers["ratelimit"]
    check_detail(answers[1], 429, kind="rate_limited")
    assert answers[1].headers["retry-after"] == "3600"
    portal.house.ok("PATCH", f"/v1/tokens/{portal.key}", {"rate_limit": None})

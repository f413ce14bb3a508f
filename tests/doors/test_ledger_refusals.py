"""What the Ledger dialect refuses: always in its own shape, and nothing changed."""

import json

import pytest

from sidecar.core.errors import SidecarError, StoreUnusable, Unavailable
from sidecar.doors.dialects.ledger_render import error_answer
from tests.doors.door import Door, named
from tests.doors.ledger import Ledger, check_error, found
from tests.process.server import Document


@pytest.fixture(scope="module")
def ledger(door: Door) -> Ledger:
    """An organisation that nothing is done to."""
    made = found(door)
    made.register("known")
    return made


@pytest.fixture(scope="module")
def agent(ledger: Ledger) -> str:
    """An agent of it without a limit."""
    known: str = ledger.ok("GET", "?external_id=known")["data"][0]["id"]
    return known


BAD_AGENTS: dict[str, tuple[object, ...]] = {
    "no user": ({"userId": None}, 400, "userId"),
    "an unknown user": ({"userId": "user_abc123"}, 404, "userId"),
    "an empty name": ({"name": ""}, 400, "name"),
    "a name over two lines": ({"name": "a\nb"}, 400, "name"),
    "a number for a name": ({"name": 7}, 400, "name"),
    "a description that is too long": ({"description": "x" * 2_049}, 400, "description"),
    "a negative limit": ({"spendingLimit": -1}, 400, "spendingLimit"),
    "a limit with a fraction": ({"spendingLimit": 10.5}, 400, "spendingLimit"),
    "a limit as text": ({"spendingLimit": "500"}, 400, "spendingLimit"),
    "a limit over the largest": ({"spendingLimit": 10**15 + 1}, 400, "spendingLimit"),
    "an odd frequency": ({"spendingLimit": 1, "spendingLimitFrequency": "perHour"}, 400, "spendingLimitFrequency"),
    "a frequency of no limit": ({"spendingLimitFrequency": "perWeek"}, 400, "spendingLimitFrequency"),
    "an action of no limit": ({"onLimitExceeded": "notify"}, 400, "onLimitExceeded"),
    "an odd action": ({"spendingLimit": 1, "onLimitExceeded": "explode"}, 400, "onLimitExceeded"),
    "a frequency of no card limit": ({"defaultCardLimitFrequency": "perWeek"}, 400, "defaultCardLimitFrequency"),
    "a negative card limit": ({"defaultCardLimit": -1}, 400, "defaultCardLimit"),
    "a currency of nothing": ({"currency": "CAD"}, 400, "currency"),
    "an unknown currency": ({"spendingLimit": 1, "currency": "XXZ"}, 400, "currency"),
    "cards below zero": ({"maxCards": -1}, 400, "maxCards"),
    "cards as text": ({"maxCards": "3"}, 400, "maxCards"),
    "a list for metadata": ({"metadata": []}, 400, "metadata"),
    "metadata over 2 KiB": ({"metadata": {"x": "y" * 2_100}}, 400, "metadata"),
    "a number that no number is": ({"metadata": {"x": 10**19}}, 400, "metadata.x"),
    "an unknown policy": ({"defaultPolicyId": "pol_nobody"}, 404, "defaultPolicyId"),
    "an unknown field": ({"tokens": 3}, 400, "tokens"),
    "snake case": ({"spending_limit": 3}, 400, "spending_limit"),
}


@pytest.mark.parametrize("path", ["", "/register"])
@pytest.mark.parametrize(("change", "status", "field"), named(BAD_AGENTS))
def test_what_breaks_a_rule_makes_no_agent(
    ledger: Ledger, path: str, change: Document, status: int, field: str
) -> None:
    before = ledger.state()
    body = ledger.registration("new") | change
    if not path:
        del body["externalId"]
    code = "not_found" if status == 404 else "validation_failed"
    message = check_error(ledger.call("POST", path, body), status, code)
    assert f"`{field}`" in message, message
    assert ledger.state() == before


def test_a_limit_with_a_fraction_is_told_as_one(ledger: Ledger) -> None:
    answer = ledger.call("POST", "/register", ledger.registration("new") | {"spendingLimit": 10.5})
    assert "got `float` (in `spendingLimit`)" in check_error(answer, 400, "validation_failed")


def test_a_registration_needs_its_three_fields(ledger: Ledger) -> None:
    before = ledger.state()
    whole = ledger.registration("new")
    for field in whole:
        less = {name: value for name, value in whole.items() if name != field}
        message = check_error(ledger.call("POST", "/register", less), 400, "validation_failed")
        assert f"`{field}`" in message
    check_error(ledger.call("POST", "/register"), 400, "validation_failed")
    check_error(ledger.call("POST", "/register", whole | {"externalId": ""}), 400, "validation_failed")
    check_error(ledger.call("POST", "", whole), 400, "validation_failed")  # only a registration takes an external id
    assert ledger.state() == before


BAD_CHANGES: dict[str, tuple[object, ...]] = {
    "no name": ({"name": None}, "name"),
    "the end": ({"status": "deregistered"}, "status"),
    "no status": ({"status": None}, "status"),
    "a frequency of no limit": ({"spendingLimitFrequency": "perWeek"}, "spendingLimit"),
    "an action of no limit": ({"onLimitExceeded": "none"}, "spendingLimit"),
    "a frequency of no card limit": ({"defaultCardLimitFrequency": "perWeek"}, "defaultCardLimit"),
    "no limit and its frequency": ({"spendingLimit": None, "spendingLimitFrequency": "perWeek"}, "spendingLimit"),
    "no limit and its action": ({"spendingLimit": None, "onLimitExceeded": "none"}, "onLimitExceeded"),
    "no card limit and its frequency": (
        {"defaultCardLimit": None, "defaultCardLimitFrequency": "perWeek"},
        "defaultCardLimit",
    ),
    "a currency of nothing": ({"currency": "CAD"}, "currency"),
    "no currency": ({"spendingLimit": 1, "currency": None}, "currency"),
    "an unknown currency": ({"spendingLimit": 1, "currency": "XXZ"}, "currency"),
    "another user": ({"userId": "x"}, "userId"),
    "another external id": ({"externalId": "x"}, "externalId"),
    "good and bad": ({"name": "New", "spendingLimit": -1}, "spendingLimit"),
}


@pytest.mark.parametrize(("body", "field"), named(BAD_CHANGES))
def test_a_change_that_breaks_a_rule_changes_nothing(ledger: Ledger, agent: str, body: Document, field: str) -> None:
    before = ledger.state()
    message = check_error(ledger.call("PATCH", f"/{agent}", body), 400, "validation_failed")
    assert f"`{field}" in message, message
    assert ledger.state() == before


BAD_CARDS: dict[str, tuple[object, ...]] = {
    "a card number": ({"number": "4242424242424242"}, "number"),
    "a negative limit": ({"spendingLimit": -1}, "spendingLimit"),
    "a frequency of no limit": ({"spendingLimitFrequency": "perWeek"}, "spendingLimitFrequency"),
    "an unknown currency": ({"currency": "XXZ"}, "currency"),
    "no categories": ({"allowedMccs": []}, "allowedMccs"),
    "an odd category": ({"allowedMccs": ["7372", "73"]}, "allowedMccs[1]"),
    "five last digits": ({"last4": "42424"}, "last4"),
}


@pytest.mark.parametrize(("body", "field"), named(BAD_CARDS))
def test_a_card_that_breaks_a_rule_is_not_made(ledger: Ledger, agent: str, body: Document, field: str) -> None:
    before = ledger.state()
    message = check_error(ledger.call("POST", f"/{agent}/cards", body), 400, "validation_failed")
    assert f"`{field}`" in message, message
    assert ledger.state() == before


def test_a_token_needs_a_name_and_nothing_else(ledger: Ledger, agent: str) -> None:
    before = ledger.state()
    for body in ({}, {"name": ""}, {"name": None}, {"name": "x", "scope": "all"}):
        check_error(ledger.call("POST", f"/{agent}/tokens", body), 400, "validation_failed")
    assert ledger.state() == before


@pytest.mark.parametrize("query", ["?limit=0", "?limit=201", "?limit=x", "?cursor=x", "?status=asleep", "?name=x"])
def test_a_list_takes_its_own_fields_only(ledger: Ledger, query: str) -> None:
    check_error(ledger.call("GET", query), 400, "validation_failed")


def test_one_field_in_both_spellings_is_refused(ledger: Ledger) -> None:
    check_error(ledger.call("GET", "?userId=a&user_id=a"), 400, "validation_failed")


def test_an_unknown_user_has_no_list(ledger: Ledger) -> None:
    assert "(in `userId`)" in check_error(ledger.call("GET", "?userId=nobody"), 404, "not_found")


CALLS = [
    ("GET", ""),
    ("PATCH", ""),
    ("POST", "/deregister"),
    ("GET", "/policy"),
    ("POST", "/tokens"),
    ("GET", "/tokens"),
    ("DELETE", "/tokens/tok_1"),
    ("POST", "/cards"),
    ("GET", "/cards"),
]


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_an_agent_of_another_tenant_is_as_unknown_as_none(ledger: Ledger, door: Door, method: str, path: str) -> None:
    """And so is an identity that is no agent."""
    neighbour = found(door, "Neighbour")
    foreign = neighbour.register()
    body = {"name": "x"} if path == "/tokens" and method == "POST" else {} if method in {"POST", "PATCH"} else None
    before, theirs = ledger.state(), neighbour.state()
    for agent_id in (foreign["id"], "jd74kxm", ledger.user, ledger.root):
        check_error(ledger.call(method, f"/{agent_id}{path}", body), 404, "not_found")
    assert (ledger.state(), neighbour.state()) == (before, theirs)


def test_a_foreign_external_id_is_free(ledger: Ledger, door: Door) -> None:
    neighbour = found(door, "Neighbour")
    assert neighbour.register("known")["created"] is True
    assert len(ledger.ok("GET", "?external_id=known")["data"]) == 1


def test_a_user_of_another_tenant_is_unknown(ledger: Ledger, door: Door) -> None:
    neighbour = found(door, "Neighbour")
    check_error(ledger.call("POST", "/register", ledger.registration("x", userId=neighbour.user)), 404, "not_found")


def test_a_token_of_another_agent_is_unknown(ledger: Ledger, agent: str) -> None:
    other = ledger.register("other")["id"]
    token = ledger.ok("POST", f"/{other}/tokens", {"name": "x"}, 201)["id"]
    for token_id in (token, "tok_1"):
        message = check_error(ledger.call("DELETE", f"/{agent}/tokens/{token_id}"), 404, "not_found")
        assert message == f"unknown token `{token_id}` (in `tokenId`)"
    assert token in [each["id"] for each in ledger.ok("GET", f"/{other}/tokens")["data"]]


@pytest.mark.parametrize(
    "headers",
    [{}, {"Api-Key": ""}, {"Api-Key": "sk_live_x"}, {"Authorization": "Bearer {key}"}, {"X-API-Key": "{key}"}],
)
def test_a_call_needs_a_key_in_its_header(ledger: Ledger, headers: dict[str, str]) -> None:
    sent = tuple((name, value.format(key=ledger.key)) for name, value in headers.items())
    answer = ledger.door.call("GET", "/ledger/v1/agents", token=None, headers=sent)
    check_error(answer, 401, "unauthenticated")


def test_a_key_that_comes_twice_is_refused(ledger: Ledger) -> None:
    sent = (("Api-Key", ledger.key), ("Api-Key", "sk_live_x"))
    check_error(ledger.door.call("GET", "/ledger/v1/agents", token=None, headers=sent), 400, "validation_failed")


def test_what_is_no_json_is_refused(ledger: Ledger) -> None:
    check_error(ledger.call("POST", "/register", b"{"), 400, "invalid_json")
    check_error(ledger.call("POST", "/register", b'{"name":1,"name":2}'), 400, "invalid_json")
    headers = {"Content-Type": "text/plain"}
    check_error(ledger.call("POST", "/register", b"{}", headers=headers), 415, "unsupported_media_type")
    check_error(ledger.call("POST", "/register", b" " * 70_000), 413, "too_large")


def test_an_unknown_path_and_method_are_told_in_the_same_words(ledger: Ledger) -> None:
    check_error(ledger.door.call("GET", "/ledger/v1/nothing", token=None), 404, "not_found")
    answer = ledger.call("DELETE")
    check_error(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, POST"


@pytest.mark.parametrize("error", [Unavailable("the disk is full"), StoreUnusable("the store broke")])
def test_what_cannot_be_done_now_may_be_tried_again(error: SidecarError) -> None:
    answer = error_answer(error, "req_1", ())
    assert (answer.status, answer.headers) == (503, (("Retry-After", "1"),))
    assert json.loads(answer.body) == {"error": {"code": "unavailable", "message": error.message}}


def test_over_a_rate_limit_it_is_said_when_to_come_again(door: Door) -> None:
    limited = found(door, "Limited")
    door.ok("PATCH", f"/v1/tenants/{limited.tenant_id}", {"rate_limit": "1/hour"})
    limited.call("GET")
    answer = limited.call("GET")
    check_error(answer, 429, "rate_limited")
    assert int(answer.headers["retry-after"]) > 0
    assert "ratelimit" in answer.headers

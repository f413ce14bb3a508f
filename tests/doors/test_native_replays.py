"""The `Idempotency-Key` of every call that changes something, and the rotation of tokens, over the native door."""

import re

import pytest

from sidecar.doors.wire.endpoint import Endpoint
from tests.doors.door import Door, House, build, check_refusal
from tests.process.server import OPERATOR, Answer, Document

# Path and body of every changing POST but those of decisions, with the names of the things that are filled in.
CALLS: tuple[tuple[str, Document], ...] = (
    ("/v1/tenants", {"name": "Twice"}),
    ("/v1/identities", {"parent_id": "{team}", "type": "agent", "name": "x"}),
    ("/v1/identities/{other}/revoke", {}),
    ("/v1/policies", {"identity_id": "{team}", "name": "x", "rules": {}}),
    ("/v1/policies", {"name": "x", "cedar": 'permit (principal, action == Action::"tool.call", resource);'}),
    (
        "/v1/budgets",
        {"identity_id": "{team}", "name": "x", "dimension": "amount", "period": "daily", "limit": 1, "currency": "CAD"},
    ),
    ("/v1/tokens", {"name": "x", "identity_id": "{agent}"}),
    ("/v1/tokens/{agent_token_id}/rotate", {"grace_seconds": 60}),
)
NAMES = [f"{path}{' cedar' if 'cedar' in body else ''}" for path, body in CALLS]
PLACES = {"{team}", "{agent}"}
SECRETS = {"/v1/tenants": "api_key", "/v1/tokens": "token", "/v1/tokens/{agent_token_id}/rotate": "token"}


@pytest.fixture
def home(door: Door) -> House:
    """A tenant for one test."""
    return build(door)


def post(house: House, path: str, body: Document, key: str | None = "k") -> Answer:
    """Make a call with the ids of ``house`` filled in, as the operator where only that one can."""
    names = house._asdict()
    content = {
        name: value.format(**names) if isinstance(value, str) and value in PLACES else value
        for name, value in body.items()
    }
    token = OPERATOR if path == "/v1/tenants" else house.key
    return house.door.call("POST", path.format(**names), content, token=token, key=key)


def changed(house: House, body: Document) -> Document:
    """A body that says something else."""
    if "name" in body:
        return body | {"name": "another"}
    return {"grace_seconds": 61} if body else {"tenant_id": house.tenant_id}


@pytest.mark.parametrize(("path", "body"), CALLS, ids=NAMES)
def test_a_repeated_call_is_answered_as_before_and_says_so(home: House, path: str, body: Document) -> None:
    """But for a secret, which is shown once; other content under the key is refused."""
    key = home.tenant_id  # the operator's key for tenants is one for all tests
    first = post(home, path, body, key)
    assert first.status in {200, 201}, first
    assert not first.is_replayed
    state, tenants = home.state(), home.door.ok("GET", "/v1/tenants?limit=200")
    again = post(home, path, body, key)
    assert (again.status, again.is_replayed) == (first.status, True)
    shown = first.document
    if path in SECRETS:
        assert shown[SECRETS[path]].startswith(("sk_live_", "at_live_"))
        shown[SECRETS[path]] = None
    assert again.document == shown
    assert "other content" in check_refusal(post(home, path, changed(home, body), key), 422)
    assert (home.state(), home.door.ok("GET", "/v1/tenants?limit=200")) == (state, tenants)


@pytest.mark.parametrize(("path", "body"), CALLS, ids=NAMES)
def test_without_a_key_or_with_another_the_call_is_made_again(home: House, path: str, body: Document) -> None:
    for key in (None, "k1", "k2", None):
        assert not post(home, path, body, key).is_replayed


def test_every_call_that_changes_something_by_post_takes_a_key(door: Door) -> None:
    """Named here are those that need none: one always answers with the present state, the others carry an id.

    What a follower says has a place in its log, or is about one of its decisions, so it is taken once in any case; what
    a network says has an id of the network's. A search changes nothing.
    """
    without = {
        "/access/v1/search/action",
        "/access/v1/search/resource",
        "/access/v1/search/subject",
        "/tally/v1/agents",
        "/v1/audit/records",
        "/v1/reservations",
        "/v1/reservations/{decision_id}/cancel",
    }
    endpoints = [route.endpoint for route in door.routes() if isinstance(route.endpoint, Endpoint)]
    posts = [call for endpoint in endpoints for call in endpoint.calls.values() if call.method == "POST"]
    posts = [call for call in posts if not call.is_raw]
    assert {call.path for call in posts if not call.is_idempotent} == without
    assert {path.format(**dict.fromkeys(House._fields, "{x}")) for path, _ in CALLS} <= {
        re.sub(r"{\w+}", "{x}", call.path) for call in posts
    }


def test_another_method_takes_no_key(home: House) -> None:
    """A change of state is repeated without harm, so a key that comes with it is ignored, whatever it says."""
    path = f"/v1/identities/{home.agent}"
    for name in ("one", "two"):
        answer = home.call("PATCH", path, {"name": name}, key="k")
        assert (answer.document["name"], answer.is_replayed) == (name, False)
    assert home.call("GET", path, key="k").document["name"] == "two"
    assert home.call("DELETE", f"/v1/tokens/{home.agent_token_id}", key="k").status == 204
    check_refusal(home.call("DELETE", f"/v1/tokens/{home.agent_token_id}", key="k"), 404)


def test_a_tenant_is_the_same_content_in_the_body_and_in_the_query(home: House) -> None:
    body = {"parent_id": home.team, "type": "agent", "name": "x"}
    first = home.door.call("POST", "/v1/identities", body | {"tenant_id": home.tenant_id}, key="k")
    again = home.door.call("POST", f"/v1/identities?tenant_id={home.tenant_id}", body, key="k")
    assert (first.status, again.status, again.is_replayed) == (201, 201, True)
    assert again.document == first.document


def test_two_callers_may_use_one_key(home: House) -> None:
    """It belongs to the token, so nobody is answered what was said to another."""
    body = {"parent_id": home.team, "type": "agent", "name": "x"}
    other = home.ok("POST", "/v1/tokens", {"name": "second key"})["token"]
    mine, theirs = (
        home.call("POST", "/v1/identities", body, key="k"),
        home.call("POST", "/v1/identities", body, key="k", token=other),
    )
    assert not theirs.is_replayed
    assert mine.document["identity_id"] != theirs.document["identity_id"]


def test_a_retry_reaches_only_what_its_token_reaches(home: House) -> None:
    body = {"name": "x", "identity_id": home.agent}
    made = home.call("POST", "/v1/tokens", body, key="k").document
    check_refusal(home.call("POST", "/v1/tokens", body, key="k", token=made["token"]), 403)
    home.ok("DELETE", f"/v1/tokens/{made['token_id']}")
    assert home.call("POST", "/v1/tokens", body, key="k").document == made | {"token": None}


# --- Rotation ---------------------------------------------------------------------------------------------------------


def test_a_token_is_rotated_and_the_last_one_opens_on_for_the_grace_time(home: House) -> None:
    path, clock = f"/v1/tokens/{home.agent_token_id}", home.door.clock
    before = next(each for each in home.ok("GET", "/v1/tokens")["data"] if each["token_id"] == home.agent_token_id)
    answer = home.call("POST", f"{path}/rotate", {"grace_seconds": 60})
    assert answer.status == 200
    turned = answer.document
    token = turned.pop("token")
    assert token.startswith(turned["prefix"])
    assert turned == before | {
        "prefix": turned["prefix"],
        "rotated_at": "2026-03-09T12:00:00Z",
        "former_expires_at": "2026-03-09T12:01:00Z",
    }
    assert turned in home.ok("GET", f"/v1/tokens?identity_id={home.agent}")["data"]
    for passed, status in ((0, 200), (59_999_999, 200), (1, 401)):
        clock.now_us += passed
        assert home.call("POST", "/v1/authorize", home.request(1), token=home.agent_token).status == status
        assert home.call("POST", "/v1/authorize", home.request(1), token=token).status == 200
    clock.now_us -= 60_000_000
    last = home.ok("POST", f"{path}/rotate")
    assert last["former_expires_at"] is None
    check_refusal(home.call("POST", "/v1/authorize", home.request(1), token=token), 401)
    records = [each for each in home.ok("GET", "/v1/audit?limit=200")["data"] if each["type"] == "token_rotated"]
    assert [(each["token"], each["grace_seconds"]) for each in records] == [
        (home.agent_token_id, 60),
        (home.agent_token_id, 0),
    ]


@pytest.mark.parametrize("grace", [-1, 604_801, 1.5, "60", True, None])
def test_a_grace_time_that_cannot_be_is_refused(home: House, grace: object) -> None:
    path = f"/v1/tokens/{home.agent_token_id}/rotate"
    before = home.state()
    check_refusal(home.call("POST", path, {"grace_seconds": grace}), 400, "grace_seconds")
    check_refusal(home.call("POST", "/v1/tokens/tok_nobody/rotate", {}), 404, "token_id")
    check_refusal(home.call("POST", path, {}, token=home.agent_token), 403)
    assert home.state() == before

"""The calls about what a control plane decides for a follower, and budgets that a follower decides on, over HTTP."""

import json
from collections.abc import Coroutine, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from sidecar.core.audit import encode_hash
from sidecar.core.errors import NotFound, Unavailable
from sidecar.core.model import AuthorizeRequest, ClaimedTags, ResourceRef
from sidecar.replica.control_plane import Rejected, Unreachable
from sidecar.replica.reservations import RemoteDelegate
from sidecar.service.delegation import NotSent
from tests.doors.door import NOON_US, Door

T = TypeVar("T")

DECISION = "dec_01K9Z3J4M5N6P7Q8R9S0T1V2W6"
REQUEST = AuthorizeRequest(
    identity_id="agent",
    action="card.authorize",
    resource=ResourceRef("merchant", "AWS"),
    amount_minor=4_723,
    currency="CAD",
    merchant_category="5734",
    quantities={"seats": 2},
    ttl_seconds=86_400,
)
PATH = "/v1/reservations"


class Plane:
    """A control plane behind its door, with a follower's token."""

    def __init__(self, folder: Path) -> None:
        """Found a tenant with an agent that may do anything."""
        self.door = Door(folder)
        self.key = self.door.ok("POST", "/v1/tenants", {"name": "Acme", "id": "acme", "root": {"id": "root"}})[
            "api_key"
        ]
        self.make("/v1/identities", parent_id="root", id="agent", type="agent", name="Agent")
        self.make("/v1/identities", parent_id="root", id="other", type="agent", name="Other")
        self.make("/v1/policies", name="grant", rules={})
        self.token, self.token_id = self.follower()

    def make(self, path: str, **body: object) -> Any:  # noqa: ANN401 -- a document
        """Make something as the tenant."""
        return self.door.ok("POST", path, body, token=self.key)

    def follower(self, **changes: object) -> tuple[str, str]:
        """Make a follower's token; returns it and its id."""
        made = self.make("/v1/tokens", name="pod", kind="follower", **changes)
        return made["token"], made["token_id"]

    def budget(self, **changes: object) -> Any:  # noqa: ANN401 -- a document
        """Make a budget of 100 a day."""
        wanted = {"identity_id": "agent", "name": "b", "dimension": "amount", "period": "daily", "currency": "CAD"}
        return self.make("/v1/budgets", **(wanted | {"limit": 100} | changes))

    def refused(self, path: str, token: str | None = None, **body: object) -> tuple[int, str | None]:
        """Return the status of a refused call and the field at fault."""
        answer = self.door.call("POST", path, body, token=token or self.key)
        return answer.status, answer.document.get("field")

    async def post(self, path: str, body: bytes, timeout_seconds: float) -> bytes:
        """Be what a follower posts to."""
        assert timeout_seconds == 1.0
        answer = self.door.call("POST", path, json.loads(body), token=self.token)
        if answer.status >= 400:
            raise Rejected(answer.document["error"], status=answer.status)
        return answer.body


def driven(call: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns that waits for nothing."""
    try:
        call.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    """A control plane."""
    made = Plane(tmp_path)
    with made.door:
        yield made


def asked(**changes: object) -> dict[str, object]:
    """Return the body of a reservation."""
    return {"decision_id": DECISION, "request": json.loads(REQUEST.canonical()) | changes}


def test_what_a_follower_sends_is_decided_as_it_was_asked(plane: Plane) -> None:
    """The request arrives to the byte: both logs name the same fact. The word comes back whole."""
    budget_id = plane.budget()["budget_id"]
    word = driven(RemoteDelegate(plane).reserve(DECISION, REQUEST))
    assert (word.decision_id, word.granted, word.reasons) == (DECISION, True, ())
    (share,) = word.shares
    assert (share.budget_id, share.asked, share.granted, share.settled, share.held) == (budget_id, 4_723, 4_723, 0, 0)
    (check,) = word.checks
    assert (check.budget_id, check.limit, check.requested, check.allowed) == (budget_id, 10_000, 4_723, True)
    assert word.expires_at_us == NOON_US + (86_400 + 7 * 86_400) * 1_000_000
    record = plane.door.ok("GET", "/v1/audit?limit=50", token=plane.key)["data"][-1]
    assert (record["decision_id"], record["for"], record["token"]) == (DECISION, plane.token_id, plane.token_id)
    assert record["request"] == encode_hash(sha256(REQUEST.canonical()).digest())
    assert word.audit is not None
    assert word.audit.seq == record["seq"]


@pytest.mark.parametrize("tags", [ClaimedTags({"role": "admin"}), ClaimedTags({}, {"site": "a"}), ClaimedTags()])
def test_tags_that_a_request_claims_are_asked_about_as_well(plane: Plane, tags: ClaimedTags) -> None:
    request = msgspec.structs.replace(REQUEST, tags=tags)
    assert driven(RemoteDelegate(plane).reserve(DECISION, request)).granted
    record = plane.door.ok("GET", "/v1/audit?limit=50", token=plane.key)["data"][-1]
    assert record["claimed"] == {"principal": sorted(tags.principal), "resource": sorted(tags.resource)}
    assert record["request"] == encode_hash(sha256(request.canonical()).digest())


def test_a_denial_comes_back_with_its_reasons(plane: Plane) -> None:
    """With all that an agent can act on."""
    plane.budget(limit=10)
    word = driven(RemoteDelegate(plane).reserve(DECISION, REQUEST))
    (reason,) = word.reasons
    assert (word.granted, reason.code, reason.requested, reason.remaining) == (False, "budget_exceeded", 4_723, 1_000)


def test_a_reservation_is_cancelled_by_its_path(plane: Plane) -> None:
    """It is free, and what is none of this follower's is not found."""
    budget_id = plane.budget()["budget_id"]
    delegate = RemoteDelegate(plane)
    driven(delegate.reserve(DECISION, REQUEST))
    driven(delegate.cancel(DECISION))
    usage = plane.door.ok("GET", f"/v1/budgets/{budget_id}", token=plane.key)["usage"]
    assert usage["reserved"] == 0
    plane.token, _ = plane.follower()
    with pytest.raises(NotFound):
        driven(delegate.cancel(DECISION))
    with pytest.raises(Rejected) as refused:
        driven(delegate.cancel("dec_1"))
    assert refused.value.status == 400


def answered(decision_id: str, *, granted: bool) -> bytes:
    """Return a word that gives no reason."""
    word = {"decision_id": decision_id, "granted": granted, "reasons": [], "budget_checks": [], "claims": []}
    nothing = {"expires_at_us": None, "entity_revision": 1, "policy_revision": "", "audit": None}
    return json.dumps(word | nothing).encode()


@pytest.mark.parametrize(
    "answer",
    [
        b"not json",
        b"{}",
        answered("dec_other", granted=True),
        answered(DECISION, granted=False),
    ],
)
def test_an_answer_that_says_nothing_of_this_decision_is_none(answer: bytes) -> None:
    """Whether something is held is not known then."""

    class Strange:
        """No control plane of ours."""

        async def post(self, path: str, body: bytes, timeout_seconds: float) -> bytes:
            """Answer as it likes."""
            assert (path, body[:16], timeout_seconds) == (PATH, b'{"decision_id":"', 1.0)
            return answer

    with pytest.raises(Unavailable):
        driven(RemoteDelegate(Strange()).reserve(DECISION, REQUEST))


@pytest.mark.parametrize("was_sent", [True, False])
def test_what_had_no_connection_was_never_sent(*, was_sent: bool) -> None:
    """Of anything else that fails is not known whether it was done."""

    class Silent:
        """No control plane at all."""

        async def post(self, _path: str, _body: bytes, _timeout_seconds: float) -> bytes:
            """Fail."""
            raise Unreachable("gone", was_sent=was_sent)

    with pytest.raises(Unavailable, match="gone") as caught:
        driven(RemoteDelegate(Silent()).reserve(DECISION, REQUEST))
    assert isinstance(caught.value, NotSent) is not was_sent


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"currency": None}, "request.currency"),
        ({"amount_minor": None}, "request.amount_minor"),
        ({"currency": "XXX"}, "request.currency"),
        ({"amount_minor": -1}, "request.amount_minor"),
        ({"amount_minor": 10**16}, "request.amount_minor"),
        ({"quantities": {"amount": 1}}, "request.quantities.amount"),
        ({"quantities": {"Seats": 1}}, "request.quantities"),
        ({"merchant_category": "57"}, "request.merchant_category"),
        ({"action": "no spaces"}, "request.action"),
        ({"tags": {"principal": {"role": 1}}}, "request.tags.principal[...]"),
        ({"tags": {"context": {}}}, "request.tags.context"),
        ({"resource": {"type": "Bad", "id": "x"}}, "request.resource.type"),
        ({"resource": {"type": "merchant", "id": ""}}, "request.resource.id"),
        ({"context": {"__entity": 1}}, "request.context.__entity"),
        ({"context": {"x": 1.5}}, "request.context.x"),
        ({"attributes": {"__extn": 1}}, "request.attributes.__extn"),
        ({"ttl_seconds": 0}, "request.ttl_seconds"),
        ({"surplus": 0}, "request.surplus"),
    ],
)
def test_a_request_is_checked_again_whoever_sends_it(plane: Plane, changes: dict[str, object], field: str) -> None:
    """A follower is no way around the grammar."""
    assert plane.refused(PATH, plane.token, **asked(**changes)) == (400, field)


def test_only_a_followers_token_makes_these_calls(plane: Plane) -> None:
    """Also with an id of another kind, which is the first that is looked at."""
    other, _ = plane.follower(identity_id="other")
    assert plane.refused(PATH, plane.key, **asked()) == (403, None)
    assert plane.refused(PATH, other, **asked()) == (404, "identity_id")
    assert plane.refused(PATH, plane.token, **(asked() | {"decision_id": "tok_1"})) == (400, "decision_id")
    assert plane.refused(f"{PATH}/{DECISION}/cancel", plane.key) == (403, None)


def test_a_budget_is_given_to_a_follower_when_it_is_made_and_for_good(plane: Plane) -> None:
    """It is shown, and no change can take it away or have it suspend."""
    budget = plane.budget(follower_id=plane.token_id)
    assert budget["follower_id"] == plane.token_id
    assert plane.budget()["follower_id"] is None
    path = f"/v1/budgets/{budget['budget_id']}"
    for body, status, field in (
        ({"follower_id": None}, 400, "follower_id"),
        ({"on_exceeded": "suspend"}, 409, "on_exceeded"),
        ({"limit": 5, "on_exceeded": "notify"}, 200, None),
    ):
        answer = plane.door.call("PATCH", path, body, token=plane.key)
        assert (answer.status, answer.document.get("field")) == (status, field)
    denied = plane.door.ok(
        "POST",
        "/v1/authorize",
        {"identity_id": "agent", "action": "card.authorize", "resource": asked_resource()},
        token=plane.key,
    )
    assert [reason["code"] for reason in denied["reasons"]] == ["replica_stale"]


def asked_resource() -> dict[str, object]:
    """A merchant to be paid."""
    return {"type": "merchant", "id": "AWS", "amount": 1, "currency": "CAD", "merchant_category": "5734"}


def test_a_budget_is_only_given_to_a_follower_that_hears_of_it(plane: Plane) -> None:
    """One of the same tenant whose scope is above or below the budget's owner, a card's as well."""
    card = plane.make("/v1/treasury/cards", identity_id="agent", currency="CAD")["card_id"]
    _, of_agent = plane.follower(identity_id="agent")
    _, of_other = plane.follower(identity_id="other")
    key_id = plane.make("/v1/tokens", name="key")["token_id"]
    for owner in ({}, {"identity_id": "root"}, {"identity_id": None, "card_id": card}):
        assert plane.budget(follower_id=of_agent, **owner)["follower_id"] == of_agent
    wanted: dict[str, Any] = {"identity_id": "agent", "name": "b", "dimension": "amount", "period": "daily"}
    wanted |= {"currency": "CAD"}
    for follower_id, changes, field in (
        (of_other, {}, "follower_id"),
        (key_id, {}, "follower_id"),
        ("tok_01K9Z3J4M5N6P7Q8R9S0T1V2W5", {}, "follower_id"),
        (of_agent, {"on_exceeded": "suspend"}, "on_exceeded"),
    ):
        body = wanted | {"limit": 1, "follower_id": follower_id} | changes
        assert plane.refused("/v1/budgets", **body) == (400, field)

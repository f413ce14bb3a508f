"""Stripe Issuing at its door: the life of an authorization, and every answer in Stripe's own shape."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.doors.card_network.stripe import API_VERSION
from tests.doors.door import Door, build, named
from tests.doors.networks import (
    STRIPE_CARD,
    Networks,
    authorization,
    history,
    pending,
    stripe_event,
    stripe_headers,
    transaction,
)
from tests.process.server import Answer, Document

REQUEST, CREATED, UPDATED = (f"issuing_authorization.{kind}" for kind in ("request", "created", "updated"))
MOVED = "issuing_transaction.created"


@pytest.fixture
def networks(tmp_path: Path) -> Iterator[Networks]:
    """A tenant with programs and cards, and an application of its own."""
    with Door(tmp_path) as door:
        yield Networks(build(door))


def ask(networks: Networks, amount: object = 1_000, name: str = "evt_1", **changes: object) -> Answer:
    """Ask for a payment."""
    content = authorization(pending_request=pending(amount)) | changes
    return networks.stripe(stripe_event(REQUEST, content, name))


def tell(networks: Networks, kind: str, content: Document, name: str, created: int = 0) -> str:
    """Tell of an event, and return what became of it."""
    answer = networks.stripe(stripe_event(kind, content, name, created or 1_773_057_600))
    assert answer.status == 200, answer
    assert answer.document["received"] is True
    outcome: str = answer.document["outcome"]
    return outcome


def check_decline(answer: Answer, reason: str) -> None:
    """Check that an answer declines as Stripe understands it."""
    document = answer.document
    assert answer.status == 200, answer
    assert document["approved"] is False
    assert document["metadata"]["reason"] == reason, document
    assert document["metadata"]["message"]
    assert all(len(value) <= 500 for value in document["metadata"].values())
    assert answer.headers["stripe-version"]
    assert answer.headers["x-decision-reason"] == reason


def test_a_permit_approves_and_names_its_decision(networks: Networks) -> None:
    answer = ask(networks)
    decision_id = answer.document["metadata"]["decision_id"]
    assert (answer.status, answer.document) == (200, {"approved": True, "metadata": {"decision_id": decision_id}})
    assert answer.headers["stripe-version"] == "2024-06-20"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-decision-id"] == decision_id
    assert networks.used() == (10, 0)
    decision = networks.house.ok("GET", f"/v1/decisions/{decision_id}")
    assert decision["allowed"]
    record = networks.house.ok("GET", "/v1/audit?verdict=allow")["data"][-1]
    assert (record["decision_id"], record["action"]) == (decision_id, "card.authorize")


def test_a_denial_declines_with_its_reason_and_reserves_nothing(networks: Networks) -> None:
    answer = ask(networks, 20_001)
    check_decline(answer, "forbidden")
    decision_id = answer.document["metadata"]["decision_id"]
    assert answer.headers["x-decision-id"] == decision_id
    assert not networks.house.ok("GET", f"/v1/decisions/{decision_id}")["allowed"]
    for number in range(2, 5):
        ask(networks, 20_000, f"evt_{number}", id=f"iauth_{number}")
    check_decline(ask(networks, 20_000, "evt_9", id="iauth_9"), "budget_exceeded")
    assert networks.used() == (400, 0)


def test_the_same_event_again_gets_the_same_answer_and_reserves_once(networks: Networks) -> None:
    first = ask(networks)
    assert [ask(networks).document for _ in range(3)] == [first.document] * 3
    assert networks.used() == (10, 0)
    check_decline(ask(networks, 2_000), "idempotency_conflict")
    assert networks.used() == (10, 0)


def test_a_frozen_card_is_declined(networks: Networks) -> None:
    networks.house.ok("POST", f"/v1/treasury/cards/{networks.cards['stripe']}/freeze", {})
    check_decline(ask(networks), "card_frozen")


def test_the_whole_life_of_an_authorization(networks: Networks) -> None:
    """Asked, made larger, made smaller, captured in two parts, the second above what is left, and given back."""
    ask(networks)
    asked = authorization(amount=1_000, approved=True, pending_request=None, request_history=history((1_000, True)))
    assert tell(networks, CREATED, asked, "evt_2") == "booked"
    assert networks.used() == (10, 0)
    larger = authorization(
        amount=1_000, approved=True, pending_request=pending(500), request_history=history((1_000, True))
    )
    assert networks.stripe(stripe_event(REQUEST, larger, "evt_3")).document["approved"]
    assert networks.used() == (15, 0)
    both = {"pending_request": None, "approved": True, "request_history": history((1_000, True), (500, True))}
    tell(networks, UPDATED, authorization(amount=1_500, **both), "evt_4")
    assert networks.used() == (15, 0)
    tell(networks, UPDATED, authorization(amount=1_200, **both), "evt_5", 1_773_057_700)
    assert networks.used() == (12, 0)
    tell(networks, MOVED, transaction(-500, "ipi_1"), "evt_6")
    assert networks.used() == (7, 5)
    assert tell(networks, MOVED, transaction(-500, "ipi_1"), "evt_6") == "repeated"
    assert tell(networks, "issuing_transaction.updated", transaction(-500, "ipi_1"), "evt_7") == "repeated"
    tell(networks, MOVED, transaction(-1_000, "ipi_2"), "evt_8")
    closed = authorization(amount=1_200, status="closed", **both)
    tell(networks, UPDATED, closed, "evt_9", 1_773_057_800)
    assert networks.used() == (0, 15)
    tell(networks, MOVED, transaction(300, "ipi_3"), "evt_10")
    assert networks.used() == (0, 12)


@pytest.mark.parametrize("status", ["reversed", "expired", "closed"])
def test_what_is_over_holds_nothing(networks: Networks, status: str) -> None:
    ask(networks)
    over = authorization(
        amount=1_000, approved=True, pending_request=None, status=status, request_history=history((1_000, True))
    )
    tell(networks, UPDATED, over, "evt_2")
    assert networks.used() == (0, 0)


def test_what_stripe_declined_after_a_permit_holds_nothing(networks: Networks) -> None:
    """As where the answer came too late, or a check of Stripe's own failed."""
    ask(networks)
    declined = authorization(
        amount=1_000, approved=False, pending_request=None, status="closed", request_history=history((1_000, False))
    )
    tell(networks, CREATED, declined, "evt_2")
    assert networks.used() == (0, 0)


def test_an_increment_that_was_declined_leaves_what_was_approved(networks: Networks) -> None:
    ask(networks)
    requests = history((1_000, True), (50_000, False))
    found = authorization(amount=51_000, approved=True, pending_request=None, request_history=requests)
    tell(networks, UPDATED, found, "evt_2")
    assert networks.used() == (10, 0)


def test_an_authorization_without_history_is_taken_at_its_amount(networks: Networks) -> None:
    ask(networks)
    found = authorization(amount=800, approved=True, pending_request=None)
    tell(networks, UPDATED, found, "evt_2")
    assert networks.used() == (8, 0)


def test_a_capture_without_authorization_is_booked(networks: Networks) -> None:
    found = transaction(-700, authorization=None, merchant_data=None)
    assert tell(networks, MOVED, found, "evt_1") == "booked"
    assert networks.used() == (0, 7)


def test_objects_may_be_expanded(networks: Networks) -> None:
    ask(networks)
    card = {"id": STRIPE_CARD, "object": "issuing.card"}
    tell(networks, MOVED, transaction(-1_000, authorization=authorization(), card=card), "evt_2")
    assert networks.used() == (0, 10)
    assert tell(networks, CREATED, authorization(card="ic_other"), "evt_3") == "unknown_card"


@pytest.mark.parametrize("kind", ["issuing_dispute.created", "issuing_card.updated", "charge.succeeded", "x.y"])
def test_an_event_that_is_not_about_money_is_taken_recorded_and_does_nothing(networks: Networks, kind: str) -> None:
    assert tell(networks, kind, {"id": "idp_1", "amount": 1.5}, "evt_1") == "no_effect"
    record = networks.house.ok("GET", "/v1/audit")["data"][-1]
    assert (record["type"], networks.used()) == ("card_event", (0, 0))


def test_an_event_of_a_form_that_nobody_knows_does_nothing(networks: Networks) -> None:
    answer = networks.stripe({"id": "evt_1", "type": "v2.money", "created": "2026-03-09T12:00:00Z"})
    assert (answer.status, answer.document["outcome"]) == (200, "no_effect")


def test_a_transaction_that_moves_nothing_or_is_of_another_kind_does_nothing(networks: Networks) -> None:
    assert tell(networks, MOVED, transaction(0), "evt_1") == "no_effect"
    assert tell(networks, MOVED, transaction(-5, type="adjustment"), "evt_2") == "no_effect"
    assert networks.used() == (0, 0)


BAD_REQUESTS: dict[str, tuple[Document, str]] = {
    "nothing pending": ({"pending_request": None}, "validation_failed"),
    "a negative amount": ({"pending_request": pending(-1)}, "validation_failed"),
    "a fraction": ({"pending_request": pending(10.5)}, "validation_failed"),
    "a fraction of nothing": ({"pending_request": pending(10.0)}, "validation_failed"),
    "a text": ({"pending_request": pending("1000")}, "validation_failed"),
    "a huge amount": ({"pending_request": pending(10**30)}, "validation_failed"),
    "an amount above the limit": ({"pending_request": pending(10**15 + 1)}, "validation_failed"),
    "no amount": ({"pending_request": {"currency": "cad"}}, "validation_failed"),
    "an amount of null": ({"pending_request": pending(None)}, "validation_failed"),
    "another currency": ({"pending_request": pending(1_000, "usd")}, "forbidden"),
    "no currency at all": ({"pending_request": pending(1_000, "qqq")}, "validation_failed"),
    "a currency of null": ({"pending_request": pending(1_000, None)}, "validation_failed"),
    "another card": ({"card": {"id": "ic_2"}}, "unknown_card"),
    "no card": ({"card": None}, "validation_failed"),
    "a card without id": ({"card": {}}, "validation_failed"),
    "an empty card": ({"card": {"id": ""}}, "validation_failed"),
    "no merchant": ({"merchant_data": None}, "validation_failed"),
    "no authorization": ({"id": None}, "validation_failed"),
    "an authorization without end": ({"id": "i" * 5_000}, "validation_failed"),
    "a history of null": ({"request_history": None}, "validation_failed"),
    "a history of texts": ({"request_history": ["x"]}, "validation_failed"),
}


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Networks]:
    """A tenant for tests that change nothing."""
    with Door(tmp_path_factory.mktemp("steady")) as door:
        yield Networks(build(door))


@pytest.mark.parametrize(("changes", "reason"), named(BAD_REQUESTS))
def test_a_request_that_cannot_be_decided_is_declined_and_reserves_nothing(
    steady: Networks, changes: Document, reason: str
) -> None:
    before, used = steady.house.state(), steady.used()
    check_decline(steady.stripe(stripe_event(REQUEST, authorization(**changes), "evt_1")), reason)
    assert steady.used() == used
    if reason != "forbidden":
        assert steady.house.state() == before


BAD_BODIES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "invalid_json"),
    "no JSON": (b"approved=true", "invalid_json"),
    "no UTF-8": (b'{"id":"\xff"}', "invalid_json"),
    "an array": (b"[]", "validation_failed"),
    "a number": (b"1", "validation_failed"),
    "a key twice": (json.dumps(stripe_event(REQUEST, authorization())).encode()[:-1] + b',"id":"e"}', "invalid_json"),
    "too deep": (b"[" * 10_000, "invalid_json"),
    "NaN": (b'{"id":NaN}', "invalid_json"),
    "a number without end": (b'{"id":1' + b"0" * 5_000 + b"}", "invalid_json"),
    "no type": (b'{"id":"evt_1"}', "validation_failed"),
    "no id": (f'{{"type":"{REQUEST}"}}'.encode(), "validation_failed"),
    "no data": (f'{{"id":"evt_1","type":"{REQUEST}"}}'.encode(), "validation_failed"),
    "data of null": (json.dumps(stripe_event(REQUEST, authorization(), data=None)).encode(), "validation_failed"),
}


@pytest.mark.parametrize(("body", "reason"), named(BAD_BODIES))
def test_a_body_that_cannot_be_read_is_declined(steady: Networks, body: bytes, reason: str) -> None:
    """It may have been a request, and no answer but a decline is closed."""
    before = steady.house.state()
    check_decline(steady.stripe(body), reason)
    assert steady.house.state() == before


@pytest.mark.parametrize(
    "content",
    [
        transaction(-5) | {"amount": -5.5},
        transaction(-5) | {"amount": "5"},
        transaction(-5) | {"amount": -(10**30)},
        transaction(-5) | {"type": "refund"},
        transaction(5) | {"type": "capture"},
        transaction(-5) | {"currency": None},
        transaction(-5) | {"id": None},
        {},
    ],
)
def test_money_that_cannot_be_read_is_refused_so_that_it_is_told_again(steady: Networks, content: Document) -> None:
    before = steady.house.state()
    answer = steady.stripe(stripe_event(MOVED, content, "evt_7"))
    assert answer.status == 400
    assert set(answer.document) == {"error", "type", "request_id"}
    assert steady.house.state() == before


@pytest.mark.parametrize("version", ["2024-06-20", "2026-10-28.endive"])
def test_an_answer_is_in_the_version_of_its_event(steady: Networks, version: str) -> None:
    answer = steady.stripe(stripe_event(REQUEST, authorization(card="ic_2"), api_version=version))
    assert answer.headers["stripe-version"] == version


@pytest.mark.parametrize("version", [None, "", "2024\r\nX: y", "x" * 65])
def test_a_version_that_can_be_none_is_not_repeated(steady: Networks, version: str | None) -> None:
    answer = steady.stripe(stripe_event(REQUEST, authorization(card="ic_2"), api_version=version))
    assert answer.headers["stripe-version"] == API_VERSION


@pytest.mark.parametrize(
    ("merchant", "name"),
    [
        ({"name": "AWS", "network_id": "1"}, "AWS"),
        ({"name": " A\tB\n ", "network_id": "1"}, "A B"),
        ({"name": "\u2028", "network_id": "merchant 1"}, "merchant 1"),
        ({"name": None, "network_id": None}, "unknown"),
        ({}, "unknown"),
        ({"name": "x" * 600}, "x" * 512),
    ],
)
def test_a_merchant_is_called_by_the_first_name_there_is(networks: Networks, merchant: Document, name: str) -> None:
    merchant = merchant | {"category_code": "7372"}
    assert ask(networks, merchant_data=merchant).document["approved"]
    record = networks.house.ok("GET", "/v1/audit?verdict=allow")["data"][-1]
    assert record["resource"]["id"] == name


def test_a_signature_over_other_bytes_is_refused_before_anything_is_read(steady: Networks) -> None:
    """The spaces of a body count: it is not written again before it is checked."""
    body = json.dumps(stripe_event(REQUEST, authorization())).encode()
    answer = steady.post("stripe", body.replace(b": ", b":"), stripe_headers(body))
    assert (answer.status, answer.document["type"]) == (401, "unauthenticated")

"""Lithic at its door: the life of an authorization, and every answer in the shape of Auth Stream Access."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doors.door import Door, build, named
from tests.doors.networks import Networks, approval_request, happened, lithic_transaction
from tests.process.server import Answer, Document

TOKEN = "a1c4e2d0-0000-4000-8000-000000000001"


@pytest.fixture
def networks(tmp_path: Path) -> Iterator[Networks]:
    """A tenant with programs and cards, and an application of its own."""
    with Door(tmp_path) as door:
        yield Networks(build(door))


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Networks]:
    """A tenant for tests that change nothing."""
    with Door(tmp_path_factory.mktemp("steady")) as door:
        yield Networks(build(door))


def tell(networks: Networks, document: Document, name: str) -> str:
    """Tell of an event, and return what became of it."""
    answer = networks.lithic(document, name)
    assert answer.status == 200, answer
    outcome: str = answer.document["outcome"]
    return outcome


def check_decline(answer: Answer, result: str, reason: str) -> None:
    """Check that an answer declines as Lithic understands it."""
    assert answer.status == 200, answer
    assert answer.document == {"token": TOKEN, "result": result}
    assert answer.headers["x-decision-reason"] == reason


def amounts(cardholder: int, hold: int | None, currency: str = "CAD") -> Document:
    """The amounts of a request."""
    money = {"amount": cardholder, "currency": currency}
    return {"cardholder": money, "hold": None if hold is None else money | {"amount": hold}, "merchant": money}


def test_a_permit_approves_with_the_same_token_and_names_its_decision(networks: Networks) -> None:
    answer = networks.lithic(approval_request())
    assert (answer.status, answer.document) == (200, {"token": TOKEN, "result": "APPROVED"})
    assert networks.house.ok("GET", f"/v1/decisions/{answer.headers['x-decision-id']}")["allowed"]
    assert networks.used() == (10, 0)


def test_what_lithic_would_hold_is_reserved(networks: Networks) -> None:
    """At a pump or a table the hold is more than what is asked so far."""
    networks.lithic(approval_request(amounts=amounts(100, 15_000)))
    assert networks.used() == (150, 0)


def test_the_same_request_again_reserves_once(networks: Networks) -> None:
    """By the token of its event, under whatever id the message comes."""
    answers = [networks.lithic(approval_request(), name) for name in ("msg_1", "msg_1", "msg_2")]
    assert len({answer.body for answer in answers}) == 1
    assert networks.used() == (10, 0)
    check_decline(networks.lithic(approval_request(2_000), "msg_3"), "IDEMPOTENCY_CONFLICT", "idempotency_conflict")


def test_without_a_token_of_its_event_a_request_is_known_by_its_content(networks: Networks) -> None:
    """The same content is the same request; any other asks for more, as nothing says that it is not an increment."""
    first = approval_request(event_token=None)
    for name in ("msg_1", "msg_2"):
        assert networks.lithic(first, name).document["result"] == "APPROVED"
    assert networks.used() == (10, 0)
    assert networks.lithic(first | {"amounts": amounts(500, None)}, "msg_3").document["result"] == "APPROVED"
    assert networks.used() == (15, 0)


def test_the_whole_life_of_an_authorization(networks: Networks) -> None:
    """Asked, made larger, in part given back, cleared in two parts, and returned."""
    networks.lithic(approval_request(), "msg_1")
    asked = happened("AUTHORIZATION", 1_000, "ev_1")
    assert tell(networks, lithic_transaction(1_000, asked), "msg_2") == "booked"
    networks.lithic(approval_request(500, event_token="ev_b"), "msg_3")
    assert networks.used() == (15, 0)
    more = happened("AUTHORIZATION", 500, "ev_2")
    tell(networks, lithic_transaction(1_500, asked, more, updated="2026-03-09T12:00:01Z"), "msg_4")
    assert networks.used() == (15, 0)
    less = happened("AUTHORIZATION_REVERSAL", 300, "ev_3")
    tell(networks, lithic_transaction(1_200, asked, more, less, updated="2026-03-09T12:00:02Z"), "msg_5")
    assert networks.used() == (12, 0)
    first = happened("CLEARING", 400, "ev_4", settled=True)
    events = [asked, more, less, first]
    tell(networks, lithic_transaction(800, *events, updated="2026-03-09T12:00:03Z"), "msg_6")
    assert networks.used() == (8, 4)
    events.append(happened("CLEARING", 900, "ev_5", settled=True))
    done = lithic_transaction(0, *events, status="SETTLED", updated="2026-03-09T12:00:04Z")
    tell(networks, done, "msg_7")
    assert networks.used() == (0, 13)
    assert tell(networks, done, "msg_7") == "repeated"
    assert tell(networks, done, "msg_8") == "booked"
    assert networks.used() == (0, 13)
    events.append(happened("RETURN", -300, "ev_6", settled=True))
    tell(networks, lithic_transaction(0, *events, status="SETTLED", updated="2026-03-09T12:00:05Z"), "msg_9")
    assert networks.used() == (0, 10)


@pytest.mark.parametrize("status", ["VOIDED", "EXPIRED", "DECLINED", "SETTLED"])
def test_what_is_over_holds_nothing(networks: Networks, status: str) -> None:
    networks.lithic(approval_request())
    tell(networks, lithic_transaction(1_000, happened("AUTHORIZATION", 1_000, "ev_1"), status=status), "msg_2")
    assert networks.used() == (0, 0)


def test_an_increment_is_held_from_its_permit_on(networks: Networks) -> None:
    """Not only once Lithic tells of the whole: what it told before did not know of the increment."""
    networks.lithic(approval_request())
    tell(networks, lithic_transaction(1_000, happened("AUTHORIZATION", 1_000, "ev_1")), "msg_2")
    networks.lithic(approval_request(20_000, event_token="ev_b"), "msg_3")
    assert networks.used() == (210, 0)


def test_events_in_another_order_end_in_the_same_sums(networks: Networks) -> None:
    asked, cleared = happened("AUTHORIZATION", 1_000, "ev_1"), happened("CLEARING", 1_000, "ev_2", settled=True)
    late = lithic_transaction(0, asked, cleared, status="SETTLED", updated="2026-03-09T12:00:09Z")
    tell(networks, late, "msg_2")
    networks.lithic(approval_request(), "msg_1")
    tell(networks, lithic_transaction(1_000, asked), "msg_3")
    assert networks.used() == (0, 10)


@pytest.mark.parametrize("status", ["CREDIT_AUTHORIZATION", "FINANCIAL_CREDIT_AUTHORIZATION", "BALANCE_INQUIRY"])
def test_what_asks_for_no_money_is_decided_and_reserves_nothing(networks: Networks, status: str) -> None:
    assert networks.lithic(approval_request(status=status)).document["result"] == "APPROVED"
    assert networks.used() == (0, 0)
    networks.house.ok("POST", f"/v1/treasury/cards/{networks.cards['lithic']}/freeze", {})
    answer = networks.lithic(approval_request(status=status, event_token="ev_b"))
    check_decline(answer, "CARD_PAUSED", "card_frozen")


def test_a_financial_authorization_is_captured_at_once(networks: Networks) -> None:
    networks.lithic(approval_request(status="FINANCIAL_AUTHORIZATION"))
    assert networks.used() == (10, 0)
    moved = happened("FINANCIAL_AUTHORIZATION", 1_000, "ev_1", settled=True)
    tell(networks, lithic_transaction(0, moved, status="SETTLED"), "msg_2")
    assert networks.used() == (0, 10)


def test_a_denial_is_given_in_results_of_lithics(networks: Networks) -> None:
    check_decline(networks.lithic(approval_request(20_001, event_token="e1")), "UNAUTHORIZED_MERCHANT", "forbidden")
    for number in range(2):
        networks.lithic(approval_request(20_000, event_token=f"f{number}"))
    check_decline(networks.lithic(approval_request(20_000, event_token="e2")), "INSUFFICIENT_FUNDS", "budget_exceeded")
    networks.house.ok("POST", f"/v1/treasury/cards/{networks.cards['lithic']}/close", {})
    check_decline(networks.lithic(approval_request(event_token="e3")), "CARD_PAUSED", "card_closed")
    networks.house.ok("PATCH", f"/v1/identities/{networks.house.agent}", {"status": "suspended"})
    check_decline(networks.lithic(approval_request(event_token="e4")), "CARD_PAUSED", "identity_suspended")


def test_movements_are_told_apart_without_their_direction(networks: Networks) -> None:
    """Where an event does not say it, its kind does; what is declined, or about a hold, moves nothing."""
    events = [
        happened("CLEARING", 1_000, "ev_1"),
        happened("CORRECTION_DEBIT", 100, "ev_2"),
        happened("RETURN", 300, "ev_3"),
        happened("CLEARING", 5_000, "ev_4", result="DECLINED"),
        happened("AUTHORIZATION_ADVICE", 5_000, "ev_5"),
        happened("CLEARING", 0, "ev_6", settled=True),
    ]
    bare = [{key: each[key] for key in ("token", "type", "result", "amount")} for each in events]
    tell(networks, lithic_transaction(0, *bare, status="SETTLED"), "msg_1")
    assert networks.used() == (0, 8)


def test_a_transaction_whose_events_are_left_out_tells_what_is_on_hold(networks: Networks) -> None:
    networks.lithic(approval_request())
    tell(networks, lithic_transaction(700, events=None), "msg_2")
    assert networks.used() == (7, 0)


@pytest.mark.parametrize("kind", ["card.created", "dispute.updated", "tokenization.result", "x"])
def test_an_event_that_is_not_about_a_transaction_is_taken_recorded_and_does_nothing(
    networks: Networks, kind: str
) -> None:
    assert tell(networks, {"event_type": kind, "amount": 1.5, "token": None}, "msg_1") == "no_effect"
    assert (networks.house.ok("GET", "/v1/audit")["data"][-1]["type"], networks.used()) == ("card_event", (0, 0))


def test_an_event_of_an_unknown_card_is_taken_and_does_nothing(networks: Networks) -> None:
    assert tell(networks, lithic_transaction(1_000, card_token="other"), "msg_1") == "unknown_card"
    assert networks.used() == (0, 0)


BAD_REQUESTS: dict[str, tuple[Document, str, str]] = {
    "an unknown status": ({"status": "CLEARING"}, "VALIDATION_FAILED", "validation_failed"),
    "no status": ({"status": None}, "VALIDATION_FAILED", "validation_failed"),
    "no amounts": ({"amounts": None}, "VALIDATION_FAILED", "validation_failed"),
    "a negative amount": ({"amounts": amounts(-1, None)}, "VALIDATION_FAILED", "validation_failed"),
    "a negative hold": ({"amounts": amounts(5, -1)}, "VALIDATION_FAILED", "validation_failed"),
    "a huge hold": ({"amounts": amounts(5, 10**18)}, "VALIDATION_FAILED", "validation_failed"),
    "an unknown currency": ({"amounts": amounts(5, 5, "QQQ")}, "VALIDATION_FAILED", "validation_failed"),
    "another card": ({"card": {"token": "other"}}, "UNKNOWN_CARD", "unknown_card"),
    "no card": ({"card": {}}, "VALIDATION_FAILED", "validation_failed"),
    "no merchant": ({"merchant": None}, "VALIDATION_FAILED", "validation_failed"),
    "a number for a token": ({"event_token": 5}, "VALIDATION_FAILED", "validation_failed"),
}


@pytest.mark.parametrize(("changes", "result", "reason"), named(BAD_REQUESTS))
def test_a_request_that_cannot_be_decided_is_declined_and_changes_nothing(
    steady: Networks, changes: Document, result: str, reason: str
) -> None:
    before = steady.house.state()
    check_decline(steady.lithic(approval_request() | changes), result, reason)
    assert steady.house.state() == before


def test_a_fraction_is_no_amount(steady: Networks) -> None:
    before = steady.house.state()
    wrong: tuple[object, ...] = (10.5, "1000", None, [], 10**30)
    for amount in wrong:
        check_decline(steady.lithic(approval_request(amount)), "VALIDATION_FAILED", "validation_failed")
    assert steady.house.state() == before


@pytest.mark.parametrize(
    ("body", "result"),
    [
        (b"", "INVALID_JSON"),
        (b"[]", "VALIDATION_FAILED"),
        (b"{", "INVALID_JSON"),
        (b'{"token":"a","token":"b"}', "INVALID_JSON"),
        (b'{"token":"a"}', "VALIDATION_FAILED"),
        (b'{"event_type":7,"token":"a"}', "VALIDATION_FAILED"),
        (b'{"event_type":"","token":"a"}', "VALIDATION_FAILED"),
    ],
)
def test_a_body_that_cannot_be_read_is_declined(steady: Networks, body: bytes, result: str) -> None:
    before = steady.house.state()
    answer = steady.lithic(body)
    assert (answer.status, answer.document) == (200, {"result": result})
    assert steady.house.state() == before


def test_a_request_without_token_is_declined_without_one(steady: Networks) -> None:
    answer = steady.lithic(approval_request(token=None))
    assert (answer.status, answer.document) == (200, {"result": "VALIDATION_FAILED"})


@pytest.mark.parametrize(
    "changes",
    [
        {"updated": "yesterday"},
        {"updated": None},
        {"amounts": {"hold": {"amount": 1.5, "currency": "CAD"}}},
        {"amounts": {}},
        {"token": None},
        {"events": [{"token": "x"}]},
        {
            "events": [happened("CLEARING", 5, "ev_1", settled=True)],
            "amounts": {"hold": {"amount": 0, "currency": "USD"}},
        },
    ],
)
def test_a_transaction_that_cannot_be_read_is_refused_so_that_it_is_told_again(
    steady: Networks, changes: Document
) -> None:
    before = steady.house.state()
    answer = steady.lithic(lithic_transaction(1_000) | changes)
    assert (answer.status, answer.document["type"]) == (400, "validation_failed")
    assert steady.house.state() == before

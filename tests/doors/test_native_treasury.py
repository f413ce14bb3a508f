"""Cards and the kill switch over the native door: their answers, and what they refuse."""

import pytest

from tests.doors.door import Door, House, build, check_refusal, named
from tests.process.server import Document

CARDS = "/v1/treasury/cards"
LIMITS = {"spend_limit_daily": 200, "spend_limit_monthly": 2000, "currency": "CAD"}


@pytest.fixture
def own(door: Door) -> House:
    """A tenant for one test alone."""
    return build(door, "Cards Co")


def test_a_card_is_answered_with_its_limits_and_reference(house: House) -> None:
    more = {"external_ref": {"network": "stripe_issuing", "id": "ic_7"}, "last4": "4242", "allowed_mccs": ["7372"]}
    made = house.ok("POST", CARDS, {"identity_id": house.agent} | LIMITS | more)
    assert made["card_id"].startswith("card_")
    assert len(made["budget_ids"]) == 2
    assert made == {
        "card_id": made["card_id"],
        "tenant_id": house.tenant_id,
        "identity_id": house.agent,
        "status": "active",
        "frozen_by": None,
        "currency": "CAD",
        "last4": "4242",
        "external_ref": {"network": "stripe_issuing", "id": "ic_7"},
        "allowed_mccs": ["7372"],
        "spend_limit_daily": 200.0,
        "spend_limit_monthly": 2000.0,
        "budget_ids": made["budget_ids"],
        "created_at": "2026-03-09T12:00:00Z",
        "revision": made["revision"],
    }
    assert house.ok("GET", f"{CARDS}/{made['card_id']}") == made
    assert made in house.ok("GET", f"{CARDS}?identity_id={house.agent}&status=active&limit=200")["data"]
    budgets = house.ok("GET", f"/v1/budgets?card_id={made['card_id']}")["data"]
    assert [budget["budget_id"] for budget in budgets] == made["budget_ids"]


def test_a_plain_card_has_neither_limit_nor_reference(house: House) -> None:
    made = house.ok("POST", CARDS, {"identity_id": house.agent, "currency": "JPY"})
    assert (made["spend_limit_daily"], made["last4"], made["external_ref"]) == (None, None, None)
    assert (made["allowed_mccs"], made["budget_ids"]) == ([], [])


BAD: dict[str, tuple[object, ...]] = {
    "no identity": ({"identity_id": None}, 400, "identity_id"),
    "an unknown identity": ({"identity_id": "id_nobody"}, 404, "identity_id"),
    "no currency": ({"currency": None}, 400, "currency"),
    "an unknown currency": ({"currency": "XXZ"}, 400, "currency"),
    "a negative limit": ({"spend_limit_daily": -1}, 400, "spend_limit_daily"),
    "an over-precise limit": ({"spend_limit_monthly": 1.005}, 400, "spend_limit_monthly"),
    "no categories": ({"allowed_mccs": []}, 400, "allowed_mccs"),
    "too many categories": ({"allowed_mccs": ["7372"] * 257}, 400, "allowed_mccs"),
    "an odd category": ({"allowed_mccs": ["7372", "73"]}, 400, "allowed_mccs[1]"),
    "a card number": ({"number": "4242424242424242"}, 400, "number"),
    "a security code": ({"cvv": "123"}, 400, "cvv"),
    "a number for a reference": ({"external_ref": {"network": "visa", "id": "4242424242424242"}}, 400, None),
    "a reference without network": ({"external_ref": {"id": "x"}}, 400, "external_ref.network"),
    "an odd network": ({"external_ref": {"network": "Visa!", "id": "x"}}, 400, "external_ref.network"),
    "an odd reference": ({"external_ref": {"network": "visa", "id": "a b"}}, 400, "external_ref.id"),
    "five last digits": ({"last4": "42424"}, 400, "last4"),
    "letters": ({"last4": "abcd"}, 400, "last4"),
}


@pytest.mark.parametrize(("change", "status", "field"), named(BAD))
def test_a_card_that_breaks_a_rule_is_not_made(house: House, change: Document, status: int, field: str | None) -> None:
    before = house.state()
    body = {key: value for key, value in ({"identity_id": house.agent} | LIMITS | change).items() if value is not None}
    sentence = check_refusal(house.call("POST", CARDS, body), status, field)
    assert "4242" not in sentence
    assert house.state() == before


def test_a_reference_in_use_is_a_conflict(house: House) -> None:
    body = {"identity_id": house.agent, "currency": "CAD", "external_ref": {"network": "marqeta", "id": "m1"}}
    house.ok("POST", CARDS, body)
    check_refusal(house.call("POST", CARDS, body), 409, "external_ref")


def test_freezing_is_seen_by_the_next_decision_and_unfreezing_by_the_one_after(own: House) -> None:
    def codes() -> list[str]:
        decision = own.ok("POST", "/v1/authorize", own.request(1, card_id=own.card))
        return [reason["code"] for reason in decision["reasons"]]

    assert codes() == ["permitted"]
    assert own.ok("POST", f"{CARDS}/{own.card}/freeze", {"tenant_id": own.tenant_id})["status"] == "frozen"
    assert codes() == ["card_frozen"]
    assert own.ok("POST", f"{CARDS}/{own.card}/unfreeze")["status"] == "active"
    assert codes() == ["permitted"]
    assert own.ok("POST", f"{CARDS}/{own.card}/close")["status"] == "closed"
    assert codes() == ["card_closed"]
    check_refusal(own.call("POST", f"{CARDS}/{own.card}/freeze"), 409)
    check_refusal(own.call("POST", f"{CARDS}/{own.card}/unfreeze"), 409)
    assert own.ok("POST", f"{CARDS}/{own.card}/close")["status"] == "closed"


def test_the_kill_switch_tells_which_cards_it_froze(own: House) -> None:
    other = own.ok("POST", CARDS, {"identity_id": own.other, "currency": "CAD"})["card_id"]
    killed = own.ok("POST", "/v1/treasury/kill-switch", {"identity_id": own.team})
    assert killed == {"frozen": 1, "card_ids": [own.card]}
    frozen = own.ok("GET", f"{CARDS}/{own.card}")
    assert (frozen["status"], frozen["frozen_by"]) == ("frozen", own.team)
    assert own.ok("GET", f"{CARDS}/{other}")["status"] == "active"
    listed = own.ok("GET", f"{CARDS}?status=frozen")["data"]
    assert [card["card_id"] for card in listed] == [own.card]
    check_refusal(own.call("POST", "/v1/treasury/kill-switch", {}), 400, "identity_id")


def test_each_of_the_calls_can_be_repeated_with_its_key(own: House) -> None:
    calls: tuple[tuple[str, Document], ...] = (
        (CARDS, {"identity_id": own.agent, "currency": "CAD"}),
        (f"{CARDS}/{own.card}/freeze", {}),
        (f"{CARDS}/{own.card}/unfreeze", {}),
        ("/v1/treasury/kill-switch", {"identity_id": own.agent}),
        (f"{CARDS}/{own.card}/close", {}),
    )
    for path, body in calls:
        first = own.call("POST", path, body, key="k")
        after = own.state()
        again = own.call("POST", path, body, key="k")
        assert (again.status, again.document) == (first.status, first.document)
        assert "idempotent-replayed" not in first.headers
        assert again.headers["idempotent-replayed"] == "true"
        assert own.state() == after
        other = own.call("POST", path, body | {"tenant_id": own.tenant_id}, key="k")
        check_refusal(other, 422)


def test_a_refusal_by_the_card_says_so_to_the_agent(own: House) -> None:
    limited = own.ok("POST", CARDS, {"identity_id": own.agent, "allowed_mccs": ["5814"]} | LIMITS)["card_id"]
    decision = own.ok("POST", "/v1/authorize", own.request(1, card_id=limited))
    (reason,) = decision["reasons"]
    assert (reason["code"], reason["matched_rule"], reason["card_id"]) == ("forbidden", "allowed_mccs", limited)
    assert decision["budget_checks"] == []
    own.ok("PATCH", f"/v1/budgets/{own.budget}", {"limit": 100_000})
    cards = own.ok("POST", CARDS, {"identity_id": own.agent, "currency": "CAD", "spend_limit_daily": 5})
    decision = own.ok("POST", "/v1/authorize", own.request(10, card_id=cards["card_id"]))
    (reason,) = decision["reasons"]
    assert (reason["code"], reason["card_id"]) == ("budget_exceeded", cards["card_id"])
    assert (reason["budget_id"], reason["remaining"]) == (cards["budget_ids"][0], 5.0)


@pytest.mark.parametrize("query", ["status=lost", "status=", "status=active&status=frozen", "plan=x"])
def test_a_list_of_cards_takes_no_other_filter(house: House, query: str) -> None:
    check_refusal(house.call("GET", f"{CARDS}?{query}"), 400)

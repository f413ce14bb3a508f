"""Deciding and ending what was decided over the native door: shapes, idempotency keys, reservations, the audit log."""

import json
from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.doors.door import NOON_US, Door, House, build, check_refusal
from tests.process.server import Answer, Document

SHAPE = {
    "decision_id",
    "identity_id",
    "action",
    "allowed",
    "reasons",
    "budget_checks",
    "reservation",
    "evaluated_at",
    "policy_revision",
    "entity_revision",
    "data_age_seconds",
    "audit",
}


@pytest.fixture
def home(door: Door) -> House:
    """A tenant for one test."""
    return build(door)


def end(house: House, decision_id: str, kind: str, body: Document | None = None, **more: str) -> Answer:
    """Settle, release or refund."""
    return house.call("POST", f"/v1/decisions/{decision_id}/{kind}", body, **more)


def figures(reservation: Document) -> tuple[object, ...]:
    """Return state, held, settled and refunded of a reservation."""
    return tuple(reservation[name] for name in ("state", "held", "settled", "refunded"))


def usage(house: House) -> tuple[object, object]:
    """Return what the team's budget has settled and reserved."""
    found = house.ok("GET", f"/v1/budgets/{house.budget}")["usage"]
    return found["settled"], found["reserved"]


# --- Answers ----------------------------------------------------------------------------------------------------------


def test_a_permit_is_answered_in_full(home: House) -> None:
    """Reasons, what each budget said, the reservation, and where the record stands; later it can be read again."""
    answer = home.call("POST", "/v1/authorize", home.request("47.23", reservation_ttl_seconds=60))
    decision = answer.exact
    assert set(decision) == SHAPE
    assert decision["decision_id"].startswith("dec_")
    assert decision["allowed"] is True
    assert decision["evaluated_at"] == "2026-03-09T12:00:00Z"
    assert decision["policy_revision"].startswith("sha256:")
    assert decision["entity_revision"] > 0
    assert decision["audit"]["seq"] > 0
    (reason,) = decision["reasons"]
    assert (reason["verdict"], reason["code"], reason["policy_id"]) == ("permit", "permitted", home.policy)
    assert (reason["matched_rule"], set(reason) >= {"source", "message"}) == (None, True)
    assert decision["budget_checks"] == [
        {
            "budget_id": home.budget,
            "identity_id": home.team,
            "card_id": None,
            "name": "daily",
            "dimension": "amount",
            "period": "daily",
            "currency": "CAD",
            "limit": 500,
            "settled": 0,
            "reserved": 0,
            "requested": "47.23",
            "remaining": 500,
            "allowed": True,
            "resets_at": "2026-03-10T04:00:00Z",
        }
    ]
    held = decision["reservation"]
    assert (held["state"], held["amount"], held["currency"]) == ("held", "47.23", "CAD")
    assert held["expires_at"] == "2026-03-09T12:01:00Z"
    again = home.call("GET", f"/v1/decisions/{decision['decision_id']}").exact
    assert again | {"reservation": None} == decision | {"reservation": None}
    assert held.items() <= again["reservation"].items()


def test_the_short_path_is_the_same_call(home: House) -> None:
    """A retry over the other path is a retry."""
    first = home.call("POST", "/v1/authorize", home.request(), key="k")
    again = home.call("POST", "/authorize", home.request(), key="k")
    assert again.is_replayed
    assert again.body == first.body


def test_a_denial_is_answered_with_what_would_pass(home: House) -> None:
    """The rule that failed, then nothing of the budgets, which were not asked."""
    decision = home.ok("POST", "/v1/authorize", home.request(250))
    assert (decision["allowed"], decision["budget_checks"], decision["reservation"]) == (False, [], None)
    (reason,) = decision["reasons"]
    assert (reason["verdict"], reason["code"], reason["matched_rule"]) == ("deny", "forbidden", "max_amount")
    assert (reason["policy_id"], "200" in reason["message"], "250" in reason["message"]) == (home.policy, True, True)


def test_an_exceeded_budget_says_what_remains_and_when_to_try_again(home: House) -> None:
    for amount in (200, 200):
        home.permit(amount)
    decision = home.ok("POST", "/v1/authorize", home.request("150.01"))
    (reason,) = decision["reasons"]
    assert (reason["code"], reason["budget_id"], reason["currency"]) == ("budget_exceeded", home.budget, "CAD")
    assert (str(reason["requested"]), reason["remaining"]) == ("150.01", 100)
    assert reason["retry_at"] == "2026-03-10T04:00:00Z"
    assert decision["budget_checks"][0]["allowed"] is False
    assert decision["reservation"] is None


def test_an_amount_may_be_a_number_or_a_text(home: House) -> None:
    for amount in (47, 47.5, "47", "47.5", "47.50"):
        assert home.permit(amount)


def test_a_dry_run_changes_nothing(home: House) -> None:
    before = home.state()
    decision = home.ok("POST", "/v1/authorize", home.request(dry_run=True))
    assert (decision["allowed"], decision["dry_run"]) == (True, True)
    assert [decision[name] for name in ("decision_id", "reservation", "audit")] == [None, None, None]
    assert home.ok("POST", "/v1/authorize", home.request(250, dry_run=True))["allowed"] is False
    assert home.state() == before


def test_what_the_schema_does_not_know_is_a_recorded_denial(home: House) -> None:
    """An unknown action or resource type is no mistake of form."""
    other = {"resource": {"type": "spaceship", "id": "x"}}
    for change in ({"action": "rocket.launch"}, {"action": "tool.call"} | other):
        decision = home.ok("POST", "/v1/authorize", home.request() | change)
        assert (decision["allowed"], decision["reasons"][0]["code"]) == (False, "not_permitted")
        assert decision["audit"]["seq"] > 0


# --- Idempotency ------------------------------------------------------------------------------------------------------


def test_a_repeated_key_returns_the_stored_answer_and_reserves_once(home: House) -> None:
    """Key order, spaces and the spelling of numbers' neighbours do not make another request."""
    first = home.call("POST", "/v1/authorize", home.request(), key="k")
    body = dict(reversed(home.request().items()))
    again = home.call("POST", "/v1/authorize", body, key="k")
    assert (first.is_replayed, again.is_replayed) == (False, True)
    assert again.body == first.body
    assert usage(home) == (0, 10)


def test_a_key_with_other_content_is_a_conflict(home: House) -> None:
    home.call("POST", "/v1/authorize", home.request(), key="k")
    before = home.state()
    check_refusal(home.call("POST", "/v1/authorize", home.request(11), key="k"), 422)
    assert home.state() == before


def test_a_key_belongs_to_its_caller_and_its_call(home: House) -> None:
    first = home.call("POST", "/v1/authorize", home.request(), key="k").document["decision_id"]
    other = home.call("POST", "/v1/authorize", home.request(), key="k", token=home.agent_token)
    assert not other.is_replayed
    assert other.document["decision_id"] != first
    assert end(home, first, "settle", {}, key="k").status == 200


def test_a_replay_of_a_permit_that_was_revoked_since_is_a_new_denial(home: House) -> None:
    """And the reservation of the first one stays."""
    first = home.call("POST", "/v1/authorize", home.request(), key="k").document
    home.ok("POST", f"/v1/identities/{home.team}/revoke")
    again = home.call("POST", "/v1/authorize", home.request(), key="k").document
    assert (again["allowed"], again["reasons"][0]["code"]) == (False, "identity_revoked")
    assert again["decision_id"] != first["decision_id"]
    assert home.ok("GET", f"/v1/decisions/{first['decision_id']}")["reservation"]["state"] == "held"
    record = home.ok("GET", "/v1/audit?verdict=deny")["data"][-1]
    assert record["replay_of"] == first["decision_id"]


def test_a_key_is_kept_for_a_day(door: Door, home: House) -> None:
    first = home.call("POST", "/v1/authorize", home.request(), key="k")
    door.clock.now_us = NOON_US + 86_400_000_000 - 1
    assert home.call("POST", "/v1/authorize", home.request(), key="k").is_replayed
    door.clock.now_us += 1
    again = home.call("POST", "/v1/authorize", home.request(), key="k")
    assert not again.is_replayed
    assert again.document["decision_id"] != first.document["decision_id"]
    door.clock.now_us = NOON_US


@pytest.mark.parametrize("kind", ["settle", "release", "refund"])
def test_ending_twice_with_one_key_is_ending_once(home: House, kind: str) -> None:
    decision_id = home.permit(10)
    body: Document = {"amount": 4} if kind != "release" else {}
    if kind == "refund":
        end(home, decision_id, "settle")
    first = end(home, decision_id, kind, body, key="k")
    again = end(home, decision_id, kind, body, key="k")
    assert (first.status, first.is_replayed, again.is_replayed) == (200, False, True)
    assert again.body == first.body
    if kind != "release":
        check_refusal(end(home, decision_id, kind, {"amount": 5}, key="k"), 422)


# --- The life of a reservation ----------------------------------------------------------------------------------------


def test_what_is_settled_in_part_frees_the_rest(home: House) -> None:
    decision_id = home.permit(30)
    settled = end(home, decision_id, "settle", {"amount": 20}).document
    assert figures(settled) == ("settled", 0, 20, 0)
    assert usage(home) == (20, 0)
    assert end(home, decision_id, "settle", {"amount": 20}).document == settled
    check_refusal(end(home, decision_id, "settle", {"amount": 21}), 409)
    check_refusal(end(home, decision_id, "release"), 409)
    assert figures(end(home, decision_id, "refund", {"amount": 5}).document) == ("settled", 0, 20, 5)
    assert usage(home) == (15, 0)
    check_refusal(end(home, decision_id, "refund", {"amount": "15.01"}), 409)


def test_parts_that_are_not_final_leave_the_rest_held(home: House) -> None:
    decision_id = home.permit(30)
    part = end(home, decision_id, "settle", {"amount": 10, "final": False}).document
    assert figures(part) == ("held", 20, 10, 0)
    assert figures(end(home, decision_id, "settle").document) == ("settled", 0, 30, 0)


def test_what_is_released_is_free_again(home: House) -> None:
    """Nothing follows but the same release."""
    decision_id = home.permit(30)
    released = end(home, decision_id, "release").document
    assert figures(released) == ("released", 0, 0, 0)
    assert end(home, decision_id, "release", {}).document == released
    check_refusal(end(home, decision_id, "settle"), 409)
    check_refusal(end(home, decision_id, "refund", {"amount": 1}), 409)
    assert usage(home) == (0, 0)


def test_more_than_is_held_is_never_settled(home: House) -> None:
    decision_id = home.permit(30)
    before = home.state()
    for excess in ({"amount": "30.01"}, {"amount": "31", "final": False}):
        check_refusal(end(home, decision_id, "settle", excess), 409)
    misfits: tuple[tuple[str, Document], ...] = (
        ("settle", {"amount": -1}),
        ("settle", {"amount": 1.005}),
        ("settle", {"amount": 1e300}),
        ("settle", {"color": 1}),
        ("settle", {"quantities": {"amount": 1}}),
        ("refund", {}),
        ("refund", {"amount": -1}),
        ("release", {"amount": 1}),
    )
    for kind, body in misfits:
        check_refusal(end(home, decision_id, kind, body), 400)
    assert home.state() == before


def test_a_denial_has_nothing_to_end(home: House) -> None:
    denied = home.ok("POST", "/v1/authorize", home.request(250))["decision_id"]
    for kind, body in (("settle", {}), ("release", {}), ("refund", {"amount": 1})):
        check_refusal(end(home, denied, kind, body), 404)


def test_quantities_are_held_and_settled_beside_the_amount(home: House) -> None:
    request = home.request(10)
    request["resource"] |= {"quantities": {"tokens": 1200}}
    budget = {"identity_id": home.agent, "name": "t", "dimension": "tokens", "period": "total", "limit": 2000}
    made = home.ok("POST", "/v1/budgets", budget)
    decision = home.ok("POST", "/v1/authorize", request)
    assert decision["reservation"]["quantities"] == {"tokens": {"asked": 1200, "held": 1200, "settled": 0}}
    refused = home.ok("POST", "/v1/authorize", request)["reasons"][0]
    assert (refused["code"], refused["remaining"], refused["retry_at"]) == ("budget_exceeded", 800, None)
    settled = end(home, decision["decision_id"], "settle", {"quantities": {"tokens": 700}}).document
    assert settled["quantities"] == {"tokens": {"asked": 1200, "held": 0, "settled": 700}}
    assert settled["settled"] == 10
    assert home.ok("GET", f"/v1/budgets/{made['budget_id']}")["usage"]["remaining"] == 1300


# --- The audit log ----------------------------------------------------------------------------------------------------


def test_the_audit_log_lists_every_change_and_decision_newest_last(home: House) -> None:
    decision_id = home.permit("47.23")
    home.ok("POST", "/v1/authorize", home.request(250))
    end(home, decision_id, "settle")
    records = home.ok("GET", "/v1/audit?limit=200")["data"]
    assert [record["seq"] for record in records] == list(range(len(records)))
    assert records[0]["type"] == "open"
    assert [record["type"] for record in records[-3:]] == ["decision", "decision", "settle"]
    for before, record in pairwise(records):
        assert record["prev_hash"] == before["hash"]
        assert {"seq", "hash", "prev_hash", "type", "tenant_id", "recorded_at"} <= set(record)
        assert ("verdict" in record) == (record["type"] == "decision")
    permit = records[-3]
    assert (permit["decision_id"], permit["identity_id"], permit["action"]) == (
        decision_id,
        home.agent,
        "card.authorize",
    )
    assert (permit["verdict"], str(permit["amount"]), permit["currency"]) == ("allow", "47.23", "CAD")
    verified = home.ok("GET", "/v1/audit/verify")
    assert (verified["valid"], verified["entries_checked"]) == (True, len(records))
    assert verified["head"] == {"seq": records[-1]["seq"], "hash": records[-1]["hash"]}


def test_the_audit_log_is_filtered_and_paged(door: Door, home: House) -> None:
    for number in range(5):
        door.clock.now_us = NOON_US + number * 60_000_000
        home.ok("POST", "/v1/authorize", home.request(1 if number % 2 else 250))
    door.clock.now_us = NOON_US

    def seqs(query: str) -> list[int]:
        return [record["seq"] for record in home.ok("GET", f"/v1/audit?{query}")["data"]]

    decisions = seqs("action=card.authorize")
    assert len(decisions) == 5
    assert seqs("verdict=deny") == decisions[::2]
    assert seqs(f"verdict=allow&identity_id={home.agent}") == decisions[1::2]
    assert seqs("from=2026-03-09T12:01:00Z&to=2026-03-09T12:03:00Z") == decisions[1:3]
    first = home.ok("GET", "/v1/audit?verdict=deny&limit=2")
    rest = home.ok("GET", f"/v1/audit?verdict=deny&limit=2&cursor={first['next_cursor']}")
    assert [record["seq"] for record in first["data"] + rest["data"]] == decisions[::2]
    assert rest["next_cursor"] is None


def test_a_part_of_the_log_can_be_verified(home: House) -> None:
    home.permit()
    last = home.ok("GET", "/v1/audit/verify")["head"]["seq"]
    part = home.ok("GET", f"/v1/audit/verify?from_seq=2&to_seq={last - 1}")
    assert (part["valid"], part["entries_checked"]) == (True, last - 2)


def test_a_body_that_is_held_back_is_judged_when_it_has_come(door: Door, house: House) -> None:
    """Neither a token's end nor an hour of the day is dodged by sending the head early."""
    token = house.ok("POST", "/v1/tokens", {"name": "short", "expires_at": "2026-03-09T12:01:00Z"})["token"]
    body = json.dumps(house.request(1)).encode()

    def late() -> Iterator[bytes]:
        yield body[:5]
        door.clock.now_us += 120_000_000
        yield body[5:]

    try:
        check_refusal(door.call("POST", "/v1/authorize", late(), token=token), 401)
    finally:
        door.clock.now_us -= 120_000_000

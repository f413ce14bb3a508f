"""Batches and explanations over the native door: shapes, places of mistakes, limits, replays."""

import threading
from decimal import Decimal

import pytest

from sidecar.core.access import Caller
from sidecar.core.model import Decision
from sidecar.doors.native import decisions
from sidecar.doors.native.decisions import NEAREST_IN_BATCH_MAX
from sidecar.service.explain import Explanation, Grounds, explain
from tests.doors.door import Door, House, build, check_refusal, named
from tests.process.server import Document

BATCH = "/v1/authorize/batch"


@pytest.fixture
def home(door: Door) -> House:
    """A tenant for one test."""
    return build(door)


def batch(house: House, *requests: Document, **more: object) -> list[Document]:
    """Decide requests as one."""
    decisions: list[Document] = house.ok("POST", BATCH, {"requests": requests} | more)["decisions"]
    return decisions


# --- Batches ----------------------------------------------------------------------------------------------------------


def test_a_batch_answers_with_a_decision_for_each_request(home: House) -> None:
    decisions = batch(home, home.request(150), home.request(250), home.request(150), home.request(200))
    assert [decision["allowed"] for decision in decisions] == [True, False, True, True]
    assert [each["budget_checks"][0]["reserved"] for each in decisions if each["allowed"]] == [0, 150, 300]
    for decision in decisions:
        assert "explanation" not in decision
        found = home.ok("GET", f"/v1/decisions/{decision['decision_id']}")
        assert found["audit"] == decision["audit"]


@pytest.mark.parametrize(
    ("semantics", "allowed"),
    [
        ("execute_all", [False, True, True, False]),
        ("deny_on_first_deny", [False]),
        ("permit_on_first_permit", [False, True]),
    ],
)
def test_items_behind_the_deciding_one_are_left_out(home: House, semantics: str, allowed: list[bool]) -> None:
    requests = [home.request(amount) for amount in (250, 200, 200, 200)]
    assert [each["allowed"] for each in batch(home, *requests, semantics=semantics)] == allowed
    used = home.ok("GET", f"/v1/budgets/{home.budget}")["usage"]["reserved"]
    assert used == 200 * sum(allowed)


MISTAKES: dict[str, tuple[Document, str]] = {
    "no request": ({"requests": []}, "requests"),
    "too many requests": ({"requests": [{}] * 101}, "requests"),
    "no list": ({"requests": None}, "requests"),
    "unknown semantics": ({"semantics": "some"}, "semantics"),
    "a bad amount": ({"resource": {"amount": "1.234"}}, "requests[1].resource.amount"),
    "an amount that is none": ({"resource": {"amount": "x"}}, "requests[1].resource.amount"),
    "a missing field": ({"without": "action"}, "requests[1].action"),
    "an unknown field": ({"item": {"color": 1}}, "requests[1].color"),
    "an unknown context key": ({"item": {"context": {"color": 1}}}, "requests[1].context.color"),
    "a dry run in a real batch": ({"item": {"dry_run": True}}, "requests[1].dry_run"),
    "two tenants": ({"item": {"tenant_id": "t_other"}}, "requests[1].tenant_id"),
}


@pytest.mark.parametrize(("change", "field"), named(MISTAKES))
def test_a_mistake_fails_the_whole_batch_and_names_its_item(home: House, change: Document, field: str) -> None:
    before = home.state()
    item = home.request(10) | change.get("item", {})
    item["resource"] |= change.get("resource", {})
    item.pop(change.get("without", ""), None)
    body = {"tenant_id": home.tenant_id, "requests": [home.request(10), item]}
    body |= {name: change[name] for name in ("requests", "semantics") if name in change}
    check_refusal(home.call("POST", BATCH, body), 400, field)
    assert home.state() == before


def test_an_unknown_identity_in_a_batch_is_named_by_its_item(home: House) -> None:
    before = home.state()
    requests = [home.request(10), home.request(10, identity_id="nobody")]
    check_refusal(home.call("POST", BATCH, {"requests": requests}), 404, "requests[1].identity_id")
    assert home.state() == before


def test_an_agents_batch_reaches_its_own_only(home: House) -> None:
    body = {"requests": [home.request(10), home.request(10, identity_id=home.other)]}
    check_refusal(home.call("POST", BATCH, body, token=home.agent_token), 404, "requests[1].identity_id")


def test_the_operator_names_the_tenant_once_or_in_each_item(door: Door, home: House) -> None:
    by_batch = {"tenant_id": home.tenant_id, "requests": [home.request(1)]}
    by_item = {"requests": [home.request(1, tenant_id=home.tenant_id)] * 2}
    for body in (by_batch, by_item):
        assert door.ok("POST", BATCH, body)["decisions"][0]["allowed"]
    check_refusal(door.call("POST", BATCH, {"requests": [home.request(1)]}), 400, "tenant_id")
    check_refusal(home.call("POST", BATCH, by_batch | {"tenant_id": "t_other"}), 403, "tenant_id")


def test_a_batch_may_be_longer_than_one_request(home: House) -> None:
    """Up to 256 KiB."""
    padding = home.request(1, context={"purpose": "x" * 2_000})
    assert len(batch(home, *([padding] * 100))) == 100
    check_refusal(home.call("POST", BATCH, b" " * (256 * 1024 + 1)), 413)
    check_refusal(home.call("POST", "/v1/authorize", b" " * (64 * 1024 + 1)), 413)


def test_an_item_of_a_batch_is_no_longer_than_a_request_may_be(home: House) -> None:
    before = home.state()
    long = home.request(1, context={"purpose": "x" * 64 * 1024})
    check_refusal(home.call("POST", "/v1/authorize", long), 413)
    check_refusal(home.call("POST", BATCH, {"requests": [home.request(1), long]}), 413, "requests[1]")
    assert home.state() == before


def test_a_repeated_key_answers_a_batch_from_the_store(home: House) -> None:
    body = {"requests": [home.request(200), home.request(250)]}
    first = home.call("POST", BATCH, body, key="k")
    again = home.call("POST", BATCH, body, key="k")
    assert (first.is_replayed, again.is_replayed) == (False, True)
    assert again.body == first.body
    check_refusal(home.call("POST", BATCH, {"requests": [home.request(200)]}, key="k"), 422)
    home.ok("POST", f"/v1/identities/{home.team}/revoke")
    denied = home.call("POST", BATCH, body, key="k")
    assert not denied.is_replayed
    new, old = denied.document["decisions"]
    assert new["reasons"][0]["code"] == "identity_revoked"
    assert old == first.document["decisions"][1]


def test_a_dry_run_of_a_batch_changes_nothing(home: House) -> None:
    before = home.state()
    requests = [home.request(200), home.request(200, dry_run=True), home.request(200, explain=True)]
    decisions = batch(home, *requests, dry_run=True)
    assert [decision["allowed"] for decision in decisions] == [True, True, False]
    assert all(decision["dry_run"] and decision["decision_id"] is None for decision in decisions)
    assert decisions[2]["explanation"]["nearest"]["amount"] == 100
    assert home.state() == before
    body = {"requests": [home.request(1)], "dry_run": True}
    check_refusal(home.call("POST", BATCH, body, key="k"), 400, "Idempotency-Key")


# --- Explanations -----------------------------------------------------------------------------------------------------


def test_a_denial_is_explained(home: House) -> None:
    answer = home.call("POST", "/v1/authorize", home.request("250.50", explain=True))
    explanation = answer.exact["explanation"]
    assert set(explanation) == {"policies", "policy_counts", "budgets", "nearest", "nearest_sought"}
    first = explanation["policies"][0]
    assert {name: first[name] for name in ("policy_id", "rule", "effect", "scope_applied", "applied")} == {
        "policy_id": home.policy,
        "rule": "max_amount",
        "effect": "forbid",
        "scope_applied": True,
        "applied": True,
    }
    assert first["requirement"] == "amount at most 200 CAD"
    (condition,) = first["conditions"]
    assert (condition["kind"], condition["satisfied"]) == ("unless", False)
    assert {"expression": "context.amount", "value": 25_050} in condition["values"]
    (budget,) = explanation["budgets"]
    assert (budget["remaining"], budget["requested"], budget["resets_at"]) == (500, "250.5", "2026-03-10T04:00:00Z")
    assert explanation["nearest"] == {"amount": 200, "currency": "CAD"}
    assert explanation["nearest_sought"] is True
    counts = explanation["policy_counts"]
    assert counts["total"] >= len(explanation["policies"]) > counts["candidates"] == counts["candidates_listed"]
    unmatched = explanation["policies"][-1]
    assert (unmatched["scope_applied"], unmatched["applied"], unmatched["conditions"]) == (False, False, [])
    assert home.ok("POST", "/v1/authorize", home.request(200, dry_run=True))["allowed"]


def test_explaining_does_not_change_the_decision_and_is_not_stored(home: House) -> None:
    plain = home.ok("POST", "/v1/authorize", home.request(250, dry_run=True))
    explained = home.ok("POST", "/v1/authorize", home.request(250, dry_run=True, explain=True))
    assert explained.pop("explanation")["nearest"]["amount"] == 200
    assert explained == plain
    body = home.request(10, explain=True)
    first = home.call("POST", "/v1/authorize", body, key="k").document
    again = home.call("POST", "/v1/authorize", body, key="k")
    assert again.is_replayed
    assert first["explanation"]["nearest"] is None
    assert again.document == first | {"explanation": None}
    assert "explanation" not in home.ok("GET", f"/v1/decisions/{first['decision_id']}")


def test_the_nearest_is_written_as_a_request_is(home: House) -> None:
    """Alternatives stand beside each other; two changes that are needed at once stand together."""

    def nearest(rules: Document, **changes: object) -> Document:
        made = home.ok("POST", "/v1/policies", {"identity_id": home.agent, "name": "more", "rules": rules})
        request = home.request(10)
        request["resource"] |= changes
        found: Document = home.ok("POST", "/v1/authorize", request | {"explain": True})["explanation"]["nearest"]
        home.ok("DELETE", f"/v1/policies/{made['policy_id']}")
        return found

    card: Document = {"actions": ["card.authorize"]}
    assert nearest(card | {"allowed_mccs": ["5812"]}) == {"merchant_categories": ["5812"]}
    one = {"type": "merchant", "id": "GCP"}
    assert nearest(card | {"allowed_resources": [one]}) == {"resources": [one]}
    assert nearest(card | {"allowed_hours": [9, 10]}) == {"at": "2026-03-09T13:00:00Z"}
    assert nearest(card, currency="USD") == {"currencies": ["CAD"]}
    small: Document = card | {"max_amount": 5, "currency": "CAD"}
    assert nearest(small | {"allowed_hours": [9, 10]}) == {
        "together": {"amount": 5, "currency": "CAD", "at": "2026-03-09T13:00:00Z"}
    }
    assert nearest(small | {"allowed_mccs": ["5812"]})["together"] == {
        "amount": 5,
        "currency": "CAD",
        "merchant_category": "5812",
    }
    assert nearest(small | {"allowed_resources": [one]})["together"]["resource"] == one


def test_a_condition_that_fails_is_explained_in_cedars_words(home: House) -> None:
    cedar = 'forbid(principal in ?principal, action == Action::"card.authorize", resource) '
    cedar += "when { context.amount + 9223372036854775807 > 0 };"
    home.ok("POST", "/v1/policies", {"identity_id": home.agent, "name": "broken", "cedar": cedar})
    first = home.ok("POST", "/v1/authorize", home.request(10, explain=True))["explanation"]["policies"][0]
    assert (first["applied"], first["conditions"][0]["satisfied"]) == ("error", "error")
    assert "overflow" in first["conditions"][0]["message"]


def test_what_an_agent_may_not_see_is_marked_as_hidden(home: House) -> None:
    cedar = 'permit(principal in ?principal, action == Action::"payment.create", resource is Agent) '
    cedar += 'when { resource.name == "x" };'
    home.ok("POST", "/v1/policies", {"identity_id": home.agent, "name": "pay", "cedar": cedar})
    request = home.request(3, action="payment.create", explain=True)
    request["resource"] = {"type": "agent", "id": home.other, "amount": 3, "currency": "CAD"}
    found = home.call("POST", "/v1/authorize", request, token=home.agent_token).document["explanation"]["policies"]
    (mine,) = [policy for policy in found if policy["effect"] == "permit" and "pol_" in policy["policy_id"]]
    assert mine["conditions"][0]["values"] == [{"expression": "resource.name", "value": None, "hidden": True}]


def test_amounts_are_exact_in_an_explanation(home: House) -> None:
    limit = {"identity_id": home.agent, "name": "l", "dimension": "amount", "period": "total", "currency": "CAD"}
    home.ok("POST", "/v1/budgets", limit | {"limit": "123.45"})
    found = home.call("POST", "/v1/authorize", home.request("150", explain=True)).exact["explanation"]
    assert Decimal(str(found["nearest"]["amount"])) == Decimal("123.45")


def test_the_nearest_is_sought_for_the_first_denials_of_a_batch_only(home: House) -> None:
    """Permits do not count, and all are explained otherwise."""
    amounts = [10, *([250] * (NEAREST_IN_BATCH_MAX + 2))]
    found = [each["explanation"] for each in batch(home, *(home.request(amount, explain=True) for amount in amounts))]
    sought = [False, *([True] * NEAREST_IN_BATCH_MAX), False, False]
    assert [each["nearest_sought"] for each in found] == sought
    assert [each["nearest"] is not None for each in found] == sought
    assert all(each["policies"] and each["budgets"] for each in found)


def test_one_decision_is_explained_at_a_time(door: Door, home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    running, most = 0, []
    other = threading.Event()

    def watched(caller: Caller, grounds: Grounds, decision: Decision, *, seek_nearest: bool = True) -> Explanation:
        nonlocal running
        running += 1
        most.append(running)
        if running > 1:
            other.set()
        other.wait(0.05)  # for another one to come in between
        running -= 1
        return explain(caller, grounds, decision, seek_nearest=seek_nearest)

    monkeypatch.setattr(decisions, "explain", watched)
    request = home.request(250, explain=True, tenant_id=home.tenant_id)
    answers = door.at_once("/v1/authorize", request, request, request)
    assert [answer.document["explanation"]["nearest"]["amount"] for answer in answers] == [200] * 3
    assert most == [1] * 3

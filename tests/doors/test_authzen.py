"""AuthZEN's evaluation: the same decisions, records and holds as natively, said in that protocol's words."""

import base64
from decimal import Decimal
from typing import Any

import pytest

from tests.doors.authzen import ONE, SEVERAL, ask, evaluate, question, refusal, resource
from tests.doors.door import Door, House, build, named
from tests.process.server import OPERATOR

MEMBERS = {"decision", "context"}


def test_a_permit_names_its_decision_and_how_long_it_holds(house: House) -> None:
    found = evaluate(house, question(house))
    context = found["context"]
    assert (found["decision"], set(found), context["codes"]) == (True, MEMBERS, ["permitted"])
    native = house.ok("GET", f"/v1/decisions/{context['decision_id']}")
    assert native["allowed"]
    assert context["reservation"] == {"state": "held", "expires_at": native["reservation"]["expires_at"]}


def test_the_same_question_natively_makes_the_same_request(house: House) -> None:
    """The record refers to the same bytes, so every rule and budget sees the same."""
    evaluate(house, question(house, "12.5"))
    house.ok("POST", "/v1/authorize", house.request("12.5"))
    ours, native = house.ok("GET", "/v1/audit?limit=200&verdict=allow")["data"][-2:]
    assert ours["request"] == native["request"]
    assert {"claimed"} & set(ours) == set()


def test_what_is_permitted_here_is_settled_natively(house: House) -> None:
    """One budget is behind both doors."""
    decision_id = evaluate(house, question(house, 7))["context"]["decision_id"]
    settled = house.ok("POST", f"/v1/decisions/{decision_id}/settle", {})
    assert (settled["state"], settled["settled"]) == ("settled", 7)


def test_a_denial_says_why_with_its_decision(house: House) -> None:
    found = evaluate(house, question(house, 201))
    context = found["context"]
    assert (found["decision"], set(found)) == (False, MEMBERS)
    assert context["codes"] == ["forbidden"]
    assert context["reason_admin"]["en"]
    assert "reservation" not in context
    assert not house.ok("GET", f"/v1/decisions/{context['decision_id']}")["allowed"]


def test_advice_of_a_policy_is_for_the_user(door: Door) -> None:
    house = build(door)
    text = '@advice("ask your lead") forbid(principal, action == Action::"card.authorize", resource);'
    house.ok("POST", "/v1/policies", {"name": "no cards", "cedar": text})
    assert evaluate(house, question(house))["context"]["reason_user"] == {"en": "ask your lead"}


# --- Who and what nobody knows ----------------------------------------------------------------------------------------

NOBODY: dict[str, tuple[dict[str, Any], str]] = {
    "subject": ({"subject": {"type": "agent", "id": "ghost"}}, "subject.id"),
    "subject of no possible id": ({"subject": {"type": "agent", "id": "a b\u0000é" * 200}}, "subject.id"),
    "type of no possible name": ({"subject": {"type": "Agent", "id": "x"}}, "subject.id"),
    "action of no possible name": ({"action": {"name": "can do"}}, "action.name"),
    "resource type of no possible name": ({"resource": {"type": "To-Do", "id": "x"}}, "resource.type"),
    "identity as a resource": (
        {
            "action": {"name": "payment.create"},
            "resource": {"type": "agent", "id": "ghost", "properties": {"amount": 1, "currency": "CAD"}},
        },
        "resource.id",
    ),
    "card": (resource(amount=1, currency="CAD", card_id="card_x"), "resource.properties.card_id"),
}


@pytest.mark.parametrize(("changes", "place"), named(NOBODY))
def test_whom_nobody_knows_is_denied_and_nothing_is_recorded(house: House, changes: dict[str, Any], place: str) -> None:
    before = house.state()
    found = evaluate(house, question(house, **changes))
    assert (found["decision"], found["context"]["codes"]) == (False, ["not_found"])
    error = found["context"]["error"]
    assert error["status"] == 404
    assert error["message"].endswith(f"at `{place}`")
    assert house.state() == before


def test_a_subject_of_another_type_is_nobody(house: House) -> None:
    found = evaluate(house, question(house, subject={"type": "user", "id": house.agent}))
    assert (found["decision"], found["context"]["codes"]) == (False, ["not_found"])


@pytest.mark.parametrize("changes", [{"action": {"name": "fly"}}, {"resource": {"type": "todo", "id": "1"}}])
def test_what_the_schema_does_not_know_is_denied_and_recorded(house: House, changes: dict[str, Any]) -> None:
    found = evaluate(house, question(house, **changes))
    assert (found["decision"], found["context"]["codes"]) == (False, ["not_permitted"])
    assert found["context"]["decision_id"].startswith("dec_")


# --- Where the amounts are taken from ---------------------------------------------------------------------------------

SPENT = {"amount": "3.10", "currency": "CAD", "merchant_category": "7372"}
PLACES: dict[str, tuple[dict[str, Any]]] = {
    "the resource": (resource(**SPENT),),
    "the action": (resource() | {"action": {"name": "card.authorize", "properties": SPENT}},),
    "the context": (resource() | {"context": SPENT},),
    "all of them": (
        resource(amount="3.10", merchant_category="7372")
        | {"action": {"name": "card.authorize", "properties": {"currency": "CAD"}}, "context": SPENT},
    ),
}


@pytest.mark.parametrize(("changes",), named(PLACES))  # noqa: PT006 -- a table of one column
def test_an_amount_is_taken_from_wherever_it_stands(house: House, changes: dict[str, Any]) -> None:
    found = evaluate(house, question(house, **changes))
    held = house.ok("GET", f"/v1/decisions/{found['context']['decision_id']}")["reservation"]
    assert (held["amount"], held["currency"]) == (Decimal("3.1"), "CAD")


def test_quantities_and_the_card_are_taken_as_well(house: House) -> None:
    spent = SPENT | {"quantities": {"tokens": 5}, "card_id": house.card}
    found = evaluate(house, question(house, **resource(**spent)))
    assert found["decision"]
    assert house.ok("GET", "/v1/audit?limit=200")["data"][-1]["card"] == house.card
    held = house.ok("GET", f"/v1/decisions/{found['context']['decision_id']}")["reservation"]
    assert held["quantities"]["tokens"]["held"] == 5


def test_what_is_left_of_the_context_reaches_policies(house: House) -> None:
    assert evaluate(house, question(house, context={"purpose": "lunch"}))["decision"]


# --- Keys, tenants, retries -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["{}", "Bearer {}", "bearer  {}"])
def test_a_key_may_come_without_bearer(door: Door, house: House, form: str) -> None:
    headers = [("Authorization", form.format(house.key))]
    assert door.call("POST", ONE, question(house), token=None, headers=headers).status == 200


@pytest.mark.parametrize("value", [None, "", "Bearer", "Bearer nothing", "nothing", "Basic eDp5"])
def test_without_a_known_key_nobody_is_answered(door: Door, house: House, value: str | None) -> None:
    headers = [] if value is None else [("Authorization", value)]
    for path in (ONE, SEVERAL):
        answer = door.call("POST", path, question(house), token=None, headers=headers)
        refusal(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"


def test_an_agent_asks_for_itself_only(house: House) -> None:
    own = ask(house, question(house), token=house.agent_token)
    assert own.document["decision"]
    others = ask(house, question(house, subject={"type": "agent", "id": house.other}), token=house.agent_token)
    ghost = ask(house, question(house, subject={"type": "agent", "id": "ghost"}), token=house.agent_token)
    assert others.document["decision"] is False
    assert others.document["context"] == {
        "codes": ["not_found"],
        "error": {"status": 404, "message": f"unknown identity `{house.other}`, at `subject.id`"},
    }
    assert ghost.body == others.body.replace(house.other.encode(), b"ghost")


def test_an_operator_names_the_tenant_by_its_path(house: House) -> None:
    path = f"/{house.tenant_id}{ONE}"
    assert ask(house, question(house), path, token=OPERATOR).document["decision"]
    assert ask(house, question(house), f"{ONE}?tenant_id={house.tenant_id}", token=OPERATOR).document["decision"]
    assert "tenant_id" in refusal(ask(house, question(house), token=OPERATOR), 400)
    refusal(ask(house, question(house), f"/t_nobody{ONE}", token=OPERATOR), 404)
    refusal(ask(house, question(house), f"{path}?tenant_id=t_other", token=OPERATOR), 400)


def test_a_tenant_sees_nothing_of_another(house: House, neighbour: House) -> None:
    assert ask(house, question(neighbour)).document["decision"] is False
    refusal(ask(house, question(neighbour), f"/{neighbour.tenant_id}{ONE}"), 403)


def test_a_request_id_comes_back(door: Door, house: House) -> None:
    """An arbitrary text, says the specification: those of proxies have signs that ours do not."""
    for given in ("bfe9eb29-ab87-4ca3", "Root=1-67891233;Parent=53995c3f", "|a.b_", '<"a" b>', "x" * 256):
        for body, status in ((question(house), 200), ({}, 400)):
            answer = door.call("POST", ONE, body, token=house.key, headers=[("X-Request-ID", given)])
            assert (answer.status, answer.headers["x-request-id"]) == (status, given)


@pytest.mark.parametrize("odd", ["x" * 257, b"\xe9", b"a\tb"])
def test_a_request_id_that_is_no_short_printable_text_is_replaced(house: House, odd: str | bytes) -> None:
    answer = house.door.call("POST", ONE, question(house), token=house.key, headers=[("X-Request-ID", odd)])
    assert answer.headers["x-request-id"].startswith("req_")


def test_a_repeated_key_returns_the_first_answer(house: House) -> None:
    first, second = (ask(house, question(house, 3), key="authzen-1") for _ in range(2))
    assert (first.body, "idempotent-replayed" in first.headers) == (second.body, False)
    assert second.headers["idempotent-replayed"] == "true"
    refusal(ask(house, question(house, 4), key="authzen-1"), 422)


def test_a_dry_run_reserves_and_records_nothing(house: House) -> None:
    before = house.state()
    found = evaluate(house, question(house, options={"dry_run": True}))
    assert found == {"decision": True, "context": {"decision_id": None, "codes": ["permitted"], "dry_run": True}}
    assert house.state() == before
    for path, body in ((ONE, question(house)), (SEVERAL, question(house, evaluations=[{}]))):
        sentence = refusal(ask(house, body | {"options": {"dry_run": True}}, path, key="k"), 400)
        assert sentence.endswith("at `Idempotency-Key`")


def test_the_rate_limit_of_a_tenant_holds(door: Door) -> None:
    house = build(door)
    door.ok("PATCH", f"/v1/tenants/{house.tenant_id}", {"rate_limit": "1/hour"})
    ask(house, question(house))
    answer = ask(house, question(house))
    refusal(answer, 429)
    assert int(answer.headers["retry-after"]) > 0


def test_fields_that_the_specification_does_not_know_are_passed_over(house: House) -> None:
    body = question(house) | {"trace": [1, {"x": 1.5}]}
    body["subject"] |= {"locale": "fr"}
    assert evaluate(house, body)["decision"]


def test_an_id_may_be_what_interop_clients_make_of_one(house: House) -> None:
    """Base64 of a provider's own id; nobody has it here."""
    text = base64.b64encode(b"\n$fd0614d3-c39a-4781-b7bd-8b96f5a5100d\x12\x05local").decode()
    assert evaluate(house, question(house, subject={"type": "user", "id": text}))["decision"] is False

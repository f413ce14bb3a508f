"""What is malformed is a 400 with one sentence, whatever is wrong with it; nothing is decided, held or recorded."""

from typing import Any

import pytest

from sidecar.core.errors import Unavailable
from sidecar.doors.authzen.manner import error_answer
from tests.doors.authzen import ONE, SEVERAL, ask, question, refusal, resource
from tests.doors.door import Door, House, named

WHO = {"type": "agent", "id": "x"}
MALFORMED: dict[str, tuple[dict[str, Any], str]] = {
    "no subject": ({"subject": ...}, "subject"),
    "no action": ({"action": ...}, "action"),
    "no resource": ({"resource": ...}, "resource"),
    "subject null": ({"subject": None}, "subject"),
    "subject a text": ({"subject": "agent"}, "subject"),
    "subject a list": ({"subject": [WHO]}, "subject"),
    "no subject type": ({"subject": {"id": "x"}}, "subject.type"),
    "no subject id": ({"subject": {"type": "agent"}}, "subject.id"),
    "subject id null": ({"subject": {"type": "agent", "id": None}}, "subject.id"),
    "subject id a number": ({"subject": {"type": "agent", "id": 7}}, "subject.id"),
    "subject id empty": ({"subject": {"type": "agent", "id": ""}}, "subject.id"),
    "subject type an object": ({"subject": {"type": {}, "id": "x"}}, "subject.type"),
    "subject properties a list": ({"subject": WHO | {"properties": []}}, "subject.properties"),
    "subject properties null": ({"subject": WHO | {"properties": None}}, "subject.properties"),
    "action a text": ({"action": "card.authorize"}, "action"),
    "no action name": ({"action": {}}, "action.name"),
    "action name true": ({"action": {"name": True}}, "action.name"),
    "action properties a text": ({"action": {"name": "a", "properties": "x"}}, "action.properties"),
    "resource a number": ({"resource": 1}, "resource"),
    "no resource type": ({"resource": {"id": "x"}}, "resource.type"),
    "no resource id": ({"resource": {"type": "merchant"}}, "resource.id"),
    "resource id too long": ({"resource": {"type": "merchant", "id": "x" * 513}}, "resource.id"),
    "context null": ({"context": None}, "context"),
    "context a list": ({"context": []}, "context"),
    "options a text": ({"options": "dry_run"}, "options"),
    "dry run a text": ({"options": {"dry_run": "yes"}}, "options.dry_run"),
    "semantic of no name": ({"options": {"evaluations_semantic": "any"}}, "options.evaluations_semantic"),
    "undeclared context": ({"context": {"zz": 1}}, "context.zz"),
    "context of ours": ({"context": {"hour": 3}}, "context.hour"),
    "undeclared action properties": (
        {"action": {"name": "card.authorize", "properties": {"method": "GET"}}},
        "context.action",
    ),
    "action said twice": (
        {"action": {"name": "card.authorize", "properties": {"method": "GET"}}, "context": {"action": {}}},
        "context.action",
    ),
    "amount twice": ({"context": {"amount": 11}}, "context"),
    "currency twice": (
        {"action": {"name": "card.authorize", "properties": {"currency": "USD"}}},
        "action.properties",
    ),
    "no amount": (resource(), "resource.properties.amount"),
    "amount without currency": (resource(amount=1), "resource.properties.currency"),
    "amount a list": (resource(amount=[1], currency="CAD"), "resource.properties.amount"),
    "amount with an exponent": (resource(amount="1e3", currency="CAD"), "resource.properties.amount"),
    "amount with too many places": (resource(amount="1.001", currency="CAD"), "resource.properties.amount"),
    "amount below zero": (resource(amount=-1, currency="CAD"), "resource.properties.amount"),
    "currency of no name": (resource(amount=1, currency="QQQ"), "resource.properties.currency"),
    "category of letters": (
        resource(amount=1, currency="CAD", merchant_category="book"),
        "resource.properties.merchant_category",
    ),
    "quantity of ours": (
        resource(amount=1, currency="CAD", quantities={"count": 1}),
        "resource.properties.quantities.count",
    ),
    "Cedar's escape": ({"context": {"__entity": {"type": "User", "id": "x"}}}, "context.__entity"),
}


@pytest.mark.parametrize(("changes", "place"), named(MALFORMED))
@pytest.mark.parametrize("path", [ONE, SEVERAL])
def test_a_malformed_question_is_refused_by_its_place(
    house: House, changes: dict[str, Any], place: str, path: str
) -> None:
    before = house.state()
    body = {name: value for name, value in question(house, **changes).items() if value is not ...}
    assert refusal(ask(house, body, path), 400).endswith(f"at `{place}`")
    assert house.state() == before


BODIES: dict[str, tuple[bytes, int]] = {
    "nothing": (b"", 400),
    "spaces": (b"  ", 400),
    "no JSON": (b"{", 400),
    "a text": (b'"x"', 400),
    "null": (b"null", 400),
    "a list": (b"[]", 400),
    "two documents": (b"{}{}", 400),
    "a key twice": (b'{"subject":{"type":"a","id":"b","id":"c"}}', 400),
    "half of a pair": (b'{"subject":{"type":"a","id":"\\ud800"}}', 400),
    "not a number": (b'{"context":{"x":NaN}}', 400),
    "not UTF-8": (b'{"subject":"\xff"}', 400),
    "deep": (b'{"context":' + b"[" * 40 + b"]" * 40 + b"}", 400),
    "long": (b'{"context":"' + b"x" * 1_048_576 + b'"}', 413),
}


@pytest.mark.parametrize(("body", "status"), named(BODIES))
@pytest.mark.parametrize("path", [ONE, SEVERAL])
def test_a_body_that_cannot_be_read_in_one_way_is_refused(house: House, body: bytes, status: int, path: str) -> None:
    refusal(ask(house, body, path), status)


@pytest.mark.parametrize("field", ["subject", "action", "resource", "context"])
def test_a_malformed_default_is_a_mistake_of_the_whole(house: House, field: str) -> None:
    body = question(house) | {"evaluations": [question(house)], field: 3}
    assert refusal(ask(house, body, SEVERAL), 400).endswith(f"at `{field}`")


@pytest.mark.parametrize("items", [None, {}, "x", 3])
def test_items_are_a_list(house: House, items: object) -> None:
    assert refusal(ask(house, question(house, evaluations=items), SEVERAL), 400).endswith("at `evaluations`")


@pytest.mark.parametrize("declared", ["text/plain", "application/xml", "application/x-www-form-urlencoded"])
def test_another_content_type_is_malformed(door: Door, house: House, declared: str) -> None:
    answer = door.call("POST", ONE, question(house), token=house.key, headers=[("Content-Type", declared)])
    assert "application/json" in refusal(answer, 400)


@pytest.mark.parametrize("declared", ["application/json; charset=utf-8", "Application/JSON"])
def test_json_may_be_declared_in_other_words(door: Door, house: House, declared: str) -> None:
    answer = door.call("POST", ONE, question(house), token=house.key, headers=[("Content-Type", declared)])
    assert answer.status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_only_post_asks(door: Door, house: House, method: str) -> None:
    for path in (ONE, SEVERAL, f"/{house.tenant_id}{ONE}"):
        answer = door.call(method, path, token=house.key)
        assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_an_unknown_path_below_is_answered_in_the_same_words(door: Door) -> None:
    refusal(door.call("POST", "/access/v1/evaluate", {}), 404)
    refusal(door.call("GET", "/access/v1", None), 404)


def test_headers_that_come_twice_are_refused(door: Door, house: House) -> None:
    twice = [("Authorization", house.key), ("Authorization", house.key)]
    refusal(door.call("POST", ONE, question(house), token=None, headers=twice), 400)


def test_an_unknown_query_field_is_refused(house: House) -> None:
    refusal(ask(house, question(house), f"{ONE}?page=1"), 400)


def test_while_nothing_can_be_decided_the_caller_is_told_to_try_again() -> None:
    answer = error_answer(Unavailable("the disk is full"), "req_1", ())
    assert (answer.status, answer.body, answer.headers) == (503, b"the disk is full", (("Retry-After", "1"),))

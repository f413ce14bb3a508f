"""AuthZEN's evaluations: defaults, the three semantics, and items that hold nothing but their verdict."""

from typing import Any

import pytest

from sidecar.core.limits import BATCH_REQUESTS_MAX
from tests.doors.authzen import SEVERAL, ask, evaluate_all, question, refusal, resource
from tests.doors.door import Door, House, build, named

YES, NO = {"decision": True}, {"decision": False}
DEAR = resource(amount=201, currency="CAD", merchant_category="7372")
"""Denied by a policy."""


@pytest.fixture
def fresh(door: Door) -> House:
    """A tenant in which nothing was spent."""
    return build(door)


def test_an_item_takes_what_it_does_not_say_from_beside(house: House) -> None:
    """A key of its own takes the place of the whole part: an id alone is no subject."""
    items = [{}, DEAR, {"subject": {"id": house.agent}}, {"resource": {"type": "merchant", "id": "AWS"}}]
    assert evaluate_all(house, *items, amount=1) == [YES, NO, NO, NO]


def test_an_answer_is_compared_byte_for_byte(house: House) -> None:
    answer = ask(house, question(house, 1) | {"evaluations": [{}, DEAR]}, SEVERAL)
    assert answer.body == b'{"evaluations":[{"decision":true},{"decision":false}]}'


@pytest.mark.parametrize("more", [{}, {"evaluations": []}])
def test_without_items_the_answer_is_that_of_one_question(house: House, more: dict[str, Any]) -> None:
    found = ask(house, question(house, 1) | more, SEVERAL).document
    assert (found["decision"], found["context"]["codes"]) == (True, ["permitted"])


SEMANTICS: dict[str, tuple[str, list[Any], list[Any]]] = {
    "all": ("execute_all", [{}, DEAR, {}], [YES, NO, YES]),
    "until the first denial": ("deny_on_first_deny", [{}, DEAR, {}], [YES, NO]),
    "without a denial": ("deny_on_first_deny", [{}, {}], [YES, YES]),
    "until the first permit": ("permit_on_first_permit", [DEAR, {}, DEAR], [NO, YES]),
    "without a permit": ("permit_on_first_permit", [DEAR, DEAR], [NO, NO]),
    "a mistake is a denial": ("deny_on_first_deny", [{}, {"subject": 3}, {}], [YES, NO]),
    "a mistake is no permit": ("permit_on_first_permit", [{"subject": 3}, {}, {}], [NO, YES]),
}


@pytest.mark.parametrize(("semantic", "items", "expected"), named(SEMANTICS))
def test_the_semantics_say_where_the_answer_ends(
    fresh: House, semantic: str, items: list[Any], expected: list[Any]
) -> None:
    """What stands behind the deciding item has no effect."""
    found = evaluate_all(fresh, *items, amount=1, options={"evaluations_semantic": semantic})
    assert found == expected
    budget = fresh.ok("GET", f"/v1/budgets/{fresh.budget}")
    assert budget["usage"]["reserved"] == expected.count(YES)


BAD: dict[str, tuple[object]] = {
    "text": ("x",),
    "null": (None,),
    "list": ([],),
    "null in a part": ({"subject": None},),
    "list as a part": ({"action": []},),
    "no id": ({"subject": {"type": "agent"}},),
    "number as an id": ({"subject": {"type": "agent", "id": 1}},),
    "empty id": ({"resource": {"type": "merchant", "id": ""}},),
    "properties that are none": ({"action": {"name": "card.authorize", "properties": 1}},),
    "unknown subject": ({"subject": {"type": "agent", "id": "ghost"}},),
    "unknown action": ({"action": {"name": "can do"}},),
    "undeclared context": ({"context": {"zz": 1}},),
    "fraction": ({"context": {"purpose": 1.5}},),
    "no amount": ({"resource": {"type": "merchant", "id": "AWS"}},),
    "currency that is none": (resource(amount=1, currency="QQQ"),),
    "two amounts": ({"context": {"amount": 2}},),
}


@pytest.mark.parametrize(("item",), named(BAD))  # noqa: PT006 -- a table of one column
def test_a_bad_item_is_denied_in_its_place(house: House, item: object) -> None:
    assert evaluate_all(house, {}, item, {}, amount="0.01") == [YES, NO, YES]


def test_items_tell_more_where_it_is_asked_for(house: House) -> None:
    items = [{}, DEAR, {"subject": {"type": "agent", "id": "ghost"}}, {"context": {"zz": 1}}]
    found = evaluate_all(house, *items, amount=1, options={"item_context": True})
    assert [each["decision"] for each in found] == [True, False, False, False]
    permit, denial, nobody, mistake = (each["context"] for each in found)
    assert (permit["codes"], permit["decision_id"][:4]) == (["permitted"], "dec_")
    assert permit["reservation"]["state"] == "held"
    assert (denial["codes"], "reason_admin" in denial) == (["forbidden"], True)
    assert nobody["error"] == {"status": 404, "message": "unknown identity `ghost`, at `subject.id`"}
    assert mistake == {
        "codes": ["validation_failed"],
        "error": {"status": 400, "message": "the schema does not declare `zz` here, at `context.zz`"},
    }


def test_items_tell_more_where_the_tenant_has_it_so(door: Door, fresh: House) -> None:
    door.ok("PATCH", f"/v1/tenants/{fresh.tenant_id}", {"authzen": {"item_context": True}})
    (found,) = evaluate_all(fresh, {}, amount=1)
    assert found["context"]["codes"] == ["permitted"]


def test_each_item_sees_what_those_before_it_hold(fresh: House) -> None:
    items: list[object] = [{}] * 4
    assert evaluate_all(fresh, *items, amount=150) == [YES, YES, YES, NO]


def test_a_dry_run_of_several_holds_nothing(fresh: House) -> None:
    before = fresh.state()
    assert evaluate_all(fresh, *[{}] * 4, amount=150, options={"dry_run": True}) == [YES, YES, YES, NO]
    assert fresh.state() == before


def test_a_repeated_key_decides_nothing_anew(fresh: House) -> None:
    body = question(fresh, 5) | {"evaluations": [{"subject": 3}, {}]}
    first, second = (ask(fresh, body, SEVERAL, key="k") for _ in range(2))
    assert (first.body, second.headers["idempotent-replayed"]) == (second.body, "true")
    assert fresh.ok("GET", f"/v1/budgets/{fresh.budget}")["usage"]["reserved"] == 5


def test_there_is_an_end_to_how_many(house: House) -> None:
    many: list[object] = [{}] * BATCH_REQUESTS_MAX
    assert evaluate_all(house, *many, amount=0) == [YES] * BATCH_REQUESTS_MAX
    sentence = refusal(ask(house, question(house) | {"evaluations": [*many, {}]}, SEVERAL), 400)
    assert sentence == "at most 100 evaluations, at `evaluations`"


def test_one_question_is_no_longer_here_than_alone(house: House) -> None:
    refusal(ask(house, question(house, context={"purpose": "x" * 70_000}), SEVERAL), 413)
    refusal(ask(house, question(house, context={"purpose": "x" * 300_000}) | {"evaluations": [{}]}, SEVERAL), 413)

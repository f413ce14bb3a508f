"""AuthZEN's searches: results in the protocol's own shape, pages, the tenant's path, and every malformed kind."""

from typing import Any

import pytest

from tests.doors.authzen import ask, refusal
from tests.doors.door import House, named
from tests.process.server import Document

SUBJECT, RESOURCE, ACTION = (f"/access/v1/search/{part}" for part in ("subject", "resource", "action"))
PAYMENT = {"amount": 10, "currency": "CAD", "merchant_category": "7372"}


def who(**changes: object) -> Document:
    """Ask which agents may pay."""
    return {
        "subject": {"type": "agent", "id": "passed over"},
        "action": {"name": "card.authorize"},
        "resource": {"type": "merchant", "id": "AWS", "properties": PAYMENT},
    } | changes


def one(house: House) -> Document:
    """The agent of the house, as a subject."""
    return {"type": "agent", "id": house.agent}


def found(house: House, path: str, body: object, **more: str) -> Document:
    """The answer of a search that must be answered."""
    answer = ask(house, body, path, **more)
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "application/json"
    return answer.document


def test_subjects_are_found_and_nothing_is_recorded(house: House) -> None:
    before = house.state()
    assert found(house, SUBJECT, who()) == {"results": [one(house)], "page": {"next_token": ""}}
    assert house.state() == before


def test_an_id_beside_the_type_that_is_sought_is_passed_over(house: House) -> None:
    for subject in ({"type": "agent"}, {"type": "agent", "id": 7}, {"type": "agent", "id": None}):
        assert found(house, SUBJECT, who(subject=subject))["results"] == [one(house)]


def test_resources_are_found(house: House) -> None:
    cedar = 'permit(principal is Agent, action == Action::"tool.call", resource == Tool::"search");'
    house.ok("POST", "/v1/policies", {"name": "tools", "cedar": cedar})
    asked = {"subject": one(house), "action": {"name": "tool.call"}, "resource": {"type": "tool"}}
    assert found(house, RESOURCE, asked)["results"] == [{"type": "tool", "id": "search"}]
    assert found(house, RESOURCE, asked | {"resource": {"type": "moon"}})["results"] == []


def test_actions_are_found(house: House) -> None:
    asked = {"subject": one(house), "resource": {"type": "merchant", "id": "AWS", "properties": PAYMENT}}
    answer = found(house, ACTION, asked)
    assert {"name": "card.authorize"} in answer["results"]
    assert answer["page"] == {"next_token": ""}
    assert found(house, ACTION, asked | {"action": "passed over"}) == answer


def test_a_page_of_no_results_leads_on(house: House) -> None:
    """A limit is zero or more, says the specification."""
    none = found(house, SUBJECT, who() | {"page": {"limit": 0}})
    assert none["results"] == []
    token = none["page"]["next_token"]
    assert found(house, SUBJECT, who() | {"page": {"token": token}})["results"] == [one(house)]


def test_pages_lead_on_until_the_token_is_empty(house: House) -> None:
    seen: list[object] = []
    asked: dict[str, Any] = {"subject": one(house), "resource": {"type": "tool", "id": "search"}}
    whole = found(house, ACTION, asked)["results"]
    page: dict[str, object] = {"limit": 1}
    while True:
        answer = found(house, ACTION, asked | {"page": page})
        seen += answer["results"]
        assert len(answer["results"]) <= 1
        if not answer["page"]["next_token"]:
            break
        page = {"limit": 1, "token": answer["page"]["next_token"]}
    assert seen == whole
    refused = ask(house, asked | {"page": {"token": "A" + str(page.get("token", "AAAA"))}}, ACTION)
    assert refusal(refused, 400).endswith("at `page.token`")


def test_who_or_what_nobody_knows_has_no_results(house: House) -> None:
    nothing = {"results": [], "page": {"next_token": ""}}
    assert found(house, SUBJECT, who(subject={"type": "No type!"})) == nothing
    assert found(house, SUBJECT, who(action={"name": "no action!"})) == nothing
    assert found(house, RESOURCE, who(subject={"type": "agent", "id": "nobody"})) == nothing
    assert found(house, ACTION, who(subject={"type": "user", "id": house.agent})) == nothing


MALFORMED: dict[str, tuple[str, dict[str, Any], str]] = {
    "no subject": (SUBJECT, {"subject": ...}, "subject"),
    "no subject type": (SUBJECT, {"subject": {"id": "x"}}, "subject.type"),
    "subject type empty": (SUBJECT, {"subject": {"type": ""}}, "subject.type"),
    "no resource id": (SUBJECT, {"resource": {"type": "merchant"}}, "resource.id"),
    "no action name": (SUBJECT, {"action": {}}, "action.name"),
    "no action": (RESOURCE, {"action": ...}, "action"),
    "no subject id": (RESOURCE, {"subject": {"type": "agent"}}, "subject.id"),
    "no resource type": (RESOURCE, {"resource": {"id": "x"}}, "resource.type"),
    "no subject id for actions": (ACTION, {"subject": {"type": "agent"}}, "subject.id"),
    "no resource id for actions": (ACTION, {"resource": {"type": "merchant"}}, "resource.id"),
    "context a list": (SUBJECT, {"context": []}, "context"),
    "undeclared context": (SUBJECT, {"context": {"zz": 1}}, "context.zz"),
    "no amount": (SUBJECT, {"resource": {"type": "merchant", "id": "AWS"}}, "resource.properties.amount"),
    "page a text": (SUBJECT, {"page": "next"}, "page"),
    "limit below nothing": (SUBJECT, {"page": {"limit": -1}}, "page.limit"),
    "limit a text": (SUBJECT, {"page": {"limit": "7"}}, "page.limit"),
    "token a number": (SUBJECT, {"page": {"token": 7}}, "page.token"),
    "token of nobody": (SUBJECT, {"page": {"token": "abc"}}, "page.token"),
}


@pytest.mark.parametrize(("path", "changes", "place"), named(MALFORMED))
def test_a_malformed_search_is_refused_by_its_place(
    house: House, path: str, changes: dict[str, Any], place: str
) -> None:
    body = {name: value for name, value in who(**changes).items() if value is not ...}
    assert refusal(ask(house, body, path), 400).endswith(f"at `{place}`")


@pytest.mark.parametrize("path", [SUBJECT, RESOURCE, ACTION])
def test_a_body_that_is_no_object_is_refused(house: House, path: str) -> None:
    refusal(ask(house, [], path), 400)
    refusal(house.call("GET", path), 405)
    refusal(house.call("POST", path, who(), token="no token"), 401)


def test_a_limit_beyond_the_largest_is_the_largest(house: House) -> None:
    assert found(house, SUBJECT, who(page={"limit": 1_000_000}))["results"] == [one(house)]

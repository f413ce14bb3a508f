"""Questions of AuthZEN, as the tests of that door ask them."""

from typing import Any

from tests.doors.door import House
from tests.process.server import Answer, Document

ONE = "/access/v1/evaluation"
SEVERAL = "/access/v1/evaluations"


def question(house: House, amount: object = 10, **changes: object) -> Document:
    """A card payment, asked in AuthZEN's words."""
    properties = {"amount": amount, "currency": "CAD", "merchant_category": "7372"}
    return {
        "subject": {"type": "agent", "id": house.agent},
        "action": {"name": "card.authorize"},
        "resource": {"type": "merchant", "id": "AWS", "properties": properties},
    } | changes


def ask(house: House, body: object, path: str = ONE, **more: str) -> Answer:
    """Ask with the tenant's key."""
    return house.call("POST", path, body, **more)


def evaluate(house: House, body: object, **more: str) -> Document:
    """Ask one question that must be answered."""
    answer = ask(house, body, **more)
    assert answer.status == 200, answer
    return answer.document


def evaluate_all(house: House, *items: object, **changes: object) -> list[Any]:
    """Ask several questions that must be answered."""
    answer = ask(house, question(house, **changes) | {"evaluations": list(items)}, SEVERAL)
    assert answer.status == 200, answer
    found: list[Any] = answer.document["evaluations"]
    return found


def resource(**properties: object) -> Document:
    """A merchant with these properties."""
    return {"resource": {"type": "merchant", "id": "AWS", "properties": properties}}


def refusal(answer: Answer, status: int) -> str:
    """Check that an answer is an error in this door's words; returns its sentence."""
    sentence = answer.body.decode()
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "x-request-id" in answer.headers
    assert sentence.strip()
    assert "\n" not in sentence
    assert not sentence.startswith(("{", '"'))
    return sentence

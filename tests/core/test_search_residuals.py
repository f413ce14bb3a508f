"""What is left of a policy is read so that nothing it could come to is missing."""

from typing import Any

import pytest

from sidecar.core.policy_tree import Node, Tree
from sidecar.core.search_residuals import ANYTHING, DEPTH_MAX, Known, outcomes

AGENT = Known("principal", "Agent", frozenset({("Team", "t")}))
WHO: Tree = {"unknown": [{"Value": "principal"}]}
OPEN: Tree = {".": {"left": WHO, "attr": "x"}}
YES: Tree = {"Value": True}
NO: Tree = {"Value": False}


def policy(*parts: Node) -> Tree:
    """What is left of a policy, from kinds and bodies of its conditions in turn."""
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return {"conditions": [{"kind": kind, "body": body} for kind, body in pairs]}


def entity(kind: str, name: str) -> dict[str, Any]:
    return {"Value": {"__entity": {"type": kind, "id": name}}}


def both(left: object, right: object) -> dict[str, Any]:
    return {"&&": {"left": left, "right": right}}


def either(left: object, right: object) -> dict[str, Any]:
    return {"||": {"left": left, "right": right}}


def choice(test: object, then: object, otherwise: object) -> dict[str, Any]:
    return {"if-then-else": {"if": test, "then": then, "else": otherwise}}


def deep(levels: int) -> dict[str, Any]:
    node: dict[str, Any] = NO
    for _ in range(levels):
        node = {"!": {"arg": {"!": {"arg": node}}}}
    return node


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (YES, "true"),
        (NO, "false"),
        ({"Value": 7}, "true false error"),
        (OPEN, "true false error"),
        (both(YES, NO), "false"),
        (both(OPEN, NO), "false error"),
        (both(NO, OPEN), "false"),
        (both(YES, YES), "true"),
        (either(OPEN, NO), "true false error"),
        (either(OPEN, YES), "true error"),
        (either(YES, OPEN), "true"),
        (either(NO, NO), "false"),
        ({"!": {"arg": both(OPEN, NO)}}, "true error"),
        ({"!": {"arg": YES}}, "false"),
        (choice(OPEN, NO, NO), "false error"),
        (choice(YES, NO, OPEN), "false"),
        (choice(NO, NO, YES), "true"),
        ({"is": {"left": WHO, "entity_type": "Agent"}}, "true"),
        ({"is": {"left": WHO, "entity_type": "User"}}, "false"),
        ({"is": {"left": {"unknown": [{"Value": "resource"}]}, "entity_type": "User"}}, "true false error"),
        ({"is": {"left": WHO, "entity_type": "User", "in": entity("Team", "t")}}, "true false error"),
        ({"in": {"left": WHO, "right": entity("Team", "t")}}, "true"),
        ({"in": {"left": WHO, "right": entity("Team", "u")}}, "true false error"),
        ({"in": {"left": WHO, "right": {"Set": [entity("Team", "t")]}}}, "true false error"),
        ({"in": {"left": WHO, "right": {"Value": {"a": 1}}}}, "true false error"),
        ({"in": {"left": WHO, "right": {"Value": 1}}}, "true false error"),
        ({"in": {"left": entity("Agent", "a"), "right": entity("Team", "t")}}, "true false error"),
        ({"unknown": [{"Value": "principal"}]}, "true false error"),
        ("no expression", "true false error"),
        (deep(10), "false"),
        (deep(DEPTH_MAX), "true false error"),
    ],
)
def test_an_expression_can_come_to(body: Node, expected: str) -> None:
    found = outcomes(policy("when", body), AGENT)
    assert found == frozenset(expected.split())


def test_conditions_hold_together_and_unless_turns_one_over() -> None:
    assert outcomes(policy("when", OPEN, "unless", YES), AGENT) == {"false", "error"}
    assert outcomes(policy("unless", YES, "when", OPEN), AGENT) == {"false"}


def test_a_policy_without_conditions_holds() -> None:
    assert outcomes({"effect": "permit"}, AGENT) == {"true"}
    assert {"true", "false", "error"} == ANYTHING

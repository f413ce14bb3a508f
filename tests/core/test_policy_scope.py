"""Scopes are read as Cedar reads them: a policy is a candidate exactly where Cedar applies it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import PolicyInvalid
from sidecar.core.policy import entity_slice
from sidecar.core.policy_compilation import compile_statements
from sidecar.core.policy_scope import Asking, Scope, above
from sidecar.core.policy_set import PolicySet
from sidecar.core.policy_unit import Link, PolicyUnit
from sidecar.core.ruling import CedarRequest
from tests.core.builders import SCHEMA

PEOPLE = [("Agent", "bot"), ("Team", "team"), ("User", "boss")]
PARENTS = {("Agent", "bot"): [("Team", "team")], ("Team", "team"): [("User", "boss")]}
ASKING = Asking(
    principal=("Agent", "bot"),
    action=("Action", "card.authorize"),
    resource=("Agent", "bot"),
    above_principal=above(("Agent", "bot"), PARENTS),
    above_action=frozenset({("Action", "card.authorize"), ("Action", "spend")}),
    above_resource=above(("Agent", "bot"), PARENTS),
)
ENTITIES: list[dict[str, object]] = [
    {
        "uid": {"type": kind, "id": entity_id},
        "attrs": {"name": entity_id, "status": "active"},
        "parents": [
            {"type": above_kind, "id": above_id} for above_kind, above_id in PARENTS.get((kind, entity_id), [])
        ],
        "tags": {},
    }
    for kind, entity_id in PEOPLE
]
CONTEXT: dict[str, object] = {
    "amount": 1,
    "currency": "CAD",
    "now": {"__extn": {"fn": "datetime", "arg": "2026-01-01T00:00:00Z"}},
    "hour": 1,
    "weekday": 1,
    "mode": "live",
}
REQUEST = CedarRequest(principal=ASKING.principal, action="card.authorize", resource=ASKING.resource, context=CONTEXT)


def unit(scope: str) -> PolicyUnit:
    """The one policy with a scope."""
    (found,) = compile_statements(f"permit({scope});", "f.cedar", SCHEMA, shared=False)
    return found


def test_a_scope_without_constraints_means_everything() -> None:
    assert unit("principal, action, resource").scope == Scope()
    assert ASKING.matches(Scope())


CONSTRAINTS = (
    "",
    'in User::"boss"',
    'in Team::"team"',
    'in Agent::"bot"',
    'in Team::"else"',
    '== Agent::"bot"',
    '== Agent::"else"',
    "is Agent",
    "is User",
    'is Agent in Team::"team"',
    'is Agent in Team::"else"',
)
ACTIONS = (
    "action",
    'action == Action::"card.authorize"',
    'action == Action::"tool.call"',
    'action in Action::"spend"',
    'action in Action::"card.authorize"',
    'action in [Action::"tool.call", Action::"spend"]',
    'action in [Action::"tool.call"]',
    "action in []",
)


@given(st.sampled_from(CONSTRAINTS), st.sampled_from(ACTIONS), st.sampled_from(CONSTRAINTS))
def test_a_scope_matches_where_cedar_applies_the_policy(principal: str, action: str, resource: str) -> None:
    text = f"permit(principal {principal}, {action}, resource {resource});"
    try:
        (found,) = compile_statements(text, "f.cedar", SCHEMA, shared=False)
    except PolicyInvalid:  # it can never apply
        return
    ruling = PolicySet((found,), (), SCHEMA).evaluate(REQUEST, entity_slice(ENTITIES, SCHEMA))
    assert ASKING.matches(found.scope) is (ruling.effect == "allow")


@pytest.mark.parametrize(
    ("slot", "principal", "matches"),
    [
        ("== ?principal", ("Agent", "bot"), True),
        ("== ?principal", ("Team", "team"), False),
        ("in ?principal", ("Team", "team"), True),
        ("in ?principal", ("Team", "else"), False),
        ("is Agent in ?principal", ("User", "boss"), True),
        ("is User in ?principal", ("User", "boss"), False),
    ],
)
def test_a_template_has_the_scope_that_it_is_filled_with(
    slot: str, principal: tuple[str, str], *, matches: bool
) -> None:
    template = unit(f"principal {slot}, action, resource")
    assert ASKING.matches(template.scope.filled(principal)) is matches
    policies = PolicySet((template,), (Link(template.id, "linked", principal),), SCHEMA)
    assert (policies.evaluate(REQUEST, entity_slice(ENTITIES, SCHEMA)).effect == "allow") is matches


def test_a_plain_policy_has_nothing_to_fill() -> None:
    scope = unit('principal == Agent::"bot", action, resource').scope
    assert scope.filled(None) == scope
    assert scope.filled(("Agent", "else")) == scope


def test_a_constraint_tells_what_it_names() -> None:
    scope = unit('principal == Agent::"bot", action in [Action::"spend"], resource is Merchant').scope
    assert scope.principal.named == (("Agent", "bot"),)
    assert scope.action.named == (("Action", "spend"),)
    assert scope.resource.named == ()


def test_what_is_above_is_found_over_any_number_of_steps_and_once() -> None:
    a, b, c = ("A", "a"), ("B", "b"), ("C", "c")
    assert above(a, {a: [b, c], b: [c], c: [a]}) == {a, b, c}
    assert above(b, {}) == {b}

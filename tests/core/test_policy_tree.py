"""Facts read out of a parsed policy: annotations, slots, and attributes taken of an entity that the policy names."""

from typing import cast

import cedarpy
import orjson
import pytest

from sidecar.core.policy_tree import (
    Tree,
    annotations,
    context_read,
    entities_reached,
    literal_access,
    looks_into_resource,
    slots,
)


def tree(text: str) -> Tree:
    """The JSON form of the only policy in ``text``."""
    found = orjson.loads(cedarpy.policies_to_json_str(text))
    return cast("Tree", (found["staticPolicies"] | found["templates"])["policy0"])


def when(expression: str) -> Tree:
    """A policy with one condition."""
    return tree(f"permit(principal, action, resource) when {{ {expression} }};")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("permit(principal, action, resource);", {}),
        ('@id("a") @x permit(principal, action, resource);', {"id": "a", "x": ""}),
        ('@id("") permit(principal, action, resource);', {"id": ""}),
    ],
)
def test_annotations_are_read_and_one_without_value_is_empty(text: str, expected: dict[str, str]) -> None:
    assert annotations(tree(text)) == expected


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("principal, action, resource", ()),
        ('principal in Team::"a", action, resource == Tool::"b"', ()),
        ("principal == ?principal, action, resource", ("?principal",)),
        ("principal is Agent in ?principal, action, resource", ("?principal",)),
        ("principal in ?principal, action, resource == ?resource", ("?principal", "?resource")),
    ],
)
def test_the_slots_of_a_template_are_those_of_its_scope(scope: str, expected: tuple[str, ...]) -> None:
    assert slots(tree(f"permit({scope});")) == expected


@pytest.mark.parametrize(
    "expression",
    [
        'User::"ann".name == ""',
        'User::"ann" has name',
        'User::"ann".hasTag("x")',
        'User::"ann".getTag("x") == ""',
        'context.a && [1].contains(if User::"ann" has name then 1 else 2)',
        '(if context.a then User::"ann" else principal).name == ""',
        '(if context.a then principal else User::"ann") has name',
        '{a: {b: User::"ann"}}.a.b.name == ""',
        '{a: if context.a then User::"ann" else principal}.a.name == ""',
        '(if context.a then {a: User::"ann"} else {a: principal}).a.name == ""',
        '!(principal.name like "x*") || {".": User::"ann".name} == {".": "x"}',
        '"x" like "y" && principal is User in User::"ann".team',
    ],
)
def test_reading_an_entity_that_the_policy_names_is_found(expression: str) -> None:
    assert literal_access(when(expression)) == 'User::"ann"'


@pytest.mark.parametrize(
    "expression",
    [
        "true",
        'principal == User::"ann" && principal.name == ""',
        'principal in Team::"a" || [User::"ann"].contains(principal)',
        'context.user == User::"ann"',
        '{a: User::"ann"} has a',
        '{".": {left: User::"ann"}, "has": 1, Value: {x: 1}} == context.x',
        '(if principal == User::"ann" then principal else resource).name == ""',
        "{a: 1}.a == 1",
    ],
)
def test_comparing_with_an_entity_is_not_reading_it(expression: str) -> None:
    assert literal_access(when(expression)) is None


def test_reading_it_in_any_condition_counts() -> None:
    policy = tree('permit(principal, action, resource) when { true } unless { User::"ann" has name };')
    assert literal_access(policy) == 'User::"ann"'


def test_the_deepest_tree_is_walked_without_recursion() -> None:
    assert literal_access(when("{a: 1}" + ".a" * 400 + " == 1")) is None


ANN = {("User", "ann")}


@pytest.mark.parametrize(
    ("expression", "reached"),
    [
        ('principal == User::"ann"', set()),
        ('User::"ann" != principal', set()),
        ('principal in Team::"x"', set()),
        ('principal in [Team::"x", Team::"y"]', set()),
        ('principal is User in Team::"x"', set()),
        ('[User::"ann"].contains(principal)', set()),
        ('[User::"ann", User::"bob"].containsAny([principal])', set()),
        ("principal is User && context.a < 5", set()),
        ('User::"ann" in Team::"x"', ANN),
        ('User::"ann" is User in Team::"x"', ANN),
        ('User::"ann".status == "active"', ANN),
        ('User::"ann" has status', ANN),
        ('User::"ann".hasTag("a")', ANN),
        ('(if context.a then User::"ann" else principal) in Team::"x"', ANN),
        ('{a: User::"ann"}.a in Team::"x"', ANN),
        ('principal in (if context.a then User::"ann" else principal)', ANN),
        ('[principal, User::"ann"].contains(resource)', ANN),
        ('ip("10.0.0.1").isLoopback() || User::"ann" in Team::"x"', ANN),
    ],
)
def test_an_entity_that_conditions_look_into_is_reached_and_one_they_compare_with_is_not(
    expression: str, reached: set[tuple[str, str]]
) -> None:
    assert entities_reached(when(expression)) == reached


def test_the_scope_reaches_nothing() -> None:
    assert entities_reached(tree('permit(principal in Team::"x", action, resource == User::"ann");')) == frozenset()


@pytest.mark.parametrize(
    ("expression", "read"),
    [
        ("true", set()),
        ("principal == resource", set()),
        ("context.a", {"a"}),
        ("context.a && context has b", {"a", "b"}),
        ('context["a b"].c.d && context has e.f', {"a b", "e"}),
        ("(if context.a then context.b else principal.c).d", {"a", "b"}),
        ('context.now < datetime("2026-01-01")', {"now"}),
        ("{Var: context.a}.Var", {"a"}),
        ('"context" == context.a', {"a"}),
        ("(if context.a then context else context).b", None),
        ("{a: context}.a.b", None),
        ("[context].contains(context)", None),
        ("context.a && context == {a: true}", None),
    ],
)
def test_what_conditions_can_read_of_the_context(expression: str, read: set[str] | None) -> None:
    assert context_read(when(expression)) == (None if read is None else frozenset(read))


def test_every_condition_of_a_policy_reads_the_context() -> None:
    both = tree("permit(principal, action, resource) when { context.a } unless { context.b };")
    assert context_read(both) == frozenset({"a", "b"})


@pytest.mark.parametrize(
    "expression",
    [
        "context.a == principal.b",
        "principal == resource",
        'resource != Tool::"a"',
        'resource in Tool::"a"',
        'resource in [Tool::"a", Tool::"b"]',
        "principal in resource",
        "principal in [resource]",
        "resource is Tool",
        'resource is Tool in Tool::"a"',
        "principal is User in resource",
        '[Tool::"a", Tool::"b"].contains(resource)',
        '[principal, resource].containsAny([resource, Tool::"a"])',
        '[principal, resource].containsAll([resource]) && resource == Tool::"a"',
    ],
)
def test_a_resource_that_is_only_compared_is_not_looked_into(expression: str) -> None:
    assert not looks_into_resource(when(expression))


@pytest.mark.parametrize(
    "expression",
    [
        "resource.a",
        "resource has a",
        'resource.hasTag("a")',
        'resource.getTag("a") == "b"',
        "principal == resource.a",
        "principal in resource.a",
        '(if context.a then resource else Tool::"a").b',
        '(if context.a then resource else Tool::"a") == principal',
        "{a: resource}.a.b",
        "[[resource]].contains([principal])",
        "principal == resource && resource has a",
    ],
)
def test_a_resource_of_which_something_could_be_read_is_looked_into(expression: str) -> None:
    assert looks_into_resource(when(expression))


def test_the_scope_does_not_look_into_the_resource() -> None:
    assert not looks_into_resource(tree('permit(principal, action, resource is Tool in Tool::"a");'))

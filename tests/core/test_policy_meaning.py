"""Policies that mean the same are known as such; what is said of the direction of a change, Cedar confirms."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.policy import ask, engine_ids, entity_slice, parse_policies
from sidecar.core.policy_compilation import parse_statements
from sidecar.core.policy_meaning import Direction, Meaning, direction, fingerprint, joined, meaning_of
from sidecar.core.policy_text import CHAIN_MAX
from sidecar.core.policy_tree import Tree
from sidecar.core.ruling import CedarRequest
from tests.core.builders import SCHEMA

PRINCIPALS = [("Agent", "bot"), ("Team", "team"), ("User", "boss")]
ENTITIES = entity_slice(
    [
        {
            "uid": {"type": kind, "id": entity_id},
            "attrs": {"name": entity_id, "status": "active"},
            "parents": [{"type": other, "id": above} for other, above in PRINCIPALS[index + 1 :]],
            "tags": {},
        }
        for index, (kind, entity_id) in enumerate(PRINCIPALS)
    ],
    SCHEMA,
)
REQUESTS = [
    CedarRequest(principal, action, ("Merchant", "AWS"), {"amount": amount, "currency": currency})
    for principal, action, amount, currency in product(
        PRINCIPALS, ["card.authorize", "tool.call"], range(4), ["CAD", "EUR", "USD"]
    )
]


def meaning(text: str) -> Meaning:
    """What the one policy in a text means."""
    ((_, tree),) = parse_statements(text, "f.cedar")
    return meaning_of(tree)


def when(condition: str) -> Meaning:
    """What a policy means that has one clause."""
    return meaning(f"permit (principal, action, resource) when {{ {condition} }};")


def scoped(scope: str) -> Meaning:
    """What a policy means that has no clause."""
    return meaning(f"permit ({scope});")


def applies(text: str) -> list[bool]:
    """To which requests Cedar applies a permit."""
    policies = parse_policies(((text,), ()))
    ids = engine_ids(["p"], [])
    return [ask(policies, ids, request, ENTITIES, None).effect == "allow" for request in REQUESTS]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("principal.b && (context.c && context.d)", "(principal.b && context.c) && context.d"),
        ("principal.b && !(!context.c)", "principal.b // why\n && context.c"),
        ('["x", "y"].contains(context.c)', '["y", "x", "y"].contains(context.c)'),
        ("!(principal.b || context.c)", "!principal.b && !context.c"),
        ("context.c != 1", "!(context.c == 1)"),
        ("!(context.c < 1)", "context.c >= 1"),
        ('{"a": 1, "b": {"Set": 2}}.a == 1', '{"b": {"Set": 2}, "a": 1}.a == 1'),
    ],
)
def test_how_a_condition_is_written_says_nothing(one: str, other: str) -> None:
    assert when(one).key == when(other).key


def test_a_condition_means_the_same_in_another_clause() -> None:
    head = "permit (principal, action, resource)"
    whole = meaning(f"{head} when {{ principal.b && !context.c }};")
    assert meaning(f"{head} when {{ principal.b }} unless {{ context.c }};").key == whole.key
    assert meaning(f"{head} unless {{ !principal.b || context.c }};").key == whole.key


def test_how_a_scope_is_written_says_nothing() -> None:
    one = 'principal, action in [Action::"a", Action::"b"], resource'
    other = 'principal, action in [Action::"b", Action::"a", Action::"b"], resource'
    assert scoped(one).key == scoped(other).key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("context.c == 1", "context.c == true"),
        ("context.c == 1", "1 == context.c"),
        ('context.c == "1"', "context.c == 1"),
        ("principal.b && context.c", "context.c && principal.b"),
        ("principal.b || context.c", "principal.b && context.c"),
        ('context.c like "a*"', 'context.c like "a\\*"'),
        ("[[1], [2]].contains(context.c)", "[[1, 2]].contains(context.c)"),
    ],
)
def test_other_conditions_mean_something_else(one: str, other: str) -> None:
    assert when(one).key != when(other).key


def test_effect_and_scope_are_part_of_the_meaning() -> None:
    found = {
        scoped("principal, action, resource").key,
        meaning("forbid (principal, action, resource);").key,
        scoped("principal is User, action, resource").key,
        scoped('principal == User::"a", action, resource').key,
        scoped('principal in User::"a", action, resource').key,
        scoped('principal, action, resource == User::"a"').key,
    }
    assert len(found) == 6


def test_trees_deeper_than_python_recurses_are_walked() -> None:
    chain = " || ".join(f"context.c == {number}" for number in range(CHAIN_MAX // 3))
    assert when(chain).key == when(chain).key
    tree: Tree = {"Var": "context"}
    for _ in range(5_000):
        tree = {"!": {"arg": tree}}
    assert fingerprint(tree) == fingerprint({**tree})


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("principal.b", "principal.b && context.c", "narrower"),
        ("principal.b && context.c", "context.c", "wider"),
        ("principal.b && context.c", "context.c && principal.b", "same"),
        ("principal.b", "context.c", "both"),
        ("principal.b", "!principal.b", "both"),
        ("principal.b", "principal.b || context.c", "wider"),
        ("principal.b || context.c", "context.c || principal.b", "same"),
        ("principal.b || context.c || context.d", "context.c || principal.b", "narrower"),
        ("!(principal.b && context.c)", "!principal.b", "narrower"),
        ("!(principal.b && context.c)", "!(context.c && principal.b && context.d)", "wider"),
        ("context.a <= 5", "context.a <= 6", "wider"),
        ("context.a <= 5", "context.a < 6", "same"),
        ("context.a <= 5", "context.a < 5", "narrower"),
        ("context.a > 5", "context.a >= 6", "same"),
        ("context.a > 5", "context.a > 6", "narrower"),
        ("context.a >= 5", "context.a > 3", "wider"),
        ("5 >= context.a", "context.a <= 7", "wider"),
        ("context.a <= 5", "context.b <= 6", "both"),
        ("context.a <= 5", "context.a >= 5", "both"),
        ("context.a <= context.b", "context.a <= context.c", "both"),
        ("!(context.a <= 5)", "!(context.a <= 6)", "narrower"),
        ("context.a <= 5 && context.b <= 5", "context.b <= 6 && context.a <= 4", "both"),
        ("context.a <= 5 && context.b <= 5", "context.b <= 4 && context.a <= 4", "narrower"),
        ('["x"].contains(context.c)', '["x", "y"].contains(context.c)', "wider"),
        ('["x"].contains(context.c)', '["y"].contains(context.c)', "both"),
        ('!["x"].contains(context.c)', '!["x", "y"].contains(context.c)', "narrower"),
        ("context.s.contains(1)", "context.s.contains(2)", "both"),
        ('principal in [User::"a", User::"b"]', 'principal in [User::"b"]', "narrower"),
        ('principal in User::"a"', 'principal in User::"b"', "both"),
        ('principal has "a"', 'principal has "b"', "both"),
    ],
)
def test_the_direction_of_a_condition_is_read_off_its_pieces(old: str, new: str, told: Direction) -> None:
    assert direction(when(old), when(new)) == told


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("principal", "principal", "same"),
        ("principal", "principal is User", "narrower"),
        ('principal == User::"a"', "principal", "wider"),
        ("principal is User", "principal is Agent", "both"),
        ("principal is User", 'principal is User in Team::"t"', "narrower"),
        ('principal is User in Team::"t"', 'principal in Team::"t"', "wider"),
        ('principal is User in Team::"t"', "principal is User", "wider"),
        ("principal is User", 'principal in Team::"t"', "both"),
        ("principal is User", 'principal == User::"a"', "narrower"),
        ('principal == User::"a"', "principal is User", "wider"),
        ('principal == User::"a"', 'principal == User::"b"', "both"),
        ('principal == User::"a"', 'principal in User::"a"', "wider"),
        ('principal in User::"a"', 'principal == User::"a"', "narrower"),
        ('principal in User::"a"', 'principal in User::"b"', "both"),
        ('principal in User::"a"', 'principal == User::"b"', "both"),
    ],
)
def test_the_direction_of_a_scope_is_read_off_its_parts(old: str, new: str, told: Direction) -> None:
    assert direction(scoped(f"{old}, action, resource"), scoped(f"{new}, action, resource")) == told


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('action == Action::"a"', 'action in [Action::"a", Action::"b"]', "wider"),
        ('action in [Action::"b", Action::"a"]', 'action in [Action::"a"]', "narrower"),
        ('action in [Action::"a", Action::"b"]', 'action in [Action::"a", Action::"c"]', "both"),
        ("action in []", "action", "wider"),
        ("action in []", 'action in [Action::"a"]', "wider"),
        ("action", "action in []", "narrower"),
    ],
)
def test_the_direction_of_actions_is_that_of_their_sets(old: str, new: str, told: Direction) -> None:
    assert direction(scoped(f"principal, {old}, resource"), scoped(f"principal, {new}, resource")) == told


def test_directions_that_differ_are_both() -> None:
    assert joined([]) == "same"
    assert joined(["same", "wider", "wider"]) == "wider"
    assert joined(["narrower", "wider", "same"]) == "both"


SCOPES = st.tuples(
    st.sampled_from(
        ["", " is Agent", ' == Agent::"bot"', ' in Team::"team"', ' is Agent in Team::"team"', ' in Agent::"bot"']
    ),
    st.sampled_from(
        ["", ' == Action::"tool.call"', ' in [Action::"tool.call", Action::"card.authorize"]', ' in Action::"spend"']
    ),
)
LEAVES = st.one_of(
    st.builds("context.amount {} {}".format, st.sampled_from(["<", "<=", ">", ">=", "=="]), st.integers(0, 3)),
    st.builds("{} {} context.amount".format, st.integers(0, 3), st.sampled_from(["<", "<=", ">", ">=", "!="])),
    st.lists(st.sampled_from(['"CAD"', '"EUR"', '"USD"']), min_size=1, max_size=3).map(
        lambda texts: f"[{', '.join(texts)}].contains(context.currency)"
    ),
    st.sampled_from(['principal in [Team::"team"]', 'principal in [Team::"team", Agent::"bot"]', "principal is User"]),
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds("({} && {})".format, inner, inner),
        st.builds("({} || {})".format, inner, inner),
        inner.map("!({})".format),
    ),
    max_leaves=4,
)
TEXTS = st.builds(
    lambda scope, clauses: f"permit (principal{scope[0]}, action{scope[1]}, resource){' '.join(clauses)};",
    SCOPES,
    st.lists(st.builds("{} {{ {} }}".format, st.sampled_from(["when", "unless"]), CONDITIONS), max_size=2),
)


@given(TEXTS, TEXTS)
def test_a_direction_is_what_cedar_decides(old: str, new: str) -> None:
    """Requests are only added by what is `wider`, only lost by what is `narrower`."""
    told = direction(meaning(old), meaning(new))
    before, after = applies(old), applies(new)
    if told in {"same", "wider"}:
        assert all(now or not then for then, now in zip(before, after, strict=True))
    if told in {"same", "narrower"}:
        assert all(then or not now for then, now in zip(before, after, strict=True))


@given(SCOPES, CONDITIONS, CONDITIONS)
def test_one_condition_more_is_narrower_or_the_same(scope: tuple[str, str], first: str, second: str) -> None:
    head = f"permit (principal{scope[0]}, action{scope[1]}, resource)"
    old, new = f"{head} when {{ {first} }};", f"{head} when {{ {first} }} when {{ {second} }};"
    assert direction(meaning(old), meaning(new)) in {"narrower", "same"}
    assert direction(meaning(new), meaning(old)) in {"wider", "same"}

"""The validator's complaints are folded, get a rule, and a hint of what to write instead."""

import pytest

from sidecar.core import policy
from sidecar.core.policy_scope import scope_of
from sidecar.core.policy_unit import Effect
from sidecar.core.remedies import folded, remedy, stem, without_consequences
from tests.core.builders import SCHEMA

ALL = 'principal, action == Action::"card.authorize", resource'


def remedies(scope: str, condition: str, effect: Effect = "permit") -> list[tuple[str, str | None]]:
    """What is said of a policy, complaint by complaint."""
    text = f"{effect} ({scope}) when {{ {condition} }};"
    messages = without_consequences(folded(said for _, said in policy.validation_errors(text, SCHEMA)))
    (tree,) = policy.trees(text)
    head = (effect, scope_of(tree))
    return [remedy(message, condition, head, SCHEMA.model) for message in messages]


@pytest.mark.parametrize(
    ("condition", "code", "hint"),
    [
        ('context.purpose == "x"', "unguarded_attribute", "write `context has purpose && …` before it"),
        ("context.quantities.tokens == 1", "unguarded_attribute", "write `context has quantities && …` before it"),
        ("context has quantities && context.quantities.calls > 1", "unguarded_attribute",
         "write `context has quantities.calls && …` before it"),
        ('principal.external_id == "x"', "unguarded_attribute", "write `principal has external_id && …` before it"),
        ('(if true then principal else principal).external_id == "x"', "unguarded_attribute",
         "write `… has external_id && …` before it"),
        ('principal.getTag("team") == "x"', "unguarded_tag", 'write `principal.hasTag("team") && …` before it'),
        ('principal.getTag(context.currency) == "x"', "unguarded_tag", "write `….hasTag(context.currency) && …`"),
        ("context.amout > 3", "unknown_name", "did you mean `amount`?"),
        ("context.zzz > 3", "unknown_name", "known are `amount`, `currency`, `hour`"),
        ('principal.nam == "x"', "unknown_name", "did you mean `name`?"),
    ],
)  # fmt: skip
def test_a_complaint_gets_its_rule_and_a_hint(condition: str, code: str, hint: str) -> None:
    """The hint names what to write, with the expression that is read."""
    assert any(found == code and (said or "").startswith(hint) for found, said in remedies(ALL, condition))


def test_a_forbid_that_fails_is_told_to_fail_open_elsewhere() -> None:
    """Plain Cedar skips it; here it denies."""
    (_, forbids), (_, permits) = (
        *remedies(ALL, 'context.purpose == "x"', "forbid"),
        *remedies(ALL, 'context.purpose == "x"'),
    )
    assert forbids is not None
    assert "fails open" in forbids
    assert permits is not None
    assert "denies the request" in permits


@pytest.mark.parametrize(
    ("scope", "found"),
    [
        ("principal is Agnt, action, resource", [("unknown_name", "did you mean `Agent`?")]),
        ('principal, action == Action::"tool.cal", resource', [("unknown_name", "did you mean `tool.call`?")]),
        ('principal, action == Action::"spend", resource',
         [("impossible_scope", '`spend` is a group of actions: write `action in Action::"spend"`')]),
        ('principal is Team, action == Action::"tool.call", resource',
         [("impossible_scope", "`tool.call` is for principals `Agent` and resources `Lamp`, `Tool`")]),
        ("principal is Team, action, resource", [("impossible_scope", None)]),
    ],
)  # fmt: skip
def test_a_scope_that_cannot_be_gets_what_it_could_be(scope: str, found: list[tuple[str, str | None]]) -> None:
    """An unknown name is why a scope matches nothing, so only the name is told."""
    assert remedies(scope, "true") == found


def test_other_complaints_are_type_errors() -> None:
    """They have no hint: the sentence is all there is."""
    assert remedies(ALL, 'context.amount == "1"') == [("type_error", None)]


def test_complaints_about_several_actions_are_one() -> None:
    """Three are listed, the others counted; the beginning is what they share."""
    said = [f'attribute `x` in context for Action::"{name}" not found' for name in "abcde"]
    assert folded(said[:1]) == said[:1]
    assert folded([*said[:2], "other"]) == ['attribute `x` in context for Action::"a", Action::"b" not found', "other"]
    (all_five,) = folded(said)
    assert all_five == 'attribute `x` in context for Action::"a", Action::"b", Action::"c" and 2 more not found'
    assert stem(all_five) == "attribute `x` "
    assert stem("other") == "other"


def test_a_name_that_is_no_word_is_quoted() -> None:
    """`has` takes a text there."""
    message = 'unable to guarantee safety of access to optional attribute `a b` in context for Action::"tool.call"'
    code, hint = remedy(
        message, 'context["a b"] == 1', ("permit", scope_of(policy.trees(f"permit ({ALL});")[0])), SCHEMA.model
    )
    assert code == "unguarded_attribute"
    assert (hint or "").startswith('write `context has "a b" && …`')


def test_an_attribute_of_no_known_place_has_no_hint() -> None:
    """Nothing is listed where nothing is known."""
    scope = scope_of(policy.trees(f"permit ({ALL});")[0])
    assert remedy("attribute `x` not found", "", ("permit", scope), SCHEMA.model) == ("unknown_name", None)

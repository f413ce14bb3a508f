"""What is legal but dangerous is told, and nothing else is."""

import pytest

from sidecar.core import policy
from sidecar.core.lints import (
    annotation_lints,
    annotation_span,
    never_applies,
    spending,
    template_lint,
    unconditional_spend,
)
from tests.core.builders import SCHEMA


def found(text: str) -> list[tuple[str, str, str]]:
    """Rule, marked text and hint of each lint about one policy."""
    (tree,) = policy.trees(text)
    told = annotation_lints(text, tree, "f.cedar#1")
    return [(each.code, text[slice(*each.span)], each.hint or "") for each in told]


@pytest.mark.parametrize(
    ("scope", "names"),
    [
        ("principal, action, resource", "`card.authorize`"),
        ('principal, action == Action::"card.authorize", resource', "`card.authorize`"),
        ('principal == Agent::"a", action in Action::"spend", resource is Merchant', "`card.authorize`"),
        ('principal, action in [Action::"card.authorize", Action::"tool.call"], resource', "`card.authorize`"),
        ('principal, action == Action::"tool.call", resource', None),
        ("principal, action, resource is Tool", None),
        ('principal == Team::"t", action, resource', None),
        ("principal is Team, action, resource", None),
    ],
)
def test_the_spending_that_a_scope_lets_in_is_told(scope: str, names: str | None) -> None:
    """A forbid lets none in."""
    text = f'@id("a") permit ({scope});'
    covered = spending(policy.trees(text)[0], SCHEMA.model)
    assert ", ".join(f"`{each}`" for each in covered) == (names or "")
    assert spending(policy.trees(text.replace("permit", "forbid"))[0], SCHEMA.model) == ()
    lint = unconditional_spend(text, covered)
    assert text[slice(*lint.span)] == f"permit ({scope})"
    assert lint.message.startswith(f"permits {names or ''} without conditions")


def test_an_action_that_requires_an_amount_spends_whatever_its_group_is() -> None:
    """Groups are the schema's words; the amount is what budgets count."""
    model = policy.compile_schema((("s", _ungrouped()),)).model
    text = '@id("a") permit (principal, action == Action::"card.authorize", resource);'
    assert spending(policy.trees(text)[0], model) == ("card.authorize",)


def _ungrouped() -> str:
    return SCHEMA.text.replace(" in [spend]", "")


def test_a_template_is_meant_by_its_head() -> None:
    text = '@id("a") permit (principal in ?principal, action, resource) when { true };'
    assert text[slice(*template_lint(text, "a").span)] == text[9:59]


def test_a_missing_id_is_told() -> None:
    """One that is there is not, whatever it is."""
    text = "forbid (principal, action, resource);"
    assert found(text) == [("missing_id", text[:-1], 'begin it with `@id("…")`')]
    assert found(f'@id("") {text}') == []


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ('@id("a") @desciption("x")', [("unknown_annotation", "@desciption", "did you mean `@description`?")]),
        ('@id("a") @Advice("x")', [("unknown_annotation", "@Advice", "did you mean `@advice`?")]),
        ('@id("a") @description("x") @descriptions("y")', []),  # the one that is read is there
        ('@id("a") @owner("x") @reason("y") @description("z") @advice("@desciption")', []),
    ],
)
def test_a_misspelt_annotation_is_told(annotations: str, expected: list[tuple[str, str, str]]) -> None:
    """Others are the author's own."""
    assert found(f"{annotations} forbid (principal, action, resource);") == expected


def test_an_annotation_that_is_not_there_is_meant_by_the_head() -> None:
    """A finding about an id that was made from the file's name has a place too."""
    text = "forbid (principal, action, resource);"
    assert annotation_span(text, "id") == (0, len(text) - 1)


def test_what_never_applies_is_told_with_its_effect() -> None:
    """A guard rail that is none is worse than a permit that is none."""
    assert "this `forbid` never applies" in never_applies("forbid", (0, 1)).message

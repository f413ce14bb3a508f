"""Parts of policies read as Cedar writes them, whatever comments stood between them."""

import pytest

from sidecar.core.policy_compilation import parse_statements
from sidecar.core.policy_layout import conditions_text, laid_out_or_plain, scope_text
from sidecar.core.policy_scope import scope_of


@pytest.mark.parametrize(
    "principal",
    [
        "principal",
        "principal is Agent",
        'principal == User::"a\\"b"',
        'principal in User::"a"',
        'principal is Agent in Team::"t"',
        "principal == ?principal",
        "principal in ?principal",
        "principal is Agent in ?principal",
    ],
)
def test_a_scope_reads_as_it_was_written(principal: str) -> None:
    ((_, tree),) = parse_statements(f"permit ({principal}, action, resource);", "f.cedar")
    assert scope_text("principal", scope_of(tree).principal) == principal


@pytest.mark.parametrize("action", ['action in [Action::"a", Action::"b"]', "action in []"])
def test_a_set_of_actions_reads_as_it_was_written(action: str) -> None:
    ((_, tree),) = parse_statements(f"permit (principal, {action}, resource);", "f.cedar")
    assert scope_text("action", scope_of(tree).action) == action


def test_conditions_are_laid_out_alike_and_without_comments() -> None:
    one = conditions_text(
        '@when("x") @b permit(principal,action,resource)when{context.a==1// why\n&&context.b}unless{true};'
    )
    other = conditions_text(
        "// note\npermit (principal, action, resource)\nwhen { context.a == 1 && context.b }\nunless { true };"
    )
    assert one == other == "when { context.a == 1 && context.b }\nunless { true };"


def test_what_stands_in_texts_is_no_condition_and_no_comment() -> None:
    text = '@unless("when {") permit (principal == User::"when", action, resource) when { context.a == "// {when" };'
    assert conditions_text(text) == 'when { context.a == "// {when" };'


def test_slots_survive() -> None:
    assert conditions_text("permit (principal == ?principal, action, resource) when { true };") == "when { true };"


def test_a_policy_without_conditions_has_none() -> None:
    assert conditions_text('@a("when { true }") permit (principal, action, resource);') is None


def test_what_the_formatter_refuses_stays_as_it_is() -> None:
    assert laid_out_or_plain("permit (") == "permit ("

"""Where a permit could be found is read off scopes and partial evaluation; nothing that could be one is left out."""

import pytest

from sidecar.core.policy import ask_partially, entity_slice, parse_policies
from sidecar.core.policy_compilation import compile_statements
from sidecar.core.policy_scope import Asking
from sidecar.core.policy_set import PolicySet
from sidecar.core.ruling import CedarRequest
from sidecar.core.search import ANALYSED_MAX, Prospect, prospect
from sidecar.core.search_residuals import Known
from tests.core.builders import SCHEMA

CALL = ("Action", "tool.call")
TOOL = ("Tool", "search")
BOT = ("Agent", "bot")
TEAM = ("Team", "team")
CONTEXT: dict[str, object] = {"purpose": "test"}


def looked(*texts: str, known: Known | None = None, is_evaluated: bool = True) -> Prospect:
    """What can be said of all agents that would call a tool; of all tools that `bot` would call where told."""
    units = compile_statements("\n".join(texts), "p.cedar", SCHEMA, shared=False)
    asking = Asking(BOT, CALL, TOOL, frozenset({BOT, TEAM}), frozenset({CALL}), frozenset({TOOL}))
    stored: list[dict[str, object]] = [{"uid": {"type": "Tool", "id": "search"}, "attrs": {}, "parents": []}]
    entities = entity_slice(stored, SCHEMA) if is_evaluated else None
    request = CedarRequest(BOT, "tool.call", TOOL, CONTEXT)
    return prospect(PolicySet(units, (), SCHEMA), request, asking, known or Known("principal", "Agent"), entities)


@pytest.mark.parametrize(
    "policy",
    [
        'permit(principal, action == Action::"card.authorize", resource);',
        "permit(principal is User, action, resource);",
        'permit(principal == User::"boss", action, resource);',
        'permit(principal, action, resource == Tool::"other");',
        "permit(principal, action, resource is Lamp);",
        'forbid(principal == Agent::"bot", action, resource);',
        (
            'permit(principal, action == Action::"tool.call", resource) when { context has purpose && '
            'context.purpose == "x" };'
        ),
        'permit(principal is Agent, action == Action::"tool.call", resource) when { principal.name == "x" && false };',
    ],
)
def test_what_no_policy_could_permit_is_ruled_out(policy: str) -> None:
    assert looked(policy).is_empty


@pytest.mark.parametrize(
    "policy",
    [
        "permit(principal, action, resource);",
        "permit(principal is Agent, action, resource);",
        'permit(principal is Agent, action, resource) when { principal.name == "x" };',
        'permit(principal is Agent, action == Action::"tool.call", resource) unless { context has purpose && false };',
    ],
)
def test_a_policy_of_no_entity_could_permit_any(policy: str) -> None:
    found = looked(policy)
    assert found.is_anywhere
    assert not found.is_empty


def test_policies_that_name_entities_say_at_and_below_which() -> None:
    found = looked(
        'permit(principal in Team::"team", action, resource);',
        'permit(principal is Agent in User::"boss", action, resource);',
        'permit(principal == Agent::"bot", action, resource);',
        'permit(principal in Team::"idle", action, resource) when { false };',
    )
    assert not found.is_anywhere
    assert found.at == {BOT}
    assert found.below == {TEAM, ("User", "boss")}


def test_without_entities_scopes_alone_rule_out() -> None:
    assert looked("permit(principal, action, resource) when { false };").is_empty
    assert looked("permit(principal, action, resource) when { false };", is_evaluated=False).is_anywhere
    assert looked("permit(principal is User, action, resource);", is_evaluated=False).is_empty


def test_a_policy_that_forbids_all_of_a_branch_rules_it_out() -> None:
    found = looked("permit(principal, action, resource);", 'forbid(principal in Team::"team", action, resource);')
    assert not found.is_forbidden(frozenset())
    assert not found.is_forbidden(frozenset({BOT}))
    assert found.is_forbidden(frozenset({BOT, TEAM}))


def test_a_policy_that_forbids_everybody_rules_everybody_out() -> None:
    found = looked("permit(principal, action, resource);", "forbid(principal, action, resource) when { 1 < 2 };")
    assert found.is_forbidden(frozenset())


def test_a_policy_that_forbids_some_rules_nobody_out() -> None:
    found = looked(
        "permit(principal, action, resource);",
        'forbid(principal is Agent, action, resource) when { principal.name == "x" };',
    )
    assert not found.is_forbidden(frozenset({TEAM}))


def test_resources_are_sought_in_the_same_way() -> None:
    tools = Known("resource", "Tool")
    found = looked(
        'permit(principal in Team::"team", action, resource == Tool::"hammer");',
        'permit(principal == Agent::"other", action, resource);',
        known=tools,
    )
    assert not found.is_anywhere
    assert found.at == {("Tool", "hammer")}
    assert looked('permit(principal, action, resource) when { principal == Agent::"x" };', known=tools).is_empty


def test_what_is_too_much_to_evaluate_could_be_anything() -> None:
    texts = [
        f'permit(principal in Team::"t{number}", action, resource) when {{ false }};' for number in range(ANALYSED_MAX)
    ]
    assert looked(*texts).is_empty
    assert len(looked(*texts, *texts[:1]).below) == 1


@pytest.mark.parametrize("levels", [2, 30])  # more than is read, more than is evaluated
def test_what_is_nested_too_deep_could_be_anything(levels: int) -> None:
    condition = "principal.b"
    for _ in range(levels):
        condition = f"({condition}{' || principal.b' * 390})"
    policy = f"permit(principal, action, resource) when {{ {condition} }};"
    handle = parse_policies(((policy,), ()))
    request = CedarRequest(BOT, "tool.call", TOOL, CONTEXT)
    assert ask_partially(handle, request, "principal", entity_slice([], SCHEMA)) == {}


def test_ids_with_quotes_are_asked_about() -> None:
    handle = parse_policies((('permit(principal == Agent::"a\\"\\\\é", action, resource);',), ()))
    request = CedarRequest(("Agent", 'a"\\é'), "tool.call", TOOL, {})
    left = ask_partially(handle, request, "resource", entity_slice([], SCHEMA))
    assert left["policy0"]["conditions"] == [{"kind": "when", "body": {"Value": True}}]


def test_of_an_id_that_cedar_does_not_read_back_nothing_is_said() -> None:
    handle = parse_policies((("permit(principal, action, resource) when { false };",), ()))
    request = CedarRequest(("Agent", "a\n"), "tool.call", TOOL, {})
    assert ask_partially(handle, request, "resource", entity_slice([], SCHEMA)) == {}

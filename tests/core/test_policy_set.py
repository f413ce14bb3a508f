"""Policies that hold together: what is parsed, when, and how long it is kept."""

import cedarpy
import pytest

from sidecar.core import policy_set
from sidecar.core.policy import PolicyHandle, PolicySource, authorize, entity_slice, parse_policies
from sidecar.core.policy_compilation import compile_statements
from sidecar.core.policy_set import ParsedPolicies, PolicySet
from sidecar.core.policy_unit import Link, PolicyUnit
from sidecar.core.ruling import CedarRequest, Ruling
from tests.core.builders import SCHEMA

REQUEST = CedarRequest(principal=("Agent", "bot"), action="tool.call", resource=("Tool", "hammer"), context={})
PERMIT = '@id("{}") permit(principal in Agent::"{}", action, resource);'
TEMPLATE = '@id("t") forbid(principal in ?principal, action, resource);'
ENTITIES = entity_slice(
    [{"uid": {"type": "Agent", "id": "bot"}, "attrs": {"name": "Bot", "status": "active"}, "parents": [], "tags": {}}],
    SCHEMA,
)


def units(*texts: str) -> tuple[PolicyUnit, ...]:
    """Compiled policies."""
    return compile_statements("\n".join(texts), "f.cedar", SCHEMA, shared=False)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[PolicySource]:
    """What is parsed from here on."""
    seen: list[PolicySource] = []

    def parse(source: PolicySource) -> PolicyHandle:
        seen.append(source)
        return parse_policies(source)

    monkeypatch.setattr(policy_set, "parse_policies", parse)
    return seen


def test_entries_are_policies_then_filled_templates_and_no_template_itself() -> None:
    links = [Link("t", "t@bot", ("Agent", "bot")), Link("t", "t@ann", ("Agent", "ann"))]
    made = PolicySet(units(TEMPLATE, PERMIT.format("p", "bot")), links, SCHEMA)
    assert [entry.id for entry in made.entries] == ["p", "t@bot", "t@ann"]
    assert [entry.scope.principal.within for entry in made.entries[1:]] == [(("Agent", "bot"),), (("Agent", "ann"),)]


def test_a_slice_is_asked_alone_under_its_own_ids(parsed: list[PolicySource]) -> None:
    links = [Link("t", "t@ann", ("Agent", "ann")), Link("t", "t@bot", ("Agent", "bot"))]
    made = PolicySet(units(PERMIT.format("a", "ann"), TEMPLATE, PERMIT.format("b", "bot")), links, SCHEMA)
    assert parsed == [], "nothing is parsed before it is asked"
    assert made.ask(made.slice((1,)), REQUEST, ENTITIES) == Ruling("allow", ("b",))
    assert made.ask(made.slice((1, 3)), REQUEST, ENTITIES) == Ruling("deny", ("t@bot",))
    assert made.ask(made.slice((1, 2)), REQUEST, ENTITIES) == Ruling("allow", ("b",))
    assert made.ask(made.slice(()), REQUEST, ENTITIES) == Ruling("deny", ())
    assert made.evaluate(REQUEST, ENTITIES) == Ruling("deny", ("t@bot",))
    assert [len(texts) for texts, _ in parsed] == [1, 2, 2, 0, 3]


def test_a_slice_is_parsed_once(parsed: list[PolicySource]) -> None:
    made = PolicySet(units(PERMIT.format("a", "bot"), PERMIT.format("b", "bot")), [], SCHEMA)
    for positions in ((0,), (0, 1), (0,), (0, 1)):
        made.ask(made.slice(positions), REQUEST, ENTITIES)
    assert len(parsed) == 2


def test_a_changed_policy_leaves_parsed_what_it_is_no_part_of(parsed: list[PolicySource]) -> None:
    """Also from one tenant to another: what is parsed is known by its texts."""
    shared = ParsedPolicies()
    for name in ("b", "c"):
        made = PolicySet(units(PERMIT.format("a", "bot"), PERMIT.format(name, "bot")), [], SCHEMA, shared)
        made.ask(made.slice((0,)), REQUEST, ENTITIES)
        made.ask(made.slice((0, 1)), REQUEST, ENTITIES)
    assert [len(texts) for texts, _ in parsed] == [1, 2, 2]


def test_what_many_askers_share_is_parsed_once_for_all_of_them(parsed: list[PolicySource]) -> None:
    """Each asker's own policy is parsed for itself, and not with all that hold for everybody."""
    common = [f'@id("c{number}") permit(principal, action, resource);' for number in range(8)]
    own = [PERMIT.format(name, name) for name in ("bot", "ann", "bob")]
    made = PolicySet(units(*common, *own), [], SCHEMA)
    for position in (8, 9, 10):
        made.ask(made.slice((*range(8), position)), REQUEST, ENTITIES)
    assert [len(texts) for texts, _ in parsed] == [8, 1, 1, 1]


@pytest.mark.parametrize("shared_min", [1, 2, 99])
def test_parts_say_together_what_they_say_in_one(shared_min: int) -> None:
    """One that forbids is heard before all that permit, and one that failed denies, wherever it was parsed."""
    permit, other = PERMIT.format("p", "bot"), '@id("o") permit(principal, action, resource);'
    forbid = '@id("f") forbid(principal, action, resource);'
    over = "context has amount && context.amount * 9223372036854775807 > 5"
    failing = f'@id("e") forbid(principal, action == Action::"tool.call", resource) when {{ {over} }};'
    large = CedarRequest(
        principal=REQUEST.principal, action=REQUEST.action, resource=REQUEST.resource, context={"amount": 9}
    )
    for texts in (
        (permit, other),
        (permit, forbid),
        (permit, failing),
        (forbid, failing),
        (other, forbid, failing, permit),
    ):
        made, whole = (PolicySet(units(*texts), [], SCHEMA, shared_min=each) for each in (shared_min, 99))
        everything = tuple(range(len(texts)))
        assert made.ask(made.slice(everything), large, ENTITIES) == whole.ask(whole.slice(everything), large, ENTITIES)


def test_the_same_texts_filled_in_for_others_are_other_policies() -> None:
    shared = ParsedPolicies()
    template = units(TEMPLATE.replace("forbid", "permit"))
    rulings = []
    for name in ("ann", "bot"):
        made = PolicySet(template, [Link("t", "t@1", ("Agent", name))], SCHEMA, shared)
        rulings.append(made.ask(made.slice((0,)), REQUEST, ENTITIES).effect)
    assert rulings == ["deny", "allow"]


def test_what_is_parsed_is_bounded_by_its_text(parsed: list[PolicySource], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_set, "PARSED_TEXT_MAX", 300)
    made = PolicySet(units(*(PERMIT.format(f"p{number}", "bot") for number in range(20))), [], SCHEMA)
    for position in (*range(20), 19, 0):
        made.ask(made.slice((position,)), REQUEST, ENTITIES)
    assert len(parsed) == 21, "the newest is still there, the oldest is not"


def test_a_slice_reads_what_any_of_its_policies_can_read() -> None:
    made = PolicySet(
        units(
            "permit(principal, action, resource);",
            'permit(principal, action == Action::"card.authorize", resource) when { context.hour > 5 };',
            'permit(principal, action == Action::"card.authorize", resource) when { context.amount > context.hour };',
            'permit(principal, action == Action::"tool.call", resource) when { context == context };',
            "permit(principal, action, resource is Merchant) when { resource has country };",
            'permit(principal, action, resource) when { Agent::"ann".name == "Ann" };',
        ),
        [],
        SCHEMA,
    )
    assert made.slice((0,)).context_read == ()
    assert made.slice((0, 1, 2)).context_read == ("amount", "hour")
    assert made.slice((1, 3)).context_read is None
    assert [made.slice((0, each)).looks_into_resource for each in (1, 4)] == [False, True]
    assert [made.slice((0, each)).reaches for each in (4, 5)] == [False, True]


def test_of_a_policy_that_nobody_has_read_everything_can_be_read() -> None:
    unit = PolicyUnit(id="p", effect="permit", source="", text="permit(principal, action, resource);")
    made = PolicySet([unit], [], SCHEMA)
    only = made.slice((0,))
    assert (only.context_read, only.looks_into_resource) == (None, True)


ASKED = {
    "principal": {"type": "Agent", "id": "bot"},
    "action": {"type": "Action", "id": "tool.call"},
    "resource": {"type": "Tool", "id": "hammer"},
}


FAILING = "forbid(principal, action, resource) when { context.purpose * 2 > 1 };"


@pytest.mark.parametrize("context", [None, "{}", '{"purpose": "p"}', '{"purpose": 1}', "nonsense"])
@pytest.mark.parametrize("text", [PERMIT.format("a", "bot"), PERMIT.format("a", "ann"), FAILING])
@pytest.mark.parametrize("is_checked", [True, False])
def test_the_engine_is_asked_as_its_public_function_asks_it(text: str, context: str | None, is_checked: bool) -> None:  # noqa: FBT001
    policies = cedarpy.PolicySet.from_str(text)
    schema = SCHEMA.handle if is_checked else None
    asked = ASKED if context is None else {**ASKED, "context": context}
    answer = authorize(asked, policies, ENTITIES.handle, schema)
    public = cedarpy.is_authorized(asked, policies, ENTITIES.handle, schema)
    assert answer.decision == public.decision.value
    assert list(answer.diagnostics.reason) == public.diagnostics.reasons
    assert list(answer.diagnostics.errors) == public.diagnostics.errors

"""A ruling on slices is the ruling of all policies on everything: decision, determining policies, errors, refusals."""

from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from sidecar.core.directory import Identity, IdentityChain, entity_of, walk
from sidecar.core.errors import PolicyInvalid, ValidationFailed
from sidecar.core.ids import pascal_case
from sidecar.core.model import AuthorizeRequest, ClaimedTags, ResourceRef
from sidecar.core.policy import compile_schema, entity_slice
from sidecar.core.policy_compilation import compile_statements
from sidecar.core.policy_scope import EntityUid
from sidecar.core.policy_set import PolicySet
from sidecar.core.policy_unit import Link, PolicyUnit
from sidecar.core.question import Circumstances, Question, pose
from sidecar.core.recent import Recent
from sidecar.core.ruling import Ruling
from sidecar.core.slicing import Asker, Rulings
from sidecar.core.windows import zone
from tests.core.builders import NOON_US

SCHEMA = compile_schema(
    (
        (
            "s.cedarschema",
            """
entity User, Team, Agent in [User, Team, Agent] { name: String, status: String, external_id?: String } tags String;
entity Tool { size: Long, server?: String, owner?: User };
entity Merchant { merchant_category?: String };
entity Lamp enum ["red", "green"];
action use;
action call in [use] appliesTo {
  principal: [User, Agent],
  resource: [Tool, Lamp, Merchant, Agent],
  context: {
    amount?: Long, currency?: String, merchant_category?: String, quantities?: { tokens?: Long }, now: datetime,
    hour: Long, weekday: Long, mode: String, note?: String, friend?: Agent, hue?: Lamp, since?: datetime,
  },
};
action stop in [use] appliesTo { principal: [Agent], resource: [Tool], context: { hour: Long, note?: String } };
action odd appliesTo { principal: [Agent], resource: [Tool], context: { mode: Long, hour: Long } };
""",
        ),
    )
)


def _identity(identity_id: str, kind: str, parent_id: str | None, **metadata: str) -> Identity:
    return Identity(
        identity_id=identity_id,
        parent_id=parent_id,
        type=kind,
        name=identity_id,
        metadata=dict(metadata),
        created_at_us=0,
        revision=1,
    )


STORED = {
    each.identity_id: each
    for each in (
        _identity("boss", "user", None),
        _identity("top", "team", "boss", color="blue"),
        _identity("low", "team", "top"),
        _identity("bot", "agent", "low", color="red"),
        _identity("ann", "agent", "top"),
    )
}
PRINCIPALS = (
    "principal",
    'principal == Agent::"bot"',
    'principal == User::"boss"',
    'principal in Team::"top"',
    'principal in User::"boss"',
    'principal in Agent::"ann"',
    "principal is Agent",
    "principal is User",
    'principal is Agent in Team::"low"',
    "principal in ?principal",
    "principal == ?principal",
    "principal is Agent in ?principal",
)
ACTIONS = (
    "action",
    'action == Action::"call"',
    'action in Action::"use"',
    'action in [Action::"stop", Action::"call"]',
    'action == Action::"odd"',
    "action in []",
)
RESOURCES = (
    "resource",
    'resource == Tool::"saw"',
    'resource in Tool::"saw"',
    "resource is Tool",
    'resource is Tool in Tool::"ax"',
    'resource == Agent::"ann"',
    'resource in Team::"top"',
    "resource is Agent",
    'resource == Lamp::"red"',
)
OVER = "* 9223372036854775807 > 5"
"""Overflows for what is over 1: the way in which a valid policy fails."""

CONDITIONS = (
    "",
    "when { false }",
    "unless { true }",
    "when { context.hour > 11 }",
    f"when {{ context.hour {OVER} }}",
    f"when {{ context has amount && context.amount {OVER} }}",
    'when { context has currency && ["CAD"].contains(context.currency) }',
    "unless { context has quantities && context.quantities has tokens && context.quantities.tokens < 5 }",
    'when { context.now > datetime("2025-01-01") }',
    "when { context has since && context.since < context.now }",
    'when { context.mode == "live" }',
    'when { context has note && context.note like "a*" }',
    "when { (if context.hour > 5 then context else context).weekday == 1 }",
    "when { context == context }",
    'when { principal.status == "active" }',
    'when { principal.hasTag("color") && principal.getTag("color") == "red" }',
    'when { principal in Team::"top" }',
    "when { principal == resource }",
    "when { principal in resource }",
    "when { resource in principal }",
    'when { resource is Tool && [Tool::"saw", Tool::"ax"].contains(resource) }',
    'when { resource is Agent && [resource].contains(Agent::"ann") }',
    'when { resource in [Team::"top", Team::"low"] }',
    "when { resource is Tool && resource.size > 3 }",
    f"when {{ resource is Tool && resource.size {OVER} }}",
    'when { resource is Tool && resource has server && resource.server == "s" }',
    'when { resource is Tool && resource has owner && resource.owner.name == "boss" }',
    'when { resource is Merchant && resource has merchant_category && resource.merchant_category == "7372" }',
    'when { resource is Agent && resource.name == "ann" }',
    "when { (if context.hour > 5 then resource else resource) is Tool }",
    'when { {"Var": resource} == {"Var": resource} }',
    'when { Agent::"ann".status == "active" }',
    'when { Agent::"gone".status == "active" }',
    'when { Agent::"ann" in Team::"top" }',
    'when { User::"boss".hasTag("color") }',
    'when { Tool::"saw" has server }',
    'when { context has friend && context.friend.status == "active" }',
    'when { context has friend && context.friend in Team::"top" }',
    "when { context has friend && context.friend == principal }",
    'when { context has hue && context.hue == Lamp::"red" }',
)

FAILING = 3 * tuple(each for each in CONDITIONS if OVER in each or "gone" in each)


@cache
def compiled(text: str) -> PolicyUnit | None:
    """The policy of a text; None where it could never apply, or does not fit the schema."""
    try:
        (unit,) = compile_statements(text, "f.cedar", SCHEMA, shared=False)
    except PolicyInvalid:
        return None
    return unit


@st.composite
def policy_sets(draw: st.DrawFn) -> PolicySet:
    """Policies and filled templates."""
    units: list[PolicyUnit] = []
    links: list[Link] = []
    for number in range(draw(st.integers(0, 12))):
        # What demands nothing comes first, and often, so that there are candidates.
        scope = [draw(st.just(each[0]) | st.sampled_from(each)) for each in (PRINCIPALS, ACTIONS, RESOURCES)]
        parts = [draw(st.sampled_from(("permit", "forbid"))), *scope]
        conditions = " ".join(draw(st.lists(st.sampled_from(CONDITIONS + FAILING), max_size=2)))
        unit = compiled(f'@id("p{number}") {parts[0]}({", ".join(parts[1:])}) {conditions};')
        if unit is not None:
            units.append(unit)
            owners = draw(st.lists(st.sampled_from(sorted(STORED)), max_size=2, unique=True)) if unit.slots else []
            links += [Link(unit.id, f"{unit.id}@{owner}", _uid(STORED[owner])) for owner in owners]
    return PolicySet(units, links, SCHEMA)


def _uid(identity: Identity) -> EntityUid:
    return pascal_case(identity.type), identity.identity_id


TOOLS = st.builds(
    lambda name, attributes: (ResourceRef("tool", name), {"size": 2, **attributes}),
    st.sampled_from(["saw", "ax", "plane"]),
    st.fixed_dictionaries(
        {},
        optional={
            "size": st.sampled_from([0, 4]),
            "server": st.sampled_from(["s", "t"]),
            "owner": st.sampled_from(["boss", "gone"]).map(lambda name: {"type": "User", "id": name}),
        },
    ),
)
OTHER_EXAMPLES: list[tuple[ResourceRef, dict[str, Any]]] = [
    (ResourceRef("lamp", "red"), {}),
    (ResourceRef("merchant", "shop"), {}),
    (ResourceRef("agent", "ann"), {}),
    (ResourceRef("agent", "bot"), {}),
]
RESOURCE_EXAMPLES: list[tuple[ResourceRef, dict[str, Any]]] = [
    *OTHER_EXAMPLES,
    (ResourceRef("tool", "saw"), {"size": 9, "server": "s"}),
    (ResourceRef("tool", "ax"), {"size": 1, "owner": {"type": "User", "id": "boss"}}),
]
CONTEXT_EXAMPLES: list[dict[str, Any]] = [
    {},
    {"friend": {"type": "Agent", "id": "ann"}},
    {"hue": {"type": "Lamp", "id": "red"}, "note": "a"},
]
CLAIMS: list[ClaimedTags | msgspec.UnsetType] = [
    *3 * [msgspec.UNSET],
    ClaimedTags({"color": "red"}),
    ClaimedTags({"color": "blue"}, {"color": "blue"}),
    ClaimedTags({"size": "5"}),
]
OTHERS = st.sampled_from(OTHER_EXAMPLES)
CONTEXTS = st.fixed_dictionaries(
    {},
    optional={
        "note": st.sampled_from(["a", "b"]),
        "friend": st.sampled_from(["ann", "bot", "gone"]).map(lambda name: {"type": "Agent", "id": name}),
        "hue": st.sampled_from([*["red"] * 9, "blue"]).map(lambda name: {"type": "Lamp", "id": name}),
        "since": st.sampled_from(["2025-01-01", "2030-01-01T00:00:00Z"]),
    },
)


@st.composite
def requests(draw: st.DrawFn) -> AuthorizeRequest:
    """Requests of the schema's actions."""
    action = draw(st.sampled_from([*["call"] * 8, "stop", "stop", "odd"]))
    resource, attributes = draw(TOOLS if action != "call" else TOOLS | OTHERS)
    amount = draw(st.sampled_from([None, 0, 4723]))
    context: dict[str, Any] = draw(CONTEXTS) if action == "call" else {}
    return AuthorizeRequest(
        identity_id=draw(st.sampled_from(["bot", "boss", "ann"] if action == "call" else ["bot", "ann"])),
        action=action,
        resource=resource,
        amount_minor=amount,
        currency=None if amount is None else draw(st.sampled_from(["CAD", "USD"])),
        merchant_category=draw(st.sampled_from([None, "7372"])),
        quantities=draw(st.sampled_from([{}, {"tokens": 3}])) if action == "call" else {},
        attributes=attributes,
        context=context,
        ttl_seconds=60,
        tags=draw(st.sampled_from(CLAIMS)),
    )


def posed(request: AuthorizeRequest) -> Question:
    """What becomes of a request, with the stored identities."""
    chain = walk(request.identity_id, STORED.get)
    target = walk(request.resource.id, STORED.get) if request.resource.type == "agent" else None
    question = pose(request, chain, target, SCHEMA.forms, Circumstances(NOON_US, zone("UTC"), "live"))
    assert isinstance(question, Question)
    return question


def stored(question: Question, named: set[EntityUid]) -> list[dict[str, object]]:
    """The stored identities that are named, and those above them, beside those of the question."""
    known = {each.identity_id for chain in (question.chain, question.target or ()) for each in chain}
    found: dict[str, dict[str, object]] = {}
    for kind, identity_id in named:
        identity = STORED.get(identity_id)
        if identity is not None and pascal_case(identity.type) == kind:
            chain: IdentityChain = walk(identity_id, STORED.get)
            for each, parent in zip(chain, [*chain[1:], None], strict=True):
                if each.identity_id not in known:
                    found[each.identity_id] = entity_of(each, parent)
    return list(found.values())


def in_full(policies: PolicySet, question: Question) -> Ruling | tuple[str, str | None]:
    """What all policies say of everything, or why the request is refused."""
    named = {entity for entry in policies.entries for entity in entry.unit.reaches} | question.references
    whole = PolicySet(*policies.parts, SCHEMA, shared_min=1_000)
    try:
        entities = entity_slice([*question.entities, *stored(question, named)], SCHEMA)
        return whole.evaluate(question.request, entities)
    except ValidationFailed as error:
        return error.message, error.field


def sliced(policies: PolicySet, question: Question, shared_min: int = 2) -> Ruling | tuple[str, str | None]:
    """What the slices say, each with its own parsed parts; with rulings kept and without."""
    asker = Asker(question.chain, PolicySet(*policies.parts, SCHEMA, shared_min=shared_min), SCHEMA)
    reached = stored(question, {*asker.reaches, *question.references})
    kept: Rulings = Recent(9)
    try:
        first = asker.rule(question, reached, Recent(9), 7)
        for _ in range(2):
            assert asker.rule(question, reached, kept, 7) == first, "also with what was kept from the first time"
    except ValidationFailed as error:
        return error.message, error.field
    return first


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(policy_sets(), st.lists(requests(), min_size=1, max_size=3))
def test_slices_say_what_all_policies_say_of_everything(policies: PolicySet, asked: list[AuthorizeRequest]) -> None:
    for request in asked:
        question = posed(request)
        expected = in_full(policies, question)
        event(f"errors: {isinstance(expected, Ruling) and bool(expected.errors)}")
        event(f"refused: {isinstance(expected, tuple)}")
        event(f"effect: {isinstance(expected, Ruling) and bool(expected.determining) and expected.effect}")
        assert sliced(policies, question) == expected
        assert sliced(policies, question, shared_min=1_000) == expected


def test_a_ruling_is_taken_from_before_for_just_the_same_question_at_the_same_revision() -> None:
    """What tells two questions apart is all that Cedar would be given."""
    kept: Rulings = Recent(99)
    unit = compiled(
        'permit(principal, action == Action::"call", resource) when { context has note && context.note == "a" };'
    )
    assert unit is not None
    policies = PolicySet((unit,), (), SCHEMA)
    asker = Asker(walk("bot", STORED.get), policies, SCHEMA)

    def rule(note: str = "a", tool: str = "saw", amount_minor: int = 1, at: int = 1) -> Ruling:
        request = AuthorizeRequest(
            identity_id="bot",
            action="call",
            resource=ResourceRef("tool", tool),
            amount_minor=amount_minor,
            currency="CAD",
            attributes={"size": 9},
            context={"note": note},
            ttl_seconds=60,
        )
        return asker.rule(posed(request), (), kept, at)

    for _ in range(2):
        rulings = [rule(), rule(note="b"), rule(tool="ax"), rule(at=2), rule(amount_minor=2)]
        assert [ruling.effect for ruling in rulings] == ["allow", "deny", "allow", "allow", "allow"]
        assert len(kept) == 4, "nothing reads the amount"


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("effect", ["permit", "forbid"])
def test_each_kind_of_condition_reads_in_slices_what_it_reads_in_full(effect: str, condition: str) -> None:
    unit = compiled(f'{effect}(principal, action == Action::"call", resource) {condition};')
    assert unit is not None, "every condition fits the schema"
    every = compiled('@id("all") permit(principal, action, resource);')
    assert every is not None
    policies = PolicySet((unit, every), (), SCHEMA)
    for resource, attributes in RESOURCE_EXAMPLES:
        for context in CONTEXT_EXAMPLES:
            question = posed(
                AuthorizeRequest(
                    identity_id="bot",
                    action="call",
                    resource=resource,
                    amount_minor=4723,
                    currency="CAD",
                    merchant_category="7372",
                    quantities={"tokens": 3},
                    attributes=attributes,
                    context=context,
                    ttl_seconds=60,
                )
            )
            assert sliced(policies, question) == in_full(policies, question)

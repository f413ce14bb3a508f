"""The policy engine: how schemas are refused, and that nothing is allowed unless a policy says so."""

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sidecar.core import policy
from sidecar.core.errors import PolicyInvalid, Unavailable, ValidationFailed
from sidecar.core.literals import entity, quote
from sidecar.core.policy import CompiledSchema, check_extension, compile_schema, engine, entity_slice
from sidecar.core.policy_compilation import compile_statements
from sidecar.core.policy_set import PolicySet
from sidecar.core.policy_unit import Link, PolicyUnit
from sidecar.core.ruling import CedarRequest, PolicyFault, Ruling

ROOT = Path(__file__).parents[2]
POLICY_FILES = sorted((ROOT / "policies").glob("*.cedar"))
SHIPPED = compile_schema((("schemas/sidecar.cedarschema", (ROOT / "schemas" / "sidecar.cedarschema").read_text()),))

SMALL = """
    entity User, Agent in [User, Agent] { name: String, status: String, external_id?: String } tags String;
    entity Tool;
    action use;
    action call in [use] appliesTo { principal: [User, Agent], resource: Tool, context: { n?: Long, word?: String } };
    action stop in [use] appliesTo { principal: [User], resource: Tool };
"""
SCHEMA = compile_schema((("s.cedarschema", SMALL),))


def units(text: str, file: str = "policies/f.cedar") -> tuple[PolicyUnit, ...]:
    """The policies of a file that holds for every tenant."""
    return compile_statements(text, file, SCHEMA, shared=True)


def policies(text: str, *links: Link) -> PolicySet:
    """A set of the policies in ``text``."""
    return PolicySet(units(text), links, SCHEMA)


def person(type_name: str, entity_id: str, *parents: tuple[str, str], **tags: str) -> dict[str, object]:
    """An identity as an entity."""
    return {
        "uid": {"type": type_name, "id": entity_id},
        "attrs": {"name": entity_id, "status": "active"},
        "parents": [{"type": parent, "id": parent_id} for parent, parent_id in parents],
        "tags": tags,
    }


def rule(
    asked: PolicySet,
    *,
    agent: str = "a",
    tool: str = "t",
    action: str = "call",
    context: dict[str, object] | None = None,
) -> Ruling:
    """What ``asked`` says when an agent of user `u` calls a tool."""
    request = CedarRequest(principal=("Agent", agent), action=action, resource=("Tool", tool), context=context or {})
    return asked.evaluate(request, entity_slice([person("Agent", agent, ("User", "u")), person("User", "u")], SCHEMA))


# --- Schemas


def test_several_files_make_one_schema() -> None:
    compiled = compile_schema((("a", "entity Thing // no newline"), ("b", ";"), ("c", SMALL)))
    assert {"Thing", "Agent"} <= compiled.model.entity_types.keys()
    assert compiled.model.members("use") == ("call", "stop")
    assert compiled.text == f"entity Thing // no newline\n;\n{SMALL}"


def test_a_schema_is_named_by_the_hash_of_its_source() -> None:
    digest = "sha256:d7c2ff3b2bc1ee8d1fb7bfb3b1ef5f8c3e5d8d7a7b1cc5e0"[:7]
    assert SCHEMA.model.digest.startswith(digest)
    assert len(SCHEMA.model.digest) == len("sha256:") + 64
    assert compile_schema((("s", SMALL + " "),)).model.digest != SCHEMA.model.digest


ROBOT = "entity Robot; action a appliesTo { principal: Robot, resource: Robot };"


@pytest.mark.parametrize(
    ("first", "second", "at"),
    [
        (SMALL, "entity A {", "b:1:11: unexpected end of input"),
        (SMALL, "\nentity A { x Long };", "b:2:14: unexpected token `Long`"),
        ("", "entity Tool; nope", "b:1:14: unexpected token `nope`"),
        (SMALL, "entity A { x: Nope };", "b:1:15: failed to resolve type: Nope"),
        ("entity Tool;", "entity Tool;", "a:1:8: `Tool` is declared twice"),
        (SMALL, "\n\nnamespace N { entity A; }", "b:3:1: a namespace in the schema"),
        (SMALL, "entity A { x: " + "{ y: " * 40, "b:1:170: brackets nest deeper"),
        (SMALL, 'entity A enum ["a', "b:1:16: the string that begins here"),
        ("\n", ROBOT, "b:1:8: identity type `Robot` must declare `name: String`"),
        (SMALL, ROBOT, "a:2:18: identity type `Agent` must be allowed `in` `Robot`"),
    ],
)
def test_a_schema_that_is_refused_names_file_line_and_column(first: str, second: str, at: str) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        compile_schema((("a", first), ("b", second)))
    assert str(caught.value).startswith(at)


def test_no_schema_at_all_is_refused() -> None:
    with pytest.raises(PolicyInvalid, match=r"schema:1:1: .* no identity could exist"):
        compile_schema(())


# --- What is shipped


@pytest.mark.parametrize("file", POLICY_FILES, ids=lambda file: file.name)
def test_the_shipped_policies_fit_the_shipped_schema(file: Path) -> None:
    found = compile_statements(file.read_text(), f"policies/{file.name}", SHIPPED, shared=True)
    assert found
    for unit in found:
        assert unit.id.startswith(f"{file.stem}/")
        assert unit.description
        assert unit.advice or unit.effect == "permit"


def test_the_shipped_schema_declares_what_the_contract_says() -> None:
    model = SHIPPED.model
    assert model.identity_types == {"User", "Organization", "Team", "Project", "Service", "Agent"}
    assert {"Merchant", "Tool", "Model", "Url", "Account"} <= model.entity_types.keys() - model.identity_types
    fields = model.actions["card.authorize"].context.fields
    required = {"amount": True, "currency": True, "merchant_category": False}
    assert {name: fields[name].required for name in required} == required
    for name in model.members("spend") + model.members("use"):
        declared = model.actions[name].context.fields
        assert {"now", "hour", "weekday", "mode"} <= {key for key, field in declared.items() if field.required}


# --- Sets


def test_two_policies_with_one_id_are_refused_naming_both() -> None:
    text = '@id("x") permit(principal, action, resource);\n@id("x") forbid(principal, action, resource);'
    with pytest.raises(ValidationFailed, match=r"`x`: `policies/f.cedar:1` and `policies/f.cedar:2`"):
        policies(text)


TEMPLATE = '@id("grant") permit(principal in ?principal, action, resource);'


def test_a_template_allows_nothing_until_it_is_linked() -> None:
    assert rule(policies(TEMPLATE)) == Ruling("deny", ())
    linked = policies(TEMPLATE, Link("grant", "grant@pol_1", ("User", "u")), Link("grant", "other", ("User", "x")))
    assert rule(linked) == Ruling("allow", ("grant@pol_1",))
    assert linked.unit("grant@pol_1") == linked.unit("grant")


def test_a_link_may_bear_the_id_of_its_template() -> None:
    assert rule(policies(TEMPLATE, Link("grant", "grant", ("Agent", "a")))) == Ruling("allow", ("grant",))


@pytest.mark.parametrize(
    ("text", "template"),
    [
        ('@id("x") permit(principal, action, resource);', "x"),
        ('@id("x") permit(principal, action, resource == ?resource);', "x"),
        ('@id("x") permit(principal == ?principal, action, resource == ?resource);', "x"),
        (TEMPLATE, "y"),
    ],
)
def test_only_a_template_of_the_principal_is_linked(text: str, template: str) -> None:
    with pytest.raises(ValidationFailed, match="is no template"):
        policies(text, Link(template, "link", ("User", "u")))


def test_a_link_takes_no_id_in_use() -> None:
    with pytest.raises(ValidationFailed, match="two policies have the id `p`"):
        policies(TEMPLATE + '@id("p") permit(principal, action, resource);', Link("grant", "p", ("User", "u")))


# --- Rulings


def test_nothing_is_allowed_by_no_policy() -> None:
    assert rule(PolicySet((), (), SCHEMA)) == Ruling("deny", ())


def test_a_permit_allows_and_a_forbid_wins() -> None:
    permit = (
        '@id("p2") permit(principal, action, resource); @id("p1") permit(principal in User::"u", action, resource);'
    )
    assert rule(policies(permit)) == Ruling("allow", ("p1", "p2"))
    forbid = '@id("f") forbid(principal, action in Action::"use", resource) when { context has n };'
    assert rule(policies(permit + forbid)) == Ruling("allow", ("p1", "p2"))
    assert rule(policies(permit + forbid), context={"n": 1}) == Ruling("deny", ("f",))


OVERFLOW = "when { context has n && context.n * 9223372036854775807 > 5 };"


def test_a_forbid_that_fails_denies_although_cedar_skips_it() -> None:
    asked = policies(
        f'@id("p") permit(principal, action, resource); @id("z") forbid(principal, action, resource) {OVERFLOW}'
        f'@id("y") permit(principal, action, resource) {OVERFLOW}'
    )
    ruling = rule(asked, context={"n": 3})
    assert (ruling.effect, ruling.determining) == ("deny", ())
    assert [fault.policy_id for fault in ruling.errors] == ["y", "z"]
    assert "integer overflow" in ruling.errors[0].message
    assert "policy" not in ruling.errors[0].message.partition("integer")[0]


def test_a_failure_beside_a_forbid_that_matches_keeps_both() -> None:
    asked = policies(
        f'@id("f") forbid(principal, action, resource); @id("p") permit(principal, action, resource) {OVERFLOW}'
    )
    ruling = rule(asked, context={"n": 3})
    assert ruling.determining == ("f",)
    assert [type(fault) for fault in ruling.errors] == [PolicyFault]


def test_a_policy_out_of_scope_cannot_fail() -> None:
    asked = policies(
        f'@id("p") permit(principal, action, resource);'
        f'@id("f") forbid(principal == User::"x", action, resource) {OVERFLOW}'
    )
    assert rule(asked, context={"n": 3}) == Ruling("allow", ("p",))


@pytest.mark.parametrize(
    ("context", "field"), [({"new": 1}, "context"), ({"n": "1"}, "context"), ({"n": {"__entity": 1}}, "context")]
)
def test_a_context_that_does_not_fit_is_refused_and_never_allowed(context: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        rule(policies("permit(principal, action, resource);"), context=context)
    assert caught.value.field == field
    assert not caught.value.message.startswith("failed to build")


@pytest.mark.parametrize("action", ["unknown", "use", "stop"])
def test_an_action_that_does_not_apply_is_refused_and_never_allowed(action: str) -> None:
    with pytest.raises(ValidationFailed):
        rule(policies("permit(principal, action, resource);"), action=action)


def test_an_error_that_cannot_be_read_is_no_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    """So is an answer of an engine that words its errors in another way."""

    def answer(*_: object) -> policy.Answer:
        return policy.Answer("Allow", policy.Diagnostics(("policy policy0 went wrong",), ("policy0",)))

    monkeypatch.setattr(policy, "authorize", answer)
    with pytest.raises(Unavailable):
        rule(policies("permit(principal, action, resource);"))


NASTY = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@settings(deadline=None)
@given(agent=NASTY, tool=NASTY, other=NASTY)
@example('"; permit(principal, action, resource); //', '\\"\\', "\0\n\u2028")
def test_ids_of_any_characters_are_compared_whole(agent: str, tool: str, other: str) -> None:
    asked = policies(
        f'@id("p") permit(principal == {entity("Agent", agent)}, action, resource == {entity("Tool", tool)})'
        f"when {{ context.word == {quote(other)} }};".replace("context.word", "context has word && context.word")
    )
    assert rule(asked, agent=agent, tool=tool, context={"word": other}).effect == "allow"
    assert rule(asked, agent=agent + "x", tool=tool, context={"word": other}).effect == "deny"
    assert rule(asked, agent=agent, tool=tool, context={"word": other + "\0"}).effect == "deny"


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["permit", "forbid"]), st.booleans(), NASTY.filter(str.isprintable)), max_size=12
    )
)
def test_policies_are_known_by_their_own_ids_in_any_number_and_order(made: list[tuple[str, bool, str]]) -> None:
    named = [
        (effect, holds, f"{number}{name}".replace("`", "")[:50]) for number, (effect, holds, name) in enumerate(made)
    ]
    text = "\n".join(
        f"@id({quote(name)}) {effect}(principal, action, resource) when {{ {str(holds).lower()} }};"
        for effect, holds, name in named
    )
    forbids = sorted(name for effect, holds, name in named if holds and effect == "forbid")
    permits = sorted(name for effect, holds, name in named if holds and effect == "permit")
    expected = Ruling("deny", tuple(forbids)) if forbids or not permits else Ruling("allow", tuple(permits))
    assert rule(policies(text)) == expected


# --- Entities and extensions


UNFIT: list[list[dict[str, object]]] = [
    [{**person("Agent", "a"), "attrs": {}}],
    [{**person("Agent", "a"), "uid": {"type": "Nope", "id": "a"}}],
    [{**person("Agent", "a"), "tags": {"x": 1}}],
    [person("Agent", "a"), person("Agent", "a", x="y")],
]


@pytest.mark.parametrize("entities", UNFIT)
def test_entities_that_do_not_fit_the_schema_are_refused(entities: list[dict[str, object]]) -> None:
    with pytest.raises(ValidationFailed, match="do not fit the schema"):
        entity_slice(entities, SCHEMA)


def test_extension_values_are_checked_by_the_engine() -> None:
    assert check_extension("ipaddr", "10.0.0.0/8")
    assert not check_extension("ipaddr", '10.0.0.1"')
    assert check_extension("datetime", "2026-11-22T01:02:03.004Z")
    assert not check_extension("datetime", "2026-02-30")
    assert check_extension("duration", "-1h")
    assert check_extension("decimal", "1.2345")
    assert not check_extension("decimal", "1.23456")


def test_the_engine_is_named_with_its_version() -> None:
    name, _, version = engine().partition(" ")
    assert name == "cedarpy"
    assert version.startswith("4.12.")


# --- What the shipped files hold


def shipped() -> tuple[PolicyUnit, ...]:
    """All policies in `policies/`."""
    return tuple(
        unit
        for file in POLICY_FILES
        for unit in compile_statements(file.read_text(), f"policies/{file.name}", SHIPPED, shared=True)
    )


def pay(asked: PolicySet, compiled: CompiledSchema, *, mcc: str | None, minor: int = 4723, **tags: str) -> Ruling:
    """What ``asked`` says when an agent pays AWS by card in CAD."""
    context: dict[str, object] = {
        "amount": minor,
        "currency": "CAD",
        "now": {"__extn": {"fn": "datetime", "arg": "2026-11-22T10:00:00Z"}},
        "hour": 10,
        "weekday": 7,
        "mode": "live",
    }
    context |= {} if mcc is None else {"merchant_category": mcc}
    merchant: dict[str, object] = {"uid": {"type": "Merchant", "id": "AWS"}, "attrs": {}, "parents": []}
    entities = entity_slice([person("Agent", "a", **tags), merchant], compiled)
    request = CedarRequest(
        principal=("Agent", "a"), action="card.authorize", resource=("Merchant", "AWS"), context=context
    )
    return asked.evaluate(request, entities)


def test_the_shipped_files_grant_nothing_to_who_did_not_opt_in() -> None:
    asked = PolicySet(shipped(), (), SHIPPED)
    assert pay(asked, SHIPPED, mcc="7372") == Ruling("deny", ())
    assert pay(asked, SHIPPED, mcc="7372", spend_profile="standard").determining == ("spend/standard-profile",)
    assert pay(asked, SHIPPED, mcc="7372", minor=20001, spend_profile="standard") == Ruling("deny", ())


def test_the_shipped_guard_rails_hold_over_any_grant() -> None:
    grant = compile_statements("permit(principal, action, resource);", "grant", SHIPPED, shared=False)
    asked = PolicySet(shipped() + grant, (), SHIPPED)
    assert pay(asked, SHIPPED, mcc=None).effect == "allow"
    assert pay(asked, SHIPPED, mcc="7995") == Ruling("deny", ("spend/no-gambling-or-cash",))
    assert pay(asked, SHIPPED, mcc="7372", spending="off") == Ruling("deny", ("baseline/spending-off",))

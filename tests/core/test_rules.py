"""JSON rules: what they compile to decides as an obvious model of them does, for every policy on the identity chain."""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec import structs

from sidecar.core.currencies import places
from sidecar.core.errors import ValidationFailed
from sidecar.core.money import Major
from sidecar.core.policy import CompiledSchema, compile_schema, entity_slice
from sidecar.core.policy_compilation import compile_statements
from sidecar.core.policy_set import PolicySet
from sidecar.core.restrictions import Restrictions, RuleResource
from sidecar.core.rules import ALTERNATIVES_MAX, Alternative, Clause, Rules, compile_rules
from sidecar.core.ruling import CedarRequest, Ruling
from sidecar.core.schema import SchemaModel

ROOT = Path(__file__).parents[2]
SHIPPED: Final = compile_schema(
    (("schemas/sidecar.cedarschema", (ROOT / "schemas" / "sidecar.cedarschema").read_text()),)
)
SHIPPED_POLICIES: Final = tuple(
    unit
    for file in sorted((ROOT / "policies").glob("*.cedar"))
    for unit in compile_statements(file.read_text(), f"policies/{file.name}", SHIPPED, shared=True)
)

USER: Final = ("User", "u")
TEAM: Final = ("Team", "t")
AGENT: Final = ("Agent", "a")
STRANGER: Final = ("Team", "elsewhere")


def compiled(rules: Rules, principal: tuple[str, str] = AGENT, policy_id: str = "pol_1") -> dict[str | None, Clause]:
    """The clauses of ``rules`` by key."""
    clauses = compile_rules(rules, policy_id=policy_id, principal=principal, schema=SHIPPED.model)
    return {clause.key: clause for clause in clauses}


def refused(rules: Rules, schema: SchemaModel = SHIPPED.model) -> tuple[str | None, str]:
    """Field and sentence of the refusal."""
    with pytest.raises(ValidationFailed) as caught:
        compile_rules(rules, policy_id="pol_1", principal=AGENT, schema=schema)
    return caught.value.field, caught.value.message


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One request of agent `a`, who is in team `t`, who is in user `u`."""

    action: str = "card.authorize"
    resource: tuple[str, str] = ("Merchant", "AWS")
    amount: int | None = 4723
    currency: str | None = "CAD"
    merchant_category: str | None = "7372"
    hour: int = 10
    weekday: int = 7


def person(uid: tuple[str, str], *parents: tuple[str, str]) -> dict[str, object]:
    """An identity as an entity."""
    attributes = {"name": uid[1], "status": "active"}
    above = [{"type": parent[0], "id": parent[1]} for parent in parents]
    return {"uid": {"type": uid[0], "id": uid[1]}, "attrs": attributes, "parents": above}


CHAIN: Final = entity_slice([person(AGENT, TEAM), person(TEAM, USER), person(USER)], SHIPPED)


def policy_set(policies: Sequence[tuple[tuple[str, str], Rules]], schema: CompiledSchema = SHIPPED) -> PolicySet:
    """The compiled policies, each with the identity it hangs on, beside the shipped files."""
    units = list(SHIPPED_POLICIES)
    for number, (owner, rules) in enumerate(policies):
        clauses = compile_rules(rules, policy_id=f"pol_{number}", principal=owner, schema=schema.model)
        units += compile_statements("\n".join(clause.text for clause in clauses), f"pol_{number}", schema, shared=False)
    return PolicySet(units, (), schema)


def rule(policies: PolicySet, asked: Asked) -> Ruling:
    """What the policies say of one request."""
    given_fields = {
        name: getattr(asked, name) for name in ("amount", "currency", "merchant_category", "hour", "weekday")
    }
    context: dict[str, object] = {"now": {"__extn": {"fn": "datetime", "arg": "2026-11-22"}}, "mode": "live"}
    context |= {name: value for name, value in given_fields.items() if value is not None}
    if asked.action != "card.authorize":
        context.pop("merchant_category", None)
    request = CedarRequest(principal=AGENT, action=asked.action, resource=asked.resource, context=context)
    return policies.evaluate(request, CHAIN)


def decide(policies: Sequence[tuple[tuple[str, str], Rules]], asked: Asked) -> Ruling:
    """Compile and rule."""
    return rule(policy_set(policies), asked)


# --- The main job


CONTRACT = Rules(actions=("card.authorize",), max_amount=Major("200"), currencies=("CAD",), allowed_mccs=("7372",))


def test_a_grant_within_its_restrictions_permits_beside_the_shipped_files() -> None:
    assert decide([(USER, CONTRACT)], Asked()) == Ruling("allow", ("pol_0",))


@pytest.mark.parametrize(
    ("asked", "failed"),
    [
        (Asked(amount=20000), ()),
        (Asked(amount=20001), ("pol_0/max_amount",)),
        (Asked(currency="USD", amount=9_000_000), ("pol_0/currencies",)),
        (Asked(merchant_category="5999"), ("pol_0/allowed_mccs",)),
        (Asked(merchant_category=None), ("pol_0/allowed_mccs",)),
        (Asked(merchant_category="5999", amount=20001), ("pol_0/allowed_mccs", "pol_0/max_amount")),
    ],
)
def test_each_restriction_that_fails_is_named(asked: Asked, failed: tuple[str, ...]) -> None:
    ruling = decide([(USER, CONTRACT)], asked)
    assert ruling == (Ruling("deny", failed) if failed else Ruling("allow", ("pol_0",)))


def test_a_grant_reaches_its_identity_and_what_is_below_and_no_other() -> None:
    grant = Rules(actions=("card.authorize",))
    for owner, effect in ((USER, "allow"), (TEAM, "allow"), (AGENT, "allow"), (STRANGER, "deny")):
        assert decide([(owner, grant)], Asked()).effect == effect


def test_a_restriction_never_reaches_other_actions() -> None:
    policies = [(USER, Rules()), (TEAM, Rules(actions=("tool.call",), allowed_hours=(1, 2)))]
    assert decide(policies, Asked()).effect == "allow"
    call = Asked(action="tool.call", resource=("Tool", "search"), amount=None, currency=None)
    assert decide(policies, call) == Ruling("deny", ("pol_1/allowed_hours",))


def test_a_child_can_narrow_and_never_widen_what_an_ancestor_restricted() -> None:
    narrow = Rules(actions=("spend",), max_amount=Major("50"), currency="CAD")
    wide = Rules(actions=("spend",), max_amount=Major("500"), currency="CAD")
    asked = Asked(amount=10000)
    assert decide([(USER, wide)], asked).effect == "allow"
    assert decide([(USER, wide), (AGENT, narrow)], asked) == Ruling("deny", ("pol_1/max_amount",))
    assert decide([(USER, narrow), (AGENT, wide)], asked) == Ruling("deny", ("pol_0/max_amount",))


def test_leaving_the_category_out_is_no_way_around_a_block() -> None:
    blocked = Rules(actions=("card.authorize",), blocked_mccs=("5933",))
    assert decide([(USER, blocked)], Asked()).effect == "allow"
    assert decide([(USER, blocked)], Asked(merchant_category="5933")).determining == ("pol_0/blocked_mccs",)
    assert decide([(USER, blocked)], Asked(merchant_category=None)).determining == ("pol_0/blocked_mccs",)


def test_what_moves_no_money_exceeds_no_amount() -> None:
    policies = policy_set([(USER, Rules(max_amount=Major("1"), currency="CAD"))])
    free = Asked(action="tool.call", resource=("Tool", "search"), amount=None, currency=None)
    assert rule(policies, free).effect == "allow"
    paid = structs.replace(free, amount=101, currency="CAD")
    assert rule(policies, paid).determining == ("pol_0/max_amount",)


def test_amounts_are_compared_by_the_places_of_their_currency() -> None:
    policies = policy_set([(USER, Rules(actions=("spend",), max_amount=Major("200"), currencies=("CAD", "JPY")))])
    assert rule(policies, Asked(amount=20000)).effect == "allow"
    assert rule(policies, Asked(amount=200, currency="JPY")).effect == "allow"
    assert rule(policies, Asked(amount=201, currency="JPY")).determining == ("pol_0/max_amount",)


def test_alternatives_are_one_restriction_of_which_one_must_hold() -> None:
    either = Rules(
        actions=("card.authorize",),
        any=(
            Alternative(max_amount=Major("10"), currency="CAD"),
            Alternative(allowed_resources=(RuleResource("merchant", "AWS"),), allowed_hours=(9, 18)),
        ),
    )
    policies = policy_set([(USER, either)])
    assert rule(policies, Asked(amount=1000, hour=3)).effect == "allow"
    assert rule(policies, Asked(amount=1001, hour=9)).effect == "allow"
    assert rule(policies, Asked(amount=1001, hour=18)) == Ruling("deny", ("pol_0/any",))
    clause = compiled(either)["any"]
    expected = "amount at most 10 CAD and currency one of CAD, or hour from 9 to 18 and resource one of merchant AWS"
    assert clause.requirement == expected


# --- Form


def test_clauses_bear_the_id_of_the_policy_and_the_key_of_the_rule() -> None:
    clauses = compiled(CONTRACT, policy_id="pol_X")
    assert [clause.id for clause in clauses.values()] == [
        "pol_X",
        "pol_X/max_amount",
        "pol_X/currencies",
        "pol_X/allowed_mccs",
    ]
    assert [clause.effect for clause in clauses.values()] == ["permit", "forbid", "forbid", "forbid"]
    assert clauses[None].requirement is None
    assert clauses["max_amount"].requirement == "amount at most 200 CAD"


def test_required_fields_are_read_without_a_guard_and_optional_ones_with_one() -> None:
    card = compiled(Rules(actions=("card.authorize",), max_amount=Major("1"), currency="CAD", allowed_mccs=("7372",)))
    assert " has " not in card["max_amount"].text
    assert "context has merchant_category && " in card["allowed_mccs"].text
    tool = compiled(Rules(actions=("tool.call",), max_amount=Major("1"), currency="CAD"))
    assert "if context has amount && context has currency then " in tool["max_amount"].text


def test_a_compiled_policy_lists_the_actions_of_its_time() -> None:
    clauses = compiled(Rules(allowed_mccs=("7372",)))
    assert clauses[None].text.count("Action::") == 5
    assert clauses["allowed_mccs"].text.count("Action::") == 1


def test_rules_are_read_strictly() -> None:
    assert msgspec.convert({"actions": ["spend"], "allowed_hours": [9, 18]}, Rules) == Rules(
        actions=("spend",), allowed_hours=(9, 18)
    )
    mistakes: list[dict[str, object]] = [
        {"action": []},
        {"any": [{"actions": ["spend"]}]},
        {"any": [{"any": []}]},
        {"allowed_hours": [1]},
    ]
    for wrong in mistakes:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, Rules)


# --- Refusals


NO_MONEY = compile_schema(
    (
        (
            "s",
            """
            entity User in [User] { name: String, status: String, external_id?: String } tags String; entity Tool;
            action use; action empty; action odd in [use] appliesTo { principal: User, resource: Tool, context: {
              amount: String, currency: String, merchant_category: Long,
            } };
            """,
        ),
    )
).model


@pytest.mark.parametrize(
    ("rules", "field", "sentence"),
    [
        (Rules(actions=()), "actions", "empty list"),
        (Rules(actions=("spend", "spend")), "actions", "given twice"),
        (Rules(actions=("card.refund",)), "actions", "knows no action `card.refund`"),
        (Rules(actions=('a"b',)), "actions", "not an action"),
        (Rules(actions=("tool.call",), allowed_mccs=("7372",)), "allowed_mccs", "`tool.call` does not declare"),
        (Rules(actions=("spend", "tool.call"), blocked_mccs=("7372",)), "blocked_mccs", "`tool.call` does not declare"),
        (Rules(actions=("use",), allowed_mccs=("7372",)), "allowed_mccs", "`use` does not declare `merchant_category`"),
        (Rules(allowed_hours=(3, 3)), "allowed_hours", "begin and end"),
        (Rules(any=()), "any", "1 to 32"),
        (Rules(any=tuple(Alternative(currency="CAD") for _ in range(ALTERNATIVES_MAX + 1))), "any", "1 to 32"),
        (Rules(any=(Alternative(currency="CAD"), Alternative())), "any[1]", "always holds"),
        (Rules(any=(Alternative(max_amount=Major("1")),)), "any[0].max_amount", "needs `currencies`"),
        (Rules(currency="CAD", any=(Alternative(allowed_days=(9,)),)), "any[0].allowed_days", "1 (Monday) to 7"),
        (
            Rules(actions=("payment.create",), any=(Alternative(currency="CAD"), Alternative(allowed_mccs=("7372",)))),
            "any[1]",
            "does not declare `merchant_category`",
        ),
    ],
)
def test_rules_that_cannot_hold_are_refused_at_their_place(rules: Rules, field: str, sentence: str) -> None:
    found_field, found_sentence = refused(rules)
    assert found_field == f"rules.{field}"
    assert sentence in found_sentence


def test_a_group_without_actions_is_unknown() -> None:
    assert "knows no action `empty`" in refused(Rules(actions=("empty",)), NO_MONEY)[1]


@pytest.mark.parametrize(
    "rules", [Rules(max_amount=Major("1"), currency="CAD"), Rules(allowed_mccs=("7372",)), Rules(allowed_hours=(1, 2))]
)
def test_a_field_of_another_type_is_not_declared(rules: Rules) -> None:
    assert "no action of the schema declares" in refused(rules, NO_MONEY)[1]
    assert "`use` does not declare" in refused(structs.replace(rules, actions=("use",)), NO_MONEY)[1]


# --- Compared with a model

CODES = ["CAD", "JPY", "KWD"]
MCCS = ["0763", "5999", "7372"]
RESOURCES = [("Merchant", "AWS"), ("Merchant", 'q"\\'), ("Tool", "search"), ("Agent", "a"), ("Account", "é x")]
ACTIONS = {
    "card.authorize": ("Merchant",),
    "payment.create": ("Account", "Agent"),
    "tool.call": ("Tool",),
    "model.invoke": ("Model",),
    "http.request": ("Url",),
}
GROUPS = {"spend": {"card.authorize", "payment.create"}, "use": {"tool.call", "model.invoke", "http.request"}}
AMOUNTS = [0, 5, 30]
HOURS = [0, 6, 18, 24]
WIRE = {"Merchant": "merchant", "Tool": "tool", "Agent": "agent", "Account": "account"}


def some(entries: list[str]) -> st.SearchStrategy[tuple[str, ...]]:
    """A few of ``entries``."""
    return st.lists(st.sampled_from(entries), min_size=1, unique=True).map(tuple)


def restriction() -> st.SearchStrategy[dict[str, object]]:
    """At most two keys of restrictions: with more, one of them denies nearly everything and hides the others."""
    listed = st.lists(st.sampled_from([RuleResource(WIRE[t], i) for t, i in RESOURCES]), min_size=1, unique=True)
    hours = st.tuples(st.sampled_from(HOURS), st.sampled_from(HOURS))
    values: dict[str, st.SearchStrategy[object]] = {
        "max_amount": st.sampled_from(AMOUNTS).map(lambda major: Major(str(major))),
        "currencies": some(CODES),
        "currency": st.sampled_from(CODES),
        "allowed_mccs": some(MCCS),
        "blocked_mccs": some(MCCS),
        "allowed_hours": hours.filter(lambda pair: pair[0] != pair[1] and pair != (24, 0)),
        "allowed_days": st.lists(st.integers(1, 7), min_size=1, unique=True).map(tuple),
        "allowed_resources": listed.map(tuple),
        "blocked_resources": listed.map(tuple),
    }
    keys = st.sets(st.sampled_from(sorted(values)), max_size=2)
    return keys.flatmap(lambda chosen: st.fixed_dictionaries({key: values[key] for key in sorted(chosen)}))


def alternative() -> st.SearchStrategy[Alternative]:
    """A branch of ``any``."""
    return restriction().map(lambda keys: structs.replace(Alternative(), **keys))


@st.composite
def all_rules(draw: st.DrawFn) -> Rules:
    """Rules of any shape; some cannot hold for the actions that they name."""
    actions = draw(st.none() | some([*ACTIONS, *GROUPS]))
    branches = draw(st.none() | st.lists(alternative(), min_size=1, max_size=3).map(tuple))
    return structs.replace(Rules(), actions=actions, any=branches, **draw(restriction()))


def requests(seed: int) -> list[Asked]:
    """Requests of every kind, many of them at the edge of a restriction."""
    chance = Random(seed)
    edges = [major * 10 ** places(code) + over for major in AMOUNTS for code in CODES for over in (0, 1)]
    made = []
    for action, kinds in ACTIONS.items():
        maybe = [] if action in GROUPS["spend"] else [None]
        for kind in kinds * 8:
            asked = Asked(
                action=action,
                resource=chance.choice([each for each in RESOURCES if each[0] == kind] or [(kind, "x")]),
                amount=chance.choice([*edges, *maybe]),
                currency=chance.choice([*CODES, *maybe]),
                merchant_category=chance.choice([*MCCS, None]) if action == "card.authorize" else None,
                hour=chance.choice([0, 5, 6, 17, 18, 23]),
                weekday=chance.randint(1, 7),
            )
            made.append(asked)
    return made


def reads(restrictions: Restrictions) -> set[str]:
    """The context fields that restrictions are about, as the wire contract has them."""
    fields = set[str]()
    if restrictions.max_amount is not None:
        fields |= {"amount", "currency"}
    if restrictions.currencies is not None or restrictions.currency is not None:
        fields |= {"currency"}
    if restrictions.allowed_mccs is not None or restrictions.blocked_mccs is not None:
        fields |= {"merchant_category"}
    return fields


def declares(action: str, fields: set[str]) -> bool:
    """Whether an action of the shipped schema declares all of ``fields``."""
    return "merchant_category" not in fields or action == "card.authorize"


def is_good(rules: Rules) -> bool:
    """Whether the API takes rules whose values are each good by itself."""
    branches = rules.any or ()
    for part in (rules, *branches):
        if part.max_amount is not None and part.currencies is None and part.currency is None:
            return False
    if any(branch == Alternative() for branch in branches):
        return False
    for fields in map(reads, (rules, *branches)):
        for name in rules.actions or ():
            if not any(declares(member, fields) for member in GROUPS.get(name, {name})):
                return False
    return True


def holds(wanted: Restrictions, asked: Asked) -> bool:
    """Whether every restriction is met, written out as one would explain it."""
    codes = {*(wanted.currencies or ()), *([wanted.currency] if wanted.currency else [])}
    start, end = wanted.allowed_hours or (0, 24)
    listed = {"allowed": wanted.allowed_resources, "blocked": wanted.blocked_resources}
    mine = {
        name: None if entries is None else asked.resource in [(r.type.capitalize(), r.id) for r in entries]
        for name, entries in listed.items()
    }
    met = [
        wanted.currencies is None or asked.currency is None or asked.currency in wanted.currencies,
        wanted.currency is None or asked.currency is None or asked.currency == wanted.currency,
        wanted.allowed_days is None or asked.weekday in wanted.allowed_days,
        start <= asked.hour < end if start < end else asked.hour >= start or asked.hour < end,
        mine["allowed"] is not False,
        mine["blocked"] is not True,
    ]
    if wanted.max_amount is not None and asked.amount is not None and asked.currency in codes:
        met.append(asked.amount <= int(wanted.max_amount.text) * 10 ** places(asked.currency))
    if asked.action == "card.authorize":
        met.append(wanted.allowed_mccs is None or asked.merchant_category in wanted.allowed_mccs)
        blocked = wanted.blocked_mccs
        met.append(blocked is None or (asked.merchant_category is not None and asked.merchant_category not in blocked))
    return all(met)


def expected(policies: Sequence[tuple[tuple[str, str], Rules]], asked: Asked) -> str:
    """The effect that the wire contract promises."""
    granted = False
    for owner, rules in policies:
        names = rules.actions or tuple(ACTIONS)
        if owner == STRANGER or not any(asked.action == name or asked.action in GROUPS.get(name, ()) for name in names):
            continue
        granted = True
        branches = [branch for branch in rules.any or () if declares(asked.action, reads(branch))]
        if not holds(rules, asked) or (branches and not any(holds(branch, asked) for branch in branches)):
            return "deny"
    itself = asked.action == "payment.create" and asked.resource == AGENT  # `baseline/not-to-oneself`
    return "allow" if granted and not itself else "deny"


@settings(deadline=None)
@given(all_rules())
def test_rules_compile_to_valid_policies_or_are_refused(rules: Rules) -> None:
    if is_good(rules):
        clauses = compile_rules(rules, policy_id="pol_1", principal=AGENT, schema=SHIPPED.model)
        units = compile_statements("\n".join(clause.text for clause in clauses), "pol_1", SHIPPED, shared=False)
        assert [unit.id for unit in units] == [clause.id for clause in clauses]
        assert [unit.effect for unit in units] == [clause.effect for clause in clauses]
    else:
        assert str(refused(rules)[0]).startswith("rules.")


OWNED = st.tuples(st.sampled_from([USER, TEAM, AGENT, STRANGER]), all_rules().filter(is_good))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(policies=st.lists(OWNED, min_size=1, max_size=3), seed=st.integers(0, 2**16))
def test_compiled_rules_decide_as_the_model_does(policies: list[tuple[tuple[str, str], Rules]], seed: int) -> None:
    asked = policy_set(policies)
    for request in requests(seed):
        ruling = rule(asked, request)
        assert (request, ruling.effect) == (request, expected(policies, request))
        assert ruling.errors == ()


NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=100)


@settings(deadline=None)
@given(name=NAMES, other=NAMES, owner=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
@example('"]); permit(principal, action, resource); //', "\\", 'a"\0\n\\')
def test_ids_of_any_characters_are_matched_whole(name: str, other: str, owner: str) -> None:
    rules = Rules(actions=("card.authorize",), allowed_resources=(RuleResource("merchant", name),))
    clauses = compile_rules(rules, policy_id="pol_1", principal=("Agent", owner), schema=SHIPPED.model)
    units = compile_statements("\n".join(clause.text for clause in clauses), "pol_1", SHIPPED, shared=False)
    asked = PolicySet(units, (), SHIPPED)
    now = {"__extn": {"fn": "datetime", "arg": "2026-11-22"}}
    context: dict[str, object] = {"amount": 1, "currency": "CAD", "now": now, "hour": 1, "weekday": 1, "mode": "live"}
    entities = entity_slice([person(("Agent", owner))], SHIPPED)
    for merchant in (name, other):
        request = CedarRequest(
            principal=("Agent", owner), action="card.authorize", resource=("Merchant", merchant), context=context
        )
        expected_effect = "allow" if merchant == name else "deny"
        assert asked.evaluate(request, entities).effect == expected_effect


def test_an_alternative_that_an_action_cannot_meet_does_not_lift_the_others() -> None:
    """A payment has no merchant category, so of these two it needs the other one."""
    either = Rules(
        actions=("spend",),
        any=(Alternative(allowed_mccs=("7372",)), Alternative(max_amount=Major("50"), currency="CAD")),
    )
    clauses = compile_rules(either, policy_id="pol_1", principal=("Team", "t"), schema=SHIPPED.model)
    assert [(clause.id, clause.key) for clause in clauses[1:]] == [("pol_1/any", "any"), ("pol_1/any#2", "any#2")]
    assert "card.authorize" in clauses[1].text
    assert "payment.create" in clauses[2].text
    assert "merchant_category" not in clauses[2].text

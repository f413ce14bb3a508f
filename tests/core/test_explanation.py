"""What each policy said is put together from its pieces and is what Cedar said of the whole."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.explanation import (
    JUDGED_TEXT_MAX,
    PIECES_MAX,
    TEXT_SHOWN_MAX,
    PolicyVerdicts,
    Seen,
    Verdict,
    judge,
)
from sidecar.core.policy import compile_schema, entity_slice
from sidecar.core.policy_compilation import compile_statements
from sidecar.core.policy_scope import EntityUid
from sidecar.core.policy_set import PolicySet
from sidecar.core.policy_unit import Link, PolicyUnit
from sidecar.core.ruling import CedarRequest
from tests.core.builders import SCHEMA, SCHEMA_TEXT

ENTITIES: list[dict[str, object]] = [
    {
        "uid": {"type": "Agent", "id": "bot"},
        "attrs": {"name": "Bot", "status": "active"},
        "parents": [{"type": "User", "id": "boss"}],
        "tags": {"cost": "7"},
    },
    {"uid": {"type": "User", "id": "boss"}, "attrs": {"name": "Boss", "status": "active"}, "parents": [], "tags": {}},
    {"uid": {"type": "Merchant", "id": "AWS"}, "attrs": {"country": "CA"}, "parents": []},
]
CONTEXT: dict[str, object] = {
    "amount": 4_723,
    "currency": "CAD",
    "quantities": {"tokens": 12},
    "now": {"__extn": {"fn": "datetime", "arg": "2026-01-01T00:00:00Z"}},
    "hour": 12,
    "weekday": 1,
    "mode": "live",
}
REQUEST = CedarRequest(
    principal=("Agent", "bot"), action="card.authorize", resource=("Merchant", "AWS"), context=CONTEXT
)
OVERFLOW = "context.amount + 9223372036854775807 > 0"
ACTION = 'action == Action::"card.authorize"'
OPEN = f"principal, {ACTION}, resource is Merchant"


def units(text: str) -> tuple[PolicyUnit, ...]:
    """The policies in ``text``."""
    return compile_statements(text, "f.cedar", SCHEMA, shared=False)


def judged(
    text: str, *links: Link, hidden: frozenset[EntityUid] = frozenset(), unmatched_max: int = 0
) -> PolicyVerdicts:
    """What the policies in ``text`` said of the purchase."""
    policies = PolicySet(units(text), links, SCHEMA)
    ruling = policies.evaluate(REQUEST, entity_slice(ENTITIES, SCHEMA))
    return judge(policies, ruling, REQUEST, ENTITIES, SCHEMA, hidden=hidden, unmatched_max=unmatched_max)


def only(text: str, hidden: frozenset[EntityUid] = frozenset()) -> Verdict:
    """What the only policy in ``text`` said."""
    (verdict,) = judged(text, hidden=hidden).listed
    return verdict


def truths(text: str) -> list[object]:
    """What each piece of the only policy is."""
    return [piece.satisfied for piece in only(text).conditions]


# --- Conditions


def test_the_condition_that_failed_is_shown_with_the_value_seen() -> None:
    verdict = only(f'permit({OPEN}) when {{ context.currency == "CAD" && context.amount <= 4000 }};')
    assert verdict.applied is False
    assert [(piece.text, piece.satisfied) for piece in verdict.conditions] == [
        ('context.currency == "CAD"', True),
        ("context.amount <= 4000", False),
    ]
    assert verdict.conditions[1].values == (Seen("context.amount", 4_723),)


def test_an_unless_that_does_not_hold_lets_a_policy_apply() -> None:
    verdict = only(f"forbid({OPEN}) unless {{ context.amount <= 4000 }};")
    assert (verdict.applied, verdict.conditions[0].satisfied) == (True, False)
    assert only(f"forbid({OPEN}) unless {{ context.amount <= 5000 }};").applied is False


def test_a_failure_is_told_in_cedars_words() -> None:
    verdict = only(f"permit({OPEN}) when {{ {OVERFLOW} }};")
    (piece,) = verdict.conditions
    assert (verdict.applied, piece.satisfied) == ("error", "error")
    assert "overflow" in str(piece.message)


def test_what_is_not_reached_and_fails_alone_has_no_truth() -> None:
    """Cedar stops at the first piece that decides; what stands behind it can still be told where it has a truth."""
    assert truths(
        f'permit({OPEN}) when {{ context has purpose && context.purpose == "x" && context.hour == 12 }};'
    ) == [
        False,
        None,
        True,
    ]
    assert truths(f"permit({OPEN}) when {{ context.hour == 1 }} when {{ {OVERFLOW} }};") == [False, None]
    verdict = only(f"permit({OPEN}) when {{ {OVERFLOW} && {OVERFLOW} }};")
    assert [piece.satisfied for piece in verdict.conditions] == ["error", None]
    assert verdict.conditions[1].message is None


def test_values_are_plain() -> None:
    text = (
        'context.now > datetime("2020-01-01") && context has quantities && principal in User::"boss" && '
        'principal.hasTag("cost") && principal.hasTag("no") && resource has country && resource has merchant_category'
    )
    verdict = only(f"permit({OPEN}) when {{ {text} }};")
    assert [seen for piece in verdict.conditions for seen in piece.values] == [
        Seen("context.now", "2026-01-01T00:00:00Z"),
        Seen("context.quantities", {"tokens": 12}),
        Seen("principal", {"type": "Agent", "id": "bot"}),
        Seen('principal.getTag("cost")', "7"),
        Seen('principal.getTag("no")', None),
        Seen("resource.country", "CA"),
        Seen("resource.merchant_category", None),
    ]


def test_what_the_caller_may_not_see_of_an_entity_is_its_id_only() -> None:
    text = f'permit({OPEN}) when {{ principal.name == "Bot" && principal.hasTag("cost") && principal == principal }};'
    verdict = only(text, hidden=frozenset({("Agent", "bot")}))
    assert [seen for piece in verdict.conditions for seen in piece.values] == [
        Seen("principal.name", None, hidden=True),
        Seen('principal.getTag("cost")', None, hidden=True),
        Seen("principal", {"type": "Agent", "id": "bot"}),
    ]


def test_what_is_inside_of_what_is_missing_is_missing() -> None:
    text = f"permit({OPEN}) when {{ context has quantities && context.quantities has tokens }};"
    assert only(text).conditions[1].values == (Seen("context.quantities.tokens", 12),)
    policies = PolicySet(units(text), (), SCHEMA)
    context = {name: value for name, value in CONTEXT.items() if name != "quantities"}
    request = msgspec.structs.replace(REQUEST, context=context)
    ruling = policies.evaluate(request, entity_slice(ENTITIES, SCHEMA))
    (verdict,) = judge(policies, ruling, request, ENTITIES, SCHEMA, hidden=frozenset(), unmatched_max=0).listed
    assert verdict.conditions[1].values == (Seen("context.quantities.tokens", None),)


def test_a_set_is_shown_as_a_list() -> None:
    schema = compile_schema(
        (
            (
                "s",
                SCHEMA_TEXT
                + "action look appliesTo { principal: [Agent], resource: [Tool], context: { of: Set<Tool> } };",
            ),
        )
    )
    text = 'permit(principal, action == Action::"look", resource) when { context.of.isEmpty() };'
    policies = PolicySet(compile_statements(text, "f.cedar", schema, shared=False), (), schema)
    context: dict[str, object] = {"of": [{"__entity": {"type": "Tool", "id": "saw"}}]}
    request = CedarRequest(principal=("Agent", "bot"), action="look", resource=("Tool", "t"), context=context)
    ruling = policies.evaluate(request, entity_slice(ENTITIES, schema))
    (verdict,) = judge(policies, ruling, request, ENTITIES, schema, hidden=frozenset(), unmatched_max=0).listed
    assert verdict.conditions[0].values == (Seen("context.of", [{"type": "Tool", "id": "saw"}]),)


def test_a_very_long_condition_is_cut() -> None:
    names = ", ".join(f'"{number:04}"' for number in range(500))
    (piece,) = only(f"permit({OPEN}) when {{ [{names}].contains(context.currency) }};").conditions
    assert (len(piece.text), piece.text[-1], piece.satisfied) == (TEXT_SHOWN_MAX + 1, "…", False)


# --- Policies


def test_policies_that_decided_come_first() -> None:
    listed = judged(
        f'@id("a") permit({OPEN}); @id("b") forbid({OPEN}) when {{ context.hour == 1 }}; @id("c") forbid({OPEN});'
    ).listed
    assert [(verdict.id, verdict.applied) for verdict in listed] == [("c", True), ("a", True), ("b", False)]


def test_those_whose_scope_does_not_match_are_listed_up_to_a_number_and_counted() -> None:
    text = '@id("a") permit(principal, action == Action::"tool.call", resource);' + f'@id("b") permit({OPEN});'
    text += '@id("c") permit(principal is User, action, resource is Kiosk);'
    found = judged(text, unmatched_max=1)
    assert [verdict.id for verdict in found.listed] == ["b", "a"]
    scope = found.listed[1].scope
    assert (scope.principal, scope.action, scope.resource, scope.applied) == (True, False, True, False)
    assert (found.candidates, found.total) == (1, 3)
    last = judged(text, unmatched_max=9).listed[-1].scope
    assert (last.principal, last.action, last.resource) == (False, True, False)


def test_a_template_is_told_of_once_for_each_link() -> None:
    links = (Link("t", "t@boss", ("User", "boss")), Link("t", "t@else", ("User", "else")))
    text = f'@id("t") permit(principal in ?principal, {ACTION}, resource) when {{ context.hour == 12 }};'
    found = judged(text, *links, unmatched_max=9)
    assert [(verdict.id, verdict.applied) for verdict in found.listed] == [("t@boss", True), ("t@else", False)]
    assert [entry.id for entry in PolicySet(units(text), links, SCHEMA).entries] == ["t@boss", "t@else"]


def test_no_more_conditions_are_evaluated_than_the_limit() -> None:
    clause = " && ".join(["context.hour == 12"] * 50)
    text = "".join(f'@id("p{number:02}") permit({OPEN}) when {{ {clause} }};' for number in range(12))
    found = judged(text)
    assert len(found.listed) == PIECES_MAX // 50
    assert found.candidates == 12


def test_no_more_text_is_read_than_the_limit_but_the_first_policy_always() -> None:
    def listed(length: int) -> list[str]:
        text = "".join(
            f'@id("p{number}") permit({OPEN}) when {{ principal.name != "{"x" * length}" }};' for number in range(4)
        )
        found = judged(text)
        assert found.candidates == 4
        return [verdict.id for verdict in found.listed]

    assert listed(JUDGED_TEXT_MAX // 3) == ["p0", "p1"]
    assert listed(JUDGED_TEXT_MAX) == ["p0"]


# --- What Cedar says of the whole

ATOMS = (
    "context.amount <= 4000",
    "context.amount <= 5000",
    'context.currency == "CAD"',
    OVERFLOW,
    'principal.hasTag("cost") && principal.getTag("cost") == "7"',
    'principal.hasTag("no") && principal.getTag("no") == "7"',
    'context has purpose && context.purpose == "x"',
    "(context.hour == 12 || context.hour == 13)",
    "if context has purpose then false else true",
    "context.hour == 12 || context.weekday == 9",
)
CLAUSES = st.lists(
    st.tuples(st.sampled_from(["when", "unless"]), st.lists(st.sampled_from(ATOMS), min_size=1, max_size=3)), max_size=3
)
SCOPES = (
    OPEN,
    f'principal in User::"boss", {ACTION}, resource',
    f"principal is User, {ACTION}, resource",
    f"principal, {ACTION}, resource is Kiosk",
)
POLICIES = st.lists(
    st.tuples(st.sampled_from(["permit", "forbid"]), st.sampled_from(SCOPES), CLAUSES), min_size=1, max_size=4
)


def conjunction(atoms: list[str]) -> str:
    """Atoms that hold together; what binds more loosely than ``&&`` gets brackets beside another."""
    loose = (
        atom if len(atoms) == 1 or not (" || " in atom or atom.startswith("if")) else f"({atom})" for atom in atoms
    )
    return " && ".join(loose)


@settings(max_examples=150, deadline=None)
@given(POLICIES)
def test_a_policy_applied_where_cedar_says_so(drawn: list[tuple[str, str, list[tuple[str, list[str]]]]]) -> None:
    text = ""
    for number, (effect, scope, clauses) in enumerate(drawn):
        tail = " ".join(f"{kind} {{ {conjunction(atoms)} }}" for kind, atoms in clauses)
        text += f'@id("p{number}") {effect}({scope}) {tail};\n'
    policies = PolicySet(units(text), (), SCHEMA)
    ruling = policies.evaluate(REQUEST, entity_slice(ENTITIES, SCHEMA))
    found = judge(policies, ruling, REQUEST, ENTITIES, SCHEMA, hidden=frozenset(), unmatched_max=9)
    assert len(found.listed) == found.total == len(drawn)
    by_effect = {
        (effect, applied): {each.id for each in found.listed if (each.unit.effect, each.applied) == (effect, applied)}
        for effect in ("permit", "forbid")
        for applied in (True, False, "error")
    }
    assert by_effect["permit", "error"] | by_effect["forbid", "error"] == {fault.policy_id for fault in ruling.errors}
    if ruling.effect == "allow":
        assert by_effect["permit", True] == set(ruling.determining)
        assert not by_effect["forbid", True]
    elif ruling.determining:
        assert by_effect["forbid", True] == set(ruling.determining)
    else:
        assert not by_effect["forbid", True]
        assert not by_effect["permit", True] or ruling.errors

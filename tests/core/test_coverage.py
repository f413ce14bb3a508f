"""What requests have tried of policies is what Cedar looked at, and no more."""

from collections.abc import Sequence

import pytest

from sidecar.core.condition_tree import clauses, parts
from sidecar.core.coverage import DECIDED, TEXT_SHOWN_MAX, Gap, Mark, Prober, cover
from sidecar.core.directory import entities_of
from sidecar.core.policy import entity_slice
from sidecar.core.policy_compilation import compile_statements
from sidecar.core.policy_set import PolicySet
from sidecar.core.policy_unit import PolicyUnit
from sidecar.core.ruling import CedarRequest
from tests.core.builders import CHAIN, SCHEMA

HEAD = '@id("p") permit (principal, action == Action::"card.authorize", resource)'
MERCHANT: dict[str, object] = {"uid": {"type": "Merchant", "id": "AWS"}, "attrs": {}, "parents": []}


def units_of(text: str) -> tuple[PolicyUnit, ...]:
    return compile_statements(text, "policies/p.cedar", SCHEMA, shared=False)


def marks_of(units: Sequence[PolicyUnit], *amounts: int) -> frozenset[Mark]:
    """What card payments of these amounts have tried."""
    policies = PolicySet(units, (), SCHEMA)
    prober = Prober(policies, SCHEMA)
    entities = [*entities_of(CHAIN), MERCHANT]
    found = frozenset[Mark]()
    for amount in amounts:
        now = {"__extn": {"fn": "datetime", "arg": "2026-01-01"}}
        context = {"amount": amount, "currency": "CAD", "now": now, "hour": 1, "weekday": 1, "mode": "live"}
        request = CedarRequest(("Agent", "bot"), "card.authorize", ("Merchant", "AWS"), context)
        ruling = policies.evaluate(request, entity_slice(entities, SCHEMA))
        found |= prober.marks(ruling, request, entities)
    return found


def seen(text: str, *amounts: int) -> set[tuple[str, bool]]:
    """The conditions that were looked at, by their text and value; the policy itself as its id."""
    (unit,) = units_of(f"{HEAD} {text};")
    texts = {part.number: part.text for clause in clauses(unit.text) for part in parts(clause.whole)}
    return {(texts.get(number, "p"), truth) for _, _, number, truth in marks_of([unit], *amounts)}


SMALL, LARGE = "context.amount < 10", "context.amount > 5"


@pytest.mark.parametrize(
    ("text", "amounts", "expected"),
    [
        ("", (1,), {("p", True)}),
        (f"when {{ {SMALL} }}", (1,), {("p", True), (SMALL, True)}),
        (f"when {{ {SMALL} }}", (10,), {(SMALL, False)}),
        (f"unless {{ {SMALL} }}", (10,), {("p", True), (SMALL, False)}),
        (f"when {{ {SMALL} }} unless {{ {LARGE} }}", (10,), {(SMALL, False)}),
        (f"when {{ {SMALL} && {LARGE} }}", (10,), {(f"{SMALL} && {LARGE}", False), (SMALL, False)}),
        (f"when {{ {LARGE} || {SMALL} }}", (10,), {("p", True), (f"{LARGE} || {SMALL}", True), (LARGE, True)}),
        (
            f"when {{ {LARGE} || {SMALL} }}",
            (1,),
            {("p", True), (f"{LARGE} || {SMALL}", True), (LARGE, False), (SMALL, True)},
        ),
    ],
)
def test_what_is_behind_the_deciding_operand_is_not_looked_at(
    text: str, amounts: tuple[int, ...], expected: set[tuple[str, bool]]
) -> None:
    assert seen(text, *amounts) == expected


def test_a_condition_that_fails_is_neither_true_nor_false() -> None:
    fails = "context.amount * 9223372036854775807 > 1"
    assert seen(f"when {{ {fails} && {SMALL} }}", 2) == set()


def test_a_policy_whose_scope_does_not_match_is_not_tried() -> None:
    units = units_of('@id("t") permit (principal, action == Action::"tool.call", resource) when { true };')
    assert marks_of(units, 1) == frozenset()


def test_a_permit_that_a_forbid_overrules_has_not_decided() -> None:
    units = units_of(f'{HEAD}; @id("f") forbid (principal, action, resource);')
    assert marks_of(units, 1) == {("policies/p.cedar:1", "f", DECIDED, True)}


def test_policies_of_two_tenants_with_the_same_id_are_two() -> None:
    """What one of them decided says nothing of the other."""
    (mine,) = compile_statements(f"{HEAD} when {{ {SMALL} }};", "policies/t_1/p.cedar", SCHEMA, shared=False)
    (other,) = compile_statements(f"{HEAD} when {{ {SMALL} }};", "policies/t_2/p.cedar", SCHEMA, shared=False)
    found = cover((mine, other), marks_of([mine], 1, 10))
    assert {gap.source for gap in found.gaps} == {"policies/t_2/p.cedar:1"}
    assert (found.seen, found.wanted) == (3, 6)


def test_policies_of_the_api_are_not_watched() -> None:
    (unit,) = units_of(f"{HEAD};")
    own = PolicyUnit(id="p", effect="permit", source="", text=unit.text, scope=unit.scope, policy_id="pol_1")
    assert marks_of([own], 1, 2) == frozenset()


def test_gaps_name_what_is_missing_with_its_line() -> None:
    """A policy wants to have decided, a condition to have been both true and false."""
    units = units_of(f"{HEAD}\nwhen {{\n  {SMALL} &&\n  {LARGE}\n}};")
    assert cover(units, marks_of(units, 10)).gaps == (
        Gap("p", "policies/p.cedar:1", ("decided",)),
        Gap("p", "policies/p.cedar:3", ("true",), f"{SMALL} && {LARGE}"),
        Gap("p", "policies/p.cedar:3", ("true",), SMALL),
        Gap("p", "policies/p.cedar:4", ("true", "false"), LARGE),
    )
    whole = cover(units, marks_of(units, 10, 7, 1))
    assert (whole.percent, whole.seen, whole.wanted, whole.gaps) == (100, 7, 7, ())


def test_the_share_is_rounded_down() -> None:
    units = units_of(f"{HEAD} when {{ {SMALL} }};")
    assert cover(units, marks_of(units, 1)).percent == 66
    assert cover((), frozenset()).percent == 100


def test_a_long_condition_is_cut_where_it_is_shown() -> None:
    listed = ", ".join(f'"{number}"' for number in range(100))
    units = units_of(f"{HEAD} when {{ [{listed}].contains(context.currency) }};")
    gap = cover(units, frozenset()).gaps[1]
    assert gap.condition is not None
    assert len(gap.condition) == TEXT_SHOWN_MAX + 1

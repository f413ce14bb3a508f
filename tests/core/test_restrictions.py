"""Single restrictions: which values they take, where a refusal points, and the words for what would pass."""

import pytest

from sidecar.core.errors import ValidationFailed
from sidecar.core.money import Major
from sidecar.core.policy import compile_schema
from sidecar.core.restrictions import ENTRIES_MAX, Condition, Restrictions, RuleResource, conditions

SCHEMA = compile_schema(
    (
        (
            "s",
            """
            entity User in [User] { name: String, status: String, external_id?: String } tags String;
            entity Merchant, VirtualCard; entity Mode enum ["live", "test"];
            action a appliesTo { principal: User, resource: Merchant };
            """,
        ),
    )
).model


def compiled(wanted: Restrictions) -> dict[str, Condition]:
    """The conditions of ``wanted`` by key."""
    return {condition.key: condition for condition in conditions(wanted, SCHEMA, "rules")}


def refused(wanted: Restrictions) -> tuple[str | None, str]:
    """Field and sentence of the refusal."""
    with pytest.raises(ValidationFailed) as caught:
        compiled(wanted)
    return caught.value.field, caught.value.message


def test_no_key_demands_nothing() -> None:
    assert compiled(Restrictions()) == {}


def test_keys_are_compiled_in_a_fixed_order() -> None:
    resource = RuleResource("merchant", "AWS")
    everything = Restrictions(
        blocked_resources=(resource,),
        allowed_resources=(resource,),
        allowed_days=(1,),
        allowed_hours=(9, 18),
        blocked_mccs=("7995",),
        allowed_mccs=("7372",),
        currency="CAD",
        currencies=("CAD",),
        max_amount=Major("1"),
    )
    assert list(compiled(everything)) == [
        "max_amount",
        "currencies",
        "currency",
        "allowed_mccs",
        "blocked_mccs",
        "allowed_hours",
        "allowed_days",
        "allowed_resources",
        "blocked_resources",
    ]


@pytest.mark.parametrize(
    ("wanted", "requirement"),
    [
        (Restrictions(max_amount=Major("200"), currency="CAD"), "amount at most 200 CAD"),
        (
            Restrictions(max_amount=Major("200.00"), currencies=("CAD", "KWD", "USD")),
            "amount at most 200 CAD or 200 USD or 200 KWD",
        ),
        (Restrictions(allowed_mccs=("7372", "0763")), "merchant_category one of 7372, 0763"),
        (Restrictions(blocked_mccs=("7995",)), "merchant_category given and not one of 7995"),
        (Restrictions(allowed_hours=(22, 6)), "hour from 22 to 6"),
        (Restrictions(allowed_days=(1, 7)), "weekday one of 1, 7"),
        (Restrictions(allowed_resources=(RuleResource("merchant", "A B"),)), "resource one of merchant A B"),
        (
            Restrictions(blocked_resources=(RuleResource("virtual_card", "x"), RuleResource("mode", "live"))),
            "resource not one of virtual_card x, mode live",
        ),
    ],
)
def test_a_requirement_says_what_would_pass(wanted: Restrictions, requirement: str) -> None:
    assert next(iter(compiled(wanted).values())).requirement == requirement


def test_currencies_say_what_would_pass() -> None:
    found = compiled(Restrictions(currencies=("CAD", "USD"), currency="CAD"))
    assert found["currencies"].requirement == "currency one of CAD, USD"
    assert found["currency"].requirement == "currency one of CAD"


def test_an_amount_is_compared_in_the_minor_units_of_each_currency() -> None:
    expression = compiled(Restrictions(max_amount=Major("200"), currencies=("CAD", "JPY", "USD")))[
        "max_amount"
    ].expression
    assert '(["CAD", "USD"].contains(context.currency) && context.amount <= 20000)' in expression
    assert '(["JPY"].contains(context.currency) && context.amount <= 200)' in expression


def test_an_amount_counts_for_both_ways_of_naming_currencies() -> None:
    expression = compiled(Restrictions(max_amount=Major("2"), currencies=("CAD",), currency="CAD"))[
        "max_amount"
    ].expression
    assert expression.count('"CAD"') == 2


def resources(*entries: tuple[str, str]) -> tuple[RuleResource, ...]:
    """Resources by type and id."""
    return tuple(RuleResource(*entry) for entry in entries)


@pytest.mark.parametrize(
    ("wanted", "field", "sentence"),
    [
        (Restrictions(max_amount=Major("1")), "max_amount", "needs `currencies` or `currency`"),
        (Restrictions(max_amount=Major("1.5"), currencies=("CAD", "JPY")), "max_amount", "decimal places"),
        (Restrictions(max_amount=Major("-1"), currency="CAD"), "max_amount", "negative"),
        (Restrictions(max_amount=Major("1"), currency="XXX"), "max_amount", "unknown currency"),
        (Restrictions(currencies=()), "currencies", "empty list"),
        (Restrictions(currencies=("CAD", "CAD")), "currencies", "given twice"),
        (Restrictions(currencies=("CAD", "cad")), "currencies", "unknown currency"),
        (Restrictions(currency='C"D'), "currency", "unknown currency"),
        (Restrictions(allowed_mccs=()), "allowed_mccs", "empty list"),
        (Restrictions(allowed_mccs=("737",)), "allowed_mccs", "4 digits"),
        (Restrictions(allowed_mccs=("٧٣٧٢",)), "allowed_mccs", "4 digits"),
        (Restrictions(blocked_mccs=("73720",)), "blocked_mccs", "4 digits"),
        (Restrictions(blocked_mccs=("7995", "7995")), "blocked_mccs", "given twice"),
        (Restrictions(allowed_hours=(-1, 5)), "allowed_hours", "0 to 24"),
        (Restrictions(allowed_hours=(5, 25)), "allowed_hours", "0 to 24"),
        (Restrictions(allowed_hours=(5, 5)), "allowed_hours", "begin and end at once"),
        (Restrictions(allowed_hours=(24, 0)), "allowed_hours", "begin and end at once"),
        (Restrictions(allowed_days=()), "allowed_days", "empty list"),
        (Restrictions(allowed_days=(0,)), "allowed_days", "1 (Monday) to 7"),
        (Restrictions(allowed_days=(1, 8)), "allowed_days", "1 (Monday) to 7"),
        (Restrictions(allowed_days=(1, 1)), "allowed_days", "given twice"),
        (Restrictions(allowed_resources=()), "allowed_resources", "empty list"),
        (Restrictions(blocked_resources=resources(("merchant", "A"), ("merchant", "A"))), "blocked_resources", "twice"),
        (Restrictions(allowed_resources=resources(("shop", "A"))), "allowed_resources[0].type", "declares no type"),
        (Restrictions(allowed_resources=resources(("Merchant", "A"))), "allowed_resources[0].type", "not a type"),
        (
            Restrictions(blocked_resources=resources(("merchant", "A"), ("merchant", "A\0"))),
            "blocked_resources[1].id",
            "not a name",
        ),
        (Restrictions(allowed_resources=resources(("mode", "dead"))), "allowed_resources[0].id", "no such `mode`"),
        (
            Restrictions(allowed_resources=resources(*(("merchant", str(n)) for n in range(ENTRIES_MAX + 1)))),
            "allowed_resources",
            "at most 1000",
        ),
    ],
)
def test_a_value_that_breaks_its_rule_is_refused_at_its_place(wanted: Restrictions, field: str, sentence: str) -> None:
    found_field, found_sentence = refused(wanted)
    assert found_field == f"rules.{field}"
    assert sentence in found_sentence

"""What a schema says of a text is what is checked: each grammar against the function that refuses what breaks it."""

import re
from collections.abc import Callable
from typing import Any, get_args

import jsonschema_rs
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.core import grammar
from sidecar.core.currencies import PLACES
from sidecar.core.errors import ValidationFailed
from sidecar.core.ids import (
    PREFIXES,
    check_action,
    check_caller_id,
    check_description,
    check_name,
    check_type,
    new_id,
    ulid_bytes,
)
from sidecar.core.money import Major

VALIDATORS: dict[str, jsonschema_rs.Validator] = {}


def schema_of(kind: object) -> dict[str, Any]:
    """Return the schema of a type of this module."""
    hook: Callable[[type], dict[str, Any]] = lambda _custom: dict(grammar.MAJOR_SCHEMA)  # noqa: E731
    return msgspec.json.schema(kind, schema_hook=hook)


def fits(kind: object, value: object) -> bool:
    """Whether the schema takes ``value``."""
    name = repr(kind)
    if name not in VALIDATORS:
        VALIDATORS[name] = jsonschema_rs.Draft202012Validator(schema_of(kind), validate_formats=True)
    return VALIDATORS[name].is_valid(value)


def passes(check: Callable[[str, str], str], value: str) -> bool:
    """Whether the check takes ``value``."""
    try:
        check(value, "field")
    except ValidationFailed:
        return False
    return True


CHECKED = [
    (grammar.CallerId, check_caller_id),
    (grammar.ActionName, check_action),
    (grammar.TypeName, check_type),
    (grammar.Name, check_name),
    (grammar.Description, check_description),
]
TEXTS = st.one_of(
    st.text(alphabet=st.characters(codec="utf-8"), max_size=6),
    st.text(alphabet="aZ0._:@/- \n\u0085\u2028", max_size=6),
    st.integers(min_value=0, max_value=600).map(lambda length: "a" * length),
)


@pytest.mark.parametrize(("kind", "check"), CHECKED)
@given(value=TEXTS)
@example(value="a\n")
@example(value="")
@example(value="a" * 64)
@example(value="a" * 65)
@example(value="a" * 128)
@example(value="a" * 129)
@example(value="a" * 512)
@example(value="a" * 513)
@example(value="a" * 2048)
@example(value="a" * 2049)
@example(value="a\r\n\tb")
def test_a_text_fits_the_schema_when_it_passes_the_check(
    kind: object, check: Callable[[str, str], str], value: str
) -> None:
    assert fits(kind, value) == passes(check, value)


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [
        (grammar.PolicyId, "pol"),
        (grammar.BudgetId, "bud"),
        (grammar.DecisionId, "dec"),
        (grammar.CardId, "card"),
        (grammar.TokenId, "tok"),
    ],
)
@given(now_us=st.integers(min_value=0, max_value=2**57), randomness=st.binary(min_size=10, max_size=10))
def test_an_own_id_fits_its_schema_and_nothing_else_does(
    kind: object, prefix: str, now_us: int, randomness: bytes
) -> None:
    made = new_id(prefix, now_us, randomness)
    assert fits(kind, made)
    assert ulid_bytes(made, prefix) is not None
    for other in (made[:-1] + "U", made[:-1] + "a", made + "0", made[:-1], f"{prefix}_8{made[-25:]}", "x" + made):
        assert not fits(kind, other)
    assert [fits(kind, new_id(each, now_us, randomness)) for each in PREFIXES].count(True) == 1


def parses(value: object) -> bool:
    """Whether an amount is read and not negative."""
    try:
        amount = Major.parse(value)
    except ValueError:
        return False
    return not amount.text.startswith("-")


@given(
    value=st.one_of(
        st.from_regex(r"\A-?[0-9]{1,18}(\.[0-9]{0,11})?\Z"), st.text(alphabet="0123456789.+-e ", max_size=8)
    )
)
@example(value="47.23")
@example(value="047.23")
@example(value="1" + "0" * 15)
@example(value="1" + "0" * 16)
def test_the_text_of_an_amount_fits_the_schema_when_it_can_be_read(value: str) -> None:
    assert fits(grammar.Amount, value) == parses(value)


@pytest.mark.parametrize(
    ("value", "good"), [(0, True), (47.23, True), (10**15, True), (-1, False), (10**15 + 1, False)]
)
def test_the_number_of_an_amount_has_its_limits(value: float, good: bool) -> None:  # noqa: FBT001
    assert fits(grammar.Amount, value) is good


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (grammar.Quantity, [0, 1200, "1200"], [-1, 1.5, "1.5", "01", True]),
        (grammar.Share, [0, 1, 0.8, "0.8", "1.0000"], [1.1, -0.1, "1.1", "0.12345", ""]),
        (grammar.Quantities, [{}, {"tokens": 1}], [{"amount": 1}, {"count": 1}, {"Tokens": 1}, {"tokens": 0.5}]),
        (grammar.Instant, ["2026-03-09T12:00:00Z"], ["2026-03-09", "yesterday", ""]),
        (grammar.MerchantCategory, ["7372"], ["737", "73720", "abcd", ""]),
        (grammar.Currencies, [["CAD"], ["CAD", "USDC"]], [[], ["CAD", "CAD"], ["cad"], [""]]),
        (grammar.Hours, [[0, 24], [22, 6]], [[0], [0, 25], [-1, 5], [1, 2, 3]]),
        (grammar.Weekdays, [[1], [7, 1]], [[], [0], [8], [1, 1]]),
    ],
)
def test_what_else_a_schema_says(kind: object, good: list[object], bad: list[object]) -> None:
    assert [value for value in good if not fits(kind, value)] == []
    assert [value for value in bad if fits(kind, value)] == []


def test_every_currency_fits() -> None:
    assert [code for code in PLACES if not fits(grammar.Currency, code)] == []


def test_a_pattern_is_read_alike_by_both_dialects() -> None:
    """Anchored at both ends, and without what ECMA-262 has not."""
    for name in vars(grammar):
        for meta in get_args(getattr(grammar, name))[1:]:
            if isinstance(meta, msgspec.Meta) and "pattern" in (meta.extra_json_schema or {}):
                pattern = (meta.extra_json_schema or {})["pattern"]
                assert re.fullmatch(r"\^.*\$", pattern), name
                assert not re.search(r"\(\?|\\[AZz]", pattern), name

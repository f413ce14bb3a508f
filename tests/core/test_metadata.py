"""Metadata: what an identity can be noted with, and that it comes back as it was written."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.directory import Identity, entity_of
from sidecar.core.errors import ValidationFailed
from sidecar.core.facts import identity_fact
from sidecar.core.metadata import check_metadata
from sidecar.core.money import NumberText
from tests.core.builders import identity


def refusal(values: dict[str, object]) -> tuple[str, str | None]:
    """Return sentence and field of a refusal."""
    with pytest.raises(ValidationFailed) as refused:
        check_metadata(values)
    return refused.value.message, refused.value.field


def test_plain_data_of_any_depth_is_kept_as_it_is() -> None:
    plain: dict[str, object] = {"a": [1, {"b": None}], "c": {"d": [True, "e"]}}
    assert check_metadata(plain) == plain


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_fraction_comes_back_as_the_number_that_was_written(number: float) -> None:
    kept = check_metadata({"a": [{"b": NumberText(repr(number))}]})
    fact = identity_fact(identity(metadata=kept))
    assert msgspec.json.decode(fact, type=Identity).metadata == {"a": [{"b": number}]}


@pytest.mark.parametrize("text", ["0.5", "1.10", "-2.50", "1e3", "12e-1", "0.0", "1E+2"])
def test_however_a_number_is_spelled_it_is_the_same_number(text: str) -> None:
    kept = check_metadata({"a": NumberText(text)})["a"]
    assert isinstance(kept, float)
    assert Decimal(repr(kept)) == Decimal(text)


@pytest.mark.parametrize("text", ["1e400", "-1e400", "1e-400", "0.1234567890123456789", "1.00000000000000000001"])
def test_a_number_that_would_be_another_one_is_refused(text: str) -> None:
    message = f"a number must be one that 64 bits of floating point hold as written, got `{text}`"
    assert refusal({"a": {"b": [0, NumberText(text)]}}) == (message, "metadata.a.b[1]")


def test_a_policy_sees_a_fraction_as_a_text() -> None:
    tags = entity_of(identity(metadata=check_metadata({"rate": NumberText("0.50"), "all": [NumberText("1.5")]})), None)
    assert tags["tags"] == {"rate": "0.5", "all": "[1.5]"}


def test_what_cedar_would_take_for_a_call_is_refused_at_any_depth() -> None:
    assert refusal({"__entity": 1})[1] == "metadata.__entity"
    assert refusal({"a": [{"__extn": 1}]})[1] == "metadata.a[0].__extn"


def test_an_integer_fits_64_bits_and_all_of_it_2_kib() -> None:
    assert refusal({"a": 2**63}) == ("an integer must fit 64 bits", "metadata.a")
    assert refusal({"a": "x" * 2_048}) == ("metadata has at most 2048 bytes as JSON", "metadata")

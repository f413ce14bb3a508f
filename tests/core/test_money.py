"""Amounts are exact from the text that was written to the text that is answered."""

import json
from decimal import Decimal

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.core.currencies import PLACES
from sidecar.core.errors import ValidationFailed
from sidecar.core.limits import QUANTITY_MAX
from sidecar.core.money import AMOUNT_MINOR_MAX, DECIMALS_MAX, AnyMajor, Major, NumberText, major_text

CURRENCIES = st.sampled_from(sorted(PLACES))
MINORS = st.integers(min_value=0, max_value=AMOUNT_MINOR_MAX)


@pytest.mark.parametrize("text", ["1.0", "47.2300", "-0.0", "1e2", "1E+400", "0.1e-7"])
def test_a_number_text_keeps_its_source_and_its_value(text: str) -> None:
    number = NumberText(text)
    assert number.text == text
    assert number == Decimal(text)


@pytest.mark.parametrize(
    "text", ["1e9999999999999999999", "-1e9999999999999999999", "1e-9999999999999999999", "0e" + "9" * 99]
)
def test_a_number_text_beyond_any_decimal_is_kept_without_a_value(text: str) -> None:
    number = NumberText(text)
    assert number.text == text
    assert number.is_nan()


def test_a_json_decoder_gives_number_texts_for_fractions_and_exponents_only() -> None:
    values = json.loads("[47.2300, 1e400, 5]", parse_float=NumberText)
    assert [type(value) for value in values] == [NumberText, NumberText, int]
    assert [value.text for value in values[:2]] == ["47.2300", "1e400"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (47, "47"),
        (-1, "-1"),
        (10**16 - 1, "9999999999999999"),
        (NumberText("47.23"), "47.23"),
        (NumberText("47.2300"), "47.2300"),
        (NumberText("-0.0"), "-0.0"),
        ("47.23", "47.23"),
        ("0", "0"),
        ("0.000000001", "0.000000001"),
        ("9999999999999999.999999999", "9999999999999999.999999999"),
    ],
)
def test_an_amount_keeps_the_text_that_was_written(value: object, text: str) -> None:
    assert Major.parse(value).text == text


@pytest.mark.parametrize(
    "text",
    [
        "", " 1", "1 ", "1\n", "+1", "--1", "01", "00", "-01", ".5", "5.", "1.", "1e3", "1E3", "1e400", "1_000",
        "1,000", "NaN", "nan", "Infinity", "-Infinity", "0x10", "12345678901234567", "0.1234567890", "1.2.3",
        "\u0664\u0667", "\uff14", "1.\uff12", "\u22121", "\u00b2",
    ],
)  # fmt: skip
def test_a_text_outside_the_grammar_is_no_amount(text: str) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        Major.parse(text)
    with pytest.raises(ValueError, match="not an amount"):
        Major(text)


@pytest.mark.parametrize(
    "text", ["1e3", "1.5E0", "1e400", "1e9999999999999999999", "0.0000000001", "12345678901234567.5"]
)
def test_a_json_number_outside_the_grammar_is_no_amount(text: str) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        Major.parse(NumberText(text))


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("1e-06", "0.000001"),
        ("5e-05", "0.00005"),
        ("1.5E-8", "0.000000015"),
        ("1e2", "100"),
        ("1.25e+1", "12.5"),
        ("1e15", "1000000000000000"),
        ("-1e-2", "-0.01"),
        ("47.2300", "47.2300"),
    ],
)
def test_where_exponents_are_taken_they_are_written_out_exactly(text: str, plain: str) -> None:
    assert AnyMajor.parse(NumberText(text)) == Major(plain)


@pytest.mark.parametrize(
    "value",
    [
        *("1e-06", "1e2", True, None, 1.5, 10**16),
        *map(
            NumberText,
            ("1e16", "1e-10", "1.5e-9", "1e400", "1e999999", "1e9999999999999999999", "0e99", "0.0000000001"),
        ),
    ],
    ids=str,
)
def test_no_more_is_an_amount_there(value: object) -> None:
    """An exponent in a text, a number with too many digits, or what is no number at all."""
    with pytest.raises(ValueError, match="not an amount"):
        AnyMajor.parse(value)


@pytest.mark.parametrize("value", [10**16, -(10**16), 10**5000, -(10**5000)], ids=["high", "low", "huge", "huge-low"])
def test_a_huge_integer_is_no_amount(value: int) -> None:
    with pytest.raises(ValueError, match="not an amount, expected") as refusal:
        Major.parse(value)
    assert len(str(refusal.value)) < 250


@pytest.mark.parametrize("value", [True, False, None, [], ["1"], {}, 1.5, Decimal("1.5"), b"1"])
def test_a_value_of_another_type_is_no_amount(value: object) -> None:
    with pytest.raises(ValueError, match=f"value of type `{type(value).__name__}`"):
        Major.parse(value)


@given(st.text(alphabet="0123456789.-+eE_ \u0664", max_size=30))
def test_what_is_accepted_is_a_finite_decimal_without_exponent_that_reads_back_alike(text: str) -> None:
    """The slow model: the grammar said step by step."""
    body = text.removeprefix("-")
    whole, point, decimals = body.partition(".")
    fits = (
        body.isascii()
        and whole.isdigit()
        and (whole == "0" or not whole.startswith("0"))
        and len(whole) <= 16
        and (decimals.isdigit() and len(decimals) <= DECIMALS_MAX if point else True)
    )
    if fits:
        assert Major.parse(text).text == text
    else:
        with pytest.raises(ValueError, match="not an amount"):
            Major.parse(text)


def test_amounts_written_alike_are_equal_and_share_a_hash() -> None:
    assert Major.parse(NumberText("1.50")) == Major.parse("1.50")
    assert hash(Major("1.50")) == hash(Major("1.50"))
    assert Major("1") == Major.parse(1)
    assert repr(Major("1.50")) == "Major('1.50')"


def test_amounts_written_differently_differ_as_not_every_currency_takes_both() -> None:
    assert Major("1") != Major("1.0")
    assert Major("1") != "1"


def test_an_amount_cannot_be_changed() -> None:
    amount = Major("1")
    with pytest.raises(AttributeError):
        amount.text = "2"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        amount.other = "2"  # type: ignore[attr-defined]


def test_msgspec_asks_its_hook_for_an_amount_and_names_the_place_of_a_refusal() -> None:
    class Resource(msgspec.Struct):
        amount: Major

    def decode(kind: type, value: object) -> object:
        assert kind is Major
        return Major.parse(value)

    good = msgspec.convert({"amount": NumberText("47.23")}, Resource, dec_hook=decode)
    assert good.amount == Major("47.23")
    with pytest.raises(msgspec.ValidationError, match=r"not an amount.* at `\$\.amount`"):
        msgspec.convert({"amount": True}, Resource, dec_hook=decode)


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("47.23", "CAD", 4723),
        ("47.2", "CAD", 4720),
        ("47", "CAD", 4700),
        ("0.05", "CAD", 5),
        ("-0", "CAD", 0),
        ("-0.00", "CAD", 0),
        ("47", "JPY", 47),
        ("1.234", "KWD", 1234),
        ("1.2345", "CLF", 12345),
        ("0.000001", "USDC", 1),
        ("1.000000001", "SOL", 1_000_000_001),
        ("10000000000000", "CAD", AMOUNT_MINOR_MAX),
        ("10000000000000.00", "CAD", AMOUNT_MINOR_MAX),
        ("1000000000000000", "JPY", AMOUNT_MINOR_MAX),
        ("1000000.000000000", "SOL", AMOUNT_MINOR_MAX),
    ],
)
def test_minor_units_are_exact(text: str, currency: str, minor: int) -> None:
    assert Major(text).minor(currency, "resource.amount") == minor


@pytest.mark.parametrize(
    ("text", "currency", "sentence"),
    [
        ("47.230", "CAD", "`47.230` has 3 decimal places, expected at most 2 for `CAD`"),
        ("47.2300", "CAD", "`47.2300` has 4 decimal places, expected at most 2 for `CAD`"),
        ("47.0", "JPY", "`47.0` has 1 decimal places, expected at most 0 for `JPY`"),
        ("0.0000001", "USDC", "`0.0000001` has 7 decimal places, expected at most 6 for `USDC`"),
        ("-0.01", "CAD", "`-0.01` is negative, expected zero or more"),
        ("-1", "JPY", "`-1` is negative, expected zero or more"),
        ("10000000000000.01", "CAD", "`10000000000000.01` is too large, expected at most `10000000000000` CAD"),
        ("1000000000000001", "JPY", "`1000000000000001` is too large, expected at most `1000000000000000` JPY"),
        ("1000001", "SOL", "`1000001` is too large, expected at most `1000000` SOL"),
        ("1", "XXQ", "unknown currency `XXQ`"),
    ],
)
def test_what_a_currency_cannot_express_is_refused_naming_the_field(text: str, currency: str, sentence: str) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        Major(text).minor(currency, "resource.amount")
    assert refusal.value.message == sentence
    assert refusal.value.field == "resource.amount"


@given(minor=MINORS, currency=CURRENCIES)
@example(minor=0, currency="JPY")
@example(minor=AMOUNT_MINOR_MAX, currency="SOL")
def test_the_text_of_an_answer_reads_back_as_the_same_minor_units(minor: int, currency: str) -> None:
    assert Major.parse(major_text(minor, currency)).minor(currency, "amount") == minor


@given(whole=st.integers(0, 10**16 - 1), decimals=st.text("0123456789", max_size=DECIMALS_MAX), currency=CURRENCIES)
def test_minor_units_are_those_of_decimal_arithmetic(whole: int, decimals: str, currency: str) -> None:
    text = f"{whole}.{decimals}" if decimals else str(whole)
    scaled = Decimal(text).scaleb(PLACES[currency])
    if len(decimals) <= PLACES[currency] and scaled <= AMOUNT_MINOR_MAX:
        assert Major(text).minor(currency, "amount") == scaled
    else:
        with pytest.raises(ValidationFailed):
            Major(text).minor(currency, "amount")


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("-0", 0), ("1200", 1200), (str(QUANTITY_MAX), QUANTITY_MAX)])
def test_a_quantity_is_a_whole_number(text: str, number: int) -> None:
    assert Major(text).integer("resource.quantities.tokens") == number


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("3.0", "`3.0` has decimals, expected a whole number"),
        ("-1", "`-1` is out of range, expected 0 to 1000000000000000"),
        (str(QUANTITY_MAX + 1), "`1000000000000001` is out of range, expected 0 to 1000000000000000"),
    ],
)
def test_a_quantity_that_is_not_whole_or_out_of_range_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        Major(text).integer("resource.quantities.tokens")
    assert refusal.value.message == sentence
    assert refusal.value.field == "resource.quantities.tokens"


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (4723, "CAD", "47.23"),
        (50000, "CAD", "500"),
        (4750, "CAD", "47.5"),
        (5, "CAD", "0.05"),
        (0, "CAD", "0"),
        (-5, "CAD", "-0.05"),
        (-4750, "CAD", "-47.5"),
        (-50000, "CAD", "-500"),
        (500, "JPY", "500"),
        (0, "JPY", "0"),
        (1, "SOL", "0.000000001"),
        (10**30, "CAD", "1" + "0" * 28),
    ],
)
def test_answers_show_the_shortest_exact_text(minor: int, currency: str, text: str) -> None:
    assert major_text(minor, currency) == text


@given(minor=st.integers(-(2**70), 2**70), currency=CURRENCIES)
def test_the_text_of_an_answer_is_the_value_and_a_json_number(minor: int, currency: str) -> None:
    text = major_text(minor, currency)
    assert Decimal(text) == Decimal(minor).scaleb(-PLACES[currency])
    assert str(json.loads(text, parse_float=NumberText, parse_int=NumberText).text) == text
    assert "." not in text or not text.endswith("0")


def test_the_text_of_an_answer_needs_a_known_currency() -> None:
    with pytest.raises(ValidationFailed, match="unknown currency `XXQ`"):
        major_text(1, "XXQ")

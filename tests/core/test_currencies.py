"""The currency table: complete, pinned, and the same as a list that others keep."""

import iso4217
import pytest

from sidecar.core.currencies import PLACES, places
from sidecar.core.errors import ValidationFailed

DIGITAL_ASSETS = {"USDC": 6, "USDT": 6, "SOL": 9, "XRP": 6}


def test_every_active_iso_4217_currency_has_the_places_of_the_published_list() -> None:
    published = {currency.code: currency.exponent for currency in iso4217.Currency if currency.exponent is not None}
    assert dict(PLACES) == published | DIGITAL_ASSETS


def test_codes_without_a_minor_unit_are_left_out() -> None:
    without = {currency.code for currency in iso4217.Currency if currency.exponent is None}
    assert {"XAU", "XDR", "XTS", "XXX"} <= without
    assert without.isdisjoint(PLACES)


def test_no_digital_asset_takes_an_iso_4217_code() -> None:
    assert DIGITAL_ASSETS.keys().isdisjoint({currency.code for currency in iso4217.Currency})


@pytest.mark.parametrize(
    ("currency", "expected"), [("JPY", 0), ("CAD", 2), ("KWD", 3), ("CLF", 4), ("UYW", 4), ("USDC", 6), ("SOL", 9)]
)
def test_a_known_currency_has_its_places(currency: str, expected: int) -> None:
    assert places(currency) == expected


@pytest.mark.parametrize("currency", ["XXQ", "cad", "CAD ", "", "XAU", "\uff23\uff21\uff24"])
def test_an_unknown_currency_is_refused_naming_the_field(currency: str) -> None:
    with pytest.raises(ValidationFailed, match="unknown currency") as refusal:
        places(currency, "resource.currency")
    assert refusal.value.field == "resource.currency"


def test_the_refusal_shows_the_code() -> None:
    with pytest.raises(ValidationFailed) as refusal:
        places("XXQ")
    assert refusal.value.message == "unknown currency `XXQ`"
    assert refusal.value.field is None


@pytest.mark.parametrize("currency", ["A\nB", "\ud800", "\u2028", "x" * 10_000])
def test_the_refusal_is_one_short_line_of_ascii_whatever_was_sent(currency: str) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        places(currency)
    assert refusal.value.message.isascii()
    assert refusal.value.message.isprintable()
    assert len(refusal.value.message) < 150

"""How many decimal places each currency has: the pinned table behind every exact amount.

Owns the active codes of ISO 4217 (list published 2026-01-01, fund codes such as ``CHE`` and ``UYW`` included) and the
digital assets that agents pay with. Invariant: the table changes only with a release, so two machines of one version
read one amount alike; a test compares it with an independently kept list. X-codes without a minor unit (gold ``XAU``,
drawing rights ``XDR``, the test code ``XTS``, no currency ``XXX``, …) are left out, because an amount in them has no
exact integer. What an amount is belongs to ``sidecar.core.money``.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sidecar.core.errors import ValidationFailed

_CODES_BY_PLACES: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: """
        AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE
        CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD
        HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK
        MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD
        RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH
        USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG
    """,
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
    # Digital assets: the places their issuers count in, which no ISO list carries.
    6: "USDC USDT XRP",
    9: "SOL",
}

PLACES: Final[Mapping[str, int]] = MappingProxyType(
    {code: count for count, codes in _CODES_BY_PLACES.items() for code in codes.split()}
)
"""Currency code → decimal places of its minor unit."""

_SHOWN_MAX: Final = 16
"""Characters of an unknown code that a message repeats; every real one is shorter."""


def places(currency: str, field: str | None = None) -> int:
    """Return the decimal places of ``currency``; codes are upper case and are not normalised.

    Raises ValidationFailed, naming ``field``, for a code that is not in the table.
    """
    count = PLACES.get(currency)
    if count is None:
        # Escaped, because the code is the caller's text and the message is one line of an answer and of a log.
        shown = currency[:_SHOWN_MAX].encode("unicode_escape").decode("ascii")
        raise ValidationFailed(f"unknown currency `{shown}`", field=field)
    return count

"""Exact amounts: from the text that a caller wrote to integers of the minor unit, and back to text for answers.

Invariants: no amount passes through a float and none is rounded; what a currency cannot express is refused. Inside the
sidecar money is an ``int`` of minor units beside its currency code. ``Major`` exists only between a door's decoder and
the moment when the currency is known. How many places a currency has belongs to ``sidecar.core.currencies``; arithmetic
on budgets and accounts to the modules of those names.
"""

import re
from decimal import Decimal, InvalidOperation
from typing import Final, Self

from sidecar.core.currencies import places
from sidecar.core.errors import ValidationFailed
from sidecar.core.limits import QUANTITY_MAX

AMOUNT_MINOR_MAX: Final = 10**15
"""Largest amount or limit in minor units: a thousand of them still sum below 2^62, and Cedar's Long is 64 bits."""

WHOLE_DIGITS_MAX: Final = 16
"""Digits before the point: the largest amount of a currency without decimals has 16. Bounds the work on an amount."""

DECIMALS_MAX: Final = 9
"""Digits after the point: the most that any known currency has (SOL)."""

# Spelled in ASCII classes: `\d` would take Arabic-Indic and other digits, which two readers may show differently.
_MAJOR: Final = re.compile(rf"-?(0|[1-9][0-9]{{0,{WHOLE_DIGITS_MAX - 1}}})(\.[0-9]{{1,{DECIMALS_MAX}}})?")

_EXPECTED: Final = (
    f"expected a number or text such as `47.23` with at most {WHOLE_DIGITS_MAX} digits before the point"
    f" and {DECIMALS_MAX} after it, without exponent, plus sign, spaces or leading zeros"
)


class NumberText(Decimal):
    """A JSON number with a fraction or an exponent that keeps its source in ``text``.

    For a strict decoder's ``parse_float``. Any JSON number text is taken, so that the refusal of one such as ``1e400``
    can name its field later. The numeric value is NaN where an exponent is beyond what ``Decimal`` can hold.
    """

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Self:
        """Keep ``text`` beside its value."""
        try:
            number = super().__new__(cls, text)
        except InvalidOperation:
            number = super().__new__(cls, "NaN")
        number.text = text
        return number


class Major:
    """An amount in major units as the caller wrote it; it has no meaning before its currency is known.

    Equal means written alike: ``1`` and ``1.0`` differ, as only one of them is an amount in yen.
    A plain class on purpose: msgspec would decode a Struct or dataclass from a JSON object, and asks its ``dec_hook``
    for this one.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Keep ``text``; raise ValueError when it does not match the wire contract's grammar of amounts."""
        if _MAJOR.fullmatch(text) is None:
            raise ValueError(f"not an amount, {_EXPECTED}")
        self._text = text

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return the amount that ``value`` writes: an ``int``, a ``NumberText`` or a ``str``.

        Raises ValueError with a sentence for a caller when it is anything else (a ``float`` too: its text is lost) or
        does not match the grammar.
        """
        if isinstance(value, NumberText):
            return cls(value.text)
        if isinstance(value, str):
            return cls(value)
        if isinstance(value, int) and not isinstance(value, bool):
            # Compared before it is written out: Python refuses to write an integer of more than 4,300 digits.
            if abs(value) >= 10**WHOLE_DIGITS_MAX:
                raise ValueError(f"not an amount, {_EXPECTED}")
            return cls(str(value))
        raise ValueError(f"not an amount but a value of type `{type(value).__name__}`, {_EXPECTED}")

    @property
    def text(self) -> str:
        """The amount as it was written."""
        return self._text

    def minor(self, currency: str, field: str) -> int:
        """Return the exact minor units of ``currency``.

        Raises ValidationFailed, naming ``field``, for an unknown currency, for more places than the currency has (zeros
        count: ``47.2300`` CAD is refused), below zero, and above ``AMOUNT_MINOR_MAX``. ``-0`` is zero, as in JSON.
        """
        count = places(currency, field)
        whole, _, decimals = self._text.partition(".")
        if len(decimals) > count:
            message = f"`{self._text}` has {len(decimals)} decimal places, expected at most {count} for `{currency}`"
            raise ValidationFailed(message, field=field)
        minor = int(whole + decimals.ljust(count, "0"))
        if minor < 0:
            raise ValidationFailed(f"`{self._text}` is negative, expected zero or more", field=field)
        if minor > AMOUNT_MINOR_MAX:
            largest = major_text(AMOUNT_MINOR_MAX, currency)
            raise ValidationFailed(f"`{self._text}` is too large, expected at most `{largest}` {currency}", field=field)
        return minor

    def integer(self, field: str) -> int:
        """Return the whole number, for quantities and counts.

        Raises ValidationFailed, naming ``field``, when it is written with decimals (``3.0`` too), is below zero, or is
        above ``QUANTITY_MAX``.
        """
        if "." in self._text:
            raise ValidationFailed(f"`{self._text}` has decimals, expected a whole number", field=field)
        number = int(self._text)
        if not 0 <= number <= QUANTITY_MAX:
            message = f"`{self._text}` is out of range, expected 0 to {QUANTITY_MAX}"
            raise ValidationFailed(message, field=field)
        return number

    def __eq__(self, other: object) -> bool:
        """Whether both are written alike."""
        return self._text == other._text if isinstance(other, Major) else NotImplemented

    def __hash__(self) -> int:
        """As equality: by the text."""
        return hash(self._text)

    def __repr__(self) -> str:
        """Show the text."""
        return f"Major({self._text!r})"


class AnyMajor(Major):
    """The same where callers may also write a JSON number with an exponent, as `1e-06`.

    For doors whose callers' languages write small and large numbers so. Nothing is rounded: it is written out.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return the amount that ``value`` writes, its exponent written out. Raises ValueError as ``Major.parse``."""
        # Bounded before it is written out: `1e999999` would be a megabyte, and one beyond any decimal has no value.
        is_short = isinstance(value, Decimal) and value.is_finite() and abs(value.adjusted()) <= WHOLE_DIGITS_MAX
        if isinstance(value, NumberText) and "e" in value.text.lower() and is_short:
            return cls(f"{value:f}")
        return super().parse(value)


def major_text(minor: int, currency: str) -> str:
    """Return ``minor`` units of ``currency`` as the shortest exact decimal text: 4750 CAD is ``47.5``, 50000 ``500``.

    Negative amounts keep their sign. Raises ValidationFailed for an unknown currency.
    """
    count = places(currency)
    whole, part = divmod(abs(minor), 10**count)
    sign = "-" if minor < 0 else ""
    return f"{sign}{whole}.{part:0{count}}".rstrip("0") if part else f"{sign}{whole}"

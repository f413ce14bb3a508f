"""Instants: microseconds since the Unix epoch in UTC, and their RFC 3339 text on the wire.

Invariants: conversions are exact integers, never a float's seconds; text that is written always ends in ``Z``. An
instant may lie before 1970 and is then negative. Nothing here reads a clock; which window an instant falls in belongs
to ``sidecar.core.windows``.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from sidecar.core.errors import ValidationFailed

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

SECONDS_KEPT: Final = 256
"""Seconds whose text is kept: the present one, and ends of windows and holds that many answers name."""

_MICROSECOND: Final = timedelta(microseconds=1)
_SECOND_US: Final = 1_000_000

# RFC 3339 section 5.6 with two narrowings: at most 6 decimals, since a finer instant could not be kept exactly, and no
# second 60, since Unix time has no place for it. `T` and `Z` may be lower case, as its section allows.
_RFC_3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt]"
    r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
    r"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
)

_EXPECTED: Final = "expected RFC 3339 such as `2026-11-22T00:00:00Z`, at most 6 decimals of a second"


def to_datetime(us: int) -> datetime:
    """Return the aware UTC datetime of an instant; raise OverflowError outside the years 1 to 9999."""
    return EPOCH + timedelta(microseconds=us)


def from_datetime(moment: datetime) -> int:
    """Return the instant of an aware datetime in microseconds, exact in every time zone."""
    # In UTC first: subtraction within one zone goes by the wall clock and ignores a change of offset in between.
    return (moment.astimezone(UTC) - EPOCH) // _MICROSECOND


def utc_text(us: int) -> str:
    """Return RFC 3339 text in UTC: without decimals for a whole second, otherwise with six.

    Raises OverflowError outside the years 1 to 9999.
    """
    second, rest = divmod(us, _SECOND_US)
    return f"{_second_text(second)}.{rest:06}Z" if rest else f"{_second_text(second)}Z"


@lru_cache(SECONDS_KEPT)
def _second_text(second: int) -> str:
    return (EPOCH + timedelta(seconds=second)).replace(tzinfo=None).isoformat()


def parse_utc(text: str, field: str) -> int:
    """Return the instant in microseconds that RFC 3339 ``text`` names, with whatever offset it is written.

    Raises ValidationFailed, naming ``field``, for any other text, a date that does not exist, more than 6 decimals, a
    leap second, and an instant outside the years 1 to 9999 of UTC.
    """
    if _RFC_3339.fullmatch(text) is None:
        raise ValidationFailed(f"not a time, {_EXPECTED}", field=field)
    try:
        return from_datetime(datetime.fromisoformat(text.upper()))
    except (ValueError, OverflowError):
        raise ValidationFailed(f"`{text}` is no date of the calendar, {_EXPECTED}", field=field) from None

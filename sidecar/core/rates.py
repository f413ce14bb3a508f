"""Rate limits as they are written, stored and shown: so many requests in a second, minute, hour or day.

Counting against one is ``sidecar.core.admission``'s.
"""

import re
from typing import Final

import msgspec

from sidecar.core.errors import ValidationFailed

COUNT_MAX: Final = 1_000_000
"""More requests than this in a second are no limit for one machine."""

PERIODS: Final = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
"""The units of the grammar and their lengths in seconds; a day is 24 hours, no calendar day."""

_UNITS: Final = {seconds: unit for unit, seconds in PERIODS.items()}
_TEXT: Final = re.compile(rf"(?P<count>[1-9][0-9]{{0,6}})/(?P<unit>{'|'.join(PERIODS)})")
_EXPECTED: Final = "not a rate limit, expected 1 to 1000000 per second, minute, hour or day, such as `100/second`"


class RateLimit(msgspec.Struct, frozen=True):
    """``count`` requests per ``period_seconds`` on the average, and no more than ``count`` at once."""

    count: int
    period_seconds: int

    @property
    def text(self) -> str:
        """The limit as it is written: ``100/second``."""
        return f"{self.count}/{_UNITS[self.period_seconds]}"


class DoorLimit(msgspec.Struct, frozen=True):
    """A limit that holds for each token at one door, and the name it has on the wire."""

    policy: str
    limit: RateLimit


def rate_limit_text(limit: RateLimit | None) -> str | None:
    """Return a limit as it is written, None for none."""
    return None if limit is None else limit.text


def parse_rate_limit(text: str, field: str) -> RateLimit:
    """Return the limit that ``text`` writes. Raises ValidationFailed, naming ``field``, for every other text."""
    written = _TEXT.fullmatch(text)
    count = 0 if written is None else int(written["count"])
    if written is None or count > COUNT_MAX:
        raise ValidationFailed(_EXPECTED, field=field)
    return RateLimit(count, PERIODS[written["unit"]])

"""How old the data of a follower may be, and how old it is.

Age is measured on a clock that no one sets and that goes on while the machine sleeps (``CLOCK_BOOTTIME``): from the
moment at which the question was asked whose answer said that nothing is newer. Since a restart of the machine that
clock says nothing of what was before, so the wall clock has to serve; where it went back, nothing is known.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from sidecar.core.errors import ValidationFailed

SKEW_MAX_US: Final = 60_000_000
"""How far the clocks of a follower and of its control plane may differ: beyond it, windows and hours are not the same
ones for both."""

OTHERS: Final = "default"
"""Stands for all actions that no limit names, neither themselves nor by a group."""

SECONDS_MAX: Final = 31 * 86_400
_UNITS: Final[Mapping[str, int]] = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class Instant(msgspec.Struct, frozen=True):
    """One moment on both clocks; ``boot_id`` names the run of the machine that ``boottime_us`` belongs to."""

    boot_id: str
    boottime_us: int
    wall_us: int


class Contact(msgspec.Struct, frozen=True):
    """When the control plane last said what is newest, as of which moment that holds, and what it said of time.

    ``skew_us`` is its clock less ours. ``head`` is the revision that it was at.
    """

    asked: Instant
    head: int
    skew_us: int = 0


class Freshly(msgspec.Struct, frozen=True):
    """How old the data of one decision is, how old it may be, and what else speaks against deciding on it.

    ``age_us`` is None where nobody can say. ``skew_us`` is the control plane's clock less the time that is decided by;
    ``fault`` says why nothing may be decided at all.
    """

    age_us: int | None
    limit_us: int
    skew_us: int = 0
    fault: str | None = None

    @property
    def is_too_old(self) -> bool:
        """Whether the data is older than it may be, or of unknown age."""
        return self.age_us is None or self.age_us > self.limit_us

    @property
    def is_skewed(self) -> bool:
        """Whether the time that is decided by is too far from the control plane's."""
        return abs(self.skew_us) > SKEW_MAX_US

    @property
    def is_stale(self) -> bool:
        """Whether nothing may be permitted on this data."""
        return self.is_too_old or self.is_skewed or self.fault is not None


class StalenessLimits(msgspec.Struct, frozen=True):
    """The largest age in seconds by action, by group of actions, or under ``OTHERS``."""

    seconds: Mapping[str, int]

    def of(self, action: str, groups: Iterable[str]) -> int:
        """Return the largest age in microseconds for an action: its own, else the smallest of its groups, else all."""
        limit = self.seconds.get(action)
        if limit is None:
            named = [self.seconds[group] for group in groups if group in self.seconds]
            limit = min(named) if named else self.seconds[OTHERS]
        return limit * 1_000_000

    @property
    def text(self) -> str:
        """The limits as they are written."""
        return ",".join(f"{name}={seconds}s" for name, seconds in self.seconds.items())


DEFAULT_LIMITS: Final = StalenessLimits({"spend": 60, "use": 3_600, OTHERS: 60})
"""Spending a minute, using an hour, anything else a minute."""


def parse_limits(text: str, field: str) -> StalenessLimits:
    """Return the limits that a text such as ``spend=60s,use=1h,default=5m`` or ``60s`` writes.

    Raises ValidationFailed.
    """
    found: dict[str, int] = {}
    for part in text.split(","):
        name, equals, amount = part.strip().rpartition("=")
        name = name.strip() if equals else OTHERS
        if not name or name in found:
            raise ValidationFailed(f"`{part.strip()}` names no action, or one twice", field=field)
        found[name] = _seconds(amount.strip(), field)
    if OTHERS not in found:
        found[OTHERS] = DEFAULT_LIMITS.seconds[OTHERS]
    return StalenessLimits(found)


def _seconds(text: str, field: str) -> int:
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdigit() and unit in _UNITS):
        raise ValidationFailed(f"`{text}` is no time, expected such as `60s`, `5m`, `1h`", field=field)
    seconds = int(number) * _UNITS[unit]
    if not 0 < seconds <= SECONDS_MAX:
        raise ValidationFailed(f"`{text}` is not between 1 s and 31 days", field=field)
    return seconds


def age_us(contact: Contact | None, now: Instant) -> int | None:
    """Return how old what was said at a contact is by now, None where nobody can say."""
    if contact is None:
        return None
    asked = contact.asked
    age = now.boottime_us - asked.boottime_us if now.boot_id == asked.boot_id else now.wall_us - asked.wall_us
    return age if age >= 0 else None


def skew_us(contact: Contact, now: Instant) -> int:
    """Return how far the control plane's clock is ahead of this machine's by now.

    A jump of the wall clock since the contact counts, as far as the other clock tells of it.
    """
    asked = contact.asked
    if now.boot_id != asked.boot_id:
        return contact.skew_us
    jumped = (now.wall_us - asked.wall_us) - (now.boottime_us - asked.boottime_us)
    return contact.skew_us - jumped


def is_timed(contact: Contact | None, now: Instant, used_us: int) -> bool:
    """Whether the time ``used_us`` agrees with the control plane's, as far as can be said since this machine started.

    After a restart nobody vouches for its clock before the control plane was heard from again.
    """
    if contact is None or contact.asked.boot_id != now.boot_id:
        return False
    return abs(lead_us(contact, now, used_us)) <= SKEW_MAX_US


def lead_us(contact: Contact, now: Instant, used_us: int) -> int:
    """Return how far the control plane's clock is ahead of the time ``used_us``, which something is decided by now.

    That time never goes back, so after a jump there and back it is ahead of the wall clock for as long as the jump was.
    """
    return skew_us(contact, now) + now.wall_us - used_us


def recorded(freshly: Freshly) -> dict[str, object]:
    """Return what the record of a follower's decision says of its data.

    Milliseconds are rounded away from zero: since all limits are whole ones, what was too much stays too much.
    """
    fields: dict[str, object] = {"stale_after_ms": freshly.limit_us // 1_000}
    if freshly.age_us is not None:
        fields["age_ms"] = -(-freshly.age_us // 1_000)
    if freshly.skew_us:
        fields["skew_ms"] = _outward(freshly.skew_us)
    if freshly.fault is not None:
        fields["fault"] = True
    return fields


def _outward(us: int) -> int:
    return us // 1_000 if us < 0 else -(-us // 1_000)

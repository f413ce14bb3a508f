"""Budget windows: which stretch of time an instant belongs to, on the calendar of a tenant's time zone.

Invariants, for each zone and each calendar period: the window of an instant contains it; windows tile time without gap
or overlap; any instant of a window gives the same window; hours lie within days, days within weeks, months and years.
They are functions of the arguments and of the pinned ``tzdata`` package alone, never of the machine's own copy.

How windows are cut (DESIGN rule 10; for days and longer ``RELIABILITY.md`` 4.4, R4.4):

- A day, week (from Monday), month or year begins at the first instant that exists on its first date. Where clocks are
  put forward over midnight that is the change itself, where midnight comes twice the earlier one, and a date that the
  zone skipped has no window. If clocks are put back over midnight, so that a date comes back for some minutes, these
  minutes belong to the window that has begun. Days of a change have 23, 25 or even 24.5 hours.
- An hour begins where the local clock shows a whole hour and wherever the clock is changed, so it is never longer than
  60 minutes: after the usual change back, the repeated hour is a window of its own; a change by 30 minutes (Lord Howe)
  leaves one window of 30 minutes. In zones such as Kathmandu (+05:45) hours begin at a quarter past the hour of UTC.

What is claimed of a window belongs to ``sidecar.core.budget``.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from importlib.resources import files
from typing import Final, Literal, cast, get_args
from zoneinfo import ZoneInfo

import msgspec

from sidecar.core.errors import ValidationFailed
from sidecar.core.instants import from_datetime, to_datetime

Period = Literal["per_transaction", "hourly", "daily", "weekly", "monthly", "yearly", "rolling_24h", "total"]
PERIODS: Final = cast("tuple[Period, ...]", get_args(Period))

SECOND_US: Final = 1_000_000
HOUR_US: Final = 3_600 * SECOND_US
ROLLING_US: Final = 24 * HOUR_US

_NEWEST_MAX: Final = 4_096
"""Windows that are remembered: five periods in each of some 600 zones are fewer."""

_LONGEST_DAYS: Final = {"daily": 1, "weekly": 7, "monthly": 31, "yearly": 366}
"""Days of the longest period: so many after its first date lies within the next one, as none is half as long."""


class Window(msgspec.Struct, frozen=True):
    """The instants from ``start_us`` on and before ``end_us``; None is no end."""

    start_us: int
    end_us: int | None


def window_at(period: Period, now_us: int, zone: ZoneInfo) -> Window | None:
    """Return the window of ``period`` that holds ``now_us``; None for ``per_transaction``, which has none.

    ``rolling_24h`` gives the span in which a claim of this instant counts: from its second on, 86,400 seconds long.
    Raises OverflowError outside the years 1 to 9999.
    """
    match period:
        case "per_transaction":
            return None
        case "total":
            return Window(0, None)
        case "rolling_24h":
            start_us = now_us - now_us % SECOND_US
            return Window(start_us, start_us + ROLLING_US)
        case _:
            return _calendar_window(period, now_us, zone)


_newest: Final[dict[tuple[Period, ZoneInfo], Window]] = {}
"""The newest window of each calendar period and zone: any instant of a window gives the same one."""


def _calendar_window(period: Period, now_us: int, zone: ZoneInfo) -> Window:
    newest = _newest.get((period, zone))
    if newest is not None and newest.start_us <= now_us and (newest.end_us is None or now_us < newest.end_us):
        return newest
    found = _hour_at(now_us, zone) if period == "hourly" else _dates_at(period, now_us, zone)
    if len(_newest) >= _NEWEST_MAX:
        _newest.clear()
    _newest[period, zone] = found
    return found


def local_hour_and_weekday(now_us: int, zone: ZoneInfo) -> tuple[int, int]:
    """Return what the local clock and calendar show: the hour 0 to 23 and the weekday, 1 = Monday."""
    local = _local(now_us, zone)
    return local.hour, local.isoweekday()


@cache  # Bounded by `zone_names`: a failure is not kept.
def zone(name: str) -> ZoneInfo:
    """Return the IANA time zone ``name``, the same object each time, from the pinned ``tzdata`` package.

    ``ZoneInfo(name)`` would look at the machine's files first, so two machines could cut a day differently. Reading the
    package's data is no I/O in the sense of the rings: it is a constant that is part of the installed program.
    Raises ValidationFailed for a name that is not in the package, a path such as ``../x`` among them.
    """
    if name not in zone_names():
        raise ValidationFailed("unknown time zone, expected an IANA name such as `America/Toronto`", field="time_zone")
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


@cache
def zone_names() -> frozenset[str]:
    """Return the names of all zones in the pinned package, links such as ``US/Pacific`` included."""
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


def _dates_at(period: Period, now_us: int, zone: ZoneInfo) -> Window:
    first = _first_date(period, _local(now_us, zone).date())
    following = _following_date(period, first)
    start_us, end_us = _first_instant(first, zone), _first_instant(following, zone)
    if now_us >= end_us:
        # The clocks were put back over midnight: the local date is the old one again, but the next window has begun.
        start_us, end_us = end_us, _first_instant(_following_date(period, following), zone)
    return Window(start_us, end_us)


def _first_date(period: Period, day: date) -> date:
    match period:
        case "daily":
            return day
        case "weekly":
            return day - timedelta(days=day.weekday())
        case "monthly":
            return day.replace(day=1)
        case _:
            return day.replace(month=1, day=1)


def _following_date(period: Period, first: date) -> date:
    return _first_date(period, first + timedelta(days=_LONGEST_DAYS[period]))


def _first_instant(day: date, zone: ZoneInfo) -> int:
    """Return the first instant at which the local clock shows midnight of ``day`` or later."""
    midnight = datetime.combine(day, time())
    # `fold=0`, the default, is the earlier of two midnights.
    first_us = from_datetime(midnight.replace(tzinfo=zone))
    if _wall(first_us, zone) == midnight:
        return first_us
    # Clocks were put forward over midnight. Read with the offset after the change (`fold=1`), midnight lies before the
    # change; read with the offset before it, midnight lies at the change or later.
    before_us = from_datetime(midnight.replace(tzinfo=zone, fold=1))
    return _first_second(before_us, first_us, lambda at_us: _wall(at_us, zone) >= midnight)


def _hour_at(now_us: int, zone: ZoneInfo) -> Window:
    offset_us = _offset_us(now_us, zone)
    start_us = now_us - (now_us + offset_us) % HOUR_US
    end_us = start_us + HOUR_US
    if _offset_us(start_us, zone) != offset_us:
        start_us = _first_second(start_us, now_us, lambda at_us: _offset_us(at_us, zone) == offset_us)
    if _offset_us(end_us - 1, zone) != offset_us:
        end_us = _first_second(now_us, end_us, lambda at_us: _offset_us(at_us, zone) != offset_us)
    return Window(start_us, end_us)


def _first_second(before_us: int, by_us: int, holds: Callable[[int], bool]) -> int:
    """Return the first whole second after ``before_us``, not after ``by_us``, where ``holds`` turned true.

    Zones change on whole seconds, and no zone changes twice within the day at most that is searched here.
    """
    low, high = before_us // SECOND_US, -(-by_us // SECOND_US)
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle * SECOND_US):
            high = middle
        else:
            low = middle
    return high * SECOND_US


def _local(now_us: int, zone: ZoneInfo) -> datetime:
    return to_datetime(now_us).astimezone(zone)


def _wall(now_us: int, zone: ZoneInfo) -> datetime:
    return _local(now_us, zone).replace(tzinfo=None)


def _offset_us(now_us: int, zone: ZoneInfo) -> int:
    local = _local(now_us, zone)
    # The clock reading taken as if it were UTC, minus the instant.
    return from_datetime(local.replace(tzinfo=UTC)) - now_us

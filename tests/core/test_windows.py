"""Budget windows: they hold their instant, tile time, and begin where a person in that zone would say."""

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core import windows
from sidecar.core.errors import ValidationFailed
from sidecar.core.instants import from_datetime, parse_utc, to_datetime, utc_text
from sidecar.core.windows import (
    HOUR_US,
    PERIODS,
    ROLLING_US,
    SECOND_US,
    Period,
    Window,
    local_hour_and_weekday,
    window_at,
    zone,
    zone_names,
)

CALENDAR: tuple[Period, ...] = ("hourly", "daily", "weekly", "monthly", "yearly")
DATED: tuple[Period, ...] = CALENDAR[1:]
NAMES = sorted(zone_names())
FROM_US = from_datetime(datetime(1970, 1, 1, tzinfo=UTC))
TO_US = from_datetime(datetime(2100, 12, 31, tzinfo=UTC))
DAY_US = 24 * HOUR_US
HOWE = "Australia/Lord_Howe"


def us(text: str) -> int:
    return parse_utc(text, "test")


def span(window: Window | None) -> tuple[int, int]:
    assert window is not None
    assert window.end_us is not None
    return window.start_us, window.end_us


def texts(period: Period, now: str, name: str) -> tuple[str, str]:
    """Return the window's ends as local texts with their offset."""
    there = zone(name)
    start_us, end_us = span(window_at(period, us(now), there))
    return to_datetime(start_us).astimezone(there).isoformat(), to_datetime(end_us).astimezone(there).isoformat()


def wall(at_us: int, there: ZoneInfo) -> datetime:
    return to_datetime(at_us).astimezone(there).replace(tzinfo=None)


def offset(at_us: int, there: ZoneInfo) -> timedelta | None:
    return to_datetime(at_us).astimezone(there).utcoffset()


@cache
def changes(name: str, from_us: int, to_us: int) -> tuple[int, ...]:
    """Return the instants at which the zone's offset changes, found without the code under test.

    A fortnight's step finds all but pairs of changes closer than that, which undo each other.
    """
    there, found, step = zone(name), [], 14 * DAY_US
    for left in range(from_us, to_us, step):
        low, high = left, left + step
        before = offset(low, there)
        if before != offset(high, there):
            while high - low > SECOND_US:
                middle = (low + high) // (2 * SECOND_US) * SECOND_US
                low, high = (middle, high) if offset(middle, there) == before else (low, middle)
            found.append(high)
    return tuple(found)


def check_window(period: Period, now_us: int, there: ZoneInfo) -> None:
    """Check what holds for each calendar window, whatever the zone."""
    start_us, end_us = span(window_at(period, now_us, there))
    assert start_us <= now_us < end_us
    assert start_us % SECOND_US == 0
    assert end_us % SECOND_US == 0
    for inside_us in (start_us, end_us - 1):
        assert span(window_at(period, inside_us, there)) == (start_us, end_us)
    assert span(window_at(period, start_us - 1, there))[1] == start_us
    assert span(window_at(period, end_us, there))[0] == end_us
    if period == "hourly":
        check_hour(start_us, end_us, there)
    else:
        check_dates(period, start_us, there)


def check_hour(start_us: int, end_us: int, there: ZoneInfo) -> None:
    """Check that an hour begins and ends at a whole local hour or at a change of the clock, and holds neither."""
    assert end_us - start_us <= HOUR_US
    assert offset(start_us, there) == offset(end_us - 1, there)
    assert wall(start_us, there).replace(minute=0, second=0) == wall(end_us - 1, there).replace(
        minute=0, second=0, microsecond=0
    )
    for edge_us in (start_us, end_us):
        clock = wall(edge_us, there)
        assert (clock.minute, clock.second) == (0, 0) or offset(edge_us - 1, there) != offset(edge_us, there)


def check_dates(period: Period, start_us: int, there: ZoneInfo) -> None:
    """Check that a window begins at the first instant of its first date: a new date now, and never seen before."""
    first = wall(start_us, there).date()
    before = wall(start_us - 1, there).date()
    assert first > before
    assert all(wall(start_us - minutes * 60 * SECOND_US, there).date() < first for minutes in range(1, 181, 15))
    assert label(period, wall(start_us, there)) != label(period, wall(start_us - 1, there))


def label(period: Period, clock: datetime) -> object:
    """Return what the calendar calls a period."""
    labels: dict[Period, object] = {
        "daily": clock.date(),
        "weekly": clock.isocalendar()[:2],
        "monthly": (clock.year, clock.month),
        "yearly": clock.year,
    }
    return labels[period]


@given(name=st.sampled_from(NAMES), period=st.sampled_from(CALENDAR), now_us=st.integers(FROM_US, TO_US))
@settings(max_examples=600, deadline=None)
def test_windows_hold_their_instant_and_tile_time(name: str, period: Period, now_us: int) -> None:
    check_window(period, now_us, zone(name))


@pytest.mark.parametrize("part", range(4))
def test_windows_tile_time_around_a_change_of_the_clock_in_every_zone(part: int) -> None:
    """Each zone's last changes before 2040 stand for its present rules; older ones are in the next test."""
    for name in NAMES[part::4]:
        there = zone(name)
        for changed_us in changes(name, us("2038-01-01T00:00:00Z"), us("2040-01-01T00:00:00Z"))[-2:]:
            for beside_us in (changed_us - 1, changed_us, changed_us + HOUR_US):
                check_window("hourly", beside_us, there)
                check_window("daily", beside_us, there)


@given(name=st.sampled_from(NAMES), data=st.data())
@settings(max_examples=150, deadline=None)
def test_windows_tile_time_around_any_change_of_the_clock(name: str, data: st.DataObject) -> None:
    year = data.draw(st.integers(1970, 2099))
    start_us = from_datetime(datetime(year, 1, 1, tzinfo=UTC))
    for changed_us in changes(name, start_us, start_us + 366 * DAY_US):
        beside_us = changed_us + data.draw(st.integers(-DAY_US, DAY_US))
        for period in CALENDAR:
            check_window(period, beside_us, zone(name))


@given(name=st.sampled_from(NAMES), now_us=st.integers(FROM_US, TO_US))
@settings(max_examples=200, deadline=None)
def test_shorter_windows_lie_within_longer_ones(name: str, now_us: int) -> None:
    there = zone(name)
    for inner, outer in [("hourly", "daily"), ("daily", "weekly"), ("daily", "monthly"), ("monthly", "yearly")]:
        start_us, end_us = span(window_at(inner, now_us, there))  # type: ignore[arg-type]
        outer_start_us, outer_end_us = span(window_at(outer, now_us, there))  # type: ignore[arg-type]
        assert outer_start_us <= start_us < end_us <= outer_end_us


@given(name=st.sampled_from(NAMES), now_us=st.integers(FROM_US, TO_US))
@settings(max_examples=200, deadline=None)
def test_away_from_a_change_of_the_clock_windows_are_those_of_the_calendar(name: str, now_us: int) -> None:
    there = zone(name)
    clock = wall(now_us, there)
    midnight = clock.replace(hour=0, minute=0, second=0, microsecond=0)
    if offset(now_us - 2 * DAY_US, there) == offset(now_us, there) == offset(now_us + 2 * DAY_US, there):
        start_us, end_us = span(window_at("daily", now_us, there))
        assert (wall(start_us, there), wall(end_us, there)) == (midnight, midnight + timedelta(days=1))
        start_us, end_us = span(window_at("hourly", now_us, there))
        whole = clock.replace(minute=0, second=0, microsecond=0)
        assert (wall(start_us, there), wall(end_us, there)) == (whole, whole + timedelta(hours=1))


@pytest.mark.parametrize(
    ("period", "name", "now", "start", "end"),
    [
        # Clocks forward at 24:00: the day begins at 01:00, and 23 hours remain.
        ("daily", "America/Santiago", "2026-09-06T12:00:00Z", "2026-09-06T01:00:00-03:00", "2026-09-07T00:00:00-03:00"),
        ("daily", "America/Santiago", "2026-09-06T03:59:59Z", "2026-09-05T00:00:00-04:00", "2026-09-06T01:00:00-03:00"),
        # Clocks back at 24:00: 23:00 comes twice, in one day of 25 hours.
        ("daily", "America/Santiago", "2026-04-05T03:30:00Z", "2026-04-04T00:00:00-03:00", "2026-04-05T00:00:00-04:00"),
        ("daily", "Africa/Cairo", "2026-04-24T09:00:00Z", "2026-04-24T01:00:00+03:00", "2026-04-25T00:00:00+03:00"),
        ("daily", "Africa/Cairo", "2026-10-29T21:30:00Z", "2026-10-29T00:00:00+03:00", "2026-10-30T00:00:00+02:00"),
        ("daily", "Asia/Beirut", "2026-03-29T09:00:00Z", "2026-03-29T01:00:00+03:00", "2026-03-30T00:00:00+03:00"),
        ("daily", "Asia/Beirut", "2026-10-24T21:30:00Z", "2026-10-24T00:00:00+03:00", "2026-10-25T00:00:00+02:00"),
        # Midnight itself comes twice: the earlier one begins the day.
        ("daily", "America/Havana", "2024-11-03T05:30:00Z", "2024-11-03T00:00:00-04:00", "2024-11-04T00:00:00-05:00"),
        ("daily", "America/Havana", "2024-11-03T04:30:00Z", "2024-11-03T00:00:00-04:00", "2024-11-04T00:00:00-05:00"),
        ("daily", "America/Havana", "2026-03-08T12:00:00Z", "2026-03-08T01:00:00-04:00", "2026-03-09T00:00:00-04:00"),
        # A day of 24.5 hours.
        ("daily", HOWE, "2026-04-04T20:00:00Z", "2026-04-05T00:00:00+11:00", "2026-04-06T00:00:00+10:30"),
        ("daily", HOWE, "2026-10-03T20:00:00Z", "2026-10-04T00:00:00+10:30", "2026-10-05T00:00:00+11:00"),
        # 30 December 2011 was skipped: the 29th is followed by the 31st.
        ("daily", "Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29T00:00:00-10:00", "2011-12-31T00:00:00+14:00"),
        ("daily", "Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-31T00:00:00+14:00", "2012-01-01T00:00:00+14:00"),
        ("weekly", "Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-26T00:00:00-10:00", "2012-01-02T00:00:00+14:00"),
        # 00:01 became 23:01 of the day before: the minutes that come back belong to the day that has begun.
        ("daily", "America/St_Johns", "2010-11-07T02:30:30Z", "2010-11-07T00:00:00-02:30", "2010-11-08T00:00:00-03:30"),
        ("daily", "America/St_Johns", "2010-11-07T03:00:00Z", "2010-11-07T00:00:00-02:30", "2010-11-08T00:00:00-03:30"),
        # 23:30 became 00:30: the day begins at the change, not half an hour after it.
        ("daily", "America/Toronto", "1919-03-31T12:00:00Z", "1919-03-31T00:30:00-04:00", "1919-04-01T00:00:00-04:00"),
        ("daily", "Asia/Kathmandu", "2026-11-22T18:15:00Z", "2026-11-23T00:00:00+05:45", "2026-11-24T00:00:00+05:45"),
        ("daily", "UTC", "2026-11-22T18:15:00Z", "2026-11-22T00:00:00+00:00", "2026-11-23T00:00:00+00:00"),
        ("daily", "America/New_York", "2026-03-08T12:00:00Z", "2026-03-08T00:00:00-05:00", "2026-03-09T00:00:00-04:00"),
        ("weekly", "Europe/Berlin", "2026-11-22T22:59:59Z", "2026-11-16T00:00:00+01:00", "2026-11-23T00:00:00+01:00"),
        ("weekly", "Europe/Berlin", "2026-11-22T23:00:00Z", "2026-11-23T00:00:00+01:00", "2026-11-30T00:00:00+01:00"),
        ("monthly", "Asia/Tokyo", "2028-02-29T14:59:59Z", "2028-02-01T00:00:00+09:00", "2028-03-01T00:00:00+09:00"),
        ("monthly", "Asia/Tokyo", "2026-12-31T14:59:59Z", "2026-12-01T00:00:00+09:00", "2027-01-01T00:00:00+09:00"),
        ("yearly", "Asia/Tokyo", "2026-12-31T15:00:00Z", "2027-01-01T00:00:00+09:00", "2028-01-01T00:00:00+09:00"),
        ("yearly", "America/Toronto", "2028-07-01T00:00:00Z", "2028-01-01T00:00:00-05:00", "2029-01-01T00:00:00-05:00"),
    ],
)  # fmt: skip
def test_a_date_begins_at_its_first_instant(period: Period, name: str, now: str, start: str, end: str) -> None:
    assert texts(period, now, name) == (start, end)


@pytest.mark.parametrize(
    ("name", "now", "start", "end"),
    [
        ("Asia/Kathmandu", "2026-11-22T18:30:00Z", "2026-11-23T00:00:00+05:45", "2026-11-23T01:00:00+05:45"),
        # 02:00 became 02:30.
        (HOWE, "2026-10-03T15:29:59Z", "2026-10-04T01:00:00+10:30", "2026-10-04T02:30:00+11:00"),
        (HOWE, "2026-10-03T15:30:00Z", "2026-10-04T02:30:00+11:00", "2026-10-04T03:00:00+11:00"),
        # 02:00 became 01:30.
        (HOWE, "2026-04-04T14:59:59Z", "2026-04-05T01:00:00+11:00", "2026-04-05T01:30:00+10:30"),
        (HOWE, "2026-04-04T15:00:00Z", "2026-04-05T01:30:00+10:30", "2026-04-05T02:00:00+10:30"),
        # 02:00 became 01:00: the hour that comes again is a window of its own.
        ("America/New_York", "2026-11-01T05:30:00Z", "2026-11-01T01:00:00-04:00", "2026-11-01T01:00:00-05:00"),
        ("America/New_York", "2026-11-01T06:30:00Z", "2026-11-01T01:00:00-05:00", "2026-11-01T02:00:00-05:00"),
        ("America/New_York", "2026-03-08T06:30:00Z", "2026-03-08T01:00:00-05:00", "2026-03-08T03:00:00-04:00"),
        # 00:01 became 23:01.
        ("America/St_Johns", "2010-11-07T02:30:59Z", "2010-11-07T00:00:00-02:30", "2010-11-06T23:01:00-03:30"),
        ("America/St_Johns", "2010-11-07T02:31:00Z", "2010-11-06T23:01:00-03:30", "2010-11-07T00:00:00-03:30"),
    ],
)
def test_an_hour_begins_at_a_whole_local_hour_and_at_a_change_of_the_clock(
    name: str, now: str, start: str, end: str
) -> None:
    assert texts("hourly", now, name) == (start, end)


def hours_of(day: Window | None, there: ZoneInfo) -> Iterator[int]:
    """Yield the lengths of a day's hours."""
    now_us, day_end_us = span(day)
    while now_us < day_end_us:
        start_us, end_us = span(window_at("hourly", now_us, there))
        yield end_us - start_us
        now_us = end_us


@pytest.mark.parametrize(
    ("name", "now", "hours", "longest"),
    [
        ("America/New_York", "2026-03-08T12:00:00Z", 23, HOUR_US),
        ("America/New_York", "2026-03-09T12:00:00Z", 24, HOUR_US),
        ("America/New_York", "2026-11-01T12:00:00Z", 25, HOUR_US),
        (HOWE, "2026-04-04T20:00:00Z", 25, HOUR_US),
        (HOWE, "2026-10-03T20:00:00Z", 24, HOUR_US),
    ],
)
def test_a_day_of_a_change_has_as_many_hours_as_pass(name: str, now: str, hours: int, longest: int) -> None:
    there = zone(name)
    lengths = list(hours_of(window_at("daily", us(now), there), there))
    assert len(lengths) == hours
    assert max(lengths) == longest


def test_the_periods_are_those_of_the_wire_contract() -> None:
    assert get_args(Period) == PERIODS
    assert set(PERIODS) == {*CALENDAR, "per_transaction", "rolling_24h", "total"}


def test_a_limit_per_transaction_has_no_window() -> None:
    assert window_at("per_transaction", us("2026-11-22T18:15:00Z"), zone("UTC")) is None


def test_a_total_has_one_window_without_end() -> None:
    assert window_at("total", us("2026-11-22T18:15:00Z"), zone("UTC")) == Window(0, None)


@given(now_us=st.integers(FROM_US, TO_US), name=st.sampled_from(NAMES))
@settings(max_examples=50, deadline=None)
def test_a_rolling_window_is_86400_seconds_from_the_second_of_the_claim(now_us: int, name: str) -> None:
    start_us, end_us = span(window_at("rolling_24h", now_us, zone(name)))
    assert start_us == now_us // SECOND_US * SECOND_US
    assert end_us - start_us == ROLLING_US == 86_400 * SECOND_US


@pytest.mark.parametrize(
    ("now", "name", "expected"),
    [
        ("2026-11-22T23:59:59.999999Z", "UTC", (23, 7)),
        ("2026-11-23T00:00:00Z", "UTC", (0, 1)),
        ("2026-11-22T18:15:00Z", "Asia/Kathmandu", (0, 1)),
        ("2026-11-22T18:14:59Z", "Asia/Kathmandu", (23, 7)),
        ("2026-11-01T05:30:00Z", "America/New_York", (1, 7)),
        ("2026-11-01T06:30:00Z", "America/New_York", (1, 7)),
    ],
)
def test_the_hour_and_the_weekday_are_those_of_the_zone(now: str, name: str, expected: tuple[int, int]) -> None:
    assert local_hour_and_weekday(us(now), zone(name)) == expected


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../x",
        "../zones",
        "/etc/localtime",
        "__init__.py",
        "America",
        "America/",
        "utc",
        "Europe/berlin",
        "localtime",
        "UTC\n",
    ],
)
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(ValidationFailed, match="unknown time zone") as refusal:
        zone(name)
    assert refusal.value.field == "time_zone"


def test_every_zone_of_the_package_loads_once_and_knows_its_name() -> None:
    assert len(NAMES) > 590
    for name in NAMES:
        assert zone(name) is zone(name)
        assert zone(name).key == name


def test_zones_come_from_the_package_even_where_the_machine_has_its_own(tmp_path: Path) -> None:
    """The machine's own Berlin is a copy of UTC here."""
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe" / "Berlin").write_bytes(files("tzdata").joinpath("zoneinfo", "UTC").read_bytes())
    zone.cache_clear()
    zoneinfo.reset_tzpath([tmp_path])
    try:
        assert offset(FROM_US, ZoneInfo.no_cache("Europe/Berlin")) == timedelta(0)
        assert offset(FROM_US, zone("Europe/Berlin")) == timedelta(hours=1)
    finally:
        zoneinfo.reset_tzpath()


def test_times_before_the_calendar_have_no_window() -> None:
    with pytest.raises(OverflowError):
        window_at("daily", -(10**18), zone("UTC"))


def test_windows_of_the_epoch_and_of_the_far_end_are_found() -> None:
    assert utc_text(span(window_at("yearly", FROM_US, zone("UTC")))[0]) == "1970-01-01T00:00:00Z"
    assert utc_text(span(window_at("yearly", TO_US, zone("UTC")))[1]) == "2101-01-01T00:00:00Z"


def test_windows_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is remembered or forgotten, the windows are the same."""
    monkeypatch.setattr(windows, "_NEWEST_MAX", 2)
    noon = us("2026-11-22T12:00:00Z")
    expected = {name: window_at("daily", noon, zone(name)) for name in ("UTC", "Asia/Tokyo", "America/Toronto")}
    for name in (*expected, *reversed(expected)):
        assert window_at("daily", noon, zone(name)) == expected[name]
        assert len(windows._newest) <= 2  # noqa: SLF001

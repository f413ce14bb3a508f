"""Instants are exact, and their texts are RFC 3339."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import ValidationFailed
from sidecar.core.instants import EPOCH, from_datetime, parse_utc, to_datetime, utc_text
from sidecar.core.windows import zone

EARLIEST_US = from_datetime(datetime(1, 1, 1, tzinfo=UTC))
LATEST_US = from_datetime(datetime.max.replace(tzinfo=UTC))
INSTANTS = st.integers(EARLIEST_US, LATEST_US)


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000001Z"),
        (500_000, "1970-01-01T00:00:00.500000Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (1_795_305_600_000_000, "2026-11-22T00:00:00Z"),
        (EARLIEST_US, "0001-01-01T00:00:00Z"),
        (LATEST_US, "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_a_whole_second_has_no_decimals_and_any_other_instant_six(us: int, text: str) -> None:
    assert utc_text(us) == text
    assert parse_utc(text, "from") == us


@pytest.mark.parametrize("us", [EARLIEST_US - 1, LATEST_US + 1])
def test_an_instant_outside_the_calendar_has_no_text(us: int) -> None:
    with pytest.raises(OverflowError):
        utc_text(us)


@given(INSTANTS)
def test_the_text_reads_back_as_the_same_instant(us: int) -> None:
    assert parse_utc(utc_text(us), "from") == us


@given(st.datetimes(timezones=st.builds(lambda m: timezone(timedelta(minutes=m)), st.integers(-1439, 1439))))
def test_any_offset_names_the_same_instant(moment: datetime) -> None:
    try:
        expected = (moment.astimezone(UTC) - EPOCH) // timedelta(microseconds=1)
    except OverflowError:
        with pytest.raises(ValidationFailed):
            parse_utc(moment.isoformat(), "from")
    else:
        assert parse_utc(moment.isoformat(), "from") == expected


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("1970-01-01T00:00:00z", 0),
        ("1970-01-01t00:00:00Z", 0),
        ("1970-01-01T00:00:00-00:00", 0),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T14:30:00-09:30", 0),
        ("1970-01-01T00:00:00.5Z", 500_000),
        ("1970-01-01T00:00:00.000010Z", 10),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000_000),
    ],
)
def test_every_way_that_rfc_3339_allows_is_read(text: str, us: int) -> None:
    assert parse_utc(text, "from") == us


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "0", "2026-11-22", "2026-11-22T00:00:00", "2026-11-22 00:00:00Z", "2026-11-22T00:00Z",
        "20261122T000000Z", "2026-W47-7T00:00:00Z", "2026-326T00:00:00Z", "2026-11-22T00:00:00+0100",
        "2026-11-22T00:00:00+01", "2026-11-22T00:00:00+24:00", "2026-11-22T00:00:00+01:60",
        "2026-11-22T00:00:00+01:00:30", "2026-11-22T24:00:00Z", "2026-11-22T23:60:00Z", "2016-12-31T23:59:60Z",
        "2026-11-22T00:00:00,5Z", "2026-11-22T00:00:00.Z", "2026-11-22T00:00:00.0000001Z", "2026-11-22T00:00:00Z\n",
        " 2026-11-22T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-02-29T00:00:00Z",
        "2026-11-31T00:00:00Z", "0000-01-01T00:00:00Z", "+2026-11-22T00:00:00Z", "12026-11-22T00:00:00Z",
        "\uff12026-11-22T00:00:00Z", "2026-11-22T00:00:00ZZ", "2026-11-22T00:00:00Z[UTC]",
        "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01",
    ],
)  # fmt: skip
def test_any_other_text_is_refused_naming_the_field(text: str) -> None:
    with pytest.raises(ValidationFailed, match="expected RFC 3339") as refusal:
        parse_utc(text, "expires_at")
    assert refusal.value.field == "expires_at"
    assert "\n" not in refusal.value.message


@given(INSTANTS)
def test_an_instant_survives_the_way_through_a_datetime(us: int) -> None:
    assert from_datetime(to_datetime(us)) == us


def test_a_datetime_is_read_across_a_change_of_offset() -> None:
    """01:30 comes twice in Toronto on this night; the second time is an hour after the first."""
    first = datetime(2026, 11, 1, 1, 30, tzinfo=zone("America/Toronto"))
    assert from_datetime(first.replace(fold=1)) - from_datetime(first) == 3_600_000_000

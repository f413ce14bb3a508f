"""Rate limits as text: what was written is read, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import ValidationFailed
from sidecar.core.rates import COUNT_MAX, PERIODS, RateLimit, parse_rate_limit, rate_limit_text


@pytest.mark.parametrize(
    ("text", "count", "seconds"),
    [("100/second", 100, 1), ("6000/minute", 6_000, 60), ("5/hour", 5, 3_600), ("1000000/day", 1_000_000, 86_400)],
)
def test_a_limit_is_a_count_and_a_unit(text: str, count: int, seconds: int) -> None:
    assert parse_rate_limit(text, "rate_limit") == RateLimit(count, seconds)


@given(st.integers(1, COUNT_MAX), st.sampled_from(sorted(PERIODS)))
def test_what_is_written_is_what_was_read(count: int, unit: str) -> None:
    text = f"{count}/{unit}"
    assert rate_limit_text(parse_rate_limit(text, "x")) == text


def test_no_limit_has_no_text() -> None:
    assert rate_limit_text(None) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "100",
        "/second",
        "0/second",
        "-1/second",
        "+1/second",
        "01/second",
        "1.5/second",
        "1e3/second",
        "1000001/day",
        "9999999/day",
        "99999999999999999999/day",
        "100/seconds",
        "100/Second",
        "100/week",
        "100/s",
        "100 /second",
        " 100/second",
        "100/second\n",
        "100/second/second",
        "\u0661/second",
        "none",
    ],
)
def test_every_other_text_is_refused_naming_the_field(text: str) -> None:
    with pytest.raises(ValidationFailed, match="such as `100/second`") as refused:
        parse_rate_limit(text, "rate_limit")
    assert refused.value.field == "rate_limit"

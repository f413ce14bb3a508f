"""How old data is, however often the clock was set and the machine started, and how its age is written and read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import ValidationFailed
from sidecar.core.staleness import (
    DEFAULT_LIMITS,
    OTHERS,
    SECONDS_MAX,
    SKEW_MAX_US,
    Contact,
    Freshly,
    Instant,
    StalenessLimits,
    age_us,
    is_timed,
    lead_us,
    parse_limits,
    recorded,
    skew_us,
)

HOUR = 3_600_000_000
ASKED = Instant("boot_1", 10 * HOUR, 1_000 * HOUR)
moments = st.integers(0, 10**16)
spans = st.integers(0, 10**13)
jumps = st.integers(-(10**13), 10**13)
instants = st.builds(Instant, st.sampled_from(["boot_1", "boot_2"]), moments, moments)
contacts = st.builds(Contact, instants, st.just(7), jumps)


def later(us: int, *, jump: int = 0) -> Instant:
    """So much later on the same run of the machine, after a jump of the wall clock."""
    return Instant("boot_1", ASKED.boottime_us + us, ASKED.wall_us + us + jump)


# --- Age


@given(contact=st.none() | contacts, now=instants)
def test_an_age_is_never_negative(contact: Contact | None, now: Instant) -> None:
    age = age_us(contact, now)
    assert age is None or age >= 0


@given(first=spans, more=spans, jump=jumps)
def test_data_grows_older_with_time_whatever_the_wall_clock_shows(first: int, more: int, jump: int) -> None:
    contact = Contact(ASKED, 7)
    assert age_us(contact, later(first)) == first
    assert age_us(contact, later(first + more, jump=jump)) == first + more


def test_without_a_contact_nobody_can_say_how_old_data_is() -> None:
    assert age_us(None, ASKED) is None


def test_after_a_restart_the_wall_clock_has_to_serve() -> None:
    contact = Contact(ASKED, 7)
    assert age_us(contact, Instant("boot_2", 5, ASKED.wall_us + HOUR)) == HOUR
    assert age_us(contact, Instant("boot_2", 20 * HOUR, ASKED.wall_us)) == 0


def test_where_it_went_back_nobody_can_say() -> None:
    assert age_us(Contact(ASKED, 7), Instant("boot_2", 20 * HOUR, ASKED.wall_us - 1)) is None


def test_an_answer_that_was_asked_for_later_than_now_says_nothing() -> None:
    assert age_us(Contact(later(1), 7), ASKED) is None


# --- Skew


@given(skew=jumps, passed=spans, jump=jumps)
def test_a_jump_of_the_wall_clock_counts_as_skew(skew: int, passed: int, jump: int) -> None:
    """A clock that was set ahead leaves the control plane's behind by as much."""
    assert skew_us(Contact(ASKED, 7, skew), later(passed, jump=jump)) == skew - jump


def test_after_a_restart_the_last_skew_is_what_is_known() -> None:
    assert skew_us(Contact(ASKED, 7, 500), Instant("boot_2", 0, 0)) == 500


@given(skew=jumps, passed=spans, there=spans)
def test_a_jump_there_and_back_counts_for_the_time_that_went_along(skew: int, passed: int, there: int) -> None:
    """Time that something is decided by never goes back, so it stays ahead of a wall clock that does."""
    now = later(passed)
    assert lead_us(Contact(ASKED, 7, skew), now, now.wall_us + there) == skew - there


@pytest.mark.parametrize(
    ("contact", "now", "used_us", "expected"),
    [
        (Contact(ASKED, 7), ASKED, ASKED.wall_us, True),
        (Contact(ASKED, 7), ASKED, ASKED.wall_us - SKEW_MAX_US, True),
        (Contact(ASKED, 7), ASKED, ASKED.wall_us + SKEW_MAX_US, True),
        (Contact(ASKED, 7), ASKED, ASKED.wall_us + SKEW_MAX_US + 1, False),
        (Contact(ASKED, 7), ASKED, ASKED.wall_us - SKEW_MAX_US - 1, False),
        (Contact(ASKED, 7, SKEW_MAX_US + 1), ASKED, ASKED.wall_us, False),
        (Contact(ASKED, 7), later(HOUR, jump=HOUR), ASKED.wall_us + 2 * HOUR, False),
        (Contact(ASKED, 7), Instant("boot_2", 0, ASKED.wall_us), ASKED.wall_us, False),
        (None, ASKED, ASKED.wall_us, False),
    ],
)
def test_time_is_sure_where_the_control_plane_agrees(
    contact: Contact | None, now: Instant, used_us: int, expected: bool
) -> None:
    assert is_timed(contact, now, used_us) is expected


# --- What follows


@pytest.mark.parametrize(
    ("freshly", "expected"),
    [
        (Freshly(0, 60), False),
        (Freshly(60, 60, SKEW_MAX_US), False),
        (Freshly(60, 60, -SKEW_MAX_US), False),
        (Freshly(61, 60), True),
        (Freshly(None, 60), True),
        (Freshly(0, 60, SKEW_MAX_US + 1), True),
        (Freshly(0, 60, -SKEW_MAX_US - 1), True),
        (Freshly(0, 60, fault="a fork"), True),
    ],
)
def test_data_is_stale_by_age_by_skew_and_by_a_fault(freshly: Freshly, expected: bool) -> None:
    assert freshly.is_stale is expected


@given(age=st.none() | spans, limit=st.integers(1, SECONDS_MAX), skew=jumps, fault=st.none() | st.just("a fork"))
def test_what_a_record_says_suffices_to_judge_again(age: int | None, limit: int, skew: int, fault: str | None) -> None:
    """Although it counts in milliseconds."""
    freshly = Freshly(age, limit * 1_000_000, skew, fault)
    fields = {name: value if isinstance(value, int) else None for name, value in recorded(freshly).items()}
    age_ms, limit_ms = fields.get("age_ms"), fields["stale_after_ms"]
    assert limit_ms is not None
    again = Freshly(
        None if age_ms is None else age_ms * 1_000, limit_ms * 1_000, (fields.get("skew_ms") or 0) * 1_000, fault
    )
    assert (again.is_too_old, again.is_skewed) == (freshly.is_too_old, freshly.is_skewed)
    assert (fields.get("fault") is True) is (fault is not None)


def test_a_record_says_nothing_of_what_is_as_it_should_be() -> None:
    assert recorded(Freshly(1_500, 60_000_000)) == {"age_ms": 2, "stale_after_ms": 60_000}
    assert recorded(Freshly(None, 60_000_000, -1_500, "a fork")) == {
        "stale_after_ms": 60_000,
        "skew_ms": -2,
        "fault": True,
    }


# --- Limits


@pytest.mark.parametrize(
    ("action", "groups", "seconds"),
    [
        ("card.authorize", ("spend",), 60),
        ("tool.call", ("use",), 3_600),
        ("tool.call", ("use", "spend"), 60),
        ("door.open", (), 60),
        ("door.open", ("doors",), 60),
    ],
)
def test_an_action_has_the_smallest_limit_of_its_groups_or_the_one_of_all(
    action: str, groups: tuple[str, ...], seconds: int
) -> None:
    assert DEFAULT_LIMITS.of(action, groups) == seconds * 1_000_000


def test_a_limit_of_its_own_goes_before_those_of_groups() -> None:
    limits = StalenessLimits({"tool.call": 86_400, "use": 60, OTHERS: 1})
    assert limits.of("tool.call", ("use",)) == 86_400_000_000
    assert limits.of("model.invoke", ("use",)) == 60_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("60s", {OTHERS: 60}),
        ("default=5m", {OTHERS: 300}),
        ("spend=60s,use=1h,default=5m", {"spend": 60, "use": 3_600, OTHERS: 300}),
        (" card.authorize = 31d ", {"card.authorize": SECONDS_MAX, OTHERS: 60}),
        ("odd=name=1s", {"odd=name": 1, OTHERS: 60}),
    ],
)
def test_limits_are_read_as_they_are_written(text: str, expected: dict[str, int]) -> None:
    limits = parse_limits(text, "max_staleness")
    assert limits.seconds == expected
    assert parse_limits(limits.text, "max_staleness") == limits


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "`` is no time, expected such as `60s`, `5m`, `1h`"),
        ("60", "`60` is no time"),
        ("1.5h", "`1.5h` is no time"),
        ("-1s", "`-1s` is no time"),
        ("\u0661s", "`\u0661s` is no time"),
        ("spend=1w", "`1w` is no time"),
        ("spend=", "`` is no time"),
        ("0s", "`0s` is not between 1 s and 31 days"),
        ("32d", "`32d` is not between 1 s and 31 days"),
        ("=60s", "`=60s` names no action, or one twice"),
        ("spend=60s,spend=1h", "`spend=1h` names no action, or one twice"),
        ("60s,default=1h", "`default=1h` names no action, or one twice"),
        ("60s,", "`` names no action, or one twice"),
    ],
)
def test_what_is_no_limit_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        parse_limits(text, "max_staleness")
    assert refused.value.message.startswith(message)
    assert refused.value.field == "max_staleness"

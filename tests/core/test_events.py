"""Events: their ids, and the bytes that every endpoint gets."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.events import EVENT_TYPES, event_body, figure, next_ulid

TIMES = st.integers(0, 4_000_000_000_000_000)


def test_a_body_has_type_time_and_data() -> None:
    body = event_body("budget.exceeded", 1_773_057_600_000_000, {"limit": figure(1050, "CAD"), "used": figure(7, None)})
    assert body == (b'{"type":"budget.exceeded","timestamp":"2026-03-09T12:00:00Z","data":{"limit":10.5,"used":7}}')
    assert orjson.loads(event_body("webhook.test", 0, {"none": figure(None, "CAD")}))["data"] == {"none": None}


def test_types_are_named_once_and_by_what_they_are_about() -> None:
    assert len(set(EVENT_TYPES)) == len(EVENT_TYPES)
    assert all(len(name.split(".")) == 2 for name in EVENT_TYPES)


@given(st.lists(TIMES, min_size=1, max_size=30))
def test_ids_ascend_whatever_the_clock_does(times: list[int]) -> None:
    ulid = None
    for now_us in times:
        following = next_ulid(ulid, now_us, "log")
        assert len(following) == 16
        assert ulid is None or following > ulid
        ulid = following


def test_an_id_shows_its_millisecond_and_is_its_logs_own() -> None:
    first = next_ulid(None, 1_234_567, "log")
    assert int.from_bytes(first[:6]) == 1_234
    assert first == next_ulid(None, 1_234_999, "log")
    assert first != next_ulid(None, 1_234_567, "another")
    assert next_ulid(first, 1_234_567, "log") == (int.from_bytes(first) + 1).to_bytes(16)

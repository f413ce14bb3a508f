"""The life of a delivery, attempt by attempt, and what an endpoint's secrets sign."""

import msgspec
import pytest

from sidecar.core.webhooks import (
    FAILING_US_MAX,
    JITTER_BP_MAX,
    RETRY_SECONDS,
    Interest,
    Lane,
    Response,
    Secrets,
    Verdict,
    Waiting,
    judge,
    secret_text,
    shown_of,
)

SECOND = 1_000_000
EVENT = Waiting(event_id="evt_1", type="webhook.test", body=b"{}", created_at_us=0, due_at_us=0)
WELL = Lane(number=1, waiting=1, next_due_us=0)
ERROR = Response(500, None, 12)
SILENCE = Response(None, "timed_out", 15_000)


def tried(attempts: int, response: Response, *, now_us: int = 0, failing_since_us: int | None = None) -> Verdict:
    """Judge the attempt after ``attempts``."""
    lane = msgspec.structs.replace(WELL, failing_since_us=failing_since_us)
    return judge(msgspec.structs.replace(EVENT, attempts=attempts), lane, response, now_us, 0)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_delivers(status: int) -> None:
    """Nothing waits any more, and the endpoint is well again."""
    verdict = tried(3, Response(status, None, 5), now_us=9, failing_since_us=1)
    assert (verdict.delivery.state, verdict.delivery.attempt, verdict.delivery.at_us) == ("delivered", 4, 9)
    assert (verdict.waiting, verdict.failing_since_us, verdict.disabled_reason) == (None, None, None)


@pytest.mark.parametrize("response", [ERROR, SILENCE, Response(302, None, 1), Response(404, None, 1)])
def test_anything_else_is_tried_again(response: Response) -> None:
    """A redirection is no success: it is not followed."""
    verdict = tried(0, response, now_us=7)
    assert verdict.delivery.state == "retrying"
    assert verdict.waiting == msgspec.structs.replace(EVENT, attempts=1, due_at_us=7 + 5 * SECOND)
    assert verdict.delivery.next_attempt_at_us == 7 + 5 * SECOND
    assert (verdict.delivery.status_code, verdict.delivery.error) == (response.status_code, response.error)
    assert (verdict.failing_since_us, verdict.disabled_reason) == (7, None)


def test_the_pauses_are_those_of_standard_webhooks() -> None:
    """Ten attempts; after the last one the event has failed."""
    now_us, waiting, pauses = 0, EVENT, []
    lane = WELL
    while True:
        verdict = judge(waiting, lane, ERROR, now_us, 0)
        lane = msgspec.structs.replace(lane, failing_since_us=verdict.failing_since_us)
        if verdict.waiting is None:
            break
        pauses.append((verdict.waiting.due_at_us - now_us) // SECOND)
        now_us, waiting = verdict.waiting.due_at_us, verdict.waiting
    minute, hour = 60, 3_600
    assert pauses == [5, 5 * minute, 30 * minute, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour]
    assert (verdict.delivery.state, verdict.delivery.attempt) == ("failed", 10)
    assert verdict.delivery.next_attempt_at_us is None
    assert verdict.disabled_reason == "failing"


def test_an_event_that_failed_leaves_an_endpoint_that_takes_others() -> None:
    """Only one that took nothing since the event's first attempt is disabled."""
    now_us = sum(RETRY_SECONDS) * SECOND
    verdict = tried(9, ERROR, now_us=now_us, failing_since_us=1)
    assert (verdict.delivery.state, verdict.disabled_reason) == ("failed", None)
    assert tried(9, ERROR, now_us=now_us, failing_since_us=0).disabled_reason == "failing"


def test_an_endpoint_that_takes_nothing_for_days_is_disabled() -> None:
    """Although a backlog keeps every event from its last attempt."""
    assert tried(0, ERROR, now_us=FAILING_US_MAX - 1, failing_since_us=0).disabled_reason is None
    verdict = tried(0, ERROR, now_us=FAILING_US_MAX, failing_since_us=0)
    assert (verdict.disabled_reason, verdict.delivery.state) == ("failing", "retrying")


def test_an_endpoint_that_is_gone_is_disabled_at_once() -> None:
    verdict = tried(0, Response(410, None, 3))
    assert (verdict.disabled_reason, verdict.delivery.state, verdict.waiting) == ("gone", "failed", None)


def test_jitter_makes_a_pause_longer_by_a_tenth_at_most() -> None:
    pauses = [judge(EVENT, WELL, ERROR, 0, jitter).waiting for jitter in (0, JITTER_BP_MAX // 2, JITTER_BP_MAX)]
    assert [pause and pause.due_at_us for pause in pauses] == [5_000_000, 5_250_000, 5_500_000]


def test_a_replaced_secret_signs_until_its_time_is_over() -> None:
    secrets = Secrets(b"old").rotated(b"new", 100)
    assert secrets.signing(99) == (b"new", b"old")
    assert secrets.signing(100) == (b"new",)
    assert Secrets(b"only").signing(0) == (b"only",)


def test_a_secret_is_text_of_standard_webhooks_and_little_of_it_is_shown() -> None:
    assert secret_text(bytes(32)) == "whsec_" + 43 * "A" + "="
    assert shown_of(bytes(32)) == "whsec_AAAA"


def test_an_endpoint_is_told_what_it_asked_for() -> None:
    some, everything = Interest(1, 2, ("token.created",)), Interest(1, 2, ("*",))
    assert some.wants("token.created")
    assert not some.wants("token.revoked")
    assert everything.wants("token.revoked")


def test_an_endpoint_of_a_vendors_format_asks_by_the_vendors_names() -> None:
    some, everything = Interest(1, 2, ("agent.updated",), "ledger"), Interest(1, 2, ("*",), "ledger")
    assert [some.wants(each) for each in ("identity.updated", "identity.suspended")] == [True, True]
    assert not some.wants("identity.created")
    assert everything.wants("identity.created")
    assert not everything.wants("card.frozen")
    assert Interest(1, 2, ("identity.created",), "tally").wants("identity.created")

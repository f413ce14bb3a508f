"""What is due, and what follows from each attempt; time is set by hand, so a schedule of days takes no time."""

from collections.abc import Iterator

import pytest

from sidecar.core.errors import StoreUnusable
from sidecar.core.webhooks import FAILING_US_MAX, RETRY_SECONDS, Response
from sidecar.service.deliveries import Place
from sidecar.service.webhooks import WebhookPatch
from tests.service.builders import OPERATOR, SECOND, World
from tests.service.mailroom import BROKEN, GONE, TAKEN, URL, Mailroom, opened


@pytest.fixture
def mail(world: World) -> Iterator[Mailroom]:
    """The webhooks of a tenant."""
    yield from opened(world)


def test_what_was_taken_is_not_sent_again(world: World, mail: Mailroom) -> None:
    webhook = mail.hook()
    event_id = mail.test(webhook)
    (parcel,) = mail.due()
    assert (parcel.url, parcel.waiting.event_id, parcel.place) == (URL, event_id, mail.place(webhook))
    mail.attempt(parcel, TAKEN)
    assert mail.due() == []
    world.now_us += 10 * FAILING_US_MAX
    assert mail.due() == []


def test_what_was_not_recorded_is_sent_again_under_the_same_id(mail: Mailroom) -> None:
    """As after the death of the process that sent it: at least once, and the receiver can tell."""
    mail.test(mail.hook())
    assert mail.due() == mail.due()
    assert len(mail.due()) == 1


def test_an_event_is_retried_on_the_schedule_of_standard_webhooks(world: World, mail: Mailroom) -> None:
    """Ten attempts over days; then it has failed, and the endpoint with it, as it took nothing meanwhile."""
    webhook, other = mail.hook(), mail.hook("webhook.disabled")
    event_id, start_us, times = mail.test(webhook), world.now_us, []
    for pause in (0, *RETRY_SECONDS):
        if pause:
            world.now_us += pause * SECOND - 1
            assert mail.due() == []
            world.now_us += 1
        times.append(world.now_us)
        assert mail.answer(BROKEN) == 1
    log = mail.log(webhook)
    assert [delivery.at_us for delivery in log] == times
    assert [delivery.attempt for delivery in log] == list(range(1, 11))
    assert {delivery.event_id for delivery in log} == {event_id}
    assert [delivery.next_attempt_at_us for delivery in log] == [*times[1:], None]
    assert [delivery.state for delivery in log] == ["retrying"] * 9 + ["failed"]
    assert (times[-1] - start_us) // SECOND == 272_105
    shown = mail.shown(webhook)
    assert (shown.status, shown.disabled_reason) == ("disabled", "failing")
    assert mail.told(other)[0][1] == {
        "tenant_id": "t_one",
        "webhook_id": webhook.webhook_id,
        "reason": "failing",
        "by": "sidecar",
    }
    assert world.bodies()[-1]["reason"] == "failing"


def test_jitter_stretches_a_pause(world: World, mail: Mailroom) -> None:
    mail.jitter_bp = 1_000
    webhook = mail.hook()
    mail.test(webhook)
    mail.answer(BROKEN)
    assert mail.log(webhook)[0].next_attempt_at_us == world.now_us + 5_500_000


def test_one_success_keeps_an_endpoint_whose_event_failed(world: World, mail: Mailroom) -> None:
    webhook = mail.hook()
    mail.test(webhook)
    for pause in RETRY_SECONDS:
        mail.answer(BROKEN)
        world.now_us += pause * SECOND
    mail.test(webhook)
    first, second = mail.due()
    mail.attempt(second, TAKEN)
    mail.attempt(first, BROKEN)
    assert mail.log(webhook)[-1].state == "failed"
    assert mail.shown(webhook).status == "active"
    assert mail.due() == []


def test_an_endpoint_that_is_gone_is_disabled_with_all_that_waits(mail: Mailroom) -> None:
    webhook = mail.hook()
    for _ in range(3):
        mail.test(webhook)
    first, second, _ = mail.due()
    mail.attempt(first, GONE)
    assert (mail.shown(webhook).status, mail.shown(webhook).disabled_reason) == ("disabled", "gone")
    assert mail.due() == []
    mail.attempt(second, TAKEN)  # it was under way
    assert len(mail.log(webhook)) == 1


def test_an_outcome_that_comes_twice_counts_once(mail: Mailroom) -> None:
    """As from a process that lost its duty while it sent."""
    webhook = mail.hook()
    mail.test(webhook)
    (parcel,) = mail.due()
    for response in (BROKEN, TAKEN, BROKEN):
        mail.attempt(parcel, response)
    assert [delivery.attempt for delivery in mail.log(webhook)] == [1]


def test_a_failing_endpoint_is_known_by_its_newest_attempt(world: World, mail: Mailroom) -> None:
    webhook = mail.hook()
    mail.test(webhook)
    mail.test(webhook)
    for response, expected in ((Response(None, "timed_out", 15_000), True), (TAKEN, False)):
        mail.attempt(mail.due()[0], response)
        mail.test(webhook)
        work = mail.dispatch.due(mail.place(webhook), world.now_us, 9)
        assert work is not None
        assert work.is_failing is expected


def test_a_lane_gives_out_no_more_than_asked_and_nothing_when_dropped(world: World, mail: Mailroom) -> None:
    webhook = mail.hook()
    place = mail.place(webhook)
    for _ in range(3):
        mail.test(webhook)
    work = mail.dispatch.due(place, world.now_us, 2)
    assert work is not None
    assert len(work.parcels) == 2
    mail.change(webhook, WebhookPatch(status="disabled"))
    assert mail.dispatch.due(place, world.now_us, 2) is None
    assert mail.dispatch.ready(world.now_us) == []


def test_lanes_are_ready_in_the_order_in_which_they_wait(world: World, mail: Mailroom) -> None:
    late, early = mail.hook(), mail.hook()
    mail.test(early)
    world.now_us += SECOND
    mail.test(late)
    assert mail.dispatch.ready(world.now_us) == [mail.place(early), mail.place(late)]


def test_a_changed_url_is_used_from_the_next_attempt_on(world: World, mail: Mailroom) -> None:
    webhook = mail.hook()
    mail.test(webhook)
    mail.answer(BROKEN)
    mail.change(webhook, WebhookPatch(url="https://example.org/new"))
    world.now_us += 5 * SECOND
    assert [parcel.url for parcel in mail.due()] == ["https://example.org/new"]


def test_an_outbox_without_its_tenant_breaks_the_store(world: World, mail: Mailroom) -> None:
    with pytest.raises(StoreUnusable, match="tenant 99 has an outbox"):
        mail.dispatch.due(Place(99, 1), world.now_us, 1)


def test_what_waited_for_a_deleted_endpoint_is_swept_in_pieces(
    world: World, mail: Mailroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.service.deliveries.SWEPT_AT_ONCE", 3)
    webhook = mail.hook()
    for _ in range(2):
        mail.test(webhook)
    world.run(mail.desk.delete(OPERATOR, "t_one", webhook.webhook_id, world.now_us))
    assert [world.run(mail.dispatch.sweep()) for _ in range(3)] == [3, 1, 0]

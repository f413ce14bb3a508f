"""Which attempts run at a time, with a sender that the test answers for and a clock that it sets."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sidecar.core.errors import StoreUnusable, Unavailable
from sidecar.core.webhooks import Response, Webhook
from sidecar.doors.webhooks import courier as module
from sidecar.doors.webhooks.courier import LANE_ATTEMPTS_MAX, Courier
from sidecar.service.deliveries import Parcel, Place
from sidecar.service.webhooks import WebhookPatch
from tests.service.builders import OPERATOR, SECOND, World
from tests.service.mailroom import BROKEN, TAKEN, Mailroom

FAST, SLOW = "https://fast.example.com/", "https://slow.example.com/"


class Wire:
    """In place of a sender: an attempt at a URL that hangs waits until the test lets it go."""

    def __init__(self) -> None:
        """Take everything."""
        self.sent: list[Parcel] = []
        self.hanging: dict[str, asyncio.Event] = {}
        self.answers: dict[str, Response] = {}
        self.closed = False

    def hang(self, url: str) -> None:
        """Answer nobody at ``url``."""
        self.hanging[url] = asyncio.Event()

    async def send(self, parcel: Parcel, _now_us: int) -> Response:
        """Make an attempt."""
        self.sent.append(parcel)
        if parcel.url in self.hanging:
            await self.hanging[parcel.url].wait()
        return self.answers.get(parcel.url, TAKEN)

    async def close(self) -> None:
        """End."""
        self.closed = True

    def count(self, url: str) -> int:
        """Return how many attempts were begun at ``url``."""
        return sum(1 for parcel in self.sent if parcel.url == url)


class Office:
    """A courier over a mailroom."""

    def __init__(self, world: World) -> None:
        """Begin with an idle courier."""
        self.world = world
        self.mail = Mailroom(world)
        self.wire = Wire()
        self.courier = Courier(self.mail.dispatch, self.wire, lambda: world.now_us)  # type: ignore[arg-type]

    def hook(self, url: str, events: int) -> Webhook:
        """Make an endpoint for which so many events wait."""
        webhook = self.mail.hook(url=url)
        for _ in range(events):
            self.mail.test(webhook)
        return webhook

    def tick(self, until: Callable[[], bool] | None = None) -> None:
        """Start what is due, and wait until something holds, or until nothing moves."""

        async def ticked() -> None:
            self.courier.tick()
            for _ in range(500):
                if until is not None and until():
                    return
                await asyncio.sleep(0.001 if until is not None else 0.0001)
            assert until is None

        self.world.run(ticked())

    def tick_not(self) -> None:
        """Give what is under way the time to start more, without a tick."""
        self.world.run(asyncio.sleep(0.02))

    def is_idle(self) -> bool:
        """Whether no attempt is under way."""
        return not self.courier._running  # noqa: SLF001 -- an outcome is on disk a moment before its attempt ends

    def end(self) -> None:
        """Close the courier."""
        self.world.run(self.courier.close())


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """A courier over a tenant's webhooks; the store holds together at the end."""
    with World(tmp_path) as world:
        world.tenant()
        made = Office(world)
        yield made
        made.end()
        assert world.faults() == []


def test_what_waits_is_sent_to_its_end_after_one_tick(office: Office) -> None:
    """Each success brings the next; nothing is sent twice."""
    webhook = office.hook(FAST, 10)
    office.tick(lambda: len(office.mail.log(webhook)) == 10)
    assert len({parcel.waiting.event_id for parcel in office.wire.sent}) == len(office.wire.sent) == 10
    office.tick()
    assert len(office.wire.sent) == 10


def test_one_endpoint_gets_a_few_attempts_at_a_time(office: Office) -> None:
    office.wire.hang(SLOW)
    office.hook(SLOW, 10)
    for _ in range(3):
        office.tick()
    assert office.wire.count(SLOW) == LANE_ATTEMPTS_MAX


def test_an_endpoint_that_hangs_does_not_delay_another(office: Office) -> None:
    office.wire.hang(SLOW)
    office.hook(SLOW, 10)
    office.tick()
    fast = office.hook(FAST, 10)
    office.tick(lambda: len(office.mail.log(fast)) == 10)
    assert office.wire.count(SLOW) == LANE_ATTEMPTS_MAX


def test_a_failing_endpoint_gets_one_attempt_at_a_time_and_no_next_before_the_tick(office: Office) -> None:
    office.wire.answers[SLOW] = BROKEN
    webhook = office.hook(SLOW, 3 * LANE_ATTEMPTS_MAX)
    for expected in (LANE_ATTEMPTS_MAX, LANE_ATTEMPTS_MAX + 1, LANE_ATTEMPTS_MAX + 2):
        office.tick(lambda: office.is_idle() and len(office.mail.log(webhook)) >= expected)  # noqa: B023 -- asked at once
        office.tick_not()
        assert office.wire.count(SLOW) == expected
    office.wire.answers.clear()
    office.tick(lambda: office.is_idle() and len(office.mail.log(webhook)) == 12)
    assert [delivery.state for delivery in office.mail.log(webhook)].count("delivered") == 6


def test_endpoints_that_fail_and_hang_leave_room_for_those_that_are_well(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ATTEMPTS_MAX", 3)
    monkeypatch.setattr(module, "FAILING_ATTEMPTS_MAX", 2)
    urls = [f"https://slow{number}.example.com/" for number in range(3)]
    for url in urls:
        webhook = office.hook(url, 2)
        office.wire.answers[url] = BROKEN
        office.tick(lambda: office.is_idle() and len(office.mail.log(webhook)) == 2)  # noqa: B023 -- asked at once
        office.wire.hang(url)
    office.world.now_us += 5 * SECOND
    before = len(office.wire.sent)
    office.tick()
    assert len(office.wire.sent) - before == 2
    fast = office.hook(FAST, 5)
    office.tick(lambda: len(office.mail.log(fast)) == 5)


def test_no_more_attempts_run_at_a_time_than_are_allowed(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ATTEMPTS_MAX", 2)
    for number in range(3):
        url = f"https://slow{number}.example.com/"
        office.wire.hang(url)
        office.hook(url, 1)
    office.tick()
    assert len(office.wire.sent) == 2


def test_an_outcome_that_cannot_be_written_is_not_sent_again_at_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It rests, then it is sent again under its id: at least once."""
    monkeypatch.setattr(module, "UNRECORDED_SECONDS", 0.2)
    webhook = office.hook(FAST, 1)
    recorded = office.mail.dispatch.record

    async def refuse(*_: object) -> None:
        raise Unavailable("the store is full, nothing was changed")

    monkeypatch.setattr(office.mail.dispatch, "record", refuse)
    office.tick(lambda: office.wire.count(FAST) == 1)
    office.tick()
    assert office.wire.count(FAST) == 1
    monkeypatch.setattr(office.mail.dispatch, "record", recorded)
    office.world.run(asyncio.sleep(0.3))
    office.tick(lambda: len(office.mail.log(webhook)) == 1)
    first, second = office.wire.sent
    assert first.waiting == second.waiting


def test_a_mistake_in_one_attempt_stops_no_other(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged with its trace, and the event rests before it is tried again."""
    fast, slow = office.hook(FAST, 1), office.hook(SLOW, 1)
    sent = office.wire.send

    async def send(parcel: Parcel, now_us: int) -> Response:
        response = await sent(parcel, now_us)
        if parcel.url == SLOW:
            raise LookupError
        return response

    monkeypatch.setattr(office.wire, "send", send)
    with capture_logs() as logs:
        office.tick(lambda: len(office.mail.log(fast)) == 1)
        office.tick()
    assert [line["event"] for line in logs] == ["webhook_attempt_failed"]
    assert (office.wire.count(SLOW), len(office.mail.waiting(slow))) == (1, 1)


def test_a_store_that_breaks_between_two_attempts_is_logged(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    webhook = office.hook(FAST, 2 * LANE_ATTEMPTS_MAX)
    due = office.mail.dispatch.due

    def break_down(*_: object) -> None:
        raise Unavailable("the store is closed")

    def once(*args: object) -> object:
        monkeypatch.setattr(office.mail.dispatch, "due", break_down)
        return due(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(office.mail.dispatch, "due", once)
    with capture_logs() as logs:
        office.tick(lambda: len(logs) == LANE_ATTEMPTS_MAX)
    assert {line["event"] for line in logs} == {"webhook_work_failed"}
    monkeypatch.setattr(office.mail.dispatch, "due", due)
    office.tick(lambda: len(office.mail.log(webhook)) == 2 * LANE_ATTEMPTS_MAX)


def test_what_is_under_way_when_the_process_ends_waits_for_the_next(office: Office) -> None:
    office.wire.hang(SLOW)
    webhook = office.hook(SLOW, 2)
    office.tick(lambda: office.wire.count(SLOW) == 2)
    office.end()
    assert office.wire.closed
    assert len(office.mail.waiting(webhook)) == 2
    assert office.mail.log(webhook) == []
    successor = Office(office.world)
    successor.tick(lambda: len(successor.mail.log(webhook)) == 2)
    assert {each.waiting for each in successor.wire.sent} == {each.waiting for each in office.wire.sent}


def test_an_endpoint_that_is_disabled_while_an_attempt_runs_gets_no_other(office: Office) -> None:
    office.wire.hang(SLOW)
    webhook = office.hook(SLOW, 2 * LANE_ATTEMPTS_MAX)
    office.tick()
    office.mail.change(webhook, WebhookPatch(status="disabled"))
    office.wire.hanging[SLOW].set()
    office.tick()
    assert office.wire.count(SLOW) == LANE_ATTEMPTS_MAX
    assert office.mail.log(webhook) == []
    office.world.run(office.courier.sweep())
    office.world.run(office.mail.desk.delete(OPERATOR, "t_one", webhook.webhook_id, office.world.now_us))


@pytest.mark.parametrize("error", [StoreUnusable("webhook 1 of tenant 1 is not whole"), KeyError("a mistake")])
def test_a_lane_that_is_broken_is_passed_over_and_logged(
    office: Office, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    office.hook(SLOW, 1)
    office.world.now_us += SECOND
    fast = office.hook(FAST, 1)
    due, broken = office.mail.dispatch.due, office.mail.dispatch.ready(office.world.now_us)[0]

    def break_down(place: Place, *args: int) -> object:
        if place == broken:
            raise error
        return due(place, *args)

    monkeypatch.setattr(office.mail.dispatch, "due", break_down)
    with capture_logs() as logs:
        office.tick(lambda: len(office.mail.log(fast)) == 1)
    assert {(line["event"], line["lane"]) for line in logs} == {("webhook_work_failed", broken.lane)}
    assert office.wire.count(SLOW) == 0

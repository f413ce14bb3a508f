"""The loop that follows: what it asks, what it does with each answer, how long it pauses, and what it says once."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from structlog.testing import capture_logs

from sidecar.core.errors import PolicyInvalid, Unavailable
from sidecar.core.feed import FeedRefused, Page, TenantProfile, write_page
from sidecar.core.model import AuditMark
from sidecar.core.staleness import Instant
from sidecar.replica import follow as module
from sidecar.replica.control_plane import RETRY_AFTER_SECONDS_MAX, ControlPlane
from sidecar.replica.follow import BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_MIN, PAUSE_SECONDS_MIN, Follower
from sidecar.service.feed_store import Link
from sidecar.service.following import Following, Taken, Wanted, WantsPage, WantsSnapshot
from sidecar.service.replication import Replication
from tests.service.builders import NOON, SECOND, World

URL = "http://plane.test"
TENANT = TenantProfile(
    tenant_id="t_1", name="Acme", mode="live", time_zone="UTC", root_identity_id="id_1", created_at_us=NOON
)


def a_page(head: int = 5, to: int | None = None) -> bytes:
    """A page up to a revision, without changes."""
    page = Page(
        origin="log",
        follower_id="tok_1",
        scope=None,
        from_revision=0,
        to_revision=head if to is None else to,
        head=head,
        time_us=NOON,
        tenant=TENANT,
        files_digest="00",
    )
    return write_page(page)


class Script(Following):
    """Wants what a test says, and takes what comes as the test says; ``asked`` gathers when it was asked for."""

    def __init__(self) -> None:
        """Want a page, and find nothing new in it."""
        self.wants: Wanted = WantsPage(0, "ab")
        self.takes: Taken | Exception = "confirmed"
        self.asked: list[Instant] = []
        self.lines: list[bytes] = []
        self.begun_anew = 0

    def wanted(self) -> Wanted:
        """Return what the test says."""
        return self.wants

    async def take_page(self, page: Page, asked: Instant) -> Taken:
        """Take it as the test says."""
        assert page.tenant == TENANT
        self.asked.append(asked)
        if isinstance(self.takes, Exception):
            raise self.takes
        return self.takes

    async def take_snapshot(self, lines: AsyncIterator[bytes]) -> None:
        """Gather the lines."""
        self.lines += [line async for line in lines]

    async def begin_anew(self) -> None:
        """Count."""
        self.begun_anew += 1


class Stage:
    """A loop over a real store, with a scripted other side, a clock set by hand and pauses that are only counted."""

    def __init__(self, world: World, least_age_seconds: int = 60) -> None:
        """Answer with an empty page."""
        self.world = world
        self.script = Script()
        self.answer: httpx.Response | Exception = httpx.Response(200, content=a_page())
        self.now_us = 1_000 * SECOND
        self.takes_us = 5 * SECOND
        self.drawn = 1.0
        self.requests: list[httpx.Request] = []
        self.counted: list[str] = []
        self.pauses: list[float] = []
        self.replication = Replication(world.store, world.snapshots, self.instant, URL)
        self.plane = ControlPlane(URL, "fw_token", transport=httpx.MockTransport(self._answered))
        self.loop = Follower(
            self.plane,
            self.script,
            self.replication,
            self.instant,
            least_age_seconds,
            self.counted.append,
            sleep=self._sleep,
            draw=lambda: self.drawn,
        )

    def instant(self) -> Instant:
        """The moment."""
        return Instant("boot", self.now_us, self.now_us)

    def _answered(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.now_us += self.takes_us
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    def step(self, **changes: Any) -> float:  # noqa: ANN401 -- attributes of a test's stage
        """Take one step, with changes before it; returns the pause after it."""
        for name, value in changes.items():
            setattr(self.script if hasattr(self.script, name) else self, name, value)
        return self.world.run(self.loop.step())

    @property
    def link(self) -> Link:
        """How the store says that things stand."""
        return self.replication.link()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A store to note things in."""
    with World(tmp_path) as made:
        yield made


@pytest.fixture
def stage(world: World) -> Iterator[Stage]:
    """A loop before its first step."""
    made = Stage(world)
    yield made
    world.run(made.plane.close())


def events(run: Callable[[], object]) -> list[str]:
    """What is logged meanwhile, as level and event."""
    with capture_logs() as logs:
        run()
    return [f"{entry['log_level']} {entry['event']}" for entry in logs]


# --- What is asked ----------------------------------------------------------------------------------------------------


def test_a_page_is_asked_for_as_it_is_wanted_and_its_age_counts_from_before_the_asking(stage: Stage) -> None:
    stage.step()
    before = stage.instant()
    stage.step(wants=WantsPage(7, "ab12", AuditMark(3, "Zm9v")))
    assert str(stage.requests[-1].url) == f"{URL}/v1/changes?since=7&wait=5&files=ab12&mark=3%3AZm9v"
    assert stage.script.asked[-1] == before


@pytest.mark.parametrize(
    ("takes", "answer"),
    [
        ("confirmed", httpx.ConnectError("gone")),
        (FeedRefused("a gap"), httpx.Response(200, content=a_page())),
        ("staged", httpx.Response(200, content=a_page())),
    ],
)
def test_what_may_be_old_is_confirmed_without_a_wait_and_news_are_waited_for_at_once(
    stage: Stage, takes: Taken | Exception, answer: httpx.Response | Exception
) -> None:
    """Else a server that was away, or cut off, would go on denying for as long as its control plane has no news."""
    good = httpx.Response(200, content=a_page())
    assert stage.step(takes_us=0) == 0
    stage.step(takes=takes, answer=answer)
    assert stage.step(takes="confirmed", answer=good) == 0
    assert stage.step() == module.IDLE_SECONDS
    assert [request.url.params["wait"] for request in stage.requests] == ["0", "5", "0", "5"]


def test_a_page_behind_a_snapshot_is_not_waited_for(stage: Stage) -> None:
    """What has come of a whole state holds only with the last page."""
    stage.step()
    stage.step(wants=WantsSnapshot(None), answer=httpx.Response(200, content=b"a\n"))
    stage.step(wants=WantsPage(7, None), answer=httpx.Response(200, content=a_page()))
    assert stage.requests[-1].url.params["wait"] == "0"


@pytest.mark.parametrize(("least", "seconds"), [(1, [2, 4, 8, 15]), (9, [3, 6, 12, 15]), (60, [15, 15, 15, 15])])
def test_a_control_plane_that_says_nothing_is_given_up_in_time_and_one_that_is_slow_is_heard(
    world: World, least: int, seconds: list[float]
) -> None:
    """A connection that was lost without a word costs a part of the age that is allowed; failures cost patience."""
    stage = Stage(world, least)
    for _ in seconds:
        stage.step(answer=httpx.ReadTimeout("silence"))
    assert [request.extensions["timeout"]["read"] for request in stage.requests] == seconds
    world.run(stage.plane.close())


def test_a_snapshot_is_asked_for_from_where_it_goes_on(stage: Stage) -> None:
    stage.answer = httpx.Response(200, content=b"a\nb\n")
    assert stage.step(wants=WantsSnapshot(None)) == 0
    stage.answer = httpx.Response(200, content=b"c\n")
    assert stage.step(wants=WantsSnapshot("there", AuditMark(3, "Zm9v"))) == 0
    further = f"{URL}/v1/snapshot?cursor=there&mark=3%3AZm9v"
    assert [str(request.url) for request in stage.requests] == [f"{URL}/v1/snapshot", further]
    assert stage.script.lines == [b"a", b"b", b"c"]
    assert stage.counted == ["staged", "staged"]


@pytest.mark.parametrize(("least", "wait"), [(1, 0), (2, 0), (3, 1), (10, 3), (60, 5), (86_400, 5)])
def test_a_quiet_control_plane_is_asked_often_enough_for_the_strictest_limit(
    world: World, least: int, wait: int
) -> None:
    """Twice the time that an answer may take, and a pause, stay below the age at which a decision is refused."""
    stage = Stage(world, least)
    stage.step()
    pause = stage.step(takes_us=wait * SECOND)
    assert stage.requests[-1].url.params["wait"] == str(wait)
    assert 2 * wait + pause < least
    assert wait + pause > 0
    world.run(stage.plane.close())


# --- How long it pauses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("takes", ["applied", "staged"])
def test_after_news_the_next_question_follows_at_once(stage: Stage, takes: Taken) -> None:
    assert stage.step(takes=takes, takes_us=0) == 0


@pytest.mark.parametrize("takes", ["confirmed", "ignored", "compacted"])
def test_an_answer_that_came_at_once_without_news_is_followed_by_a_pause(stage: Stage, takes: Taken) -> None:
    """A control plane that lets nobody wait, or a cache in between, is not asked in a tight loop."""
    stage.step()
    assert stage.step(takes=takes, takes_us=0) == module.IDLE_SECONDS
    assert stage.step(takes=takes, takes_us=5 * SECOND) == 0


def test_pauses_after_failures_grow_up_to_a_limit_and_are_drawn_below_it(stage: Stage) -> None:
    """Full jitter; the first success ends it."""
    stage.answer = httpx.ConnectError("refused")
    limits = [stage.step(drawn=1.0) for _ in range(12)]
    assert limits[:3] == [BACKOFF_SECONDS_MIN, 2 * BACKOFF_SECONDS_MIN, 4 * BACKOFF_SECONDS_MIN]
    assert limits[-1] == BACKOFF_SECONDS_MAX
    assert stage.step(drawn=0.5) == BACKOFF_SECONDS_MAX / 2
    assert stage.step(drawn=0.0) == PAUSE_SECONDS_MIN
    assert [stage.step(drawn=1.0) for _ in range(100)] == [BACKOFF_SECONDS_MAX] * 100
    stage.step(answer=httpx.Response(200, content=a_page()))
    assert stage.step(answer=httpx.ConnectError("refused"), drawn=1.0) == BACKOFF_SECONDS_MIN


def test_a_pause_that_the_control_plane_asks_for_is_kept(stage: Stage) -> None:
    """And drawn beyond it, so that not all come back at once."""
    stage.answer = httpx.Response(429, headers={"Retry-After": "20"})
    assert stage.step(drawn=1.0) == 20 + BACKOFF_SECONDS_MIN
    assert stage.step(drawn=0.5) == 20 + BACKOFF_SECONDS_MIN


@pytest.mark.parametrize(("least", "longest"), [(4, BACKOFF_SECONDS_MAX), (60, 30), (3_600, RETRY_AFTER_SECONDS_MAX)])
def test_a_pause_that_is_asked_for_makes_nothing_old(world: World, least: int, longest: float) -> None:
    """A proxy that says `come back in ten minutes` while the control plane restarts is asked again in time."""
    stage = Stage(world, least)
    stage.answer = httpx.Response(503, headers={"Retry-After": "600"})
    assert stage.step(drawn=1.0) == longest + BACKOFF_SECONDS_MIN
    world.run(stage.plane.close())


# --- What goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("takes", "outcome", "connected"),
    [
        (FeedRefused("a gap"), "refused", True),
        (PolicyInvalid("unexpected `}`", file="a.cedar", line=3, column=7), "refused", True),
        (Unavailable("no room"), "not_stored", True),
        (ZeroDivisionError("ours"), "failed", False),
    ],
)
def test_what_cannot_be_taken_is_told_and_asked_for_again(
    stage: Stage,
    takes: Exception,
    outcome: str,
    connected: bool,  # noqa: FBT001 -- a column of a table
) -> None:
    """The newest revision that was heard of counts for the lag, though nothing of it holds."""
    assert stage.step(takes=takes, answer=httpx.Response(200, content=a_page(head=9))) > 0
    assert stage.counted == [outcome]
    assert (stage.link.is_connected, stage.link.head) == (connected, 9)
    assert stage.link.error
    stage.step(takes="confirmed")
    assert stage.link == Link(is_connected=True, head=9)


def test_a_page_that_cannot_be_read_is_refused(stage: Stage) -> None:
    body = a_page()
    for broken in (body[:-9], body.replace(b"Acme", b"Evil"), b"<html>"):
        stage.step(answer=httpx.Response(200, content=broken))
    assert stage.counted == ["refused"] * 3
    assert stage.script.asked == []


@pytest.mark.parametrize("status", [400, 409])
def test_a_snapshot_that_cannot_go_on_is_begun_anew(stage: Stage, status: int) -> None:
    stage.answer = httpx.Response(status, json={"error": "too much has changed since"})
    stage.step(wants=WantsSnapshot(None))
    assert stage.script.begun_anew == 0
    stage.step(wants=WantsSnapshot("there"))
    assert stage.script.begun_anew == 1
    assert stage.counted == ["refused", "refused"]


def test_what_is_staged_of_a_state_that_is_there_no_more_is_dropped(stage: Stage) -> None:
    """What holds is kept whatever is answered."""
    answer = httpx.Response(409, json={"error": "restored"})
    stage.step(wants=WantsPage(7, None), answer=answer)
    stage.step(wants=WantsPage(7, None, is_staged=True), answer=httpx.Response(403))
    assert stage.script.begun_anew == 0
    stage.step(wants=WantsPage(7, None, is_staged=True), answer=answer)
    assert stage.script.begun_anew == 1
    assert stage.counted == ["refused"] * 3


@pytest.mark.parametrize(
    "answer", [httpx.Response(401), httpx.Response(404), httpx.Response(503), httpx.ReadError("cut off")]
)
def test_what_was_staged_of_a_snapshot_is_kept_by_every_other_failure(
    stage: Stage, answer: httpx.Response | Exception
) -> None:
    stage.step(wants=WantsSnapshot("there"), answer=answer)
    assert stage.script.begun_anew == 0


# --- What is said -----------------------------------------------------------------------------------------------------


def test_each_change_is_told_once_in_the_log(stage: Stage) -> None:
    good = httpx.Response(200, content=a_page())

    def steps(times: int, answer: httpx.Response | Exception, takes: Taken | Exception = "confirmed") -> list[str]:
        return events(lambda: [stage.step(answer=answer, takes=takes) for _ in range(times)])

    assert steps(3, httpx.ConnectError("refused")) == ["warning control_plane_lost"]
    assert steps(3, httpx.ReadTimeout("silence")) == []  # lost it is already, in whatever way
    assert steps(3, good, "staged") == ["info control_plane_connected"]
    assert steps(3, good, "applied") == ["info control_plane_caught_up"]
    assert steps(3, good) == []
    assert steps(3, httpx.Response(401, json={"error": "expired"})) == ["error control_plane_refuses_token"]
    assert steps(3, httpx.Response(401, json={"error": "unknown"})) == []
    assert steps(3, httpx.Response(403)) == ["error control_plane_refuses_token"]
    assert steps(3, httpx.Response(409)) == ["warning feed_not_taken"]
    assert steps(3, good) == ["info control_plane_connected", "info control_plane_caught_up"]
    assert steps(3, good, FeedRefused("a gap")) == ["warning feed_not_taken"]
    assert steps(1, good, FeedRefused("another gap")) == ["warning feed_not_taken"]


def test_the_token_is_never_told(stage: Stage) -> None:
    with capture_logs() as logs:
        stage.step(answer=httpx.Response(401, json={"error": "no"}))
    assert "fw_token" not in str(logs) + str(stage.link)


def test_the_store_is_written_when_something_changed_and_not_at_each_try(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Link] = []
    inner = stage.replication.keep_link

    async def keep_link(link: Link) -> None:
        kept.append(link)
        await inner(link)

    monkeypatch.setattr(stage.replication, "keep_link", keep_link)
    for answer in (httpx.ConnectError("gone"), httpx.Response(200, content=a_page(head=5))):
        for _ in range(3):
            stage.step(answer=answer)
    stage.step(answer=httpx.Response(200, content=a_page(head=6)))
    assert kept == [
        Link(is_connected=False, error="the control plane cannot be reached: gone"),
        Link(is_connected=True, head=5),
    ]


def test_how_it_stood_in_another_life_is_not_how_it_stands_now(stage: Stage) -> None:
    """Else a server that starts without the network would say for a while that it has one."""
    world = stage.world
    world.run(stage.replication.keep_link(Link(is_connected=True, head=8)))
    stage.answer = httpx.ConnectError("gone")
    seen: list[bool] = []

    async def until_asked() -> None:
        running = asyncio.create_task(stage.loop.run())
        while len(stage.pauses) < 3:
            await asyncio.sleep(0)
            seen.append(stage.link.is_connected)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    world.run(until_asked())
    assert not stage.link.is_connected
    assert stage.link.head == 8
    assert len(stage.requests) == 3
    assert stage.counted == ["unreachable"] * 3


def test_a_store_without_room_ends_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """How things stand is told there as soon as there is room again."""

    async def full(_link: Link) -> None:
        raise Unavailable("no room")

    with monkeypatch.context() as patch:
        patch.setattr(stage.replication, "keep_link", full)
        stage.step(answer=httpx.ConnectError("gone"))
    assert stage.link.error is None
    stage.step()
    assert stage.link.error is not None


def test_outcomes_are_a_closed_set() -> None:
    assert len(set(module.OUTCOMES)) == len(module.OUTCOMES)
    assert msgspec.convert("applied", module.Outcome) == "applied"


def test_a_store_in_a_folder_is_all_that_a_loop_needs(tmp_path: Path) -> None:
    """Two loops over one store, one after the other, agree on what was heard."""
    with World(tmp_path) as world:
        first = Stage(world)
        first.step(takes=FeedRefused("a gap"), answer=httpx.Response(200, content=a_page(head=9)))
        second = Stage(world)
        assert second.link.head == 9
        for made in (first, second):
            world.run(made.plane.close())

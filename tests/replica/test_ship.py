"""The loop that ships: at once where there is something, backing off where there is nobody, and never ending."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sidecar.core.errors import Conflict, SidecarError, Unavailable
from sidecar.replica.control_plane import Rejected, Unreachable
from sidecar.replica.ship import (
    HEARTBEAT_SECONDS,
    LOOK_SECONDS,
    PATH,
    PAUSE_SECONDS_MAX,
    PAUSE_SECONDS_MIN,
    POST_SECONDS,
    Pace,
    Shipper,
)
from sidecar.service.shipping import FAULT, Parcel
from tests.service.builders import payment
from tests.service.fleet import Fleet


def refusal(status: int) -> Rejected:
    """What a control plane refuses with."""
    return Rejected(f"the control plane answers {status}", status=status)


class Line:
    """The way to the control plane, which fails as a test says."""

    def __init__(self, fleet: Fleet) -> None:
        """Deliver to the control plane of ``fleet``."""
        self._fleet = fleet
        self.failures: list[Exception] = []
        self.posted: list[bytes] = []

    async def post(self, path: str, body: bytes, timeout_seconds: float) -> bytes:
        """Deliver a parcel, or fail."""
        assert (path, timeout_seconds) == (PATH, POST_SECONDS)
        self.posted.append(body)
        if self.failures:
            raise self.failures.pop(0)
        parcel = Parcel(body=body, from_seq=0, to_seq=0, head=0)
        try:
            return await asyncio.to_thread(self._fleet.deliver, parcel)
        except Conflict as error:
            raise refusal(409) from error


class Stage:
    """A follower with its loop, a set clock, and pauses that are drawn as long as they can be."""

    def __init__(self, fleet: Fleet) -> None:
        """Begin."""
        self.fleet, self.line, self.seconds = fleet, Line(fleet), 100.0
        self.slept: list[float] = []
        self.shipper = self.begun()

    def begun(self) -> Shipper:
        """A loop that has just begun."""
        return Shipper(self.fleet.shipping, self.line, Pace(lambda: self.seconds, self._sleep, lambda: 1.0))

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if len(self.slept) == 5:
            raise asyncio.CancelledError
        await asyncio.sleep(0)

    def turn(self) -> float:
        """Let the loop do one thing; returns the pause that it asks for."""
        return self.fleet.below.run(self.shipper.ship_once())

    def turns(self, number: int) -> list[float]:
        """Let it do several."""
        return [self.turn() for _ in range(number)]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A follower that has something to ship."""
    with Fleet(tmp_path) as fleet:
        fleet.below.decide(payment("1.00", "ann"))
        yield Stage(fleet)


def test_it_asks_where_to_begin_then_ships_and_then_looks(stage: Stage) -> None:
    assert stage.turns(3) == [0.0, LOOK_SECONDS, LOOK_SECONDS]
    assert stage.fleet.stored() == stage.fleet.bodies()
    assert len(stage.line.posted) == 2
    stage.fleet.below.decide(payment("1.00", "ann"))
    assert stage.turns(2) == [LOOK_SECONDS, LOOK_SECONDS]
    assert stage.fleet.stored() == stage.fleet.bodies()
    assert len(stage.line.posted) == 3
    assert LOOK_SECONDS <= 0.25


def test_it_says_from_time_to_time_how_it_is(stage: Stage) -> None:
    stage.turns(3)
    stage.seconds += HEARTBEAT_SECONDS
    assert stage.turns(2) == [LOOK_SECONDS, LOOK_SECONDS]
    assert len(stage.line.posted) == 3
    assert b'"records":[]' in stage.line.posted[-1]


def test_it_waits_until_something_was_followed(stage: Stage) -> None:
    stage.fleet.shipping.question = lambda: None  # type: ignore[method-assign]
    assert stage.turns(2) == [LOOK_SECONDS, LOOK_SECONDS]
    assert stage.line.posted == []


def test_under_load_it_goes_on_without_a_pause(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.service.shipping.SHIPPED_RECORDS_MAX", 2)
    pauses = stage.turns(4)
    assert pauses[:3] == [0.0, 0.0, 0.0]


def test_it_backs_off_while_there_is_nobody_and_says_so_once(stage: Stage) -> None:
    stage.line.failures = [Unavailable("nobody there") for _ in range(9)]
    with capture_logs() as logs:
        pauses = stage.turns(9)
        assert stage.turns(2) == [0.0, LOOK_SECONDS]
    assert pauses[:3] == [PAUSE_SECONDS_MIN, 2 * PAUSE_SECONDS_MIN, 4 * PAUSE_SECONDS_MIN]
    assert pauses[-1] == PAUSE_SECONDS_MAX
    assert [entry["event"] for entry in logs] == ["shipping_failed", "shipping_resumed"]
    assert stage.fleet.stored() == stage.fleet.bodies()


def test_it_waits_for_as_long_as_it_is_asked_to(stage: Stage) -> None:
    stage.line.failures = [Unreachable("not now", retry_after_seconds=77)]
    assert stage.turn() == 77.0


def test_a_refused_log_is_a_fault_that_is_an_error_in_the_log(stage: Stage) -> None:
    stage.turns(2)
    stage.fleet.below.decide(payment("1.00", "ann"))
    stage.line.failures = [refusal(409), refusal(409)]
    with capture_logs() as logs:
        stage.turns(2)
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("shipping_failed", "error")]
    assert stage.fleet.fault() == FAULT + "the control plane answers 409"
    stage.turns(2)
    assert stage.fleet.fault() is None


def test_another_refusal_is_no_fault_of_the_log(stage: Stage) -> None:
    stage.line.failures = [refusal(401)]
    with capture_logs() as logs:
        stage.turn()
    assert logs[0]["log_level"] == "error"
    assert stage.fleet.fault() is None


def test_a_store_that_was_set_back_tells_the_control_plane(stage: Stage, tmp_path: Path) -> None:
    """Which raises the alarm; the follower decides nothing more."""
    stage.turns(2)
    with Fleet(tmp_path / "restored") as restored:
        restored.follow(stage.fleet.caller.name)
        behind = Stage(restored)
        behind.line = stage.line
        behind.shipper = behind.begun()
        assert behind.turn() == PAUSE_SECONDS_MIN
        assert behind.turns(2)[-1] > 0
        fault = restored.fault()
        assert fault is not None
        assert "it was set back" in fault
    assert "was set back" in (stage.fleet.alarm() or "")


def test_whatever_is_thrown_does_not_end_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.line.failures = [RuntimeError("a mistake"), refusal(409)]

    async def failing(_: str) -> None:
        raise Unavailable("no room")

    with capture_logs() as logs:
        stage.turn()
        with monkeypatch.context() as patch:
            patch.setattr(stage.fleet.shipping, "refused", failing)
            stage.turn()
    assert [entry["event"] for entry in logs] == ["shipping_failed", "shipping_fault_not_kept", "shipping_failed"]
    with pytest.raises(asyncio.CancelledError):
        stage.fleet.below.run(stage.shipper.run())
    assert stage.fleet.stored() == stage.fleet.bodies()
    assert len(stage.slept) == 5


def confirm(stage: Stage) -> None:
    """Let the loop that follows have the log confirmed."""
    stage.fleet.below.run(stage.shipper.confirm())


def test_a_log_is_confirmed_once_in_the_life_of_a_process(stage: Stage) -> None:
    """Also before anything was followed, when there is none."""
    confirm(stage)
    asked = len(stage.line.posted)
    assert asked == 2
    confirm(stage)
    assert len(stage.line.posted) == asked
    stage.shipper = stage.begun()
    confirm(stage)
    assert len(stage.line.posted) == asked + 1
    assert stage.fleet.stored() == stage.fleet.bodies()


def test_what_was_not_confirmed_is_asked_again(stage: Stage) -> None:
    stage.line.failures = [Unavailable("nobody"), refusal(503)]
    for _ in range(2):
        with pytest.raises(SidecarError):
            confirm(stage)
    confirm(stage)
    assert len(stage.line.posted) == 4
    assert stage.fleet.fault() is None


@pytest.mark.parametrize("decided", [0, 5])
def test_a_store_that_was_set_back_knows_it_before_its_data_is_fresh(
    stage: Stage, tmp_path: Path, decided: int
) -> None:
    """Also where it decided since, so that its log is as long again."""
    stage.turns(2)
    with Fleet(tmp_path / "restored") as restored:
        restored.follow(stage.fleet.caller.name)
        for _ in range(decided):
            restored.below.now_us += 1
            restored.below.decide(payment("1.00", "ann"))
        behind = Stage(restored)
        behind.line = stage.line
        behind.shipper = behind.begun()
        confirm(behind)
        assert restored.fault() is not None

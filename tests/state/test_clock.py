"""The clock never goes back, follows the wall otherwise, and tells a jump from a sleep (rule 17)."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.staleness import Instant
from sidecar.state.clock import JUMP_US, Clock, Instants, Jump, boot_id, elapsed_us, wall_us

SECOND = 1_000_000
START = 1_770_120_000 * SECOND


class Machine:
    """A wall clock and the time since boot, both set by hand."""

    def __init__(self) -> None:
        """Start."""
        self.wall = START
        self.elapsed = 50 * SECOND

    def clock(self, floor_us: int = 0) -> Clock:
        """A clock of this machine."""
        return Clock(floor_us, lambda: self.wall, lambda: self.elapsed)


@pytest.mark.parametrize(
    ("wall", "elapsed", "now", "jump"),
    [
        pytest.param(10, 10, 10, None, id="time passes"),
        pytest.param(0, 0, 0, None, id="no time passes"),
        pytest.param(3_600, 3_600, 3_600, None, id="the machine slept: both went on"),
        pytest.param(10, 5, 10, None, id="the wall runs ahead a little"),
        pytest.param(10, 4, 10, Jump(START + 4 * SECOND, START + 10 * SECOND), id="the wall jumps ahead"),
        pytest.param(5, 10, 5, None, id="the wall falls behind a little"),
        pytest.param(-3, 1, 1, None, id="the wall goes back a little: the newest answer and what elapsed"),
        pytest.param(-60, 1, 1, Jump(START + SECOND, START - 60 * SECOND), id="the wall goes back"),
        pytest.param(1, -1, 1, None, id="elapsed time cannot go back, and is not believed when it does"),
    ],
)
def test_an_answer_follows_the_wall_and_never_goes_back(wall: int, elapsed: int, now: int, jump: Jump | None) -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall += wall * SECOND
    machine.elapsed += elapsed * SECOND
    assert clock() == START + now * SECOND
    assert clock.take_jump() == jump


def test_while_the_wall_is_behind_time_goes_on_as_it_elapses() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall -= 100 * SECOND
    assert clock() == START
    for _ in range(3):
        machine.wall += 10 * SECOND
        machine.elapsed += 10 * SECOND
    assert clock() == START + 30 * SECOND
    machine.wall += 180 * SECOND
    machine.elapsed += 20 * SECOND
    assert clock() == machine.wall, "the wall has caught up"


def test_a_jump_is_told_once() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall += 3_600 * SECOND
    clock()
    assert clock.take_jump() is not None
    assert clock.take_jump() is None
    machine.wall += SECOND
    machine.elapsed += SECOND
    clock()
    assert clock.take_jump() is None


def test_of_two_jumps_the_newest_is_told() -> None:
    machine = Machine()
    clock = machine.clock()
    for _ in range(2):
        machine.wall += 3_600 * SECOND
        clock()
    assert clock.take_jump() == Jump(START + 3_600 * SECOND, START + 7_200 * SECOND)


@pytest.mark.parametrize(("behind", "told"), [(-10 * SECOND, False), (JUMP_US, False), (JUMP_US + 1, True)])
def test_a_clock_starts_at_the_newest_time_of_the_store(behind: int, told: bool) -> None:  # noqa: FBT001 -- a table
    """A machine whose clock was set back while it was off goes on from there, and says so."""
    machine = Machine()
    clock = machine.clock(START + behind)
    assert clock() == max(START, START + behind)
    assert clock.take_jump() == (Jump(START + behind, START) if told else None)


@given(
    st.lists(st.tuples(st.integers(-(10**9), 10**9), st.integers(0, 10**9)), max_size=30), st.integers(-(10**9), 10**9)
)
def test_answers_never_go_back_whatever_the_machine_does(steps: list[tuple[int, int]], floor: int) -> None:
    machine = Machine()
    clock = machine.clock(START + floor)
    last = START + max(0, floor)
    for wall, elapsed in steps:
        machine.wall += wall
        machine.elapsed += elapsed
        now = clock()
        assert now >= last
        assert now >= machine.wall or wall < 0
        last = now


def test_the_machine_is_asked_in_microseconds() -> None:
    assert abs(wall_us() - time.time_ns() // 1_000) < 60 * SECOND
    first = elapsed_us()
    assert 0 < first <= elapsed_us()
    assert abs(elapsed_us() - time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000) < 60 * SECOND


def test_a_moment_is_told_on_both_clocks_and_with_the_run_of_the_machine() -> None:
    machine = Machine()
    instants = Instants("run 1", lambda: machine.wall, lambda: machine.elapsed)
    assert instants() == Instant("run 1", 50 * SECOND, START)
    machine.wall, machine.elapsed = START - SECOND, 51 * SECOND
    assert instants() == Instant("run 1", 51 * SECOND, START - SECOND)
    before, now, after = elapsed_us(), Instants("run 1")(), elapsed_us()
    assert before <= now.boottime_us <= after


def test_the_run_of_the_machine_has_the_same_name_for_all_processes(tmp_path: Path) -> None:
    """Where it has none, no other process's moments are taken for ones of the same run."""
    file = tmp_path / "boot_id"
    file.write_text("0b6f\n")
    assert boot_id(file) == boot_id(file) == "0b6f"
    assert boot_id(tmp_path / "none") != boot_id(tmp_path / "none")
    assert boot_id() == boot_id()

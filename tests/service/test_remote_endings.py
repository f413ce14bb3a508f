"""What becomes of a follower's hold becomes of what the control plane holds for it, once, whatever came in between."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sidecar.core.delegation import HOLD_GRACE_SECONDS
from sidecar.core.history import Ended, read_event
from sidecar.core.model import Decision
from tests.service.builders import SECOND, payment, tool_call
from tests.service.flotilla import Fleet, FollowerWorld

WEEK = 604_800 * SECOND


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A control plane with a budget and two followers, checked at the end."""
    with Fleet(tmp_path, 2) as made:
        yield made
        made.require_sound()


@pytest.fixture
def one(fleet: Fleet) -> FollowerWorld:
    """Its first follower."""
    return fleet.followers[0]


@pytest.fixture
def remote(fleet: Fleet) -> str:
    """A budget of 100 at the control plane."""
    return fleet.budget(100)


def permit(one: FollowerWorld, amount: str = "40") -> str:
    """Return a permit's decision."""
    decision: Decision = one.world.decide(payment(amount, "bob"))
    assert decision.allowed
    return decision.decision_id or ""


def test_a_settlement_in_parts_a_refund_and_all_of_it_twice(fleet: Fleet, one: FollowerWorld, remote: str) -> None:
    """Each record changes the hold at the control plane once."""
    decision_id = permit(one)
    one.world.settle(decision_id, "10", final=False)
    one.ship()
    assert fleet.plane.used(remote) == (1_000, 3_000)
    one.world.settle(decision_id, "20")
    one.ship()
    assert fleet.plane.used(remote) == (3_000, 0)
    one.world.refund(decision_id, "5")
    one.ship()
    assert fleet.plane.used(remote) == (2_500, 0)
    records = len(fleet.plane.bodies())
    one.tell(endings(one)[-1])
    one.tell(endings(one)[-1])
    assert (fleet.plane.used(remote), len(fleet.plane.bodies())) == ((2_500, 0), records)
    assert [body["by"] for body in fleet.plane.bodies()[-3:]] == [one.caller.name] * 3


def endings(one: FollowerWorld) -> list[Ended]:
    """The records of a follower that tell of endings."""
    with one.world.look() as part:
        events = [read_event(body) for _, body in part.audit.read(0, 1_000)]
    return [event for event in events if isinstance(event, Ended)]


def test_a_release(fleet: Fleet, one: FollowerWorld, remote: str) -> None:
    """What was held is free again."""
    one.world.release(permit(one))
    one.ship()
    assert fleet.plane.used(remote) == (0, 0)


@pytest.mark.usefixtures("remote")
def test_a_hold_expires_at_the_control_plane_when_the_follower_says_so(fleet: Fleet, one: FollowerWorld) -> None:
    """By its own clock the control plane would hold on for another week; late money is booked as late there too."""
    decision_id = permit(one)
    fleet.set_time(one.world.now_us + WEEK)
    one.sync()
    assert (one.world.expire(), fleet.plane.expire()) == (1, 0)
    one.ship()
    with fleet.plane.look() as part:
        held = part.ledger.reservation(decision_id)
    assert held is not None
    assert (held.state, held.measures["amount"].held) == ("expired", 0)
    assert held.expires_at_us == one.world.now_us + HOLD_GRACE_SECONDS * SECOND
    one.world.settle(decision_id, "15", final=False)
    one.world.settle(decision_id, "25")
    one.ship()
    with fleet.plane.look() as part:
        late = part.ledger.reservation(decision_id)
    assert late is not None
    assert (late.state, late.late, late.measures["amount"].settled) == ("settled", True, 4_000)


@pytest.mark.usefixtures("remote")
def test_a_follower_that_is_cut_off_for_weeks_says_late_what_was_in_time(fleet: Fleet, one: FollowerWorld) -> None:
    """The control plane gave up waiting after its week of grace; the money is booked all the same."""
    decision_id = permit(one)
    one.world.settle(decision_id, "10", final=False)
    one.world.settle(decision_id, "30")
    fleet.set_time(one.world.now_us + 2 * WEEK)
    assert fleet.plane.expire() == 1
    for ended in endings(one):
        one.tell(ended)
        one.tell(ended)
    with fleet.plane.look() as part:
        late = part.ledger.reservation(decision_id)
    assert late is not None
    assert (late.state, late.late, late.measures["amount"].settled) == ("settled", True, 4_000)
    assert "reservation_conflict" not in fleet.plane.kinds()


def test_what_somebody_ended_otherwise_at_the_control_plane_is_recorded_as_a_conflict(
    fleet: Fleet, one: FollowerWorld, remote: str
) -> None:
    """Nothing of the hold is changed, and the rest of the log goes on."""
    released, expired, settled = (permit(one, "10") for _ in range(3))
    for decision_id in (released, expired):
        fleet.plane.release(decision_id)
    fleet.plane.settle(settled, "10")
    used = fleet.plane.used(remote)
    one.world.settle(released, "10")
    one.world.release(settled)
    fleet.set_time(one.world.now_us + WEEK)
    one.sync()
    one.world.expire()
    one.ship()
    fleet.set_time(one.world.now_us - WEEK)
    assert fleet.plane.used(remote) == used
    told = [body for body in fleet.plane.bodies() if body["type"] == "reservation_conflict"]
    assert [(body["decision"], body["state"], body["told"]) for body in told] == [
        (released, "released", "settled"),
        (settled, "settled", "released"),
        (expired, "released", "expired"),
    ]


def test_only_the_follower_that_it_is_held_for_has_a_word(fleet: Fleet, one: FollowerWorld, remote: str) -> None:
    """And only where something is held: not for what only counts, and not for what nobody asked for here."""
    decision_id = permit(one)
    one.world.release(decision_id)
    (ended,) = endings(one)
    fleet.followers[1].tell(ended)
    assert fleet.plane.used(remote) == (0, 4_000)
    own = fleet.plane.decide(payment("5", "bob")).decision_id or ""
    one.tell(msgspec.structs.replace(ended, decision_id=own))
    one.tell(msgspec.structs.replace(ended, decision_id=fleet.plane.ids("dec", fleet.plane.now_us)))
    assert fleet.plane.used(remote) == (0, 4_500)
    count = fleet.budget(3, dimension="count")
    counted = one.world.decide(tool_call("bob")).decision_id or ""
    records = len(fleet.plane.bodies())
    one.tell(msgspec.structs.replace(ended, decision_id=counted))
    assert (fleet.plane.used(count), len(fleet.plane.bodies())) == ((1, 0), records)


def test_a_budget_that_settles_at_expiry_does_so_at_the_control_plane(fleet: Fleet, one: FollowerWorld) -> None:
    """By its own rule, not by the follower's budgets."""
    remote = fleet.budget(100, period="total", on_expiry="settle")
    permit(one)
    fleet.set_time(one.world.now_us + WEEK)
    one.sync()
    assert one.world.expire() == 1
    one.ship()
    assert fleet.plane.used(remote) == (4_000, 0)
    assert one.world.run(one.world.settler.expire_due(one.world.now_us)) == 0

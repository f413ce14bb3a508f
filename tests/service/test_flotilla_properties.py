"""I1 and I8 over a control plane and three followers: no limit is exceeded, and all that is held belongs to a permit.

The network loses, delays and doubles calls and their answers, followers crash between any two steps and even between
asking and deciding, and what became of holds reaches the control plane late and in pieces.
"""

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sidecar.core.budget import AMOUNT
from sidecar.core.errors import SidecarError
from sidecar.core.reservation import Measure
from tests.service.builders import HOUR, payment
from tests.service.flotilla import Fault, Fleet, FollowerWorld

FOLLOWERS = 3
REMOTE, ASSIGNED = 10_000, 6_000
DAY_SECONDS = 86_400
DAYS_MAX = 6
"""Less than the grace of the control plane's holds, so that nothing is late."""

followers = st.integers(0, FOLLOWERS - 1)
amounts = st.sampled_from((100, 1_500, 2_500, 4_000))
faults: st.SearchStrategy[Fault] = st.sampled_from(("none", "none", "none", "cut", "lost", "late", "twice", "refused"))
places = st.integers(0, 20)


def counts(measure: Measure) -> int:
    """What a measure takes of a limit."""
    return measure.held + measure.settled - measure.refunded


class FleetMachine(RuleBasedStateMachine):
    """Anything that may happen, in any order."""

    def __init__(self) -> None:
        """Found a fleet: agent `n` has a budget of follower `n`, and all have two of the control plane above them."""
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="fleet-"))
        self.fleet = Fleet(self.folder, FOLLOWERS)
        for number in range(FOLLOWERS):
            self.fleet.plane.identity(f"agent{number}", "bob")
        self.remote = [self.fleet.budget(REMOTE // 100, owner, period="total") for owner in ("root", "bob")]
        self.assigned = [
            self.fleet.budget(ASSIGNED // 100, f"agent{number}", number, period="total") for number in range(FOLLOWERS)
        ]
        self.days = 0
        self.permits: list[tuple[int, str]] = []

    @rule(number=followers, fault=faults, amount=amounts, ttl_days=st.sampled_from((1, 7)), own=st.booleans())
    def decide(self, number: int, fault: Fault, amount: int, ttl_days: int, own: bool) -> None:  # noqa: FBT001
        """A follower decides, for its own agent or for one above all agents."""
        follower = self.fleet.followers[number]
        follower.line.fault = fault
        request = payment(amount, f"agent{number}" if own else "bob", ttl_seconds=ttl_days * DAY_SECONDS)
        decision = follower.world.decide(request)
        follower.line.fault = "none"
        assert not decision.allowed or fault in {"none", "twice"}
        if decision.allowed:
            self.permits.append((number, decision.decision_id or ""))

    @rule(number=followers, fault=faults, asked=st.lists(amounts, min_size=1, max_size=3))
    def batch(self, number: int, fault: Fault, asked: list[int]) -> None:
        """A follower decides several requests until one is denied."""
        follower = self.fleet.followers[number]
        follower.line.fault = fault
        requests = [payment(amount, f"agent{number}") for amount in asked]
        answers = follower.world.batch(*requests, semantics="deny_on_first_deny").answers
        follower.line.fault = "none"
        decided = [each.decision for each in answers if each.decision.allowed]
        self.permits += [(number, decision.decision_id or "") for decision in decided]

    @rule(amount=amounts)
    def decide_at_the_control_plane(self, amount: int) -> None:
        """Somebody asks there, and nobody else holds what that takes."""
        self.fleet.plane.decide(payment(amount, "bob"))

    @rule(number=followers, amount=amounts, lost=st.booleans())
    def crash_while_asking(self, number: int, amount: int, lost: bool) -> None:  # noqa: FBT001
        """The intent is on disk, the call was made or is on its way, and the process is gone."""
        follower = self.fleet.followers[number]
        follower.line.fault = "lost" if lost else "late"
        authorizer, world = follower.world.authorizer, follower.world
        delegation = authorizer._delegation  # noqa: SLF001
        assert delegation is not None
        request = payment(amount, f"agent{number}")
        world.run(delegation.refer(world.ids("dec", world.now_us), request, world.now_us))
        self.crash(number)

    @rule(number=followers)
    def crash(self, number: int) -> None:
        """What is in memory is gone; what is on the network is not."""
        follower = self.fleet.followers[number]
        late = follower.line.late
        follower.start()
        follower.line.late = late

    @rule(place=places, amount=amounts, final=st.booleans())
    def settle(self, place: int, amount: int, final: bool) -> None:  # noqa: FBT001
        """A part or all of a hold that has not expired."""
        for follower, decision_id in self.pick(place):
            if self.measure(follower, decision_id)[0] == "held":
                self.attempt(lambda: follower.world.settle(decision_id, str(amount // 100), final=final))  # noqa: B023

    @rule(place=places)
    def release(self, place: int) -> None:
        """All of a hold."""
        for follower, decision_id in self.pick(place):
            self.attempt(lambda: follower.world.release(decision_id))  # noqa: B023

    @rule(place=places)
    def refund(self, place: int) -> None:
        """A little of what was settled."""
        for follower, decision_id in self.pick(place):
            self.attempt(lambda: follower.world.refund(decision_id, "1"))  # noqa: B023

    @rule(number=followers, most=st.integers(1, 8))
    def ship(self, number: int, most: int) -> None:
        """Some records arrive."""
        self.fleet.followers[number].ship(most)

    @rule(number=followers, fault=faults)
    def cancel(self, number: int, fault: Fault) -> None:
        """What came to nothing is cancelled, if the network lets it."""
        follower = self.fleet.followers[number]
        follower.line.fault = fault
        follower.cancel()
        follower.line.fault = "none"

    @rule(number=followers)
    def deliver(self, number: int) -> None:
        """What was on its way arrives."""
        follower = self.fleet.followers[number]
        follower.world.run(follower.line.deliver())

    @rule(hours=st.integers(1, 30))
    def wait(self, hours: int) -> None:
        """Time goes by, and all hear from the control plane."""
        if self.fleet.plane.now_us + hours * HOUR < self.fleet.began_us + DAYS_MAX * 24 * HOUR:
            self.fleet.set_time(self.fleet.plane.now_us + hours * HOUR)
            self.fleet.sync()
            for world in (self.fleet.plane, *(follower.world for follower in self.fleet.followers)):
                world.expire()

    def pick(self, place: int) -> list[tuple[FollowerWorld, str]]:
        """Return one of the permits, if there are any."""
        if not self.permits:
            return []
        number, decision_id = self.permits[place % len(self.permits)]
        return [(self.fleet.followers[number], decision_id)]

    def attempt(self, call: object) -> None:
        """Make a call that may be refused by what was before."""
        try:
            call()  # type: ignore[operator]
        except SidecarError:
            return

    def measure(self, follower: FollowerWorld, decision_id: str) -> tuple[str, Measure]:
        """Return how a follower's reservation stands."""
        with follower.world.look() as part:
            held = part.ledger.reservation(decision_id)
        assert held is not None
        return held.state, held.measures[AMOUNT]

    def held(self, decision_id: str) -> int:
        """Return what a decision takes at the control plane."""
        with self.fleet.plane.look() as part:
            held = part.ledger.reservation(decision_id)
        return 0 if held is None else counts(held.measures[AMOUNT])

    @invariant()
    def no_limit_is_exceeded(self) -> None:
        """Neither by the counters nor by what followers know better: the control plane never holds less than they."""
        for budget_id in self.remote:
            assert sum(self.fleet.plane.used(budget_id)) <= REMOTE
        for number, budget_id in enumerate(self.assigned):
            assert sum(self.fleet.followers[number].world.used(budget_id)) <= ASSIGNED
            assert self.fleet.plane.used(budget_id) == (0, 0)
        for number, decision_id in self.permits:
            _, measure = self.measure(self.fleet.followers[number], decision_id)
            assert counts(measure) <= self.held(decision_id)

    def teardown(self) -> None:
        """In the end everything is told: what is held belongs to a permit and is as its follower has it."""
        try:
            for follower in self.fleet.followers:
                follower.world.run(follower.line.deliver())
                follower.world.now_us += 11_000_000
                while follower.cancel():
                    pass
                assert follower.intents() == []
                follower.ship()
            for number, decision_id in self.permits:
                _, measure = self.measure(self.fleet.followers[number], decision_id)
                assert counts(measure) == self.held(decision_id)
            with self.fleet.plane.look() as part:
                bodies = list(part.audit.read(0, 1_000_000))
            assert b"reservation_conflict" not in b"".join(body for _, body in bodies)
            known = {decision_id for _, decision_id in self.permits}
            for body in self.fleet.plane.bodies():
                if body["type"] == "decision" and "for" in body and body["decision"] not in known:
                    assert self.held(str(body["decision"])) == 0
            self.fleet.require_sound()
        finally:
            self.fleet.__exit__(None, None, None)
            shutil.rmtree(self.folder)


FleetMachine.TestCase.settings = settings(
    max_examples=15,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestFleet = FleetMachine.TestCase

"""A follower is at some state that its control plane really was in, whatever happens on the way and to either of them.

The machine changes a tenant at a real control plane, has two followers put their questions through a simulator that
misbehaves as it is told, restarts all three, and lets time pass. After every step the records of each follower are
exactly those of one revision of the control plane, never an earlier one than before; nobody is permitted anything whose
revocation was applied, or who spends on data that is too old; and what may still be decided is decided without anybody
answering. At the end the faults are lifted, and both followers have the newest state.
"""

import asyncio
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sidecar.core.directory import Identity
from sidecar.core.feed import Change, read_page
from tests.doors.door import NOON_US, SetClock
from tests.replica.control_plane_house import ControlPlaneHouse, State
from tests.replica.faults import HOURS_US, Elsewhere, Says, faults, plain, skewed
from tests.replica.follower_house import GOOD, MICRO, FollowerHouse
from tests.replica.policy_vetting import VettingHere
from tests.replica.simulator import Fault, Given, Simulator
from tests.replica.upheaval import TEAM, Upheaval, Version
from tests.service.builders import codes, payment

EXAMPLES = 8
STEPS = 30
KINDS = (
    "add an identity",
    "change an identity",
    "suspend",
    "revoke",
    "add a policy",
    "add a policy that looks elsewhere",
    "delete a policy",
    "add a budget",
    "change a budget",
    "delete a budget",
    "add a card",
    "freeze a card",
    "kill switch",
    "add a token",
    "rotate a token",
    "delete a token",
    "replace the files",
)
SKEW_MAX_US = 60 * MICRO


class Observed:
    """One follower as the test sees it: where it was last, and what it is limited to."""

    def __init__(self, house: FollowerHouse, simulator: Simulator, scope: str | None) -> None:
        """Watch ``house`` through the simulator that it asks."""
        self.house = house
        self.simulator = simulator
        self.scope = scope
        self.revision = 0
        self.is_skewed = False

    def look_at_time(self) -> None:
        """Note whether the answer that was taken last says another time than it is."""
        if self.house.outcomes[-1] not in GOOD:
            return
        reply = self.simulator.served[-1].reply
        assert isinstance(reply, Given)
        assert self.house.asked_us is not None
        self.is_skewed = abs(read_page(plain(reply)).time_us - self.house.asked_us) > SKEW_MAX_US

    def version(self) -> Version | None:
        """Which state it says that it is in."""
        followed = self.house.followed
        return None if followed is None else Version(followed.revision, followed.files_digest)


class FollowingMachine(RuleBasedStateMachine):
    """A control plane, a follower of the whole tenant, and one of the team in it."""

    template: Path

    @initialize()
    def begin(self) -> None:
        """Start all three."""
        self.held = ExitStack()
        self.folder = Path(self.held.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        shutil.copytree(self.template, self.folder / "cp")
        runner = self.held.enter_context(asyncio.Runner())
        self.clock = SetClock()
        self.house = self.held.enter_context(ControlPlaneHouse(self.folder / "cp", runner, self.clock))
        self.upheaval = Upheaval(self.house, self.house.found()["api_key"])
        self.restored: ControlPlaneHouse | None = None
        self.followers: list[Observed] = []
        for number, scope in enumerate((None, TEAM)):
            simulator = Simulator(self.house.upstream)
            token, _ = self.house.follower_token(scope)
            self.upheaval.note()
            follower = FollowerHouse(
                self.folder / f"follower{number}",
                runner,
                self.clock,
                simulator.transport,
                token,
                VettingHere(),
                number=number,
            )
            self.followers.append(Observed(self.held.enter_context(follower), simulator, scope))

    # --- What happens -------------------------------------------------------------------------------------------------

    @rule(kind=st.sampled_from(KINDS), pick=st.integers(0, 9_999), times=st.integers(1, 3))
    def change(self, kind: str, pick: int, times: int) -> None:
        """Something changes at the control plane."""
        for number in range(times):
            self.upheaval.do(kind, pick + 17 * number)

    @rule(which=st.integers(0, 1), times=st.integers(1, 4))
    def follow(self, which: int, times: int) -> None:
        """A follower asks, and pauses for as long as it wants to."""
        for _ in range(times):
            self._step(self.followers[which])

    @rule(which=st.integers(0, 1), drawn=st.lists(faults(), min_size=1, max_size=3), times=st.integers(1, 3))
    def follow_through_faults(self, which: int, drawn: list[Fault], times: int) -> None:
        """A follower asks while things go wrong."""
        observed = self.followers[which]
        observed.simulator.coming.extend(drawn)
        for _ in range(times):
            self._step(observed)

    @rule(which=st.integers(0, 1), fault=faults())
    def stand_in_the_way(self, which: int, fault: Fault) -> None:
        """Something goes wrong until it is lifted."""
        self.followers[which].simulator.standing = fault

    @rule(which=st.integers(0, 1), hours=st.sampled_from((-1, 1)))
    def skew(self, which: int, hours: int) -> None:
        """The control plane's clock is hours off, as the follower sees it."""
        self.followers[which].simulator.coming.append(Says("skewed", skewed(hours * HOURS_US)))
        self._step(self.followers[which])

    @rule(which=st.integers(0, 1))
    def lift(self, which: int) -> None:
        """Nothing goes wrong any more."""
        self.followers[which].simulator.lift()

    @rule(seconds=st.sampled_from((1, 20, 70, 5_000)))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.clock.now_us += seconds * MICRO

    @rule(which=st.integers(0, 1))
    def restart_follower(self, which: int) -> None:
        """A follower starts again on what it left, and asks nobody."""
        before = self.followers[which].version()
        self.followers[which].house.restart()
        assert self.followers[which].version() == before

    @rule()
    def restart_control_plane(self) -> None:
        """The control plane starts again on what it left."""
        self.house.restart()
        for observed in self.followers:
            observed.simulator.upstream = self.house.upstream

    @rule(which=st.integers(0, 1))
    def stop_control_plane(self, which: int) -> None:
        """Nobody listens, until the control plane is started again."""
        self.followers[which].simulator.upstream = None

    @precondition(lambda self: self.restored is None)
    @rule()
    def back_up(self) -> None:
        """A control plane is put up from a copy of the present state, and stays as it is."""
        self.restored = self.held.enter_context(self.house.backup(self.folder / "backup"))

    @precondition(lambda self: self.restored is not None)
    @rule(which=st.integers(0, 1), times=st.integers(1, 2))
    def ask_the_restored(self, which: int, times: int) -> None:
        """A follower gets to that one, which does not know what came later."""
        assert self.restored is not None
        observed = self.followers[which]
        observed.simulator.coming.extend([Elsewhere(self.restored.upstream, "restored")] * times)
        for _ in range(times):
            self._step(observed)

    def _step(self, observed: Observed) -> None:
        event(f"an answer is {observed.house.step()}")
        observed.look_at_time()
        self.clock.now_us += int(observed.house.pause_seconds * MICRO)

    # --- What holds ---------------------------------------------------------------------------------------------------

    @invariant()
    def every_follower_is_where_its_control_plane_was(self) -> None:
        """Its records are those of one revision and one set of policy files, and it never goes back."""
        for observed in self.followers:
            version = observed.version()
            if version is None:
                assert observed.revision == 0
                continue
            assert version in self.upheaval.history
            assert version.revision >= observed.revision
            observed.revision = version.revision
            check_same(observed.house.state(), self.upheaval.history[version], observed.scope)
            with observed.house.store.read() as txn:
                tenant = txn.tenants.find("t_one")
                assert tenant is not None
                assert txn.tenants.revisions(tenant.number).entities == version.revision

    @invariant()
    def decisions_keep_the_rules(self) -> None:
        """I6 holds across machines, and staleness is a rule: too old is a denial, fresh is none."""
        for observed in self.followers:
            version = observed.version()
            if version is None:
                continue
            for who in ("buyer", *list(self.upheaval.revoked_at)[-1:]):
                if ("identity", who) not in observed.house.state():
                    continue
                decision = observed.house.decide(payment("1.00", who))
                assert decision.entity_revision == version.revision
                revoked_at = self.upheaval.revoked_at.get(who)
                assert not (decision.allowed and revoked_at is not None and revoked_at <= version.revision)
                is_stale = observed.house.is_stale_for_spending or observed.is_skewed
                assert ("replica_stale" in codes(decision)) == is_stale, decision
                assert not (decision.allowed and is_stale)

    def teardown(self) -> None:
        """Without faults everybody gets to the newest state, and the stores are sound."""
        if not hasattr(self, "followers"):
            return
        self.restart_control_plane()
        for observed in self.followers:
            observed.simulator.lift()
            observed.house.catch_up()
            assert observed.version() == self.upheaval.version
            newest = self.upheaval.history[self.upheaval.version]
            check_same(observed.house.state(), newest, observed.scope)
            if observed.scope is None:
                assert observed.house.state().digest() == newest.within(None).digest()
            assert observed.house.faults() == []
            assert observed.house.broken == []
        self.held.close()


def check_same(found: State, known: State, scope: str | None) -> None:
    """Check that a follower has what its scope says, and beside it only identities that policies look into."""
    expected = known.within(scope)
    assert {key: found.get(key) for key in expected} == expected
    more = [each for key, each in found.items() if key not in expected]
    assert not more or scope is not None
    for each in more:
        assert isinstance(each, Change)
        assert isinstance(each.value, Identity), each
        assert known["identity", each.id] == each


@pytest.fixture(scope="module", autouse=True)
def template(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A control plane that has loaded its policy files and has no tenant, to be copied: to load them takes longest."""
    folder = tmp_path_factory.mktemp("template")
    with asyncio.Runner() as runner, ControlPlaneHouse(folder, runner, SetClock(NOON_US)):
        pass
    (folder / "data" / "db" / "lock.mdb").unlink()
    FollowingMachine.template = folder


FollowingMachine.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestFollowing = FollowingMachine.TestCase

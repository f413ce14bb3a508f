"""A hundred followers of one control plane, each behind its own misfortune, all come to the newest state.

Some follow the whole tenant, some one agent or one team in it. The seed is fixed: a failure can be repeated.
"""

import asyncio
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Final

from tests.doors.door import SetClock
from tests.replica.control_plane_house import ControlPlaneHouse, State
from tests.replica.faults import LIES, LOSSES
from tests.replica.follower_house import MICRO, FollowerHouse
from tests.replica.policy_vetting import VettingHere
from tests.replica.simulator import Simulator
from tests.replica.upheaval import TEAM, Upheaval

FOLLOWERS: Final = 100
ROUNDS: Final = 5
CHANGES: Final = 6
SCOPES: Final = (None, TEAM, "buyer")
STEPS_MAX: Final = 40
FAULTS_IN_A_THOUSAND: Final = 400


def test_a_hundred_followers_converge_after_random_faults(tmp_path: Path) -> None:
    """Whatever each of them met, in the end those of one scope have the same records, and these are the right ones.

    They are those that a new follower gets, and no others.
    """
    random, clock, vet = Random(7), SetClock(), VettingHere()
    with ExitStack() as held:
        runner = held.enter_context(asyncio.Runner())
        house = held.enter_context(ControlPlaneHouse(tmp_path / "cp", runner, clock))
        upheaval = Upheaval(house, house.found()["api_key"])
        simulators = [
            Simulator(house.upstream, choice=(*LOSSES, *LIES), chance=FAULTS_IN_A_THOUSAND, seed=number)
            for number in range(FOLLOWERS)
        ]
        followers = [
            FollowerHouse(
                tmp_path / f"follower{number}",
                runner,
                clock,
                simulator.transport,
                house.follower_token(SCOPES[number % len(SCOPES)])[0],
                vet,
                number=number,
            )
            for number, simulator in enumerate(simulators)
        ]
        for follower in followers:
            held.enter_context(follower)
        late = [house.follower_token(scope)[0] for scope in SCOPES]
        upheaval.note()

        async def step_all() -> None:
            await asyncio.gather(*(follower.stepped() for follower in followers))

        for _ in range(ROUNDS):
            for _ in range(CHANGES):
                upheaval.do(random.choice(list(upheaval.changes)), random.randrange(10_000))
            runner.run(step_all())
            clock.now_us += MICRO
        assert {each.is_honest for simulator in simulators for each in simulator.served} == {True, False}
        for simulator in simulators:
            simulator.lift()
        for _ in range(STEPS_MAX):
            if all(follower.outcomes[-1] == "confirmed" for follower in followers):
                break
            runner.run(step_all())
            clock.now_us += MICRO
        check(upheaval, followers)
        honest = Simulator(house.upstream)
        for number, token in enumerate(late):
            fresh = FollowerHouse(
                tmp_path / f"fresh{number}", runner, clock, honest.transport, token, vet, number=FOLLOWERS + number
            )
            held.enter_context(fresh)
            fresh.catch_up()
            assert fresh.state().digest() == followers[number].state().digest()


def check(upheaval: Upheaval, followers: list[FollowerHouse]) -> None:
    """Check that all of one scope are the same, and right."""
    newest = upheaval.history[upheaval.version]
    states: list[State] = [follower.state() for follower in followers]
    for number, scope in enumerate(SCOPES):
        own = states[number :: len(SCOPES)]
        assert len({state.digest() for state in own}) == 1
        expected = newest.within(scope)
        assert {key: own[0].get(key) for key in expected} == expected
        more = [each for key, each in own[0].items() if key not in expected]
        assert all(each.kind == "identity" and newest["identity", each.id] == each for each in more)
        assert scope is not None or not more
    assert {follower.followed.revision for follower in followers if follower.followed} == {upheaval.version.revision}
    for follower in followers[: len(SCOPES)]:
        assert follower.faults() == []

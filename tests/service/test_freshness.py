"""A follower permits nothing on data that is too old, by a clock that is off, or with a fault; and holds nothing."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.core.errors import Unavailable
from sidecar.core.model import Decision, Reason
from sidecar.core.staleness import SKEW_MAX_US
from sidecar.service.batch import AnsweredBatch
from sidecar.service.explain import explain
from tests.service.builders import DAY, HOUR, OPERATOR, SECOND, World, key_for, limit, payment, tool_call
from tests.service.following import Follower

MINUTE = 60 * SECOND


@pytest.fixture
def follower(world: World) -> Iterator[Follower]:
    """A follower in which every action is granted to everybody; its store holds together at the end."""
    world.tenant()
    yield Follower(world)
    assert world.faults() == []


def codes(decision: Decision) -> list[str]:
    """The codes of a decision's reasons."""
    return [reason.code for reason in decision.reasons]


def only(decision: Decision) -> Reason:
    """The one reason of a decision."""
    (reason,) = decision.reasons
    return reason


def verdicts(answered: AnsweredBatch) -> list[bool]:
    """What a batch came to."""
    return [each.decision.allowed for each in answered.answers]


# --- Age


def test_a_server_that_follows_nobody_knows_no_age(world: World) -> None:
    world.tenant()
    assert world.decide(payment()).data_age_us is None
    assert not {"age_ms", "stale_after_ms", "skew_ms", "fault"} & world.bodies()[-1].keys()


def test_before_anything_was_followed_nothing_is_decided(world: World) -> None:
    """Not even denied: there is nobody whom a denial could be about."""
    world.tenant()
    follower = Follower(world, is_synced=False)
    follower.hear()
    with pytest.raises(Unavailable, match="nothing has come from the control plane yet"):
        world.decide(payment())
    with pytest.raises(Unavailable, match="nothing has come"):
        world.run(world.batches.rehearse(world.batch_of(payment())))
    assert "decision" not in world.kinds()


def test_each_group_of_actions_may_rest_on_data_of_its_own_age(follower: Follower) -> None:
    world = follower.world
    follower.hear()
    follower.wait(MINUTE)
    permit = world.decide(payment())
    assert (permit.allowed, permit.data_age_us) == (True, MINUTE)
    follower.wait(1)
    denial = world.decide(payment())
    assert (codes(denial), denial.data_age_us) == (["replica_stale"], MINUTE + 1)
    assert only(denial).message.startswith("`card.authorize` may rest on data of at most 60 s, and this was confirmed")
    assert world.decide(tool_call()).allowed
    follower.wait(HOUR)
    assert codes(world.decide(tool_call())) == ["replica_stale"]
    follower.hear()
    assert world.decide(payment()).allowed


def test_an_action_that_the_schema_does_not_know_falls_under_the_limit_of_all(follower: Follower) -> None:
    """Both are said: what the data speaks of, and that it is old."""
    unknown = msgspec.structs.replace(tool_call(), action="door.open")
    follower.hear()
    follower.wait(30 * SECOND)
    assert codes(follower.world.decide(unknown)) == ["not_permitted"]
    follower.wait(1)
    assert codes(follower.world.decide(unknown)) == ["not_permitted", "replica_stale"]


def test_a_follower_that_heard_nothing_yet_denies(follower: Follower) -> None:
    denial = follower.world.decide(payment())
    assert (codes(denial), denial.data_age_us) == (["replica_stale"], None)
    assert only(denial).message.endswith("nobody can say how old this is")


def test_a_stale_denial_claims_and_holds_nothing_and_suspends_nobody(follower: Follower) -> None:
    world = follower.world
    budget = world.budget(limit("10", on_exceeded="suspend")).budget.budget_id
    follower.hear()
    follower.wait(HOUR)
    denial = world.decide(payment("20"))
    assert (denial.budget_checks, denial.reserved_minor, denial.expires_at_us) == ((), None, None)
    assert world.used(budget) == (0, 0)
    follower.hear()
    assert world.decide(payment("5")).allowed


def test_age_stands_behind_every_other_reason(follower: Follower) -> None:
    """In the order of codes."""
    world = follower.world
    world.identity("bob")
    world.revoke("bob")
    assert codes(world.decide(payment("5", "bob"))) == ["identity_revoked", "replica_stale"]


def test_the_record_says_what_the_denial_rests_on(follower: Follower) -> None:
    world = follower.world
    follower.hear()
    follower.wait(1_500)
    world.decide(payment())
    fresh = world.bodies()[-1]
    assert (fresh["age_ms"], fresh["stale_after_ms"], fresh["codes"]) == (2, 60_000, ["permitted"])
    assert not {"skew_ms", "fault"} & fresh.keys()
    follower.wait(HOUR)
    follower.fail("the log was forked")
    follower.jump(2 * HOUR)
    world.decide(payment())
    stale = world.bodies()[-1]
    assert (stale["verdict"], stale["codes"]) == ("deny", ["replica_stale"])
    assert (stale["age_ms"], stale["skew_ms"], stale["fault"]) == (3_600_002, -7_200_000, True)


# --- Every way to ask


def test_a_dry_run_says_what_a_decision_would(follower: Follower) -> None:
    world = follower.world
    follower.hear()
    follower.wait(MINUTE)

    def rehearse() -> Decision:
        return world.authorizer.rehearse(OPERATOR, "t_one", payment(), world.now_us, explain=True).decision

    assert (rehearse().allowed, rehearse().data_age_us) == (True, MINUTE)
    follower.wait(1)
    assert codes(rehearse()) == ["replica_stale"]


def test_each_item_of_a_batch_has_its_own_limit(follower: Follower) -> None:
    world = follower.world
    follower.hear()
    follower.wait(MINUTE + 1)
    assert verdicts(world.batch(payment(), tool_call())) == [False, True]
    assert verdicts(world.run(world.batches.rehearse(world.batch_of(payment(), tool_call())))) == [False, True]


def test_an_explanation_seeks_no_other_request(follower: Follower) -> None:
    """None would be permitted."""
    world = follower.world
    answered = world.run(world.authorizer.authorize(OPERATOR, "t_one", payment(), None, world.now_us, explain=True))
    assert answered.grounds is not None
    assert not explain(OPERATOR, answered.grounds, answered.decision).nearest_sought


def test_a_permit_is_not_answered_again_on_data_that_could_hide_a_revocation(follower: Follower) -> None:
    """A repeated key gets a new denial then, and its permit again when the data is fresh; the hold stays throughout."""
    world = follower.world
    budget = world.budget(limit("100")).budget.budget_id
    request = payment("5")
    follower.hear()
    permit = world.authorize(request, key_for(request)).decision
    follower.wait(MINUTE + 1)
    denied = world.authorize(request, key_for(request))
    assert (denied.replayed, codes(denied.decision)) == (False, ["replica_stale"])
    assert world.bodies()[-1]["replay_of"] == permit.decision_id
    assert world.used(budget) == (0, 500)
    follower.hear()
    again = world.authorize(request, key_for(request))
    assert (again.replayed, again.decision) == (True, permit)


def test_a_denial_is_answered_again_however_old_the_data_is(follower: Follower) -> None:
    world = follower.world
    request = payment("5")
    denial = world.authorize(request, key_for(request)).decision
    follower.wait(HOUR)
    assert world.authorize(request, key_for(request)).decision == denial


def test_permits_of_a_batch_are_not_answered_again_on_stale_data(follower: Follower) -> None:
    world = follower.world
    requests = payment("5"), tool_call()
    key = key_for(requests[0], "batch")
    follower.hear()
    assert verdicts(world.batch(*requests, key=key)) == [True, True]
    follower.wait(MINUTE + 1)
    again = world.batch(*requests, key=key)
    assert [each.replayed for each in again.answers] == [False, True]
    assert verdicts(again) == [False, True]
    follower.hear()
    assert world.batch(*requests, key=key).replayed


def test_two_calls_with_one_key_at_once_are_one_decision(follower: Follower) -> None:
    world = follower.world
    follower.hear()
    request = payment("5")

    async def ask() -> Decision:
        return (await world.authorizer.authorize(OPERATOR, "t_one", request, key_for(request), world.now_us)).decision

    first, second = world.together(ask(), ask())
    assert isinstance(first, Decision)
    assert first == second


# --- Faults and clocks


def test_with_a_fault_nothing_is_permitted_until_someone_looked(follower: Follower) -> None:
    follower.hear()
    follower.fail("the control plane has records of ours that we do not")
    reason = only(follower.world.decide(tool_call()))
    assert reason.message.endswith("until someone has looked: the control plane has records of ours that we do not")
    follower.fail(None)
    assert follower.world.decide(tool_call()).allowed


@pytest.mark.parametrize("jump", [SKEW_MAX_US + SECOND, 5 * HOUR])
def test_a_clock_that_is_set_ahead_permits_nothing(follower: Follower, jump: int) -> None:
    """Not at once when it comes back either: the time that is decided by waits until the wall clock is there."""
    world = follower.world

    def is_ahead() -> bool:
        return "ahead of the control plane's" in only(world.decide(tool_call())).message

    follower.hear()
    follower.jump(jump)
    assert is_ahead()
    follower.hear()
    assert is_ahead()
    follower.jump(-jump)
    assert is_ahead()
    follower.hear()
    assert is_ahead()
    for _ in range(12):
        follower.wait(jump // 10)
    follower.hear()
    assert world.decide(tool_call()).allowed


def test_a_clock_that_is_set_back_goes_on_from_where_it_was(follower: Follower) -> None:
    """The wall clock does not count then, and its skew is no one's."""
    follower.hear()
    follower.jump(-5 * HOUR)
    assert follower.world.decide(payment()).allowed
    follower.wait(MINUTE + 1)
    assert codes(follower.world.decide(payment())) == ["replica_stale"]


@pytest.mark.parametrize("skew", [-5 * HOUR, 5 * HOUR])
def test_hours_between_the_clocks_permit_nothing(follower: Follower, skew: int) -> None:
    follower.true_us += skew
    follower.hear()
    side = "behind" if skew > 0 else "ahead of"
    assert f"the time here is 18000 s {side} the control plane's" in only(follower.world.decide(tool_call())).message


# --- Holds


@pytest.mark.parametrize("jump", [3 * HOUR, -3 * HOUR])
def test_a_jump_of_the_clock_while_cut_off_ends_no_hold(follower: Follower, jump: int) -> None:
    world = follower.world
    budget = world.budget(limit("100")).budget.budget_id
    follower.hear()
    held = world.decide(payment("5", ttl_seconds=600)).decision_id or ""
    follower.jump(jump)
    assert world.expire() == 0
    follower.wait(60 * SECOND)
    assert world.expire() == 0
    assert world.used(budget) == (0, 500)
    assert not world.settle(held).late


@pytest.mark.parametrize("skew", [-5 * HOUR, 5 * HOUR])
def test_no_hold_ends_by_a_clock_hours_off_the_control_planes(follower: Follower, skew: int) -> None:
    world = follower.world
    world.budget(limit("100"))
    follower.hear()
    first, second = (world.decide(payment("5", ttl_seconds=600)).decision_id or "" for _ in range(2))
    follower.true_us += skew
    follower.hear()
    follower.wait(HOUR)
    assert world.expire() == 0
    settled = world.settle(first)
    assert (settled.state, settled.late) == ("settled", False)
    follower.true_us -= skew
    follower.hear()
    assert world.expire() == 1
    assert world.settle(second).late


def test_a_hold_ends_in_its_time_while_the_clocks_agree(follower: Follower) -> None:
    """Being cut off is no reason to hold for longer: the other clock vouches for the time."""
    world = follower.world
    follower.hear()
    first, second = (world.decide(payment("5", ttl_seconds=600)).decision_id or "" for _ in range(2))
    follower.wait(HOUR)
    assert world.settle(first).late
    assert world.expire() == 1
    assert world.settle(second).late


def test_with_a_fault_no_hold_ends_by_time(follower: Follower) -> None:
    world = follower.world
    follower.hear()
    held = world.decide(payment("5", ttl_seconds=600)).decision_id or ""
    follower.wait(HOUR)
    follower.fail("the log was forked")
    assert world.expire() == 0
    assert world.release(held).state == "released"


def test_after_a_restart_no_hold_ends_before_the_time_was_confirmed(follower: Follower) -> None:
    """The wall clock of a machine that was off can show anything."""
    world = follower.world
    follower.hear()
    world.decide(payment("5", ttl_seconds=600))
    follower.restart(MINUTE, jump_us=DAY)
    assert world.expire() == 0
    follower.jump(-DAY)
    follower.restart(HOUR)
    assert world.expire() == 0


def test_after_a_restart_holds_end_when_the_time_is_confirmed(follower: Follower) -> None:
    world = follower.world
    follower.hear()
    world.decide(payment("5", ttl_seconds=600))
    follower.restart(HOUR)
    assert world.expire() == 0
    follower.hear()
    assert world.expire() == 1


def test_what_is_due_is_looked_at_again_in_the_transaction_that_ends_it(follower: Follower) -> None:
    """A fault that another process noted meanwhile counts."""
    world = follower.world
    follower.hear()
    world.decide(payment("5", ttl_seconds=600))
    follower.wait(HOUR)

    async def fault() -> None:
        await world.store.write(lambda txn: txn.replica.keep_fault("the log was forked"))

    _, ended = world.together(fault(), world.settler.expire_due(world.now_us))
    assert ended == 0
    assert "expire" not in world.kinds()


# --- Any history

STEPS = st.one_of(
    st.just(("hear", 0)),
    st.tuples(st.just("wait"), st.sampled_from([1, SECOND, 29 * SECOND, MINUTE, 20 * MINUTE, HOUR])),
    st.tuples(st.just("jump"), st.sampled_from([-HOUR, -MINUTE, -SECOND, SECOND, MINUTE, HOUR])),
    st.tuples(st.just("restart"), st.sampled_from([-HOUR, 0, SECOND, HOUR])),
    st.tuples(st.just("ask"), st.sampled_from([0, 1])),
)


@given(st.lists(STEPS, max_size=25))
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
def test_whatever_happened_stale_data_permits_nothing_and_fresh_data_is_not_called_stale(
    steps: list[tuple[str, int]],
) -> None:
    """The model knows the true time: its passing since the question, or what the wall clock made of it over a restart."""
    with tempfile.TemporaryDirectory() as folder, World(Path(folder)) as world:
        world.tenant()
        follower = Follower(world)
        age: int | None = None
        heard_wall = heard_skew = heard_boot = 0
        for step, figure in [*steps, ("ask", 0), ("ask", 1)]:
            if step == "hear":
                follower.hear()
                age, heard_boot = 0, follower.boots
                heard_wall, heard_skew = follower.wall_us, follower.true_us - follower.wall_us
            elif step == "wait":
                follower.wait(figure)
                age = None if age is None else age + figure
            elif step == "jump":
                follower.jump(figure)
            elif step == "restart":
                follower.restart(MINUTE, figure)
            else:
                same = heard_boot == follower.boots
                seen = age if same or age is None else follower.wall_us - heard_wall
                theirs = follower.true_us if same else follower.wall_us + heard_skew
                is_off = age is not None and abs(theirs - world.now_us) > SKEW_MAX_US
                allowed_us = (60 * SECOND, HOUR)[figure]
                is_stale = seen is None or seen < 0 or seen > allowed_us or is_off
                decision = world.decide((payment(), tool_call())[figure])
                assert decision.allowed is not is_stale
                assert ("replica_stale" in codes(decision)) is is_stale
                assert decision.data_age_us == (None if seen is None or seen < 0 else seen)

"""Budgets of followers and of their control plane on one chain: who decides, what is held where, what fails closed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.core.errors import Unavailable
from sidecar.core.money import Major
from sidecar.service.authorize import Authorizer, Call
from sidecar.service.budget_changes import BudgetPatch
from sidecar.service.budgets import BudgetFilter
from sidecar.service.delegation import Delegation
from sidecar.service.explain import explain
from sidecar.service.paging import PageRequest
from tests.service.builders import OPERATOR, World, codes, key_for, only_schemas, payment, tool_call
from tests.service.flotilla import Fleet, FollowerWorld
from tests.service.histories import chronicle, retried


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A control plane with two followers."""
    with Fleet(tmp_path, 2) as made:
        yield made
        made.require_sound()


@pytest.fixture
def one(fleet: Fleet) -> FollowerWorld:
    """Its first follower."""
    return fleet.followers[0]


def test_a_follower_decides_alone_on_a_budget_that_is_its_own(fleet: Fleet, one: FollowerWorld) -> None:
    """Nobody is asked, so it decides without the network; what exceeds is denied as anywhere."""
    budget_id = fleet.budget(100, follower=0)
    one.line.fault = "cut"
    decision = one.world.decide(payment("60", "bob"))
    assert (decision.allowed, one.line.asked, one.world.used(budget_id)) == (True, 0, (0, 6_000))
    assert codes(one.world.decide(payment("60", "bob"))) == ["budget_exceeded"]


def test_nobody_else_decides_on_it(fleet: Fleet) -> None:
    """At the control plane and at another follower it is a denial that names the budget and who decides."""
    budget_id = fleet.budget(100, follower=0)
    for world in (fleet.plane, fleet.followers[1].world):
        (reason,) = world.decide(payment("1", "bob")).reasons
        assert (reason.code, reason.budget_id) == ("replica_stale", budget_id)
        assert reason.message == f"budget `daily amount` is decided by follower `{fleet.callers[0].name}` alone"
        assert world.used(budget_id) == (0, 0)
    assert fleet.followers[1].line.asked == 0


def test_a_budget_of_the_control_plane_is_held_there_under_the_same_decision(fleet: Fleet, one: FollowerWorld) -> None:
    """The permit shows the budgets of both in the order of the chain; each holds its own."""
    own, remote = fleet.budget(100, "bob", follower=0), fleet.budget(50, "ann")
    decision = one.world.decide(payment("30", "bob"))
    assert decision.allowed
    assert [(check.budget_id, check.requested) for check in decision.budget_checks] == [(own, 3_000), (remote, 3_000)]
    assert (one.world.used(own), one.world.used(remote)) == ((0, 3_000), (0, 0))
    assert (fleet.plane.used(own), fleet.plane.used(remote)) == ((0, 0), (0, 3_000))
    assert one.intents() == []
    with fleet.plane.look() as part:
        known = part.answers.decision(decision.decision_id or "")
        held = part.ledger.reservation(decision.decision_id or "")
    assert known is not None
    assert known.audit is not None
    assert held is not None
    assert held.follower_id == one.caller.name
    body = one.world.bodies()[-1]
    assert body["at"] == one.caller.name
    assert body["remote"] == {
        "granted": True,
        "budgets": [[remote, known.budget_checks[0].limit and held_revision(fleet, remote), start(held), 0, 0, 3_000]],
        "seq": known.audit.seq,
        "hash": known.audit.hash,
    }
    assert fleet.plane.bodies()[-1]["for"] == one.caller.name


def held_revision(fleet: Fleet, budget_id: str) -> int:
    """The revision of a budget at the control plane."""
    return fleet.plane.treasurer.get(OPERATOR, "t_one", budget_id, fleet.plane.now_us).budget.revision


def start(held: object) -> int:
    """When the window of the only claim begins."""
    window = held.claims[0].window_start_us  # type: ignore[attr-defined]
    assert isinstance(window, int)
    return window


def test_a_denial_there_is_the_denial_here(fleet: Fleet, one: FollowerWorld) -> None:
    """With the same reason and figures, and nothing held anywhere."""
    own, remote = fleet.budget(100, "bob", follower=0), fleet.budget(50, "ann")
    decision = one.world.decide(payment("60", "bob"))
    assert codes(decision) == ["budget_exceeded"]
    assert decision.reasons[0].budget_id == remote
    assert [check.budget_id for check in decision.budget_checks] == [own, remote]
    assert [one.world.used(own), fleet.plane.used(remote), one.intents()] == [(0, 0), (0, 0), []]


def test_a_revocation_that_has_not_come_yet_is_heard_in_the_same_call(fleet: Fleet, one: FollowerWorld) -> None:
    """The control plane decides the whole request again, by what it knows."""
    fleet.budget(50, "ann")
    fleet.plane.revoke("bob")
    assert codes(one.world.decide(payment("1", "bob"))) == ["identity_revoked"]


def test_a_suspending_budget_of_the_control_plane_suspends_there(fleet: Fleet, one: FollowerWorld) -> None:
    """A follower changes no identity; it hears of it."""
    fleet.budget(50, "ann", on_exceeded="suspend")
    assert codes(one.world.decide(payment("60", "bob"))) == ["budget_exceeded"]
    assert "identity_suspended" in fleet.plane.kinds()
    assert "identity_suspended" not in one.world.kinds()
    assert codes(fleet.plane.decide(payment("1", "bob"))) == ["identity_suspended"]


@pytest.mark.parametrize("fault", ["cut", "lost", "late", "refused"])
def test_without_the_control_planes_word_nothing_is_permitted(fleet: Fleet, one: FollowerWorld, fault: str) -> None:
    """And whatever it holds by then, or later, is cancelled."""
    remote = fleet.budget(50, "ann")
    one.line.fault = fault  # type: ignore[assignment]
    decision = one.world.decide(payment("30", "bob"))
    assert codes(decision) == ["replica_stale"]
    assert decision.reasons[0].message.startswith("the control plane did not decide: ")
    assert one.intents() == [decision.decision_id]
    assert one.world.bodies()[-1]["remote"] == {"granted": False}
    one.line.fault = "none"
    assert one.cancel() == 1
    assert (one.intents(), one.cancel()) == ([], 0)
    assert [word.granted for word in one.world.run(one.line.deliver())] == ([False] if fault == "late" else [])
    assert fleet.plane.used(remote) == (0, 0)


def test_what_is_denied_here_anyway_is_not_asked_there(fleet: Fleet, one: FollowerWorld) -> None:
    """By a policy, a budget of its own, or one that nobody here may decide on."""
    fleet.budget(50, "ann")
    fleet.budget(10, "bob", follower=0)
    assert codes(one.world.decide(payment("20", "bob"))) == ["budget_exceeded"]
    fleet.budget(10, "ann", follower=1)
    assert codes(one.world.decide(payment("1", "bob"))) == ["replica_stale"]
    assert one.line.asked == 0


def test_a_request_that_no_budget_of_the_control_plane_governs_is_not_asked_there(
    fleet: Fleet, one: FollowerWorld
) -> None:
    """Without a figure for any of them it claims nothing of them."""
    fleet.budget(50, "ann")
    one.line.fault = "cut"
    assert one.world.decide(tool_call("bob")).allowed
    assert one.line.asked == 0


def test_a_grant_that_comes_to_nothing_here_is_cancelled(fleet: Fleet, one: FollowerWorld) -> None:
    """Two requests of one moment both get a word, and only one fits into the follower's own budget."""
    own, remote = fleet.budget(50, "bob", follower=0), fleet.budget(100, "ann")
    request = payment("30", "bob")
    both = [one.world.authorizer.authorize(OPERATOR, "t_one", request, None, one.world.now_us) for _ in range(2)]
    answers = one.world.together(*both)
    allowed = [answered.decision.allowed for answered in answers if not isinstance(answered, BaseException)]
    assert sorted(allowed) == [False, True]
    assert (one.world.used(own), fleet.plane.used(remote)) == ((0, 3_000), (0, 6_000))
    assert one.cancel() == 1
    assert fleet.plane.used(remote) == (0, 3_000)


def test_two_calls_with_one_key_hold_once(fleet: Fleet, one: FollowerWorld) -> None:
    """The second one is answered what the first one was, and what it was granted is cancelled."""
    remote = fleet.budget(100, "ann")
    request = payment("30", "bob")
    key = key_for(request)
    calls = [one.world.authorizer.authorize(OPERATOR, "t_one", request, key, one.world.now_us) for _ in range(2)]
    answers = [answered for answered in one.world.together(*calls) if not isinstance(answered, BaseException)]
    assert [answered.replayed for answered in answers] == [False, True]
    assert one.cancel() == 1
    assert fleet.plane.used(remote) == (0, 3_000)


def test_a_permit_that_was_answered_is_never_cancelled(fleet: Fleet, one: FollowerWorld) -> None:
    """Its intent went with the commit; a canceller that comes in between takes the permit away instead."""
    remote = fleet.budget(100, "ann")
    ask = one.line.reserve

    async def interrupted(decision_id: str, request: object) -> object:
        word = await ask(decision_id, request)  # type: ignore[arg-type]
        await one.canceller.cancel_due(one.world.now_us + 11_000_000)
        return word

    assert one.world.decide(payment("30", "bob")).allowed
    assert one.cancel() == 0
    one.line.reserve = interrupted  # type: ignore[assignment, method-assign]
    decision = one.world.decide(payment("30", "bob"))
    assert codes(decision) == ["replica_stale"]
    assert decision.reasons[0].message == "the control plane did not decide: its answer came too late"
    assert fleet.plane.used(remote) == (0, 3_000)


def test_an_intent_is_left_alone_for_as_long_as_its_decision_may_take(fleet: Fleet, one: FollowerWorld) -> None:
    """A process that died leaves it behind; a clock that went back makes it due at once."""
    fleet.budget(100, "ann")
    now_us = one.world.now_us
    one.world.run(one.world.authorizer._delegation.refer(one.world.ids("dec", now_us), payment("1", "bob"), now_us))  # type: ignore[union-attr]  # noqa: SLF001
    canceller = one.canceller
    assert one.world.run(canceller.cancel_due(now_us + 9_999_999)) == 0
    assert one.world.run(canceller.cancel_due(now_us - 1)) == 1


def test_a_decision_that_is_not_ours_there_is_not_cancelled_again_and_again(fleet: Fleet, one: FollowerWorld) -> None:
    """The control plane says that it is none of this follower's."""
    fleet.budget(100, "ann")
    one.line.fault = "lost"
    decision = one.world.decide(payment("30", "bob"))
    one.line.fault, one.line.caller = "none", fleet.callers[1]
    assert one.cancel() == 1
    assert (one.intents(), decision.allowed) == ([], False)


def test_a_dry_run_asks_nobody_and_says_so(fleet: Fleet, one: FollowerWorld) -> None:
    """What the control plane would say is not known, so it is no permit."""
    remote = fleet.budget(100, "ann")
    foretold = one.world.authorizer.rehearse(OPERATOR, "t_one", payment("1", "bob"), one.world.now_us).decision
    (reason,) = foretold.reasons
    assert (reason.code, reason.budget_id) == ("replica_stale", remote)
    assert reason.message == "budget `daily amount` is decided at the control plane, which was not asked"
    batch = one.world.run(one.world.batches.rehearse(one.world.batch_of(payment("1", "bob"))))
    assert [codes(each.decision) for each in batch.answers] == [["replica_stale"]]
    assert one.line.asked == 0


def test_each_item_of_a_batch_sees_what_those_before_it_hold_there(fleet: Fleet, one: FollowerWorld) -> None:
    """Two of three fit."""
    remote = fleet.budget(70, "ann")
    answers = one.world.batch(*(payment("30", "bob") for _ in range(3))).answers
    assert [each.decision.allowed for each in answers] == [True, True, False]
    assert (fleet.plane.used(remote), one.intents()) == ((0, 6_000), [])


def test_behind_a_deciding_item_nobody_is_asked(fleet: Fleet, one: FollowerWorld) -> None:
    """As far as it can be foreseen."""
    fleet.budget(40, "ann")
    requests = [payment(amount, "bob") for amount in ("30", "30", "5")]
    answers = one.world.batch(*requests, semantics="deny_on_first_deny").answers
    assert ([each.decision.allowed for each in answers], one.line.asked) == ([True, False], 2)
    assert len(one.world.batch(*requests[2:], *requests, semantics="permit_on_first_permit").answers) == 1
    assert one.line.asked == 3


def test_a_batch_asks_no_further_once_there_is_no_answer(fleet: Fleet, one: FollowerWorld) -> None:
    """Each further item would wait for as long again."""
    remote = fleet.budget(70, "ann")
    one.line.fault = "lost"
    answers = one.world.batch(*(payment("30", "bob") for _ in range(3))).answers
    assert ([codes(each.decision) for each in answers], one.line.asked) == ([["replica_stale"]] * 3, 1)
    one.line.fault = "none"
    assert one.cancel() == 1
    assert fleet.plane.used(remote) == (0, 0)


def test_what_a_batch_was_granted_in_vain_is_cancelled(fleet: Fleet, one: FollowerWorld) -> None:
    """The first item was foreseen to pass and is denied by the follower's own budget, so the second is left out."""
    own, remote = fleet.budget(50, "bob", follower=0), fleet.budget(100, "ann")
    answers = one.world.batch(*(payment("30", "bob") for _ in range(3)), semantics="deny_on_first_deny").answers
    assert [each.decision.allowed for each in answers] == [True, False]
    assert one.cancel() == 2
    assert (one.world.used(own), fleet.plane.used(remote)) == ((0, 3_000), (0, 3_000))


def test_before_anything_was_followed_nothing_is_decided(tmp_path: Path, one: FollowerWorld) -> None:
    """There is no seat to decide from."""
    with World(tmp_path / "empty") as empty:
        empty.tenant()
        empty.authorizer = Authorizer(
            empty.store, empty.snapshots, empty.ids, delegation=Delegation(empty.store, one.line)
        )
        with pytest.raises(Unavailable, match="has not followed its control plane yet"):
            empty.decide(payment())


def test_a_server_that_follows_nobody_refers_nothing(fleet: Fleet) -> None:
    """A call stays as it is."""
    plane = fleet.plane
    call = Call(OPERATOR, plane.tenancy.get(OPERATOR, "t_one"), payment(), None, plane.now_us)
    assert plane.run(plane.authorizer.referred(call)) is call


def test_a_turn_cancels_so_many(fleet: Fleet, one: FollowerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest has the next one."""
    fleet.budget(50, "ann")
    one.line.fault = "lost"
    for _ in range(3):
        one.world.decide(payment("1", "bob"))
    one.line.fault = "none"
    monkeypatch.setattr("sidecar.service.intents.CANCELLED_MAX", 2)
    assert [one.cancel() for _ in range(3)] == [2, 1, 0]


def test_by_other_files_what_the_control_plane_was_not_asked_is_let_pass(fleet: Fleet, one: FollowerWorld) -> None:
    """A replay of a follower's log is about policies: what was denied here and asked nowhere can flip."""
    fleet.budget(50, "ann")
    one.world.decide(payment("1", "bob"))
    one.world.decide(payment("60", "bob"))
    comparison = retried(chronicle(one.world), only_schemas('@id("no")\nforbid (principal, action, resource);'))
    assert comparison is not None


def test_a_limit_per_transaction_is_decided_here_without_a_word_from_anybody(fleet: Fleet, one: FollowerWorld) -> None:
    """It adds up to nothing, so nobody has to be asked, whoever else decides on it too."""
    budget_id = fleet.budget(50, period="per_transaction")
    one.line.fault = "cut"
    permit = one.world.decide(payment("50", "bob"))
    assert permit.allowed
    assert [check.budget_id for check in permit.budget_checks] == [budget_id]
    assert codes(one.world.decide(payment("51", "bob"))) == ["per_transaction_limit"]
    assert one.line.asked == 0
    one.world.settle(permit.decision_id or "", "10")
    assert one.world.used(budget_id) == (0, 0)


def test_a_limit_per_transaction_beside_a_budget_of_the_control_plane_is_checked_by_both(
    fleet: Fleet, one: FollowerWorld
) -> None:
    """It is shown once, as the control plane has it: it may have been lowered there meanwhile."""
    single, daily = fleet.budget(50, period="per_transaction"), fleet.budget(100)
    permit = one.world.decide(payment("40", "bob"))
    assert permit.allowed
    assert [(check.budget_id, check.remaining) for check in permit.budget_checks] == [(single, 5_000), (daily, 10_000)]
    lowered = BudgetPatch(Major("10"), None, None, None)
    plane = fleet.plane
    plane.run(plane.treasurer.change(OPERATOR, "t_one", single, lowered, plane.now_us))
    denial = one.world.decide(payment("40", "bob"))
    assert codes(denial) == ["per_transaction_limit"]
    assert [(check.budget_id, check.allowed) for check in denial.budget_checks] == [(single, False), (daily, True)]
    one.sync()
    asked = one.line.asked
    assert codes(one.world.decide(payment("40", "bob"))) == ["per_transaction_limit"]
    assert one.line.asked == asked


def test_what_is_explained_of_a_budget_of_the_control_plane_is_what_it_said(fleet: Fleet, one: FollowerWorld) -> None:
    """Its own counters say nothing of it: without a word it is left out, and no nearest request is sought by them."""
    daily, own = fleet.budget(100), fleet.budget(100, "bob", follower=0)
    fleet.plane.decide(payment("90", "ann"))
    asked, now_us, decide = payment("40", "bob"), one.world.now_us, one.world.authorizer
    explained = one.world.run(decide.authorize(OPERATOR, "t_one", asked, None, now_us, explain=True))
    assert codes(explained.decision) == ["budget_exceeded"]
    rehearsed = decide.rehearse(OPERATOR, "t_one", asked, now_us, explain=True)
    assert codes(rehearsed.decision) == ["replica_stale"]
    told = []
    for answered in (explained, rehearsed):
        assert answered.grounds is not None
        found = explain(OPERATOR, answered.grounds, answered.decision)
        assert (found.nearest, found.nearest_sought) == (None, False)
        told.append([(check.budget_id, check.remaining) for check in found.budgets])
    assert told == [[(own, 10_000), (daily, 1_000)], [(own, 10_000)]]


def test_a_follower_shows_the_usage_of_what_it_decides_on_and_of_nothing_else(fleet: Fleet, one: FollowerWorld) -> None:
    """Its counters of the others say nothing, which is not the same as that nothing is used."""
    daily, own, other = fleet.budget(100), fleet.budget(100, follower=0), fleet.budget(100, "bob", follower=1)

    def shown(world: World) -> list[bool]:
        found = [world.treasurer.get(OPERATOR, "t_one", each, world.now_us) for each in (daily, own, other)]
        ann = world.treasurer.listed(OPERATOR, "t_one", BudgetFilter("ann"), PageRequest(), world.now_us)
        assert list(ann.values) == found[:2]
        return [each.is_elsewhere for each in found]

    assert shown(one.world) == [True, False, True]
    assert shown(fleet.plane) == [False, False, False]


def test_what_was_never_sent_leaves_nothing_to_cancel(fleet: Fleet, one: FollowerWorld) -> None:
    """However much is asked while the control plane is down, it is not asked to forget it one by one afterwards."""
    fleet.budget(100)
    one.line.fault = "unsent"
    assert codes(one.world.decide(payment("1", "bob"))) == ["replica_stale"]
    assert one.intents() == []
    one.line.fault = "cut"
    assert codes(one.world.decide(payment("1", "bob"))) == ["replica_stale"]
    assert len(one.intents()) == 1

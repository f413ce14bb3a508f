"""What the control plane decides for its followers: for whom, once, and never again once it was cancelled."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.core.access import Caller
from sidecar.core.delegation import HOLD_GRACE_SECONDS, Word
from sidecar.core.errors import Conflict, Forbidden, NotFound, Unauthenticated
from sidecar.core.history import Ended
from sidecar.core.model import AuthorizeRequest
from sidecar.core.windows import Period
from tests.service.builders import OPERATOR, SECOND, codes, payment, tool_call
from tests.service.flotilla import Fleet


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A control plane of which two followers have tokens, checked at the end."""
    with Fleet(tmp_path) as made:
        made.callers.append(made.token("another"))
        yield made
        made.require_sound()


@pytest.fixture
def decision_id(fleet: Fleet) -> str:
    """An id as a follower makes it."""
    return fleet.followers[0].world.ids("dec", fleet.plane.now_us)


def settled_in_full(decision_id: str, amount_minor: int, now_us: int) -> Ended:
    """A follower's word that all is settled."""
    return Ended(
        seq=1,
        kind="settle",
        decision_id=decision_id,
        ts_us=now_us,
        identity="bob",
        state="settled",
        measures=(("amount", amount_minor, 0, amount_minor, 0),),
        by="tok_agent",
        currency="CAD",
    )


def test_the_same_decision_is_asked_for_twice_and_held_once(fleet: Fleet, decision_id: str) -> None:
    """The word is the first one, to the byte, also for two calls of one moment."""
    budget_id = fleet.budget(100)
    ask = payment("40", "bob")
    plane, caller = fleet.plane, fleet.callers[0]
    calls = (fleet.reservations.reserve(caller, None, decision_id, ask, plane.now_us) for _ in range(2))
    first, second = plane.together(*calls)
    third = plane.run(fleet.reservations.reserve(caller, None, decision_id, ask, plane.now_us + SECOND))
    assert first == second == third
    assert not isinstance(first, BaseException)
    assert first.granted
    assert first.expires_at_us == plane.now_us + (ask.ttl_seconds + HOLD_GRACE_SECONDS) * SECOND
    (share,) = first.shares
    assert (share.budget_id, share.asked, share.granted, share.held) == (budget_id, 4_000, 4_000, 0)
    assert plane.used(budget_id) == (0, 4_000)
    with pytest.raises(Conflict, match="with another request"):
        plane.run(fleet.reservations.reserve(caller, None, decision_id, payment("41", "bob"), plane.now_us))


def test_a_denial_grants_nothing_and_says_why(fleet: Fleet, decision_id: str) -> None:
    """The shares show what was asked."""
    fleet.budget(10)
    word = fleet.plane.run(
        fleet.reservations.reserve(fleet.callers[0], None, decision_id, payment("40", "bob"), fleet.plane.now_us)
    )
    assert (word.granted, [reason.code for reason in word.reasons]) == (False, ["budget_exceeded"])
    assert [(share.asked, share.granted) for share in word.shares] == [(4_000, 0)]
    assert word.expires_at_us is None


def test_a_decision_id_belongs_to_whoever_used_it_first(fleet: Fleet, decision_id: str) -> None:
    """Neither one of the control plane's own nor one of another follower is taken, shown or cancelled."""
    plane, (one, other) = fleet.plane, fleet.callers
    own = plane.decide(payment("1", "bob")).decision_id or ""
    plane.run(fleet.reservations.reserve(one, None, decision_id, payment("1", "bob"), plane.now_us))
    for caller, taken in ((one, own), (other, own), (other, decision_id)):
        with pytest.raises(Conflict, match="is another decision"):
            plane.run(fleet.reservations.reserve(caller, None, taken, payment("1", "bob"), plane.now_us))
        with pytest.raises(NotFound, match="unknown decision"):
            plane.run(fleet.reservations.cancel(caller, None, taken, plane.now_us))


def test_only_followers_reserve_and_only_within_their_scope(fleet: Fleet, decision_id: str) -> None:
    """What is outside of it is not there."""
    plane = fleet.plane
    plane.identity("eve")
    scoped = fleet.token("of ann", "ann")
    for caller in (OPERATOR, plane.token(None), plane.token("bob")):
        with pytest.raises(Forbidden, match="only a follower's token"):
            plane.run(fleet.reservations.reserve(caller, None, decision_id, tool_call("bob"), plane.now_us))
        with pytest.raises(Forbidden, match="only a follower's token"):
            plane.run(fleet.reservations.cancel(caller, None, decision_id, plane.now_us))
    for outside in ("eve", "root", "nobody"):
        with pytest.raises(NotFound, match=f"unknown identity `{outside}`"):
            plane.run(fleet.reservations.reserve(scoped, None, decision_id, tool_call(outside), plane.now_us))
    assert plane.run(fleet.reservations.reserve(scoped, None, decision_id, tool_call("bob"), plane.now_us)).granted


def test_a_token_that_was_revoked_meanwhile_reserves_nothing(fleet: Fleet, decision_id: str) -> None:
    """Nor is it told what was said before."""
    plane, caller = fleet.plane, fleet.callers[0]
    plane.run(fleet.reservations.reserve(caller, None, decision_id, tool_call("bob"), plane.now_us))
    plane.run(plane.desk.revoke(OPERATOR, "t_one", caller.name, plane.now_us))
    for asked in (decision_id, fleet.plane.ids("dec", plane.now_us)):
        with pytest.raises(Unauthenticated):
            plane.run(fleet.reservations.reserve(caller, None, asked, tool_call("bob"), plane.now_us))
    with pytest.raises(Unauthenticated):
        plane.run(fleet.reservations.cancel(caller, None, decision_id, plane.now_us))


def test_what_is_cancelled_is_free_and_never_granted_again(fleet: Fleet, decision_id: str) -> None:
    """A copy of the call that comes later, or again, is answered that it was cancelled."""
    budget_id = fleet.budget(100)
    plane, caller, ask = fleet.plane, fleet.callers[0], payment("40", "bob")
    plane.run(fleet.reservations.reserve(caller, None, decision_id, ask, plane.now_us))
    for _ in range(2):
        plane.run(fleet.reservations.cancel(caller, None, decision_id, plane.now_us))
        assert plane.used(budget_id) == (0, 0)
    word = plane.run(fleet.reservations.reserve(caller, None, decision_id, ask, plane.now_us))
    assert (word.granted, [reason.code for reason in word.reasons], word.audit) == (False, ["replica_stale"], None)
    assert plane.kinds().count("release") == 1


def test_a_cancellation_that_comes_first_keeps_the_later_call_from_holding_anything(
    fleet: Fleet, decision_id: str
) -> None:
    """Calls of one follower overtake each other."""
    budget_id = fleet.budget(100)
    plane, caller = fleet.plane, fleet.callers[0]
    plane.run(fleet.reservations.cancel(caller, None, decision_id, plane.now_us))
    word = plane.run(fleet.reservations.reserve(caller, None, decision_id, payment("40", "bob"), plane.now_us))
    assert (word.granted, plane.used(budget_id)) == (False, (0, 0))
    with pytest.raises(NotFound):
        plane.run(fleet.reservations.cancel(fleet.callers[1], None, decision_id, plane.now_us))


def test_a_follower_cannot_cancel_what_was_settled(fleet: Fleet, decision_id: str) -> None:
    """It is acknowledged and changes nothing: what was counted with it stays counted too."""
    budget_id, count = fleet.budget(100), fleet.budget(5, dimension="count")
    plane, caller = fleet.plane, fleet.callers[0]
    plane.run(fleet.reservations.reserve(caller, None, decision_id, payment("40", "bob"), plane.now_us))
    fleet.followers[0].tell(settled_in_full(decision_id, 4_000, plane.now_us))
    plane.run(fleet.reservations.cancel(caller, None, decision_id, plane.now_us))
    assert (plane.used(budget_id), plane.used(count)) == ((4_000, 0), (1, 0))


@pytest.mark.parametrize("period", ["daily", "rolling_24h", "total"])
@pytest.mark.parametrize("request_", [payment("40", "bob"), tool_call("bob")])
def test_what_is_cancelled_is_not_counted_either(
    fleet: Fleet, decision_id: str, request_: AuthorizeRequest, period: Period
) -> None:
    """Nobody was permitted anything, with an amount beside the count or without; a second time changes nothing."""
    count = fleet.budget(1, period=period, dimension="count")
    plane, caller = fleet.plane, fleet.callers[0]
    assert plane.run(fleet.reservations.reserve(caller, None, decision_id, request_, plane.now_us)).granted
    assert codes(plane.decide(tool_call("bob"))) == ["budget_exceeded"]
    for _ in range(2):
        plane.run(fleet.reservations.cancel(caller, None, decision_id, plane.now_us))
    assert plane.used(count) == (0, 0)
    assert plane.kinds().count("release") == 1
    assert plane.decide(tool_call("bob")).allowed


def test_the_followers_own_budgets_are_left_out_and_those_of_others_stand_against_it(
    fleet: Fleet, decision_id: str
) -> None:
    """The asking follower decides on its own; nobody can decide here on another's."""
    fleet.budget(1, follower=0)
    plane, (one, other) = fleet.plane, fleet.callers
    assert plane.run(fleet.reservations.reserve(one, None, decision_id, payment("40", "bob"), plane.now_us)).granted
    word = plane.run(
        fleet.reservations.reserve(other, None, plane.ids("dec", plane.now_us), payment("40", "bob"), plane.now_us)
    )
    assert [reason.code for reason in word.reasons] == ["replica_stale"]
    assert codes(plane.decide(payment("40", "bob"))) == ["replica_stale"]


def test_a_revision_that_moved_in_between_is_ruled_again(fleet: Fleet, decision_id: str) -> None:
    """In the transaction that holds."""
    plane = fleet.plane
    caller: Caller = fleet.callers[0]
    revoking, reserving = plane.together(
        plane.registry.revoke(OPERATOR, "t_one", "bob", plane.now_us),
        fleet.reservations.reserve(caller, None, decision_id, payment("1", "bob"), plane.now_us),
    )
    assert not isinstance(revoking, BaseException)
    assert isinstance(reserving, Word)
    assert [reason.code for reason in reserving.reasons] == ["identity_revoked"]

"""What a record of an ending makes of a hold, and what a follower's word makes of the one that is held for it."""

import pytest
from msgspec.structs import replace

from sidecar.core.delegation import Word
from sidecar.core.endings import ending, followed
from sidecar.core.errors import Conflict
from sidecar.core.history import Ended, Ending
from sidecar.core.reservation import Measure, Reservation, Transition, place, refund, release, settle, withdraw

FOLLOWER = "tok_1"


def word_of(*, granted: bool) -> Word:
    """A word that says no more than that."""
    return Word(
        decision_id="dec_1",
        granted=granted,
        reasons=(),
        checks=(),
        shares=(),
        expires_at_us=None,
        entity_revision=None,
        policy_revision=None,
        audit=None,
    )


def hold(follower_id: str | None = FOLLOWER, ttl_seconds: int = 20) -> Reservation:
    """A hold of 100 and one count."""
    asked = {"amount": 100, "count": 1}
    return place(
        decision_id="dec_1",
        identity_id="ann",
        currency="CAD",
        asked=asked,
        claims=(),
        now_us=0,
        ttl_seconds=ttl_seconds,
        follower_id=follower_id,
    ).reservation


def told(kind: Ending, transition: Transition, by: str = "sidecar", ts_us: int = 1) -> Ended:
    """The record of a transition, as the log of the follower has it: without the control plane's count."""
    after = transition.reservation
    measure = after.measures["amount"]
    return Ended(
        seq=1,
        ts_us=ts_us,
        kind=kind,
        decision_id="dec_1",
        identity="ann",
        state=after.state,
        measures=(("amount", measure.asked, measure.held, measure.settled, measure.refunded),),
        currency="CAD",
        late=after.late,
        by=by,
    )


PART = settle(hold(), {"amount": 30}, final=False)
ALL = settle(PART.reservation, {"amount": 70}, final=True)
BACK = refund(ALL.reservation, 10)
FREED = release(hold())
EXPIRED = Transition(replace(FREED.reservation, state="expired"))


def test_each_record_is_what_was_done() -> None:
    """From the figures before and after."""
    assert ending(hold(), told("settle", PART)) == PART
    assert ending(PART.reservation, told("settle", ALL)).reservation.measures == ALL.reservation.measures
    assert ending(ALL.reservation, told("refund", BACK)) == BACK
    assert ending(hold(), told("release", FREED)) == FREED


def test_a_hold_expires_in_time_and_before_only_at_the_word_of_its_follower() -> None:
    """Nobody else can end it early by a record that says so."""
    assert ending(hold(), told("expire", EXPIRED, ts_us=20_000_000)).changed
    assert not ending(hold(), told("expire", EXPIRED, ts_us=19_999_999)).changed
    assert not ending(hold(), told("expire", EXPIRED, by="tok_2")).changed
    assert not ending(hold(None), told("expire", EXPIRED, by=FOLLOWER)).changed
    assert ending(hold(), told("expire", EXPIRED, by=FOLLOWER)).reservation.state == "expired"


@pytest.mark.parametrize(
    ("kind", "steps"),
    [
        ("settle", (PART,)),
        ("settle", (PART, ALL)),
        ("refund", (PART, ALL, BACK)),
        ("release", (FREED,)),
        ("expire", (EXPIRED,)),
    ],
)
def test_a_followers_word_is_taken_once(kind: Ending, steps: tuple[Transition, ...]) -> None:
    """Said again it changes nothing."""
    reservation = hold()
    for step, name in zip(steps, (*("settle",) * (len(steps) - 1), kind), strict=True):
        transition = followed(reservation, told(name, step), FOLLOWER)  # type: ignore[arg-type]
        assert transition.changed
        reservation = transition.reservation
        assert not followed(reservation, told(name, step), FOLLOWER).changed  # type: ignore[arg-type]


def test_a_part_that_was_told_before_the_hold_expired_here_is_nothing_new() -> None:
    """The control plane gave up waiting, and hears of the part again."""
    expired = replace(PART.reservation, state="expired")
    assert not followed(expired, told("settle", PART), FOLLOWER).changed


@pytest.mark.parametrize(
    ("here", "kind", "there"),
    [
        (ALL.reservation, "release", FREED),
        (ALL.reservation, "settle", PART),
        (BACK.reservation, "settle", ALL),
        (FREED.reservation, "settle", ALL),
        (FREED.reservation, "expire", EXPIRED),
        (EXPIRED.reservation, "release", FREED),
    ],
)
def test_what_was_ended_otherwise_here_is_a_conflict(here: Reservation, kind: Ending, there: Transition) -> None:
    """Whoever did it."""
    with pytest.raises(Conflict):
        followed(here, told(kind, there), FOLLOWER)


def test_a_release_that_gives_back_what_was_counted_is_read_as_such() -> None:
    """Its record says that nothing is counted any more, where a release by hand leaves the count."""
    for transition, counted in ((withdraw(hold()), 0), (release(hold()), 1)):
        measures = tuple(
            (name, m.asked, m.held, m.settled, m.refunded)
            for name, m in sorted(transition.reservation.measures.items())
        )
        record = replace(told("release", transition), measures=measures)
        assert ending(hold(), record) == transition
        assert transition.reservation.measures["count"].settled == counted


def test_a_card_network_states_all_figures() -> None:
    """What it says is on hold is there after an expiry only as kept; a use that gave way is not counted."""
    before = hold(None)
    record = Ended(
        seq=1,
        ts_us=1,
        kind="restate",
        decision_id="dec_1",
        identity="ann",
        state="settled",
        measures=(("amount", 100, 0, 120, 20), ("count", 1, 0, 0, 0)),
    )
    after = ending(before, record).reservation
    assert (after.state, after.measures["amount"], after.measures["count"]) == (
        "settled",
        Measure(100, 0, 120, 20),
        Measure(1, 0, 0),
    )
    released = replace(record, state="released", measures=(("amount", 100, 0, 0, 0), ("count", 1, 0, 1, 0)))
    assert ending(before, released).reservation.state == "released"
    expired = ending(before, replace(record, kind="expire", ts_us=20_000_000)).reservation
    late = ending(expired, replace(record, measures=(("amount", 100, 0, 40, 0),), kept=60)).reservation
    assert (late.state, late.late, late.measures["amount"]) == ("settled", True, Measure(100, 0, 40))

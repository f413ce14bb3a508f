"""The life of a reservation, held against a model that keeps a list of what happened and adds it up anew each time."""

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sidecar.core.budget import AMOUNT, COUNT, Budget, Claim
from sidecar.core.errors import Conflict
from sidecar.core.reservation import (
    HeldClaim,
    Measure,
    Reservation,
    Transition,
    expire,
    place,
    refund,
    release,
    settle,
    withdraw,
)
from sidecar.core.windows import PERIODS, window_at, zone
from tests.core.builders import NOON_US, budget

TTL_SECONDS = 60
DUE_US = NOON_US + TTL_SECONDS * 1_000_000
DIMENSIONS = (AMOUNT, COUNT, "tokens", "calls")


class Event(NamedTuple):
    """Something that happened: ``figures`` are what was settled per dimension, or refunded."""

    kind: str
    figures: dict[str, int]
    final: bool = False
    held_before: Mapping[str, int] = MappingProxyType({})


class Story:
    """What a reservation must say, told from the list of its events alone."""

    def __init__(self, asked: dict[str, int]) -> None:
        """Begin with a permit."""
        self.asked = asked
        self.events: list[Event] = []

    @property
    def state(self) -> str:
        """The state after the last event that ended something."""
        state = "held" if self.open else "settled"
        for event in self.events:
            state = {"release": "released", "expire": "expired"}.get(event.kind, state)
            state = "settled" if event.final else state
        return state

    @property
    def open(self) -> list[str]:
        """The dimensions that can be settled."""
        return [name for name in self.asked if name != COUNT]

    @property
    def late(self) -> bool:
        """Whether something was settled after an expiry."""
        kinds = [event.kind for event in self.events]
        return "expire" in kinds and "settle" in kinds[kinds.index("expire") :]

    def settled(self, name: str) -> int:
        """All that was settled of a dimension, refunds not taken off."""
        parts = sum(event.figures.get(name, 0) for event in self.events if event.kind == "settle")
        return self.asked[name] if name == COUNT else parts

    def refunded(self, name: str) -> int:
        """All that was given back."""
        return sum(event.figures.get(name, 0) for event in self.events if event.kind == "refund")

    def held(self, name: str) -> int:
        """What is still reserved."""
        return self.asked[name] - self.settled(name) if self.state == "held" else 0

    def claim(self, claim: HeldClaim) -> tuple[int, int]:
        """What a claim must have settled and held."""
        if self.state == "expired" and claim.on_expiry == "settle":
            return self.asked[claim.dimension], 0
        name = claim.dimension
        return self.settled(name) - self.refunded(name), self.held(name)

    def may_settle(self, wanted: dict[str, int] | None, *, final: bool) -> bool:
        """Whether a settlement is no conflict."""
        if not self.open or self.state == "released":
            return False
        if self.state == "settled":
            return self.repeats(wanted, final=final)
        limits = {name: self.asked[name] - self.settled(name) for name in self.open}
        return all(name in limits and value <= limits[name] for name, value in (wanted or {}).items())

    def repeats(self, wanted: dict[str, int] | None, *, final: bool) -> bool:
        """Whether a settlement is the last one again."""
        endings = [event for event in self.events if event.final]
        return bool(endings) and final and endings[0].figures == {**endings[0].held_before, **(wanted or {})}

    def settle(self, wanted: dict[str, int] | None, *, final: bool) -> None:
        """Add a settlement that is allowed."""
        limits = {name: self.asked[name] - self.settled(name) for name in self.open}
        figures = {**limits, **(wanted or {})} if wanted is None or final else wanted
        self.events.append(Event("settle", figures, final, limits))


class Life(RuleBasedStateMachine):
    """Every call in any order, on reservations of any shape."""

    reservation: Reservation
    story: Story
    counters: Counter[tuple[str, str]]

    @initialize(
        asked=st.dictionaries(st.sampled_from(DIMENSIONS), st.integers(0, 6), min_size=1),
        shapes=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(PERIODS), st.booleans()), max_size=5),
    )
    def permit(self, asked: dict[str, int], shapes: list[tuple[int, str, bool]]) -> None:
        """A permit with any number of claims, none, one or several in each of its dimensions."""
        if COUNT in asked:
            asked[COUNT] = 1
        names = sorted(asked)
        claims = tuple(
            claim(
                budget(
                    f"bud_{number}",
                    dimension=names[dimension % len(names)],
                    period=period,
                    on_expiry="settle" if settles else "release",
                ),
                asked[names[dimension % len(names)]],
            )
            for number, (dimension, period, settles) in enumerate(shapes)
        )
        self.story = Story(asked)
        self.counters = Counter()
        self.book(placed(asked, *claims))

    def book(self, transition: Transition) -> None:
        """Take over a transition and add up what it posts."""
        self.reservation = transition.reservation
        for posting in transition.postings:
            self.counters[posting.claim.budget_id, "settled"] += posting.settled
            self.counters[posting.claim.budget_id, "held"] += posting.held

    def unchanged(self, transition: Transition) -> None:
        """Check that a call was a repetition."""
        assert transition == Transition(self.reservation, (), changed=False)

    @rule(
        wanted=st.none() | st.dictionaries(st.sampled_from([*DIMENSIONS, "unknown"]), st.integers(0, 6), max_size=3),
        final=st.booleans(),
    )
    def settle(self, wanted: dict[str, int] | None, *, final: bool) -> None:
        """Up to what is held or has expired, once; the same again changes nothing."""
        if not self.story.may_settle(wanted, final=final):
            with pytest.raises(Conflict):
                settle(self.reservation, wanted, final=final)
        elif self.story.state == "settled":
            self.unchanged(settle(self.reservation, wanted, final=final))
        else:
            self.story.settle(wanted, final=final)
            self.book(settle(self.reservation, wanted, final=final))
            if final:
                self.unchanged(settle(self.reservation, wanted, final=True))

    @rule()
    def release(self) -> None:
        """Only what is held; again changes nothing."""
        if not self.story.open or self.story.state not in {"held", "released"}:
            with pytest.raises(Conflict):
                release(self.reservation)
        elif self.story.state == "released":
            self.unchanged(release(self.reservation))
        else:
            self.story.events.append(Event("release", {}))
            self.book(release(self.reservation))

    @rule(early_us=st.integers(-5, 5))
    def expire(self, early_us: int) -> None:
        """Only what is held, from its time on; anything else changes nothing."""
        now_us = DUE_US - early_us
        if self.story.state != "held" or early_us > 0:
            self.unchanged(expire(self.reservation, now_us))
        else:
            self.story.events.append(Event("expire", {}))
            self.book(expire(self.reservation, now_us))

    @precondition(lambda self: AMOUNT in self.story.asked)
    @rule(amount=st.integers(0, 6))
    def refund(self, amount: int) -> None:
        """At most what is left of what was settled."""
        left = self.story.settled(AMOUNT) - self.story.refunded(AMOUNT)
        if self.story.state not in {"settled", "released"} or amount > left:
            with pytest.raises(Conflict):
                refund(self.reservation, amount)
        else:
            self.story.events.append(Event("refund", {AMOUNT: amount}))
            self.book(refund(self.reservation, amount))

    @precondition(lambda self: AMOUNT not in self.story.asked)
    @rule(amount=st.integers(0, 6))
    def refund_nothing(self, amount: int) -> None:
        """Where there is no amount, none can be given back."""
        with pytest.raises(Conflict):
            refund(self.reservation, amount)

    @invariant()
    def it_says_what_happened(self) -> None:
        """State and measures are those of the story, and nothing is lost: asked = held + settled + freed."""
        assert (self.reservation.state, self.reservation.late) == (self.story.state, self.story.late)
        assert self.reservation.measures == {
            name: Measure(asked, self.story.held(name), self.story.settled(name), self.story.refunded(name))
            for name, asked in self.story.asked.items()
        }
        for measure in self.reservation.measures.values():
            freed = measure.asked - measure.held - measure.settled
            assert freed >= 0
            assert freed == 0 or self.reservation.state != "held"
            assert 0 <= measure.refunded <= measure.settled

    @invariant()
    def claims_have_what_their_dimension_has(self) -> None:
        """Each claim has exactly the share of the story that its budget is to count."""
        for claim in self.reservation.claims:
            assert (claim.settled, claim.held) == self.story.claim(claim)

    @invariant()
    def postings_add_up_to_the_claims(self) -> None:
        """What was posted to a budget is what its claim has (I1)."""
        for claim in self.reservation.claims:
            posted = self.counters[claim.budget_id, "settled"], self.counters[claim.budget_id, "held"]
            assert posted == (claim.settled, claim.held)

    @invariant()
    def what_ended_holds_nothing(self) -> None:
        """A hold is in force in the state `held` alone."""
        if self.reservation.state != "held":
            assert [claim.held for claim in self.reservation.claims if claim.held] == []


TestLife = Life.TestCase


def claim(of: Budget, asked: int) -> Claim:
    """What a request made at noon wants of a budget."""
    return Claim(of, window_at(of.period, NOON_US, zone("UTC")), asked)


def placed(asked: dict[str, int], *claims: Claim) -> Transition:
    """The permit of a decision made at noon."""
    return place(
        decision_id="dec_1",
        identity_id="bot",
        currency="CAD" if AMOUNT in asked else None,
        asked=asked,
        claims=claims,
        now_us=NOON_US,
        ttl_seconds=TTL_SECONDS,
    )


def held(amount: int = 100, **quantities: int) -> Reservation:
    """A hold with one daily claim on its amount."""
    return placed({AMOUNT: amount, **quantities}, claim(budget(), amount)).reservation


# --- Placing


def test_a_permit_holds_what_it_asks_until_its_time_is_over() -> None:
    reservation = held()
    assert reservation.state == "held"
    assert reservation.measures == {AMOUNT: Measure(asked=100, held=100)}
    assert (reservation.created_at_us, reservation.expires_at_us) == (NOON_US, DUE_US)
    assert (reservation.currency, reservation.late, reservation.overdrawn) == ("CAD", False, False)


def test_a_permit_without_a_budget_holds_its_amount_all_the_same() -> None:
    """Or it could not be settled and refunded like any other."""
    transition = placed({AMOUNT: 100})
    assert transition.postings == ()
    assert transition.reservation.measures == {AMOUNT: Measure(100, 100)}


def test_a_count_is_settled_at_the_permit_and_never_held() -> None:
    transition = placed({AMOUNT: 100, COUNT: 1}, claim(budget("bud_2", dimension=COUNT, currency=None), 1))
    assert transition.reservation.measures[COUNT] == Measure(asked=1, held=0, settled=1)
    assert [(posting.settled, posting.held) for posting in transition.postings] == [(1, 0)]
    assert transition.reservation.state == "held"


def test_a_permit_that_only_counts_has_nothing_to_end() -> None:
    reservation = placed({COUNT: 1}, claim(budget(dimension=COUNT, currency=None), 1)).reservation
    assert (reservation.state, reservation.is_visible) == ("settled", False)
    with pytest.raises(Conflict, match="decision `dec_1` holds no amount or quantity"):
        settle(reservation, None, final=True)
    with pytest.raises(Conflict, match="decision `dec_1` holds no amount or quantity"):
        release(reservation)
    with pytest.raises(Conflict):
        refund(reservation, 0)


def test_a_limit_per_transaction_is_claimed_without_a_window() -> None:
    transition = placed({AMOUNT: 100}, claim(budget(period="per_transaction"), 100))
    assert transition.reservation.claims[0].window_start_us is None


def test_a_claim_stays_in_the_window_of_its_hold() -> None:
    """Whenever it ends."""
    reservation = expire(held(), DUE_US + 40 * 86_400_000_000).reservation
    late = settle(reservation, None, final=True)
    midnight = NOON_US - 12 * 3_600_000_000
    assert [posting.claim.window_start_us for posting in late.postings] == [midnight]


# --- Settling


def test_what_a_final_settlement_leaves_is_freed() -> None:
    transition = settle(held(), {AMOUNT: 60}, final=True)
    assert transition.reservation.measures == {AMOUNT: Measure(asked=100, held=0, settled=60)}
    assert [(posting.settled, posting.held) for posting in transition.postings] == [(60, -100)]


def test_a_part_leaves_the_rest_held() -> None:
    transition = settle(held(), {AMOUNT: 60}, final=False)
    assert transition.reservation.state == "held"
    assert transition.reservation.measures == {AMOUNT: Measure(asked=100, held=40, settled=60)}


def test_a_final_settlement_takes_all_of_what_it_does_not_name() -> None:
    reservation = settle(held(tokens=50), {"tokens": 20}, final=True).reservation
    assert reservation.measures == {AMOUNT: Measure(100, 0, 100), "tokens": Measure(50, 0, 20)}


def test_a_part_takes_nothing_of_what_it_does_not_name() -> None:
    reservation = settle(held(tokens=50), {"tokens": 20}, final=False).reservation
    assert reservation.measures == {AMOUNT: Measure(100, 100), "tokens": Measure(50, 30, 20)}


def test_the_same_settlement_again_changes_nothing() -> None:
    """Whether it names the amount or leaves it out, and after a refund as well."""
    reservation = refund(settle(held(), None, final=True).reservation, 30).reservation
    for wanted in (None, {AMOUNT: 100}):
        assert settle(reservation, wanted, final=True) == Transition(reservation, (), changed=False)


@pytest.mark.parametrize(("wanted", "final"), [({AMOUNT: 99}, True), ({AMOUNT: 100}, False), (None, False)])
def test_another_settlement_of_a_settled_reservation_is_a_conflict(
    wanted: dict[str, int] | None, *, final: bool
) -> None:
    reservation = settle(held(), None, final=True).reservation
    with pytest.raises(Conflict):
        settle(reservation, wanted, final=final)


@pytest.mark.parametrize(
    ("wanted", "field"),
    [({AMOUNT: 101}, "amount"), ({"tokens": 51}, "quantities.tokens"), ({"calls": 0}, "quantities.calls")],
)
def test_more_than_is_held_is_a_conflict_that_names_the_field(wanted: dict[str, int], field: str) -> None:
    """Of what was never asked nothing is held, so not even nothing can be settled of it."""
    with pytest.raises(Conflict) as caught:
        settle(held(tokens=50), wanted, final=True)
    assert caught.value.field == field


def test_parts_and_the_last_settlement_add_up() -> None:
    reservation = held()
    for part in (10, 20, 30):
        reservation = settle(reservation, {AMOUNT: part}, final=False).reservation
    assert settle(reservation, None, final=True).reservation.measures == {AMOUNT: Measure(100, 0, 100)}
    assert settle(reservation, {AMOUNT: 0}, final=True).reservation.measures == {AMOUNT: Measure(100, 0, 60)}


# --- Releasing, expiring, refunding


def test_a_released_reservation_can_no_longer_be_settled() -> None:
    reservation = release(held()).reservation
    with pytest.raises(Conflict, match="the reservation of `dec_1` is already `released`"):
        settle(reservation, None, final=True)


def test_a_release_frees_what_is_held_and_keeps_the_parts_that_were_settled() -> None:
    reservation = settle(held(), {AMOUNT: 60}, final=False).reservation
    transition = release(reservation)
    assert transition.reservation.measures == {AMOUNT: Measure(asked=100, held=0, settled=60)}
    assert [(posting.settled, posting.held) for posting in transition.postings] == [(0, -40)]


@pytest.mark.parametrize(
    "ended", [settle(held(), None, final=True), expire(held(), DUE_US)], ids=["settled", "expired"]
)
def test_what_has_ended_otherwise_cannot_be_released(ended: Transition) -> None:
    with pytest.raises(Conflict):
        release(ended.reservation)


@pytest.mark.parametrize(("now_us", "state"), [(DUE_US - 1, "held"), (DUE_US, "expired")])
def test_a_hold_expires_at_its_time_and_not_before(now_us: int, state: str) -> None:
    assert expire(held(), now_us).reservation.state == state


@pytest.mark.parametrize(("on_expiry", "posted"), [("release", (0, -100)), ("settle", (100, -100))])
def test_the_budget_says_whether_an_expired_claim_is_freed_or_settled(on_expiry: str, posted: tuple[int, int]) -> None:
    reservation = placed({AMOUNT: 100}, claim(budget(on_expiry=on_expiry), 100)).reservation
    transition = expire(reservation, DUE_US)
    assert [(posting.settled, posting.held) for posting in transition.postings] == [posted]
    assert transition.reservation.measures == {AMOUNT: Measure(asked=100, held=0)}


def test_what_is_settled_after_the_expiry_is_recorded_and_marked_late() -> None:
    """The money has moved."""
    transition = settle(expire(held(), DUE_US).reservation, {AMOUNT: 80}, final=True)
    assert (transition.reservation.state, transition.reservation.late) == ("settled", True)
    assert [(posting.settled, posting.held) for posting in transition.postings] == [(80, 0)]


def test_several_captures_after_the_expiry_are_all_recorded() -> None:
    """Each is money that has moved, so a first part must not shut out the second."""
    reservation = expire(held(), DUE_US).reservation
    for settled in (30, 60):
        reservation = settle(reservation, {AMOUNT: 30}, final=False).reservation
        assert (reservation.state, reservation.late) == ("expired", True)
        assert reservation.measures == {AMOUNT: Measure(100, 0, settled)}
    assert settle(reservation, None, final=True).reservation.measures == {AMOUNT: Measure(100, 0, 100)}


def test_a_claim_that_was_settled_at_the_expiry_is_set_right_by_the_last_settlement() -> None:
    reservation = placed({AMOUNT: 100}, claim(budget(on_expiry="settle"), 100)).reservation
    part = settle(expire(reservation, DUE_US).reservation, {AMOUNT: 30}, final=False)
    assert part.postings == ()
    last = settle(part.reservation, {AMOUNT: 30}, final=True)
    assert [(posting.settled, posting.held) for posting in last.postings] == [(-40, 0)]


def test_more_than_was_asked_cannot_be_settled_late() -> None:
    with pytest.raises(Conflict):
        settle(expire(held(), DUE_US).reservation, {AMOUNT: 101}, final=True)


def test_a_refund_gives_the_budget_back_what_it_takes_from_the_settlement() -> None:
    transition = refund(settle(held(), None, final=True).reservation, 30)
    assert transition.reservation.measures == {AMOUNT: Measure(asked=100, held=0, settled=100, refunded=30)}
    assert [(posting.settled, posting.held) for posting in transition.postings] == [(-30, 0)]


def test_no_more_than_was_settled_can_be_refunded() -> None:
    reservation = refund(settle(held(), {AMOUNT: 60}, final=True).reservation, 40).reservation
    with pytest.raises(Conflict, match="cannot refund `21` minor units, `20` are settled") as caught:
        refund(reservation, 21)
    assert caught.value.field == "amount"


@pytest.mark.parametrize("unsettled", [held(), expire(held(), DUE_US).reservation])
def test_only_what_has_ended_by_a_call_can_be_refunded(unsettled: Reservation) -> None:
    with pytest.raises(Conflict, match=f"`{unsettled.state}`"):
        refund(unsettled, 1)


def test_what_was_settled_before_a_release_can_be_refunded() -> None:
    parted = settle(held(), {AMOUNT: 60}, final=False).reservation
    transition = refund(release(parted).reservation, 60)
    assert transition.reservation.state == "released"
    assert transition.reservation.measures == {AMOUNT: Measure(asked=100, held=0, settled=60, refunded=60)}
    with pytest.raises(Conflict, match="`0` are settled"):
        refund(release(held()).reservation, 1)


def test_quantities_are_not_refunded() -> None:
    reservation = settle(placed({"tokens": 50}).reservation, None, final=True).reservation
    with pytest.raises(Conflict, match="holds no amount"):
        refund(reservation, 0)


def test_what_nobody_was_told_of_is_withdrawn_with_its_count() -> None:
    """Once; and where something was settled, somebody was told of it, so that it stays counted."""
    for asked in ({AMOUNT: 100, COUNT: 1}, {COUNT: 1}):
        held = placed(asked).reservation
        withdrawn = withdraw(held).reservation
        assert withdrawn.state == "released"
        assert {(measure.held, measure.settled) for measure in withdrawn.measures.values()} == {(0, 0)}
        assert not withdraw(withdrawn).changed
    part = settle(placed({AMOUNT: 100, COUNT: 1}).reservation, {AMOUNT: 10}, final=False).reservation
    left = withdraw(part).reservation
    assert (left.measures[AMOUNT], left.measures[COUNT]) == (Measure(100, 0, 10), Measure(1, 0, 1))
    assert not withdraw(settle(part, None, final=True).reservation).changed

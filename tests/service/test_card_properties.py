"""Card events on a real store against an obvious model: any order and repetition ends in the same booked sums.

One authorization is told several times over, each time of another card with budgets of its own, in another order. The
model adds up what was told and knows nothing of reservations. Every call is in the same hour.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.core.budget import OnExpiry
from sidecar.core.card_events import CardEvent, Moved, Standing, Swipe
from sidecar.core.windows import Period
from tests.service.builders import DAY, World, limit
from tests.service.histories import chronicle, prove
from tests.service.terminal import Terminal, capture, refund, standing

LARGEST: Final = 2_000
"""What one request may be, in cents; a limit per transaction denies what is more."""

WIDE: Final[tuple[tuple[Period, OnExpiry], ...]] = (
    ("hourly", "release"),
    ("daily", "settle"),
    ("rolling_24h", "release"),
    ("total", "release"),
)

Fact = Swipe | CardEvent


class Sums(NamedTuple):
    """What every wide budget must have, and how often the card was used."""

    settled: int
    held: int
    uses: int


def model(facts: Sequence[Fact]) -> Sums:
    """Add up what was told."""
    asked = {each.event_id: each for each in facts if isinstance(each, Swipe) and each.amount_minor <= LARGEST}
    events = {each.event_id: each for each in facts if isinstance(each, CardEvent)}
    moved = {move.id: move for event in events.values() for move in event.moved}
    captured = sum(move.amount_minor for move in moved.values() if move.kind == "capture")
    refunded = sum(move.amount_minor for move in moved.values() if move.kind == "refund")
    settled = max(0, captured - refunded)
    if not asked:
        return Sums(settled, 0, int(captured > 0))
    said = [event.standing for event in events.values() if event.standing is not None]
    newest = max(said, key=lambda each: each.version, default=Standing(version=(0, 0, ""), authorized_minor=0))
    beyond = sum(swipe.amount_minor for swipe in asked.values() if (swipe.index or 0) >= newest.version[0])
    if newest.is_over:
        held = beyond
    elif newest.remaining_minor is not None:
        held = newest.remaining_minor + beyond
    else:
        held = max(0, (newest.authorized_minor or 0) + beyond - captured)
    room = max(0, sum(swipe.amount_minor for swipe in asked.values()) - captured)
    return Sums(settled, min(held, room), len(asked))


class Street:
    """A tenant in which each card has an identity and budgets of its own."""

    def __init__(self, world: World) -> None:
        """Make the tenant."""
        self.terminal = Terminal(world)
        self.world = world
        self.cards = 0

    def outlived(self, facts: Sequence[Fact], at: int) -> list[tuple[int, int]]:
        """Let 31 days pass before the fact at this place; returns what a budget of either `on_expiry` has."""
        self.cards += 1
        name, world = f"b{self.cards}", self.world
        world.identity(name)
        self.terminal.card(f"ic_{name}", name)
        expiries: tuple[OnExpiry, ...] = ("release", "settle")
        drafts = [limit(10_000, name, period="total", on_expiry=on_expiry) for on_expiry in expiries]
        budgets = [world.budget(draft).budget.budget_id for draft in drafts]
        world.budget(limit("20", name, period="per_transaction"))
        for place, fact in enumerate(facts):
            if place == at:
                world.now_us += 31 * DAY
            self.tell(name, fact)
        world.now_us += 31 * DAY
        world.expire()
        return [world.used(budget) for budget in budgets]

    def told(self, facts: Sequence[Fact]) -> tuple[list[tuple[int, int]], int]:
        """Let a card of its own be told these facts; returns what its wide budgets have, and its uses."""
        self.cards += 1
        number, world = self.cards, self.world
        name = f"a{number}"
        world.identity(name)
        self.terminal.card(f"ic_{name}", name)
        budgets = [limit(10_000, name, period=period, on_expiry=on_expiry) for period, on_expiry in WIDE]
        wide = [world.budget(draft).budget.budget_id for draft in budgets]
        world.budget(limit("20", name, period="per_transaction"))
        uses = world.budget(limit(100, name, dimension="count", period="total")).budget.budget_id
        for fact in facts:
            world.now_us += 1
            self.tell(name, fact)
        return [world.used(budget) for budget in wide], world.used(uses)[0]

    def tell(self, name: str, fact: Fact) -> None:
        """Tell one of them, with ids of this card."""
        ids = {"card": f"ic_{name}", "authorization_id": f"i_{name}", "event_id": f"{name}_{fact.event_id}"}
        if isinstance(fact, Swipe):
            self.terminal.ask(msgspec.structs.replace(fact, **ids))
            return
        moved = tuple(msgspec.structs.replace(each, id=f"{name}_{each.id}") for each in fact.moved)
        self.terminal.tell(msgspec.structs.replace(fact, moved=moved, **ids))


@st.composite
def lives(draw: st.DrawFn, terminal: Terminal) -> list[Fact]:
    """The life of one authorization: requests, and events that say where it stands or what moved."""
    amounts = st.integers(0, 2_500)
    facts: list[Fact] = [terminal.swipe(draw(amounts), index) for index in range(draw(st.integers(0, 3)))]
    moves: list[Moved] = [capture(draw(amounts), f"c{each}") for each in range(draw(st.integers(0, 3)))]
    moves += [refund(draw(amounts), f"r{each}") for each in range(draw(st.integers(0, 2)))]
    for at in range(draw(st.integers(1, 5))):
        figure, is_rest = draw(amounts), draw(st.booleans())
        given_ = (None, figure) if is_rest else (figure, None)
        say = standing(draw(st.integers(0, 3)), at, *given_, over=draw(st.integers(0, 3)) == 0)
        told = draw(st.lists(st.sampled_from(moves), unique=True, max_size=2)) if moves else []
        facts.append(terminal.event(*told, say=draw(st.sampled_from((None, say))), event_id=f"evt_{at}"))
    return facts


@given(data=st.data())
@settings(max_examples=12, suppress_health_check=list(HealthCheck))
def test_any_order_and_repetition_books_the_same(data: st.DataObject) -> None:
    """Requests come in any order among the events too; what is denied is denied for its amount alone."""
    with tempfile.TemporaryDirectory() as folder, World(Path(folder)) as world:
        street = Street(world)
        facts = data.draw(lives(street.terminal))
        expected = model(facts)
        for _ in range(3):
            order = data.draw(st.permutations([*facts, *data.draw(st.lists(st.sampled_from(facts), max_size=3))]))
            used, uses = street.told(order)
            assert (used, uses) == ([expected[:2]] * len(WIDE), expected.uses)
        assert world.faults() == []
        proof = prove(chronicle(world))
        assert proof.difference is None, proof.difference.sentence


@given(data=st.data())
@settings(max_examples=8, suppress_health_check=list(HealthCheck))
def test_when_time_ends_a_hold_changes_no_sum(data: st.DataObject) -> None:
    """What is told before and after it comes to the same, also in a budget that settles at expiry."""
    with tempfile.TemporaryDirectory() as folder, World(Path(folder)) as world:
        street = Street(world)
        facts = data.draw(lives(street.terminal))
        requests = [fact for fact in facts if isinstance(fact, Swipe)]
        settled, kept, _ = model(facts)
        for _ in range(3):
            events = data.draw(st.permutations([fact for fact in facts if isinstance(fact, CardEvent)]))
            at = data.draw(st.integers(len(requests), len(facts)))
            assert street.outlived([*requests, *events], at) == [(settled, 0), (settled + kept, 0)]
        assert world.faults() == []
        proof = prove(chronicle(world))
        assert proof.difference is None, proof.difference.sentence

"""What a dossier comes to: a pure function of what was told, whatever the order and however often it came."""

from itertools import permutations
from typing import TypeAlias

import hypothesis.strategies as st
import pytest
from hypothesis import given
from msgspec import structs

from sidecar.core.card_authorization import (
    SUM_MINOR_MAX,
    CardAuthorization,
    Opening,
    Place,
    Request,
    Share,
    asked,
    opened,
    place_of_request,
    require_room,
    shares_of,
    told,
)
from sidecar.core.card_events import Moved, Standing
from sidecar.core.errors import Conflict

Fact: TypeAlias = Request | Standing | Moved

EMPTY = CardAuthorization(
    network="stripe", authorization_id="iauth_1", currency="CAD", program_id="cprg_1", card_id="card_1"
)


def request(index: int, amount_minor: int, *, allowed: bool = True, is_sure: bool = True) -> Request:
    """A request, and its decision."""
    return Request(decision_id=f"dec_{index}", index=index, amount_minor=amount_minor, allowed=allowed, is_sure=is_sure)


def capture(amount_minor: int, name: str = "c") -> Moved:
    """Money that was captured."""
    return Moved(kind="capture", id=name, amount_minor=amount_minor)


def refund(amount_minor: int, name: str = "r") -> Moved:
    """Money that was given back."""
    return Moved(kind="refund", id=name, amount_minor=amount_minor)


def says(
    requests: int, at_us: int, authorized: int | None = None, remaining: int | None = None, *, over: bool = False
) -> Standing:
    """What the network says of the whole."""
    return Standing(version=(requests, at_us, ""), authorized_minor=authorized, remaining_minor=remaining, is_over=over)


def gathered(*facts: Fact) -> CardAuthorization:
    """The dossier after these facts; movements count once, as the store sees to."""
    dossier, known = EMPTY, set()
    for fact in facts:
        match fact:
            case Request():
                if fact not in dossier.requests:
                    dossier = asked(dossier, fact)
            case Standing():
                dossier = told(dossier, fact, ())
            case _:
                dossier = told(dossier, None, () if fact.id in known else (fact,))
                known.add(fact.id)
        if dossier.lacks_opening:
            dossier = opened(dossier, Opening(decision_id="dec_forced", amount_minor=dossier.captured_minor))
    return dossier


def figures(*facts: Fact) -> dict[str, tuple[int, int, int]]:
    """Held, settled and refunded of each reservation."""
    return {key: (share.held, share.settled, share.refunded) for key, share in shares_of(gathered(*facts)).items()}


FIRST, SECOND = request(0, 1_000), request(1, 500)
UNSURE = request(1, 500, is_sure=False)
"""A second request by our count alone."""


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ((FIRST,), {"dec_0": (1_000, 0, 0)}),
        ((FIRST, capture(300)), {"dec_0": (700, 300, 0)}),
        ((FIRST, SECOND), {"dec_0": (1_000, 0, 0), "dec_1": (500, 0, 0)}),
        ((FIRST, SECOND, capture(1_200)), {"dec_0": (0, 1_000, 0), "dec_1": (300, 200, 0)}),
        ((FIRST, SECOND, capture(1_700)), {"dec_0": (0, 1_000, 0), "dec_1": (0, 700, 0)}),
        ((FIRST, SECOND, capture(1_200), refund(400)), {"dec_0": (0, 1_000, 200), "dec_1": (300, 200, 200)}),
        ((FIRST, SECOND, says(2, 1, 1_200)), {"dec_0": (1_000, 0, 0), "dec_1": (200, 0, 0)}),
        ((FIRST, SECOND, says(1, 1, 800)), {"dec_0": (1_000, 0, 0), "dec_1": (300, 0, 0)}),
        ((FIRST, says(1, 1, None, 100), capture(300)), {"dec_0": (100, 300, 0)}),
        ((FIRST, says(1, 1, 1_000, over=True), capture(300)), {"dec_0": (0, 300, 0)}),
        ((FIRST, says(1, 1, 5_000)), {"dec_0": (1_000, 0, 0)}),
        ((FIRST, says(1, 2, 300), says(1, 1, 900)), {"dec_0": (300, 0, 0)}),
        ((FIRST, refund(300)), {"dec_0": (1_000, 0, 0)}),
        ((FIRST, request(1, 500, allowed=False)), {"dec_0": (1_000, 0, 0)}),
        ((request(0, 500, allowed=False), capture(700)), {"dec_forced": (0, 700, 0)}),
        ((capture(700), capture(100, "d"), refund(200)), {"dec_forced": (0, 800, 200)}),
        ((capture(700), FIRST), {"dec_0": (300, 700, 0), "dec_forced": (0, 0, 0)}),
        ((refund(700),), {}),
        ((says(1, 1, 900),), {}),
        ((FIRST, says(1, 1, over=True)), {"dec_0": (0, 0, 0)}),
        ((FIRST, says(0, 1, remaining=0)), {"dec_0": (1_000, 0, 0)}),
        ((FIRST, says(1, 1, over=True), SECOND), {"dec_0": (500, 0, 0), "dec_1": (0, 0, 0)}),
        ((FIRST, capture(1_000), says(1, 1, over=True), SECOND), {"dec_0": (0, 1_000, 0), "dec_1": (500, 0, 0)}),
        ((FIRST, SECOND, says(2, 1, over=True)), {"dec_0": (0, 0, 0), "dec_1": (0, 0, 0)}),
        ((FIRST, UNSURE, says(1, 1, over=True)), {"dec_0": (0, 0, 0), "dec_1": (0, 0, 0)}),
        ((FIRST, UNSURE, says(1, 1, 1_000)), {"dec_0": (1_000, 0, 0), "dec_1": (500, 0, 0)}),
    ],
)
def test_a_story_comes_to_its_figures(facts: tuple[Fact, ...], expected: dict[str, tuple[int, int, int]]) -> None:
    assert figures(*facts) == expected


def test_a_request_stands_where_the_network_counts_it_else_where_it_was_asked() -> None:
    """One that comes after all was said to be over is none of those that the saying covers."""
    assert place_of_request(gathered(FIRST), 7) == Place(7, is_sure=True)
    assert place_of_request(gathered(FIRST), None) == Place(1, is_sure=False)
    assert place_of_request(gathered(FIRST, says(1, 1, 900)), None) == Place(1, is_sure=False)
    assert place_of_request(gathered(FIRST, SECOND, says(1, 1, over=True)), None) == Place(2, is_sure=True)
    assert place_of_request(gathered(FIRST, says(3, 1, over=True)), None) == Place(3, is_sure=True)


def test_what_gave_way_is_not_counted() -> None:
    assert shares_of(gathered(capture(700), FIRST))["dec_forced"] == Share(counts=False)


def test_shares_are_those_of_the_last_booking() -> None:
    assert gathered(FIRST, request(1, 5, allowed=False)).shares == {"dec_0": Share(held=1_000)}
    assert gathered(capture(5)).shares == {"dec_forced": Share(settled=5)}


def test_an_authorization_has_a_largest_number_of_requests() -> None:
    full = gathered(*(request(index, 1) for index in range(100)))
    require_room(gathered(*(request(index, 1) for index in range(99))))
    with pytest.raises(Conflict):
        require_room(full)


def test_sums_end_where_a_record_does() -> None:
    dossier = gathered(
        *(capture(10**15, f"c{each}") for each in range(10)), *(refund(10**15, f"r{each}") for each in range(10))
    )
    assert (dossier.captured_minor, dossier.refunded_minor) == (SUM_MINOR_MAX, SUM_MINOR_MAX)


@st.composite
def stories(draw: st.DrawFn) -> list[Fact]:
    """Requests, what is said of them at different times, and movements."""
    amounts = st.integers(0, 30)
    requests: list[Fact] = [
        request(index, draw(amounts), allowed=draw(st.sampled_from((True, True, False))), is_sure=draw(st.booleans()))
        for index in range(draw(st.integers(0, 3)))
    ]
    standings: list[Fact] = []
    for at_us in range(draw(st.integers(0, 3))):
        figure, is_rest = draw(amounts), draw(st.booleans())
        given_ = (None, figure) if is_rest else (figure, None)
        standings.append(says(draw(st.integers(0, 3)), at_us, *given_, over=draw(st.booleans())))
    captures: list[Fact] = [capture(draw(amounts), f"c{each}") for each in range(draw(st.integers(0, 3)))]
    refunds: list[Fact] = [refund(draw(amounts), f"r{each}") for each in range(draw(st.integers(0, 2)))]
    return [*requests, *standings, *captures, *refunds]


def totals(dossier: CardAuthorization) -> tuple[int, int, bool, int]:
    """What all reservations have, and how often the authorization counts as a use."""
    shares = shares_of(dossier)
    held = sum(share.held for share in shares.values())
    net = sum(share.settled - share.refunded for share in shares.values())
    return held, net, any(share.is_over for share in shares.values()), sum(share.counts for share in shares.values())


@given(stories(), st.data())
def test_any_order_and_repetition_ends_in_the_same_sums(facts: list[Fact], data: st.DataObject) -> None:
    """Requests too may come in any order among what is told of them."""
    shuffled = data.draw(
        st.permutations([*facts, *data.draw(st.lists(st.sampled_from(facts)) if facts else st.just([]))])
    )
    assert totals(gathered(*shuffled)) == totals(gathered(*facts))


@given(stories(), st.data())
def test_events_in_any_order_end_in_the_same_figures(facts: list[Fact], data: st.DataObject) -> None:
    """Where the requests came in their order, each reservation has the same, not only all together."""
    requests = [fact for fact in facts if isinstance(fact, Request)]
    events = data.draw(st.permutations([fact for fact in facts if not isinstance(fact, Request)]))
    assert figures(*requests, *events) == figures(*facts)


@given(stories())
def test_shares_stay_within_what_was_asked_and_told(facts: list[Fact]) -> None:
    dossier = gathered(*facts)
    shares, captured = shares_of(dossier), dossier.captured_minor
    for each in dossier.permitted:
        share = shares[each.decision_id]
        assert share.held + min(share.settled, each.amount_minor) <= each.amount_minor
        assert share.refunded <= share.settled
    assert sum(share.settled for share in shares.values()) == (captured if shares else 0)
    assert sum(share.refunded for share in shares.values()) == (min(captured, dossier.refunded_minor) if shares else 0)


def test_every_order_of_one_authorization() -> None:
    """Increment, partial reversal, two captures and a refund, in all 720 orders."""
    facts: tuple[Fact, ...] = (FIRST, SECOND, says(2, 1, 1_200), capture(600, "a"), capture(300, "b"), refund(100))
    assert {totals(gathered(*order)) for order in permutations(facts)} == {(300, 800, False, 2)}


def test_within_one_second_what_left_less_is_the_newer() -> None:
    """Networks write whole seconds, and ids of events have no order: a reversal of the same second must not be lost."""
    created, less, over = says(1, 7, 1_000), says(1, 7, 600), says(1, 7, 600, over=True)
    ids = iter("zyxwvu")
    for order in permutations((created, less, over)):
        named = [structs.replace(each, version=(1, 7, next(ids, "a"))) for each in order]
        dossier = gathered(FIRST, *named)
        assert dossier.standing is not None
        assert dossier.standing.is_over
    assert gathered(FIRST, less, created).standing == less
    assert figures(FIRST, over, created, less)["dec_0"][0] == 0

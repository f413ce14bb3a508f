"""Cards: what holds for one, which requests it takes, and that no card number gets in."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.budget import terms_of
from sidecar.core.cards import (
    Card,
    CardState,
    ExternalRef,
    apparent_state,
    closed,
    frozen,
    is_bound,
    is_foreign,
    refuse_number,
    refused_category,
    state_of,
    thawed,
)
from sidecar.core.directory import IdentityChain
from sidecar.core.errors import Conflict, ValidationFailed
from tests.core.builders import CHAIN, budget, chain, purchase, tool_call

CARD = Card(
    card_id="card_1", identity_id="team", currency="CAD", created_at_us=0, thawed_revision=10, revision=10, last4="4242"
)
NAMES = frozenset({"card.authorize", "spend"})


def card(**changes: object) -> Card:
    """``CARD`` with changes."""
    return msgspec.structs.replace(CARD, **changes)


def marked(**marks: int) -> IdentityChain:
    """``CHAIN`` with marks of the kill switch, by id."""
    return tuple(
        msgspec.structs.replace(each, killed_revision=marks.get(each.identity_id, each.killed_revision))
        for each in CHAIN
    )


@pytest.mark.parametrize("status", ["frozen", "closed"])
def test_a_cards_own_flag_comes_first(status: str) -> None:
    assert state_of(card(status=status), marked(team=11)) == CardState(card(status=status).status)


@pytest.mark.parametrize("holder", ["team", "boss"])
def test_a_newer_mark_on_the_cards_identity_or_above_freezes_it(holder: str) -> None:
    chain = marked(**{holder: 11})
    found = state_of(CARD, chain)
    assert found.status == "frozen"
    assert found.identity is not None
    assert found.identity.identity_id == holder


def test_an_older_mark_and_one_of_the_same_moment_leave_a_card_active() -> None:
    assert state_of(CARD, marked(team=10, boss=3)) == CardState("active")


def test_a_mark_on_a_descendant_who_borrows_the_card_leaves_it_active() -> None:
    assert state_of(CARD, marked(bot=99)) == CardState("active")


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 20))
def test_a_card_is_frozen_by_exactly_the_marks_that_are_newer_than_its_thaw(team: int, boss: int, thaw: int) -> None:
    found = state_of(card(thawed_revision=thaw), marked(team=team, boss=boss)).status
    assert found == ("frozen" if max(team, boss) > thaw else "active")


@pytest.mark.parametrize("status", ["suspended", "revoked"])
def test_a_card_shows_as_frozen_while_somebody_on_the_way_up_is_blocked(status: str) -> None:
    """A decision names who is blocked, so it asks for the card's own state."""
    blocked = chain(boss=status)
    found = apparent_state(CARD, blocked)
    assert found.status == "frozen"
    assert found.identity is not None
    assert found.identity.identity_id == "boss"
    assert state_of(CARD, blocked) == CardState("active")
    assert apparent_state(card(status="closed"), blocked) == CardState("closed")
    assert apparent_state(CARD, chain()) == CardState("active")


def test_a_card_is_bound_to_its_identity_and_to_everybody_below() -> None:
    assert is_bound(CARD, CHAIN)
    assert is_bound(CARD, CHAIN[1:])
    assert not is_bound(CARD, CHAIN[2:])


def test_freezing_thawing_and_closing_change_what_they_say() -> None:
    assert frozen(CARD).status == "frozen"
    assert frozen(frozen(CARD)) == frozen(CARD)
    assert (thawed(frozen(CARD), 12).status, thawed(frozen(CARD), 12).thawed_revision) == ("active", 12)
    assert closed(CARD).status == "closed"
    assert closed(closed(CARD)) == closed(CARD)


def test_what_is_closed_stays_closed() -> None:
    with pytest.raises(Conflict, match="cannot be frozen"):
        frozen(closed(CARD))
    with pytest.raises(Conflict, match="cannot be unfrozen"):
        thawed(closed(CARD), 12)


def test_a_card_without_categories_takes_every_one() -> None:
    assert refused_category(CARD, purchase()) is None


def test_a_card_takes_only_its_categories_and_says_what_it_got() -> None:
    limited = card(allowed_mccs=("5814", "7372"))
    assert refused_category(limited, purchase(merchant_category="7372")) is None
    other = refused_category(limited, purchase(merchant_category="5732"))
    assert other == "`allowed_mccs` of card `card_1` requires one of `5814`, `7372`, got `5732`"
    assert refused_category(limited, purchase()) is not None
    assert "got no `merchant_category`" in str(refused_category(limited, purchase()))


def test_a_card_is_foreign_to_a_currency_that_neither_it_nor_a_budget_of_it_has() -> None:
    dollars = budget(identity_id=None, card_id="card_1", currency="USD")
    assert not is_foreign(CARD, purchase(), ())
    assert not is_foreign(CARD, tool_call(), ())
    assert is_foreign(CARD, purchase(currency="USD"), ())
    assert not is_foreign(CARD, purchase(currency="USD"), terms_of((dollars,), NAMES).budgets)


@pytest.mark.parametrize(
    "changes",
    [
        {"card_id": "card_2"},
        {"dimension": "count"},
        {"actions": ("tool.call",)},
        {"card_id": None},
        {"currency": "CAD"},
        {"currency": "CAD", "on_exceeded": "track"},
        {"currency": "EUR", "on_exceeded": "notify"},
    ],
)
def test_a_budget_of_something_else_makes_no_currency_the_cards_own(changes: dict[str, object]) -> None:
    other = msgspec.structs.replace(budget(identity_id=None, card_id="card_1", currency="USD"), **changes)
    assert is_foreign(CARD, purchase(currency="USD"), terms_of((other,), NAMES).budgets)


NUMBERS = [
    "4242424242424242",
    "4242 4242 4242 4242",
    "4242-4242-4242-4242",
    "378282246310005",
    "ref:4000056655665556.",
    "6304000000000000",
    "4242.4242.4242.4242",
    "4242_4242_4242_4242",
    "4242--4242--4242--4242",
    "4:2:4:2:4:2:4:2:4:2:4:2:4:2:4:2",
    "4222222222222",
]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_card_number_is_refused_and_not_repeated(number: str) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        refuse_number(number, "external_ref.id")
    assert refusal.value.field == "external_ref.id"
    assert number not in refusal.value.message


@pytest.mark.parametrize(
    "reference",
    ["card_01J", "4242424242424241", "ic_1MvSieLkdIwHu7ixn6uuO0Xu", "550e8400-e29b-41d4-a716-446655440000", "42" * 10],
)
def test_a_reference_is_taken_as_it_is(reference: str) -> None:
    assert refuse_number(reference, "external_ref.id") == reference


def test_the_key_of_a_reference_tells_network_and_id_apart() -> None:
    assert ExternalRef("a", "b_c").key != ExternalRef("a_b", "c").key

"""Who decides on a budget is one question with one answer from each seat."""

import pytest

from sidecar.core.budget import Budget, OnExceeded
from sidecar.core.delegation import HOME, Place, Referral, Seat, place_of
from tests.core.test_endings import word_of


@pytest.mark.parametrize(
    ("follower_id", "seat", "place"),
    [
        (None, HOME, "here"),
        (None, Seat(at="one"), "control_plane"),
        (None, Seat(asker="one"), "here"),
        ("one", HOME, "elsewhere"),
        ("one", Seat(at="one"), "here"),
        ("one", Seat(at="two"), "elsewhere"),
        ("one", Seat(asker="one"), "asker"),
        ("one", Seat(asker="two"), "elsewhere"),
    ],
)
def test_a_budget_is_decided_in_one_place(follower_id: str | None, seat: Seat, place: Place) -> None:
    budget = Budget(
        budget_id="bud_1",
        identity_id="ann",
        name="b",
        dimension="count",
        period="daily",
        limit=1,
        currency=None,
        created_at_us=0,
        revision=1,
        follower_id=follower_id,
    )
    assert place_of(budget, seat) == place


@pytest.mark.parametrize("seat", [HOME, Seat(at="two"), Seat(asker="two"), Seat(asker="one")])
@pytest.mark.parametrize(
    ("on_exceeded", "is_here"), [("deny", True), ("track", True), ("notify", False), ("suspend", False)]
)
def test_a_limit_per_transaction_adds_up_to_nothing_and_is_decided_everywhere(
    seat: Seat, on_exceeded: OnExceeded, *, is_here: bool
) -> None:
    """Unless exceeding it has an effect: of that one server must tell, or it must have it."""
    budget = Budget(
        budget_id="bud_1",
        identity_id="ann",
        name="b",
        dimension="amount",
        period="per_transaction",
        limit=1,
        currency="CAD",
        on_exceeded=on_exceeded,
        created_at_us=0,
        revision=1,
        follower_id="one",
    )
    assert (place_of(budget, seat) == "here") is is_here


def test_a_referral_is_granted_by_a_word_that_grants() -> None:
    """Neither by a denial nor by silence."""
    assert not Referral(decision_id="dec_1", trouble="no answer").is_granted
    assert Referral(decision_id="dec_1", word=word_of(granted=True)).is_granted
    assert not Referral(decision_id="dec_1", word=word_of(granted=False)).is_granted

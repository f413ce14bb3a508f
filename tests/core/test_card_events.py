"""What the words of a card network are made of, and what cannot be said in them."""

import msgspec
import pytest

from sidecar.core.card_events import CardEvent, Merchant, Moved, Standing, Swipe, check_event, check_swipe
from sidecar.core.errors import ValidationFailed

SHOP = Merchant(name="AWS", category="5734")
SWIPE = Swipe(
    network="lithic",
    event_id="tok_1",
    authorization_id="auth_1",
    index=0,
    card="card_1",
    amount_minor=500,
    currency="CAD",
    merchant=SHOP,
)
CAPTURE = Moved(kind="capture", id="m_1", amount_minor=5)
STANDING = Standing(version=(1, 9, "evt_9"), authorized_minor=5)
EVENT = CardEvent(
    network="lithic",
    event_id="evt_1",
    type="transaction.updated",
    card="card_1",
    authorization_id="auth_1",
    currency="CAD",
    standing=STANDING,
    moved=(CAPTURE,),
    merchant=SHOP,
)


def test_of_two_standings_the_one_that_covers_more_requests_is_the_newer() -> None:
    early = Standing(version=(1, 9, "evt_9"), authorized_minor=5)
    late = Standing(version=(2, 3, "evt_3"), authorized_minor=7)
    assert max((early, late), key=lambda each: each.version) is late


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"event_id": ""}, "event_id"),
        ({"authorization_id": "a\nb"}, "authorization_id"),
        ({"card": "c" * 513}, "card"),
        ({"merchant": Merchant(name="\x00")}, "merchant"),
        ({"currency": "cad"}, "currency"),
        ({"amount_minor": -1}, "amount"),
        ({"amount_minor": 10**15 + 1}, "amount"),
        ({"index": -1}, "index"),
    ],
)
def test_a_swipe_that_cannot_be(changes: dict[str, object], field: str) -> None:
    check_swipe(SWIPE)
    with pytest.raises(ValidationFailed) as caught:
        check_swipe(msgspec.structs.replace(SWIPE, **changes))
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"event_id": ""}, "event_id"),
        ({"type": "\n"}, "type"),
        ({"card": ""}, "card"),
        ({"authorization_id": ""}, "authorization_id"),
        ({"merchant": Merchant(name="")}, "merchant"),
        ({"currency": "ZZZ"}, "currency"),
        ({"moved": (CAPTURE,) * 101}, "moved"),
        ({"moved": (Moved(kind="refund", id="", amount_minor=5),)}, "moved"),
        ({"moved": (Moved(kind="refund", id="r", amount_minor=-5),)}, "moved"),
        ({"standing": Standing(version=(-1, 0, "e"), authorized_minor=5)}, "standing"),
        ({"standing": Standing(version=(1, 2**53, "e"), authorized_minor=5)}, "standing"),
        ({"standing": Standing(version=(1, 0, ""), authorized_minor=5)}, "standing"),
        ({"standing": Standing(version=(1, 0, "e"), authorized_minor=-5)}, "standing"),
        ({"standing": Standing(version=(1, 0, "e"), authorized_minor=5, remaining_minor=5)}, "standing"),
        ({"standing": Standing(version=(1, 0, "e"))}, "standing"),
    ],
)
def test_an_event_that_cannot_be(changes: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        check_event(msgspec.structs.replace(EVENT, **changes))
    assert caught.value.field == field


def test_an_event_may_say_little() -> None:
    check_event(EVENT)
    check_event(CardEvent(network="stripe", event_id="evt_1", type="x"))
    check_event(msgspec.structs.replace(EVENT, standing=Standing(version=(1, 0, "e"), is_over=True)))


@pytest.mark.parametrize(
    ("changes", "is_idle", "captures"),
    [
        ({}, False, True),
        ({"moved": ()}, False, False),
        ({"moved": (Moved(kind="refund", id="r", amount_minor=5),), "standing": None}, False, False),
        ({"moved": (), "standing": None}, True, False),
        ({"authorization_id": None}, True, False),
        ({"currency": None}, True, False),
    ],
)
def test_what_an_event_is_about(changes: dict[str, object], is_idle: bool, captures: bool) -> None:  # noqa: FBT001
    event = msgspec.structs.replace(EVENT, **changes)
    assert (event.is_idle, event.captures) == (is_idle, captures)

"""What a card network says, in words of our own: a swipe that asks to be decided, and an event that tells what became.

The words are chosen so that the order in which events come does not matter: whatever an event does carries an id of
its own, and what a network says of the whole authorization carries the place of that saying. ``Swipe`` and
``CardEvent`` are made by the door of each network, which alone knows the network's own words. Amounts are minor units
of ``currency``, never negative.
"""

from typing import Literal, TypeAlias

import msgspec

Network = Literal["stripe", "lithic"]
"""A card network that has a door here; the ``network`` of a card's ``external_ref``."""


class Merchant(msgspec.Struct, frozen=True, kw_only=True):
    """Who is paid, as the network calls it. ``category`` is the merchant category code of four digits."""

    name: str
    category: str | None = None


class Swipe(msgspec.Struct, frozen=True, kw_only=True):
    """A request to decide now: the first one of an authorization, or an increment of it.

    ``event_id`` is the network's own for this request, by which a repetition is known. ``index`` counts the requests of
    the authorization before this one. ``card`` is what the network calls the card.
    """

    network: Network
    event_id: str
    authorization_id: str
    index: int
    card: str
    amount_minor: int
    currency: str
    merchant: Merchant


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What the network says of an authorization as a whole; of several, that with the greatest ``version`` counts.

    ``version`` is (requests that it covers, the network's time in microseconds, id of the event). Exactly one of
    ``authorized_minor`` (all that is authorised, captured or not) and ``remaining_minor`` (what is still on hold) is
    given. ``is_over``: nothing is on hold any more, whatever is captured later.
    """

    version: tuple[int, int, str]
    authorized_minor: int | None = None
    remaining_minor: int | None = None
    is_over: bool = False


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """Money that moved: ``id`` is the network's for this movement, which counts once however often it is told."""

    kind: Literal["capture", "refund"]
    id: str
    amount_minor: int


class CardEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a network told and nobody has to decide.

    ``type`` is the network's own name of it. An event that is not understood, or that concerns no authorization, has
    ``authorization_id`` None: it is recorded and has no effect. ``merchant`` is what a capture without authorization is
    booked on.
    """

    network: Network
    event_id: str
    type: str
    card: str | None = None
    authorization_id: str | None = None
    currency: str | None = None
    standing: Standing | None = None
    moved: tuple[Moved, ...] = ()
    merchant: Merchant | None = None


Told: TypeAlias = Literal["booked", "repeated", "unknown_card", "no_effect"]
"""What became of an event: booked; told before, or nothing new in it; of a card nobody knows; not about money."""


class CardProgram(msgspec.Struct, frozen=True, kw_only=True):
    """One account at a card network: whose cards it has, and by which secrets its messages are known.

    ``secrets`` are the present one and, until ``former_until_us``, the one before. They are kept in the clear, as a
    signature cannot be checked with less, in a table of their own; no answer, record or log has them.
    """

    program_id: str
    network: Network
    name: str
    secret: str
    former_secret: str | None = None
    former_until_us: int | None = None
    created_at_us: int
    rotated_at_us: int | None = None
    revision: int

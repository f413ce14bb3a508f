"""What a card network says, in words of our own: a swipe that asks to be decided, and an event that tells what became.

The words are chosen so that the order in which events come does not matter: whatever an event does carries an id of
its own, and what a network says of the whole authorization carries the place of that saying. ``Swipe`` and
``CardEvent`` are made by the door of each network, which alone knows the network's own words. Amounts are minor units
of ``currency``, never negative.
"""

from typing import Final, Literal, TypeAlias

import msgspec

from sidecar.core.currencies import places
from sidecar.core.errors import ValidationFailed
from sidecar.core.ids import check_name
from sidecar.core.money import AMOUNT_MINOR_MAX

Network = Literal["stripe", "lithic"]
"""A card network that has a door here; the ``network`` of a card's ``external_ref``."""


MOVEMENTS_MAX: Final = 100
"""Movements that one event tells of, each of which is in its audit record. Stripe tells of one, Lithic each time of all
that its transaction had."""

INDEX_MAX: Final = 10_000
"""Requests of one authorization that a network can count."""

TIME_US_MAX: Final = 2**53 - 1
"""The year 2255: beyond it a time is no number of a record."""


class Merchant(msgspec.Struct, frozen=True, kw_only=True):
    """Who is paid, as the network calls it. ``category`` is the merchant category code of four digits."""

    name: str
    category: str | None = None


class Swipe(msgspec.Struct, frozen=True, kw_only=True):
    """A request to decide now: the first one of an authorization, or an increment of it.

    ``event_id`` is the network's own for this request, by which a repetition is known. ``index`` counts the requests of
    the authorization before this one, None where the network does not say it: those that were asked here count then.
    ``card`` is what the network calls the card.
    """

    network: Network
    event_id: str
    authorization_id: str
    index: int | None
    card: str
    amount_minor: int
    currency: str
    merchant: Merchant


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What the network says of an authorization as a whole; of several, that with the greatest ``version`` counts.

    ``version`` is (requests that it covers, the network's time in microseconds, id of the event). Exactly one of
    ``authorized_minor`` (all that is authorised, captured or not) and ``remaining_minor`` (what is still on hold) is
    given, unless ``is_over``: then nothing is on hold any more, whatever is captured later.
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

    @property
    def is_idle(self) -> bool:
        """Whether it tells nothing of any money."""
        lacks_place = self.authorization_id is None or self.currency is None
        return lacks_place or (self.standing is None and not self.moved)

    @property
    def captures(self) -> bool:
        """Whether it tells of captured money."""
        return not self.is_idle and any(moved.kind == "capture" for moved in self.moved)


Told: TypeAlias = Literal["booked", "repeated", "unknown_card", "no_effect"]
"""What became of an event: booked; told before, or nothing new in it; of a card nobody knows; not about money."""


class NetworkHold(msgspec.Struct, frozen=True):
    """Which authorization at which card network a hold belongs to; the network alone says what becomes of it."""

    network: Network
    authorization_id: str


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


def check_swipe(swipe: Swipe) -> None:
    """Raise ValidationFailed, naming the field, for a text or a figure that cannot be."""
    _check_names(("event_id", swipe.event_id), ("authorization_id", swipe.authorization_id), ("card", swipe.card))
    _check_names(("merchant", swipe.merchant.name))
    _check_figure("index", swipe.index or 0, INDEX_MAX)
    _check_figure("amount", swipe.amount_minor, AMOUNT_MINOR_MAX)
    places(swipe.currency, "currency")


def check_event(event: CardEvent) -> None:
    """Raise ValidationFailed, naming the field, for a text or a figure that cannot be."""
    _check_names(("event_id", event.event_id), ("type", event.type))
    _check_names(("card", event.card), ("authorization_id", event.authorization_id))
    if event.merchant is not None:
        _check_names(("merchant", event.merchant.name))
    if event.currency is not None:
        places(event.currency, "currency")
    if len(event.moved) > MOVEMENTS_MAX:
        raise ValidationFailed(f"an event tells of at most {MOVEMENTS_MAX} movements", field="moved")
    for moved in event.moved:
        _check_names(("moved", moved.id))
        _check_figure("moved", moved.amount_minor, AMOUNT_MINOR_MAX)
    if event.standing is not None:
        _check_standing(event.standing)


def _check_standing(standing: Standing) -> None:
    requests, at_us, event_id = standing.version
    _check_figure("standing", requests, INDEX_MAX)
    _check_figure("standing", at_us, TIME_US_MAX)
    _check_names(("standing", event_id))
    given = [figure for figure in (standing.authorized_minor, standing.remaining_minor) if figure is not None]
    if len(given) > 1 or not (given or standing.is_over):
        raise ValidationFailed("what is authorised is told, or what remains of it: one of them", field="standing")
    for figure in given:
        _check_figure("standing", figure, AMOUNT_MINOR_MAX)


def _check_names(*named: tuple[str, str | None]) -> None:
    for field, text in named:
        if text is not None:
            check_name(text, field)


def _check_figure(field: str, figure: int, most: int) -> None:
    if not 0 <= figure <= most:
        raise ValidationFailed(f"expected a figure from 0 to {most}", field=field)

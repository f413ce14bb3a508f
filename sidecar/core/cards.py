"""Cards: references to payment cards, bound to an identity, that can be frozen one by one or by one mark for many.

A card here is never a card number: it is an id of ours, what the card's network calls it, and the last four digits.
The kill switch writes one mark on an identity, the tenant's revision of that moment. A card is frozen while its own
flag says so, or while an identity of its chain carries a mark newer than the card's creation and its last unfreezing;
so freezing ten thousand cards is one write, and no later card is touched. Closing is final.
"""

import re
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from sidecar.core.budget import AMOUNT, Budget
from sidecar.core.directory import Identity, IdentityChain, block_on
from sidecar.core.errors import Conflict, ValidationFailed
from sidecar.core.model import AuthorizeRequest

CardStatus = Literal["active", "frozen", "closed"]
"""What holds for a card."""

CARDS_LISTED_MAX: Final = 1_000
"""Ids of cards that the answer of the kill switch names; it freezes any number."""

MCCS_MAX: Final = 256
"""Merchant categories that one card allows; ISO 18245 has some 400, and a decision compares with each."""

_PAN: Final = re.compile(r"(?<!\d)\d(?:[ ._:@-]{0,3}\d){12,18}(?!\d)")
"""How card numbers are written: 13 to 19 digits (ISO/IEC 7812-1), with whatever an id may have between them."""


class ExternalRef(msgspec.Struct, frozen=True):
    """What the network that issued a card calls it."""

    network: str
    id: str

    @property
    def key(self) -> str:
        """The text that a card is found by; unique in its tenant for good, so that a late capture finds its card."""
        return f"{self.network}\n{self.id}"


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A card of one identity. ``status`` is its own flag; what holds for it is ``state_of``.

    ``thawed_revision`` is the tenant's revision of its creation or last unfreezing; older marks do not freeze it.
    """

    card_id: str
    identity_id: str
    currency: str
    status: CardStatus = "active"
    allowed_mccs: tuple[str, ...] = ()
    external_ref: ExternalRef | None = None
    last4: str | None = None
    created_at_us: int
    thawed_revision: int
    revision: int


class CardState(msgspec.Struct, frozen=True):
    """What holds for a card; ``identity`` is the one whose mark froze it, None where its own flag says it."""

    status: CardStatus
    identity: Identity | None = None


def state_of(card: Card, chain: IdentityChain) -> CardState:
    """Return what holds for ``card`` given its identity's chain, or that of an identity below."""
    if card.status != "active":
        return CardState(card.status)
    is_above = False
    for identity in chain:
        is_above = is_above or identity.identity_id == card.identity_id
        if is_above and identity.killed_revision > card.thawed_revision:
            return CardState("frozen", identity)
    return CardState("active")


def apparent_state(card: Card, chain: IdentityChain) -> CardState:
    """Return how a card is to be shown: like ``state_of``, and frozen while an identity of the chain is blocked.

    A decision names the blocked identity itself, so it asks ``state_of``.
    """
    state = state_of(card, chain)
    block = block_on(chain)
    return CardState("frozen", block.identity) if block is not None and state.status == "active" else state


def is_bound(card: Card, chain: IdentityChain) -> bool:
    """Whether the first identity of ``chain`` may use ``card``: it belongs to that identity or to an ancestor."""
    return any(identity.identity_id == card.identity_id for identity in chain)


def frozen(card: Card) -> Card:
    """Return ``card`` with its own flag set; the same when it was. Raises Conflict for a closed one."""
    _require_open(card, "frozen")
    return msgspec.structs.replace(card, status="frozen")


def thawed(card: Card, revision: int) -> Card:
    """Return ``card`` as active from ``revision`` on, whatever marks are older. Raises Conflict for a closed one."""
    _require_open(card, "unfrozen")
    return msgspec.structs.replace(card, status="active", thawed_revision=revision)


def closed(card: Card) -> Card:
    """Return ``card`` as closed, which is final; the same when it was."""
    return msgspec.structs.replace(card, status="closed")


def _require_open(card: Card, what: str) -> None:
    if card.status == "closed":
        raise Conflict(f"card `{card.card_id}` is closed, which is final; it cannot be {what}")


def refused_category(card: Card, request: AuthorizeRequest) -> str | None:
    """Return, in a sentence, why the card's merchant categories exclude ``request``; None when they do not."""
    if not card.allowed_mccs or request.merchant_category in card.allowed_mccs:
        return None
    got = "no `merchant_category`" if request.merchant_category is None else f"`{request.merchant_category}`"
    allowed = ", ".join(f"`{category}`" for category in card.allowed_mccs)
    return f"`allowed_mccs` of card `{card.card_id}` requires one of {allowed}, got {got}"


def is_foreign(card: Card, request: AuthorizeRequest, governing: Iterable[Budget]) -> bool:
    """Whether ``request`` is in another currency than the card's and no amount budget of the card has that one.

    ``governing`` are the budgets that govern it. A card without any limit is limited to its currency all the same.
    """
    if request.currency is None or request.currency == card.currency:
        return False
    own = (budget for budget in governing if budget.card_id == card.card_id)
    return all(budget.dimension != AMOUNT or budget.currency != request.currency for budget in own)


def refuse_number(value: str, field: str) -> str:
    """Return ``value`` unless it could be a card number, which must reach no request, record or log (PCI DSS 3.3).

    Raises ValidationFailed, without repeating it, for 13 to 19 digits whose check digit is right (ISO/IEC 7812-1).
    """
    for found in _PAN.finditer(value):
        digits = [int(character) for character in found.group() if character.isdigit()]
        doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
        if (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0:
            raise ValidationFailed("this looks like a card number, expected a reference to the card", field=field)
    return value

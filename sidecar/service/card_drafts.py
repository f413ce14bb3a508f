"""What a card to be made is asked to be, whether its owner may have it, and which limits it gets.

The storing is ``sidecar.service.treasury``'s.
"""

from itertools import islice
from typing import Final

import msgspec

from sidecar.core.budget import AMOUNT
from sidecar.core.cards import Card, ExternalRef
from sidecar.core.directory import Identity, IdentityChain, block_on
from sidecar.core.errors import Conflict, ValidationFailed
from sidecar.core.money import Major, major_text
from sidecar.core.windows import Period
from sidecar.service.budget_changes import BudgetDraft
from sidecar.service.store import TenantTransaction

CURRENCY_DEFAULT: Final = "USD"
"""The currency of a card for which neither its draft nor its owner's defaults name one."""


class CardLimit(msgspec.Struct, frozen=True):
    """A limit of a card to be made, in major units of the card's currency; ``field`` is what the caller calls it."""

    period: Period
    limit: Major
    field: str


class CardDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A card to be made. The limits are in major units of ``currency``.

    ``currency`` None is that of the identity's card defaults, or without any ``CURRENCY_DEFAULT``.
    """

    identity_id: str
    currency: str | None = None
    spend_limit_daily: Major | None = None
    spend_limit_monthly: Major | None = None
    further_limits: tuple[CardLimit, ...] = ()
    allowed_mccs: tuple[str, ...] = ()
    external_ref: ExternalRef | None = None
    last4: str | None = None

    def limits(self) -> tuple[CardLimit, ...]:
        """Return the card's own limits."""
        daily, monthly = self.spend_limit_daily, self.spend_limit_monthly
        return (
            *(() if daily is None else (CardLimit("daily", daily, "spend_limit_daily"),)),
            *(() if monthly is None else (CardLimit("monthly", monthly, "spend_limit_monthly"),)),
            *self.further_limits,
        )


def require_place(part: TenantTransaction, chain: IdentityChain, draft: CardDraft) -> None:
    """Raise Conflict where an identity may have no further card, and where the external reference is in use."""
    block = block_on(chain)
    if block is not None and block.status == "revoked":
        raise Conflict(f"identity `{block.identity.identity_id}` is revoked, it gets no card")
    if draft.external_ref is not None and part.cards.by_external_id(draft.external_ref.key) is not None:
        raise Conflict("the external reference is in use by another card", field="external_ref")
    most = chain[0].max_cards
    if most is not None:
        owned = (listed.value for listed in part.cards.owned(draft.identity_id))
        opened = (card for card in owned if card.status != "closed")
        if sum(1 for _ in islice(opened, most)) >= most:
            raise Conflict(f"identity `{draft.identity_id}` has as many open cards as it may: {most}")


def limited(owner: Identity, draft: CardDraft, *, is_bound_by_defaults: bool) -> tuple[str, tuple[CardLimit, ...]]:
    """Return the currency of a card to be made and its limits: its own, and those that its owner's defaults ask for.

    Raises ValidationFailed for another currency than that of a default limit, with which it could pay nothing.
    """
    defaults, limits = owner.card_defaults, draft.limits()
    currency = draft.currency or (CURRENCY_DEFAULT if defaults is None else defaults.currency)
    if defaults is None or (limits and not is_bound_by_defaults):
        return currency, limits
    if currency != defaults.currency:
        message = f"cards of identity `{owner.identity_id}` have a limit in `{defaults.currency}`, got `{currency}`"
        raise ValidationFailed(message, field="currency")
    usual = CardLimit(defaults.period, Major(major_text(defaults.limit, currency)), "card_defaults.limit")
    return currency, (usual, *limits)


def limit_of(card: Card, limit: CardLimit) -> BudgetDraft:
    """Return the budget that a limit of a card is."""
    return BudgetDraft(
        card_id=card.card_id,
        name=f"Card spend limit, {limit.period}",
        dimension=AMOUNT,
        period=limit.period,
        limit=limit.limit,
        limit_field=limit.field,
        currency=card.currency,
    )

"""The answers about cards as types; see ``answers``."""

from typing import Annotated, TypedDict

from msgspec import Meta

from sidecar.core.cards import CardStatus
from sidecar.core.grammar import Instant
from sidecar.doors.native.answers import Exact, Revision


class ExternalRef(TypedDict):
    """What the network that issued a card calls it."""

    network: str
    id: str


class Card(TypedDict):
    """A reference to a card. ``frozen_by`` is the identity whose kill switch froze it.

    The limits are the lowest hard budgets of the card in its currency that hold for every action.
    """

    card_id: str
    tenant_id: str
    identity_id: str
    status: CardStatus
    frozen_by: str | None
    currency: str
    last4: str | None
    external_ref: ExternalRef | None
    allowed_mccs: Annotated[tuple[str, ...], Meta(description="none are all")]
    spend_limit_daily: Exact | None
    spend_limit_monthly: Exact | None
    budget_ids: list[str]
    created_at: Instant
    revision: Revision


class Killed(TypedDict):
    """How many cards were active and are frozen now, and the ids of the first thousand."""

    frozen: int
    card_ids: list[str]

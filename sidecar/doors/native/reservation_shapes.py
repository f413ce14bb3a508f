"""The request bodies of the calls that followers make about reservations; see ``shapes``.

A follower has checked its agent's request already and sends what it made of it, figures in minor units: the bytes that
its own log keeps as the fact of the request say the same. All of it is checked again.
"""

from typing import Annotated

import msgspec

from sidecar.core.authzen import NAMES_MAX
from sidecar.core.grammar import ActionName, CardId, Currency, DecisionId, IdentityId, MerchantCategory, Name, TypeName
from sidecar.core.limits import QUANTITIES_MAX, QUANTITY_MAX
from sidecar.core.money import AMOUNT_MINOR_MAX
from sidecar.doors.native.shapes import Claims, Ttl

Minor = Annotated[int, msgspec.Meta(ge=0, le=AMOUNT_MINOR_MAX, description="minor units of the currency")]
Figures = Annotated[
    dict[TypeName, Annotated[int, msgspec.Meta(ge=0, le=QUANTITY_MAX)]], msgspec.Meta(max_length=QUANTITIES_MAX)
]

Tags = Annotated[dict[str, str], msgspec.Meta(max_length=NAMES_MAX)]


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body that refuses fields it does not know."""


class AskedResourceBody(_Body, frozen=True, kw_only=True):
    """What is acted on."""

    type: TypeName
    id: Name


class AskedTagsBody(_Body, frozen=True, kw_only=True):
    """Tags that a request claims for its identities, with the names that the tenant allows."""

    principal: Tags = {}
    resource: Tags = {}


class AskedBody(_Body, frozen=True, kw_only=True):
    """A request as a follower decides it."""

    identity_id: IdentityId
    action: ActionName
    resource: AskedResourceBody
    amount_minor: Minor | None = None
    currency: Currency | None = None
    merchant_category: MerchantCategory | None = None
    quantities: Figures = {}
    attributes: Claims = {}
    context: Claims = {}
    card_id: CardId | None = None
    ttl_seconds: Ttl
    tags: AskedTagsBody | None = None


class ReservationBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/reservations``: the decision has the follower's id here as well."""

    decision_id: DecisionId
    request: AskedBody

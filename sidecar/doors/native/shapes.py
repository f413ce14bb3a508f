"""The request bodies of the native API. They validate requests, and the API description is generated from them.

Grammars (ids, names, currencies) are in the types for the description only, and checked where a body becomes a draft.
"""

from typing import Annotated, Literal

import msgspec

from sidecar.core.budget import OnExceeded, OnExpiry
from sidecar.core.directory import Mode
from sidecar.core.grammar import (
    AccountId,
    ActionName,
    Amount,
    CallerId,
    CardId,
    Currency,
    Description,
    IdentityId,
    Instant,
    MerchantCategory,
    Name,
    Quantities,
    RateLimitText,
    Share,
    TenantId,
    TypeName,
)
from sidecar.core.limits import (
    BATCH_REQUESTS_MAX,
    GRACE_SECONDS_MAX,
    METADATA_BYTES_MAX,
    RESERVATION_TTL_SECONDS_DEFAULT,
    RESERVATION_TTL_SECONDS_MAX,
)
from sidecar.core.rules import Rules
from sidecar.core.windows import Period
from sidecar.doors.native.authzen_shapes import AuthzenBody
from sidecar.service.batch import Semantics

Ttl = Annotated[int, msgspec.Meta(ge=1, le=RESERVATION_TTL_SECONDS_MAX)]
TimeZone = Annotated[str, msgspec.Meta(description="an IANA time zone", examples=["America/Toronto"])]
Dimension = Annotated[
    TypeName,
    msgspec.Meta(description="what is limited: `amount`, `count` (of permits), or the name of a quantity"),
]
CedarText = Annotated[str, msgspec.Meta(description="Cedar policies; with `identity_id` templates on `?principal`")]
Metadata = Annotated[
    dict[str, object],
    msgspec.Meta(description=f"at most {METADATA_BYTES_MAX} bytes as JSON; policies see it as Cedar tags, so as texts"),
]
Claims = Annotated[
    dict[str, object],
    msgspec.Meta(description="what the Cedar schema declares, as the caller claims it; no fractions"),
]

MaxCards = Annotated[int, msgspec.Meta(ge=0, le=1_000_000, description="open cards that it may have at a time")]
Last4 = Annotated[str, msgspec.Meta(pattern="^[0-9]{4}$")]


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body that refuses fields it does not know."""


class RootBody(_Body, frozen=True, kw_only=True):
    """The root of a new tenant: the human who is accountable for it."""

    id: CallerId | None = None
    name: Name | None = None
    type: TypeName = "user"


class TenantBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/tenants``."""

    name: Name
    id: CallerId | None = None
    time_zone: TimeZone = "UTC"
    mode: Mode = "live"
    root: RootBody = RootBody()
    rate_limit: RateLimitText | None = None
    external_id: (
        Annotated[Name, msgspec.Meta(description="what its maker calls it; a live and a test tenant may share one")]
        | None
    ) = None


class TenantPatchBody(_Body, frozen=True, kw_only=True):
    """``PATCH /v1/tenants/{id}``; a limit of null is taken away, and ``authzen`` of null allows nothing."""

    name: Name | None = None
    rate_limit: RateLimitText | msgspec.UnsetType | None = msgspec.UNSET
    authzen: AuthzenBody | msgspec.UnsetType | None = msgspec.UNSET


class CardDefaultsBody(_Body, frozen=True, kw_only=True):
    """The limit of cards that are made for an identity without limits of their own."""

    limit: Amount
    currency: Currency
    period: Period


class IdentityBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/identities``."""

    tenant_id: TenantId | None = None
    parent_id: IdentityId
    type: TypeName
    name: Name
    id: CallerId | None = None
    external_id: Name | None = None
    metadata: Metadata = {}
    max_cards: MaxCards | None = None
    description: Description | None = None
    card_defaults: CardDefaultsBody | None = None


class IdentityPatchBody(_Body, frozen=True, kw_only=True):
    """``PATCH /v1/identities/{id}``; of the last three fields, null takes away what was there."""

    tenant_id: TenantId | None = None
    name: Name | None = None
    metadata: Metadata | None = None
    status: Literal["active", "suspended"] | None = None
    max_cards: MaxCards | msgspec.UnsetType | None = msgspec.UNSET
    description: Description | msgspec.UnsetType | None = msgspec.UNSET
    card_defaults: CardDefaultsBody | msgspec.UnsetType | None = msgspec.UNSET


class PolicyBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/policies``: ``rules`` or ``cedar``, one of them."""

    tenant_id: TenantId | None = None
    identity_id: IdentityId | None = None
    name: Name
    rules: Rules | None = None
    cedar: CedarText | None = None


class BudgetBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/budgets``: of an identity or of a card, one of them."""

    tenant_id: TenantId | None = None
    identity_id: IdentityId | None = None
    card_id: CardId | None = None
    name: Name
    dimension: Dimension
    period: Period
    limit: Amount
    currency: Currency | None = None
    actions: tuple[ActionName, ...] = ()
    on_exceeded: OnExceeded = "deny"
    on_expiry: OnExpiry = "release"
    notify_at: Share | None = None
    account_id: Annotated[AccountId, msgspec.Meta(description="only what is paid from this account counts")] | None = (
        None
    )
    follower_id: (
        Annotated[CallerId, msgspec.Meta(description="the follower's token that alone decides on it")] | None
    ) = None


class BudgetPatchBody(_Body, frozen=True, kw_only=True):
    """``PATCH /v1/budgets/{id}``."""

    tenant_id: TenantId | None = None
    limit: Amount | None = None
    name: Name | None = None
    on_exceeded: OnExceeded | None = None
    notify_at: Share | None = None


class ExternalRefBody(_Body, frozen=True, kw_only=True):
    """What the network that issued a card calls it; never its number."""

    network: TypeName
    id: CallerId


class CardBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/treasury/cards``: a reference to a card and its limits."""

    tenant_id: TenantId | None = None
    identity_id: IdentityId
    currency: Currency
    spend_limit_daily: Amount | None = None
    spend_limit_monthly: Amount | None = None
    allowed_mccs: tuple[MerchantCategory, ...] | None = None
    external_ref: ExternalRefBody | None = None
    last4: Last4 | None = None


class KillSwitchBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/treasury/kill-switch``."""

    tenant_id: TenantId | None = None
    identity_id: IdentityId


class ResourceBody(_Body, frozen=True, kw_only=True):
    """What is acted on, with the amount and quantities that budgets count."""

    type: TypeName
    id: Name
    amount: Amount | None = None
    currency: Currency | None = None
    merchant_category: MerchantCategory | None = None
    quantities: Quantities = {}
    attributes: Claims = {}


class AuthorizeBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/authorize``."""

    tenant_id: TenantId | None = None
    identity_id: IdentityId
    action: ActionName
    resource: ResourceBody
    card_id: CardId | None = None
    context: Claims = {}
    dry_run: bool = False
    explain: bool = False
    reservation_ttl_seconds: Ttl = RESERVATION_TTL_SECONDS_DEFAULT


class BatchBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/authorize/batch``: decided in order, each on what those before it left behind."""

    tenant_id: TenantId | None = None
    requests: Annotated[tuple[AuthorizeBody, ...], msgspec.Meta(min_length=1, max_length=BATCH_REQUESTS_MAX)]
    semantics: Semantics = "execute_all"
    dry_run: bool = False


class EmptyBody(_Body, frozen=True, kw_only=True):
    """A call that is told everything by its path."""


class TenantOnlyBody(_Body, frozen=True, kw_only=True):
    """A call that needs nothing but, from the operator, the tenant."""

    tenant_id: TenantId | None = None


class SettleBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/decisions/{id}/settle``; an amount left out is all that is held."""

    tenant_id: TenantId | None = None
    amount: Amount | None = None
    quantities: Quantities = {}
    final: bool = True


class RefundBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/decisions/{id}/refund``."""

    tenant_id: TenantId | None = None
    amount: Amount


class TokenBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/tokens``; the kind follows from ``identity_id`` unless it is named."""

    tenant_id: TenantId | None = None
    name: Name
    kind: Literal["agent", "tenant", "follower"] | None = None
    identity_id: IdentityId | None = None
    may_release: bool = False
    expires_at: Instant | None = None
    rate_limit: RateLimitText | None = None


class TokenPatchBody(_Body, frozen=True, kw_only=True):
    """``PATCH /v1/tokens/{id}``; a limit of null is taken away."""

    tenant_id: TenantId | None = None
    name: Name | None = None
    rate_limit: RateLimitText | msgspec.UnsetType | None = msgspec.UNSET


class RotateBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/tokens/{id}/rotate``; without a grace time the last secret ends at once."""

    tenant_id: TenantId | None = None
    grace_seconds: Annotated[int, msgspec.Meta(ge=0, le=GRACE_SECONDS_MAX)] = 0

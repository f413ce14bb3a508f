"""The request bodies of the native API. They validate requests, and the API description is generated from them.

Grammars that a type cannot say (ids, names, currencies) are checked where the body becomes a draft.
"""

from typing import Annotated, Literal

import msgspec

from sidecar.core.budget import OnExceeded, OnExpiry
from sidecar.core.directory import Mode
from sidecar.core.limits import (
    BATCH_REQUESTS_MAX,
    GRACE_SECONDS_MAX,
    RESERVATION_TTL_SECONDS_DEFAULT,
    RESERVATION_TTL_SECONDS_MAX,
)
from sidecar.core.money import Major
from sidecar.core.rules import Rules
from sidecar.core.windows import Period
from sidecar.service.batch import Semantics

Ttl = Annotated[int, msgspec.Meta(ge=1, le=RESERVATION_TTL_SECONDS_MAX)]

Last4 = Annotated[str, msgspec.Meta(pattern="^[0-9]{4}$")]


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body that refuses fields it does not know."""


class RootBody(_Body, frozen=True, kw_only=True):
    """The root of a new tenant: the human who is accountable for it."""

    id: str | None = None
    name: str | None = None
    type: str = "user"


class TenantBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/tenants``."""

    name: str
    id: str | None = None
    time_zone: str = "UTC"
    mode: Mode = "live"
    root: RootBody = RootBody()
    rate_limit: str | None = None


class TenantPatchBody(_Body, frozen=True, kw_only=True):
    """``PATCH /v1/tenants/{id}``; a limit of null is taken away."""

    name: str | None = None
    rate_limit: str | msgspec.UnsetType | None = msgspec.UNSET


class IdentityBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/identities``."""

    tenant_id: str | None = None
    parent_id: str
    type: str
    name: str
    id: str | None = None
    external_id: str | None = None
    metadata: dict[str, object] = {}
    max_cards: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None = None


class IdentityPatchBody(_Body, frozen=True, kw_only=True):
    """``PATCH /v1/identities/{id}``."""

    tenant_id: str | None = None
    name: str | None = None
    metadata: dict[str, object] | None = None
    status: Literal["active", "suspended"] | None = None


class PolicyBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/policies``: ``rules`` or ``cedar``, one of them."""

    tenant_id: str | None = None
    identity_id: str | None = None
    name: str
    rules: Rules | None = None
    cedar: str | None = None


class BudgetBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/budgets``: of an identity or of a card, one of them."""

    tenant_id: str | None = None
    identity_id: str | None = None
    card_id: str | None = None
    name: str
    dimension: str
    period: Period
    limit: Major
    currency: str | None = None
    actions: tuple[str, ...] = ()
    on_exceeded: OnExceeded = "deny"
    on_expiry: OnExpiry = "release"
    notify_at: Major | None = None


class BudgetPatchBody(_Body, frozen=True, kw_only=True):
    """``PATCH /v1/budgets/{id}``."""

    tenant_id: str | None = None
    limit: Major | None = None
    name: str | None = None
    on_exceeded: OnExceeded | None = None
    notify_at: Major | None = None


class ExternalRefBody(_Body, frozen=True, kw_only=True):
    """What the network that issued a card calls it; never its number."""

    network: str
    id: str


class CardBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/treasury/cards``: a reference to a card and its limits."""

    tenant_id: str | None = None
    identity_id: str
    currency: str
    spend_limit_daily: Major | None = None
    spend_limit_monthly: Major | None = None
    allowed_mccs: tuple[str, ...] | None = None
    external_ref: ExternalRefBody | None = None
    last4: Last4 | None = None


class KillSwitchBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/treasury/kill-switch``."""

    tenant_id: str | None = None
    identity_id: str


class ResourceBody(_Body, frozen=True, kw_only=True):
    """What is acted on, with the amount and quantities that budgets count."""

    type: str
    id: str
    amount: Major | None = None
    currency: str | None = None
    merchant_category: str | None = None
    quantities: dict[str, Major] = {}
    attributes: dict[str, object] = {}


class AuthorizeBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/authorize``."""

    tenant_id: str | None = None
    identity_id: str
    action: str
    resource: ResourceBody
    card_id: str | None = None
    context: dict[str, object] = {}
    dry_run: bool = False
    explain: bool = False
    reservation_ttl_seconds: Ttl = RESERVATION_TTL_SECONDS_DEFAULT


class BatchBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/authorize/batch``: decided in order, each on what those before it left behind."""

    tenant_id: str | None = None
    requests: Annotated[tuple[AuthorizeBody, ...], msgspec.Meta(min_length=1, max_length=BATCH_REQUESTS_MAX)]
    semantics: Semantics = "execute_all"
    dry_run: bool = False


class TenantOnlyBody(_Body, frozen=True, kw_only=True):
    """A call that needs nothing but, from the operator, the tenant."""

    tenant_id: str | None = None


class SettleBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/decisions/{id}/settle``; an amount left out is all that is held."""

    tenant_id: str | None = None
    amount: Major | None = None
    quantities: dict[str, Major] = {}
    final: bool = True


class RefundBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/decisions/{id}/refund``."""

    tenant_id: str | None = None
    amount: Major


class TokenBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/tokens``; the kind follows from ``identity_id`` unless it is named."""

    tenant_id: str | None = None
    name: str
    kind: Literal["agent", "tenant"] | None = None
    identity_id: str | None = None
    may_release: bool = False
    expires_at: str | None = None
    rate_limit: str | None = None


class TokenPatchBody(_Body, frozen=True, kw_only=True):
    """``PATCH /v1/tokens/{id}``; a limit of null is taken away."""

    tenant_id: str | None = None
    name: str | None = None
    rate_limit: str | msgspec.UnsetType | None = msgspec.UNSET


class RotateBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/tokens/{id}/rotate``; without a grace time the last secret ends at once."""

    tenant_id: str | None = None
    grace_seconds: Annotated[int, msgspec.Meta(ge=0, le=GRACE_SECONDS_MAX)] = 0

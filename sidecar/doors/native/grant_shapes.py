"""The request bodies of the calls about permission grants and passkeys; see ``shapes``."""

from typing import Annotated

import msgspec

from sidecar.core.ceremonies import AuthenticationResponse, RegistrationResponse
from sidecar.core.grammar import AccountId, Amount, IdentityId, Instant, Name, TenantId, TypeName
from sidecar.core.grants import RECIPIENTS_MAX


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body that refuses fields it does not know."""


class RecipientBody(_Body, frozen=True, kw_only=True):
    """Who may be paid: a resource of the action `payment.create`."""

    type: TypeName
    id: Name


class GrantBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/grants``: what an identity may pay from a wallet, once the wallet's owner has signed it.

    What is left out is not limited.
    """

    tenant_id: TenantId | None = None
    identity_id: Annotated[IdentityId, msgspec.Meta(description="who may pay: an agent, with everybody below it")]
    account_id: Annotated[AccountId, msgspec.Meta(description="the wallet; its identity is the owner")]
    max_per_tx: Annotated[Amount, msgspec.Meta(description="the most of one payment")] | None = None
    daily_cap: Annotated[Amount, msgspec.Meta(description="the most in any 24 hours")] | None = None
    recipients: Annotated[
        tuple[RecipientBody, ...],
        msgspec.Meta(
            description="who may be paid; none are all",
            extra_json_schema={"uniqueItems": True, "maxItems": RECIPIENTS_MAX},
        ),
    ] = ()
    expires_at: (
        Annotated[Instant, msgspec.Meta(description="nothing is paid from then on; at most 3 decimals of a second")]
        | None
    ) = None


class ApproveBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/grants/{id}/approve``: what `navigator.credentials.get` gave for the grant's `approval`."""

    tenant_id: TenantId | None = None
    credential: AuthenticationResponse


class PasskeyOptionsBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/passkeys/options``."""

    tenant_id: TenantId | None = None
    identity_id: IdentityId


class PasskeyBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/passkeys``: what `navigator.credentials.create` gave for the options."""

    tenant_id: TenantId | None = None
    identity_id: IdentityId
    name: Name | None = None
    credential: RegistrationResponse

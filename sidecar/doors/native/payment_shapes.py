"""The request bodies of the calls about accounts and payments; see ``shapes``."""

from typing import Annotated

import msgspec

from sidecar.core.accounts import BUILT_IN
from sidecar.core.grammar import AccountId, Amount, CallerId, Currency, IdentityId, Name, TenantId
from sidecar.doors.native.shapes import Claims, Metadata

Network = Annotated[
    CallerId,
    msgspec.Meta(description=f"where the account is kept; `{BUILT_IN}` is the ledger of the sidecar alone"),
]


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body that refuses fields it does not know."""


class AccountBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/accounts``."""

    tenant_id: TenantId | None = None
    identity_id: IdentityId
    asset: Currency
    network: Network = BUILT_IN
    wallet_address: Name | None = None
    name: Name | None = None


class MovementBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/accounts/{id}/deposits`` and ``…/withdrawals``: what came in from outside, or goes out."""

    tenant_id: TenantId | None = None
    amount: Amount
    reference: Name | None = None


class PaymentBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/payments``: each side is an account, or an identity with an account in the currency.

    ``identity_id`` is who pays, the owner of ``from_account_id`` unless named.
    """

    tenant_id: TenantId | None = None
    identity_id: IdentityId | None = None
    from_account_id: AccountId | None = None
    to_account_id: AccountId | None = None
    receiver_id: IdentityId | None = None
    amount: Amount
    currency: Currency
    network: Network | None = None
    request_id: Annotated[Name, msgspec.Meta(description="names the payment for who pays, for good")] | None = None
    debug_mode: Annotated[bool, msgspec.Meta(description="shows what would happen, moves and reserves nothing")] = False
    context: Claims = {}
    metadata: Metadata = {}

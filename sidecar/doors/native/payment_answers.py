"""The answers about accounts and payments as types; see ``answers``."""

from typing import Annotated, TypedDict

from msgspec import Meta

from sidecar.core.accounts import AccountStatus
from sidecar.core.grammar import Instant
from sidecar.core.payments import PaymentStatus
from sidecar.doors.native.answers import Exact, Revision
from sidecar.doors.native.verdicts import BudgetCheck, Reason


class Account(TypedDict):
    """What an identity holds of one asset within one network, in the ledger of the sidecar."""

    account_id: str
    tenant_id: str
    identity_id: str
    asset: str
    network: str
    wallet_address: Annotated[str | None, Meta(description="several accounts may share one within a network")]
    name: str | None
    status: AccountStatus
    balance: Exact
    created_at: Instant
    revision: Revision


class PaymentDecision(TypedDict):
    """What a payment rests on; in debug mode what would be decided, without an id."""

    decision_id: str | None
    allowed: bool
    reasons: list[Reason]
    budget_checks: list[BudgetCheck]


class Payment(TypedDict):
    """A payment. One that a policy or a budget denied has failed, and its decision says why.

    ``identity_id`` is who paid, ``sender_id`` the owner of the account that was paid from. An agent that is neither the
    payer nor above it is shown no decision, and not why it denied.
    """

    payment_id: str
    tenant_id: str
    identity_id: str
    from_account_id: str
    to_account_id: str
    sender_id: str
    receiver_id: str
    amount: Exact
    currency: str
    network: str
    status: PaymentStatus
    request_id: str | None
    transaction_hash: str | None
    transaction_fee: Annotated[Exact, Meta(description="what the network took, told and not booked")]
    error_details: str | None
    challenge: str | None
    risk_level: str | None
    debug_mode: bool
    metadata: object
    decision: PaymentDecision | None
    created_at: Instant
    updated_at: Instant

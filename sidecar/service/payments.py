"""Payments."""

from typing import Protocol

import msgspec

from sidecar.core.access import Caller
from sidecar.core.idempotency import IdempotencyKey
from sidecar.core.model import Decision, Json
from sidecar.core.money import Major
from sidecar.core.payments import Payment, PaymentStatus
from sidecar.service.idempotency import Done
from sidecar.service.paging import Page, PageRequest


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a payment: an account, or an identity, which means its oldest active account in the asset."""

    account_id: str | None = None
    identity_id: str | None = None


class PaymentDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A payment to be made.

    ``identity_id`` is who pays, the owner of the account paid from unless named. ``network`` may be left out where a
    side names an account. The caller's ``request_id`` names the payment for good: asked for again, it is the same one.
    """

    identity_id: str | None = None
    source: Side
    target: Side
    amount: Major
    currency: str
    network: str | None = None
    request_id: str | None = None
    debug_mode: bool = False
    context: dict[str, Json] = {}
    metadata: dict[str, Json] = {}


class Paid(msgspec.Struct, frozen=True):
    """A payment with the decision that it rests on, in debug mode what would be decided."""

    tenant_id: str
    payment: Payment
    decision: Decision | None


class PaymentFilter(msgspec.Struct, frozen=True):
    """Which payments a list shows; ``account_id`` is either side, ``identity_id`` who paid."""

    identity_id: str | None = None
    sender_id: str | None = None
    receiver_id: str | None = None
    account_id: str | None = None
    status: PaymentStatus | None = None
    currency: str | None = None


class Paymaster(Protocol):
    """Makes the payments of every tenant. (The interface; the implementation follows under the same name.)"""

    async def pay(
        self, caller: Caller, tenant_id: str | None, draft: PaymentDraft, key: IdempotencyKey | None, now_us: int
    ) -> Done[Paid]:
        """Decide and make a payment.

        A denial is a payment of the status ``failed``. Raises ValidationFailed (no amount, to the same account, another
        asset or network), NotFound (an account or identity that is unknown, out of reach or not to be paid from),
        Conflict (too little in it, a closed account), IdempotencyConflict; nothing is changed then.
        """

    def get(self, caller: Caller, tenant_id: str | None, payment_id: str) -> Paid:
        """Return a payment. Raises NotFound."""

    def listed(
        self,
        caller: Caller,
        tenant_id: str | None,
        wanted: PaymentFilter,
        request: PageRequest,
        *,
        newest_first: bool = False,
    ) -> Page[Paid]:
        """Return a page of the payments that fit and are within reach, in order of creation or backwards."""

    async def cancel(
        self, caller: Caller, tenant_id: str | None, payment_id: str, key: IdempotencyKey | None, now_us: int
    ) -> Done[Paid]:
        """Stop a payment that is on its way. Raises Conflict where it has ended or cannot be stopped."""

"""Payments: what one identity pays another one out of an account, and how far it has come.

    (permitted) ─▶ success                      the ledger of the sidecar settles at once
    (permitted) ─▶ initiated ─▶ success         a rail moves the value; what is paid is in transit meanwhile
                       ├──────▶ failed          the value is back with the sender
                       └──────▶ cancelled       the same
    (denied) ────▶ failed

A payment is a decision with its effect: it exists only with the decision that permitted or denied it, and ends once.
One in ``debug_mode`` shows how it would have ended and has moved and reserved nothing.
"""

from hashlib import sha256
from typing import Literal

import msgspec

from sidecar.core.accounts import Leg, move, transit
from sidecar.core.model import Decision, Json

PaymentStatus = Literal["initiated", "success", "failed", "cancelled"]

_sorted = msgspec.json.Encoder(order="sorted")


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """A payment; amounts are minor units of ``currency``.

    ``identity_id`` is who pays, the principal of the decision; ``sender_id`` owns the account that is paid from, which
    is the same one, an ancestor, or whoever granted it. ``place`` is that of its first audit record. ``decision_id`` is
    None in debug mode only, where ``rehearsal`` is what would have been decided. ``retry_at_us`` is when one that is on
    its way is looked after again.
    """

    payment_id: str
    place: int
    identity_id: str
    from_account_id: str
    to_account_id: str
    sender_id: str
    receiver_id: str
    amount_minor: int
    currency: str
    network: str
    status: PaymentStatus
    request_id: str | None = None
    fingerprint: bytes
    debug_mode: bool = False
    decision_id: str | None
    rehearsal: Decision | None = None
    transaction_hash: str | None = None
    transaction_fee_minor: int = 0
    error_details: str | None = None
    challenge: str | None = None
    risk_level: str | None = None
    metadata: dict[str, Json] = {}
    created_at_us: int
    updated_at_us: int
    retry_at_us: int | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a payment on a rail; ``pending`` says that nothing is known yet. The fee is told, not booked."""

    status: Literal["success", "failed", "cancelled", "pending"]
    transaction_hash: str | None = None
    transaction_fee_minor: int = 0
    error_details: str | None = None
    challenge: str | None = None
    risk_level: str | None = None


def request_key(identity_id: str, request_id: str) -> str:
    """Return what a payment is found by for who paid: each counts its own requests, and uses up nobody else's."""
    return f"{identity_id}\n{request_id}"  # no id has a line break


def fingerprint_of(content: object) -> bytes:
    """Return what stands for exactly the content of a payment that is asked for."""
    return sha256(_sorted.encode(content)).digest()


def ended(payment: Payment, outcome: Outcome, now_us: int, retry_at_us: int) -> Payment:
    """Return a payment after an outcome; one that is still on its way is looked after again at ``retry_at_us``."""
    if outcome.status == "pending":
        return msgspec.structs.replace(
            payment,
            challenge=outcome.challenge or payment.challenge,
            risk_level=outcome.risk_level or payment.risk_level,
            retry_at_us=retry_at_us,
        )
    return msgspec.structs.replace(
        payment,
        status=outcome.status,
        transaction_hash=outcome.transaction_hash,
        transaction_fee_minor=outcome.transaction_fee_minor,
        error_details=outcome.error_details,
        challenge=outcome.challenge or payment.challenge,
        risk_level=outcome.risk_level or payment.risk_level,
        updated_at_us=now_us,
        retry_at_us=None,
    )


def beginning(payment: Payment) -> tuple[Leg, ...]:
    """Return what a new payment moves: to the receiver, into transit, or nothing where it failed or is a rehearsal."""
    if payment.debug_mode or payment.status == "failed":
        return ()
    on_its_way = payment.status == "initiated"
    target = transit(payment.network, payment.currency) if on_its_way else payment.to_account_id
    return move(payment.from_account_id, target, payment.amount_minor)


def ending(payment: Payment) -> tuple[Leg, ...]:
    """Return what is moved when a payment that was on its way has ended: out of transit, to the receiver or back."""
    target = payment.to_account_id if payment.status == "success" else payment.from_account_id
    return move(transit(payment.network, payment.currency), target, payment.amount_minor)

"""Stripe Issuing's side of an authorization: events of API version ``API_VERSION`` with the fields of the real ones.

What a server may read has the value it would have; what it may not rely on is there and empty.
Source: docs.stripe.com/issuing/purchases and the object types of the PyPI library `stripe`, version 16.
"""

from collections.abc import Callable
from typing import Any, Final

import orjson

from sidecar.cli.simulations.purchase import Message, Names, Purchase

API_VERSION: Final = "2025-03-31.basil"
"""The version that tells an expired authorization from a reversed one."""

CATEGORIES: Final = {"5812": "eating_places_restaurants", "7011": "hotels_motels_and_resorts"}
"""Stripe's word for a few merchant category codes; others are called by a general one."""


class StripeAuthorization:
    """An ``issuing.authorization`` and its ``issuing.transaction`` objects.

    Each event is made a second after the one before, as Stripe's times have no fractions.
    """

    def __init__(self, purchase: Purchase, names: Names, clock: Callable[[], int]) -> None:
        """Nothing has been asked yet; ``clock`` gives microseconds since the epoch."""
        self._purchase = purchase
        self._names = names
        self._began = clock() // 1_000_000
        self._events = 0
        self.id = names.stripe("iauth")
        self._cardholder = names.stripe("ich")
        self._network_id = "1234567890"
        self._asked = 0
        self._amount = 0
        self._captured = 0
        self._refunded = 0
        self._history: list[dict[str, Any]] = []
        self._transactions: list[dict[str, Any]] = []
        self._status = "pending"

    @property
    def open_minor(self) -> int:
        """What is authorised and not yet captured or reversed."""
        return max(0, self._amount - self._captured) if self._status == "pending" else 0

    @property
    def captured_minor(self) -> int:
        """What was captured and not given back."""
        return self._captured - self._refunded

    def ask(self, amount_minor: int) -> Message:
        """Ask for an amount, or for so much more."""
        self._asked = amount_minor
        pending = {
            "amount": amount_minor,
            "amount_details": {"atm_fee": None, "cashback_amount": None},
            "currency": self._currency,
            "is_amount_controllable": False,
            "merchant_amount": amount_minor,
            "merchant_currency": self._currency,
            "network_risk_score": None,
        }
        document = self._authorization() | {"pending_request": pending}
        return self._event("issuing_authorization.request", document, amount_minor, is_request=True)

    def answer(self, *, approved: bool) -> tuple[Message, ...]:
        """Take the decision on what was asked last."""
        self._history.append(
            {
                "amount": self._asked,
                "amount_details": {"atm_fee": None, "cashback_amount": None},
                "approved": approved,
                "authorization_code": None,
                "created": self._now,
                "currency": self._currency,
                "merchant_amount": self._asked,
                "merchant_currency": self._currency,
                "network_risk_score": None,
                "reason": "webhook_approved" if approved else "webhook_declined",
                "reason_message": None,
                "requested_at": self._now,
            }
        )
        is_first = len(self._history) == 1
        if approved:
            self._amount += self._asked
        elif is_first:
            self._status = "closed"
        kind = "created" if is_first else "updated"
        # A declined authorization shows what was asked: "the total amount that was authorized or rejected".
        shown = self._authorization() | (
            {} if self._amount else {"amount": self._asked, "merchant_amount": self._asked}
        )
        return (self._event(f"issuing_authorization.{kind}", shown, self._asked),)

    def capture(self, amount_minor: int, *, is_last: bool) -> tuple[Message, ...]:
        """Take money, whether it was authorised or not; nothing is on hold after the last capture."""
        told = (self._move("capture", amount_minor),)
        self._captured += amount_minor
        if not self._history:
            return told
        if is_last:
            self._status = "closed"
        return (*told, self._updated(self._amount))

    def refund(self, amount_minor: int) -> tuple[Message, ...]:
        """Give money back."""
        self._refunded += amount_minor
        return (self._move("refund", amount_minor),)

    def reverse(self, amount_minor: int) -> tuple[Message, ...]:
        """Give up a part of the hold; all of it ends the authorization."""
        self._amount -= amount_minor
        if self._amount <= self._captured:
            self._status = "reversed"
        return (self._updated(amount_minor),)

    def expire(self) -> tuple[Message, ...]:
        """Let the hold end by time."""
        self._status = "expired"
        return (self._updated(self._amount),)

    def other(self) -> tuple[Message, ...]:
        """Say something that is about no money."""
        return (self._event("issuing_card.updated", self._card(), 0),)

    @property
    def _currency(self) -> str:
        return self._purchase.currency.lower()

    @property
    def _now(self) -> int:
        return self._began + self._events

    def _updated(self, amount_minor: int) -> Message:
        return self._event("issuing_authorization.updated", self._authorization(), amount_minor)

    def _move(self, kind: str, amount_minor: int) -> Message:
        """Make the transaction; a capture is below zero, as it is taken from the balance."""
        signed = -amount_minor if kind == "capture" else amount_minor
        transaction = {
            "id": self._names.stripe("ipi"),
            "object": "issuing.transaction",
            "amount": signed,
            "amount_details": {"atm_fee": None, "cashback_amount": None},
            "authorization": self.id if self._history else None,
            "balance_transaction": self._names.stripe("txn"),
            "card": self._purchase.card,
            "cardholder": self._cardholder,
            "created": self._now,
            "currency": self._currency,
            "dispute": None,
            "livemode": False,
            "merchant_amount": signed,
            "merchant_currency": self._currency,
            "merchant_data": self._merchant(),
            "metadata": {},
            "network_data": {"authorization_code": None, "processing_date": None, "transaction_id": None},
            "token": None,
            "type": kind,
            "wallet": None,
        }
        self._transactions.append(transaction)
        return self._event("issuing_transaction.created", transaction, amount_minor)

    def _event(self, kind: str, document: dict[str, Any], amount_minor: int, *, is_request: bool = False) -> Message:
        event_id = self._names.stripe("evt")
        event = {
            "id": event_id,
            "object": "event",
            "api_version": API_VERSION,
            "created": self._now,
            "data": {"object": document},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": kind,
        }
        self._events += 1
        return Message(
            event_id=event_id, type=kind, body=orjson.dumps(event), amount_minor=amount_minor, is_request=is_request
        )

    def _authorization(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "issuing.authorization",
            "amount": self._amount,
            "amount_details": {"atm_fee": None, "cashback_amount": None},
            "approved": self._amount > 0,
            "authorization_method": "online",
            "balance_transactions": [],
            "card": self._card(),
            "card_presence": "not_present",
            "cardholder": self._cardholder,
            "created": self._began,
            "currency": self._currency,
            "fleet": None,
            "fraud_challenges": None,
            "fuel": None,
            "livemode": False,
            "merchant_amount": self._amount,
            "merchant_currency": self._currency,
            "merchant_data": self._merchant(),
            "metadata": {},
            "network_data": None,
            "pending_request": None,
            "request_history": list(self._history),
            "status": self._status,
            "token": None,
            "transactions": list(self._transactions),
            "verification_data": {
                "address_line1_check": "not_provided",
                "address_postal_code_check": "not_provided",
                "authentication_exemption": None,
                "cvc_check": "match",
                "expiry_check": "match",
                "postal_code": None,
                "three_d_secure": None,
            },
            "verified_by_fraud_challenge": None,
            "wallet": None,
        }

    def _card(self) -> dict[str, Any]:
        return {
            "id": self._purchase.card,
            "object": "issuing.card",
            "brand": "Visa",
            "cancellation_reason": None,
            "cardholder": {
                "id": self._cardholder,
                "object": "issuing.cardholder",
                "billing": {
                    "address": {
                        "city": "Toronto",
                        "country": "CA",
                        "line1": "1 Front Street West",
                        "postal_code": "M5J 2X5",
                    }
                },
                "company": None,
                "created": self._began,
                "email": None,
                "individual": None,
                "livemode": False,
                "metadata": {},
                "name": "An Agent",
                "phone_number": None,
                "preferred_locales": None,
                "requirements": {"disabled_reason": None, "past_due": []},
                "spending_controls": None,
                "status": "active",
                "type": "company",
            },
            "created": self._began,
            "currency": self._currency,
            "exp_month": 12,
            "exp_year": 2031,
            "financial_account": None,
            "last4": "4242",
            "livemode": False,
            "metadata": {},
            "personalization_design": None,
            "replaced_by": None,
            "replacement_for": None,
            "replacement_reason": None,
            "second_line": None,
            "shipping": None,
            "spending_controls": {
                "allowed_categories": None,
                "allowed_merchant_countries": None,
                "blocked_categories": None,
                "blocked_merchant_countries": None,
                "spending_limits": [],
                "spending_limits_currency": None,
            },
            "status": "active",
            "type": "virtual",
            "wallets": None,
        }

    def _merchant(self) -> dict[str, Any]:
        code = self._purchase.category
        return {
            "category": CATEGORIES.get(code, "computer_software_stores"),
            "category_code": code,
            "city": "Toronto",
            "country": "CA",
            "name": self._purchase.merchant,
            "network_id": self._network_id,
            "postal_code": "M5J 2X5",
            "state": "ON",
            "tax_id": None,
            "terminal_id": None,
            "url": None,
        }

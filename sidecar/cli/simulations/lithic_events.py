"""Lithic's side of an authorization: the request of Auth Stream Access and the events of the card transaction.

What a server may read has the value it would have; what it may not rely on is there and empty.
Source: docs.lithic.com/reference/postauthstream and the types of the PyPI library `lithic`, version 0.133.
"""

from collections.abc import Callable
from typing import Any, Final

import orjson

from sidecar.cli.simulations.purchase import Message, Names, Purchase
from sidecar.core.instants import utc_text

APPROVED: Final = "APPROVED"


class LithicAuthorization:
    """A card transaction with its events, each made a millisecond after the one before."""

    def __init__(self, purchase: Purchase, names: Names, clock: Callable[[], int]) -> None:
        """Nothing has been asked yet; ``clock`` gives microseconds since the epoch."""
        self._purchase = purchase
        self._names = names
        self._began_us = clock()
        self._messages = 0
        self.id = names.uuid()
        self._account = names.uuid()
        self._asked = 0
        self._asked_token = ""
        self._authorized = 0
        self._captured = 0
        self._refunded = 0
        self._events: list[dict[str, Any]] = []
        self._status = "PENDING"
        self._result = APPROVED

    @property
    def open_minor(self) -> int:
        """What is authorised and not yet captured or reversed."""
        return max(0, self._authorized - self._captured) if self._status == "PENDING" else 0

    @property
    def captured_minor(self) -> int:
        """What was captured and not given back."""
        return self._captured - self._refunded

    def ask(self, amount_minor: int) -> Message:
        """Ask for an amount, or for so much more; an increment has the token of the transaction and its own event's."""
        self._asked, self._asked_token = amount_minor, self._names.uuid()
        document = {
            "token": self.id,
            "event_type": "card_authorization.approval_request",
            "event_token": self._asked_token,
            "acquirer_fee": 0,
            "amount": amount_minor,
            "amounts": self._amounts(amount_minor, hold_minor=amount_minor, settled_minor=None),
            "authorization_amount": amount_minor,
            "avs": {"address": "1 Front Street West", "address_on_file_match": "NOT_PRESENT", "zipcode": "M5J2X5"},
            "card": {
                "token": self._purchase.card,
                "last_four": "4242",
                "memo": "simulated",
                "spend_limit": 0,
                "spend_limit_duration": "FOREVER",
                "state": "OPEN",
                "tags": {},
                "type": "VIRTUAL",
            },
            "cardholder_currency": self._purchase.currency,
            "cash_amount": 0,
            "conversion_rate": None,
            "created": utc_text(self._began_us),
            "merchant": self._merchant(),
            "merchant_amount": amount_minor,
            "merchant_currency": self._purchase.currency,
            "network": "VISA",
            "network_risk_score": None,
            "pos": self._point_of_sale(),
            "settled_amount": 0,
            "status": "AUTHORIZATION",
            "transaction_initiator": "CARDHOLDER",
        }
        return self._message("card_authorization.approval_request", document, amount_minor, is_request=True)

    def answer(self, *, approved: bool) -> tuple[Message, ...]:
        """Take the decision on what was asked last."""
        if approved:
            self._authorized += self._asked
        elif not self._events:
            self._status = self._result = "DECLINED"
        event = self._event("AUTHORIZATION", self._asked, self._asked_token)
        if not approved:
            event["result"] = "DECLINED"
            event["detailed_results"] = ["CUSTOM_ASA_RESULT"]
        return (self._updated(self._asked),)

    def capture(self, amount_minor: int, *, is_last: bool) -> tuple[Message, ...]:
        """Take money, whether it was authorised or not; nothing is on hold after the last capture."""
        self._captured += amount_minor
        if is_last:
            self._status = "SETTLED"
        self._event("CLEARING", amount_minor, is_financial=True)
        return (self._updated(amount_minor),)

    def refund(self, amount_minor: int) -> tuple[Message, ...]:
        """Give money back."""
        self._refunded += amount_minor
        self._event("RETURN", amount_minor, is_financial=True)
        return (self._updated(amount_minor),)

    def reverse(self, amount_minor: int) -> tuple[Message, ...]:
        """Give up a part of the hold; all of it ends the authorization."""
        self._authorized -= amount_minor
        if self._authorized <= self._captured:
            self._status = "VOIDED"
        self._event("AUTHORIZATION_REVERSAL", amount_minor)
        return (self._updated(amount_minor),)

    def expire(self) -> tuple[Message, ...]:
        """Let the hold end by time."""
        self._status = "EXPIRED"
        self._event("AUTHORIZATION_EXPIRY", self._authorized)
        return (self._updated(self._authorized),)

    def other(self) -> tuple[Message, ...]:
        """Say something that is about no money."""
        document = {"event_type": "card.renewed", "card_token": self._purchase.card, "replacement_for": None}
        return (self._message("card.renewed", document, 0),)

    @property
    def _now_text(self) -> str:
        return utc_text(self._began_us + 1_000 * self._messages)

    def _updated(self, amount_minor: int) -> Message:
        settled = self._captured - self._refunded
        document = {
            "token": self.id,
            "event_type": "card_transaction.updated",
            "account_token": self._account,
            "acquirer_fee": None,
            "acquirer_reference_number": None,
            "amount": self._authorized if self._status == "PENDING" else settled,
            "amounts": self._amounts(
                settled if self._captured else self._authorized, hold_minor=self.open_minor, settled_minor=settled
            ),
            "authorization_amount": self._authorized,
            "authorization_code": "123456",
            "avs": None,
            "card_token": self._purchase.card,
            "cardholder_authentication": None,
            "created": utc_text(self._began_us),
            "events": list(self._events),
            "financial_account_token": None,
            "merchant": self._merchant(),
            "merchant_amount": self._authorized,
            "merchant_authorization_amount": self._authorized,
            "merchant_currency": self._purchase.currency,
            "network": "VISA",
            "network_risk_score": None,
            "pos": self._point_of_sale(),
            "result": self._result,
            "settled_amount": settled,
            "status": self._status,
            "tags": {},
            "token_info": None,
            "updated": self._now_text,
        }
        return self._message("card_transaction.updated", document, amount_minor)

    def _event(
        self, kind: str, amount_minor: int, token: str | None = None, *, is_financial: bool = False
    ) -> dict[str, Any]:
        money = {"amount": amount_minor, "conversion_rate": "1", "currency": self._purchase.currency}
        event = {
            "token": token or self._names.uuid(),
            "amount": amount_minor,
            "amounts": {
                "cardholder": money,
                "merchant": {"amount": amount_minor, "currency": self._purchase.currency},
                "settlement": money if is_financial else None,
            },
            "created": self._now_text,
            "detailed_results": [APPROVED],
            "effective_polarity": "CREDIT" if kind in {"RETURN", "AUTHORIZATION_REVERSAL"} else "DEBIT",
            "network_info": None,
            "result": APPROVED,
            "rule_results": [],
            "type": kind,
        }
        self._events.append(event)
        return event

    def _amounts(self, amount_minor: int, *, hold_minor: int, settled_minor: int | None) -> dict[str, Any]:
        currency = self._purchase.currency
        return {
            "cardholder": {"amount": amount_minor, "conversion_rate": "1", "currency": currency},
            "hold": {"amount": hold_minor, "currency": currency},
            "merchant": {"amount": amount_minor, "currency": currency},
            "settlement": None if settled_minor is None else {"amount": settled_minor, "currency": currency},
        }

    def _message(self, kind: str, document: dict[str, Any], amount_minor: int, *, is_request: bool = False) -> Message:
        self._messages += 1
        return Message(
            event_id=f"msg_{self._names.uuid()}",
            type=kind,
            body=orjson.dumps(document),
            amount_minor=amount_minor,
            is_request=is_request,
        )

    def _merchant(self) -> dict[str, Any]:
        return {
            "acceptor_id": "174030075991",
            "acquiring_institution_id": "191231",
            "city": "TORONTO",
            "country": "CAN",
            "descriptor": self._purchase.merchant,
            "mcc": self._purchase.category,
            "state": "ON",
        }

    def _point_of_sale(self) -> dict[str, Any]:
        return {
            "entry_mode": {
                "card": "NOT_PRESENT",
                "cardholder": "ELECTRONIC_ORDER",
                "pan": "ECOMMERCE",
                "pin_entered": False,
            },
            "terminal": {
                "acceptor_terminal_id": None,
                "attended": False,
                "card_retention_capable": False,
                "on_premise": False,
                "operator": "CARDHOLDER",
                "partial_approval_capable": False,
                "pin_capability": "NOT_CAPABLE",
                "type": "ECOMMERCE",
            },
        }

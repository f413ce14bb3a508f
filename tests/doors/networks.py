"""Card networks as their doors see them: bodies as their libraries type them, signed with the secret of a program."""

import base64
import hashlib
import hmac
import json

from sidecar.doors.wire.http import Incoming
from tests.doors.door import NOON_US, House
from tests.process.server import Answer, Document

STRIPE_SECRET = "whsec_of_acme_at_stripe"
LITHIC_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOON = NOON_US // 1_000_000
STRIPE_CARD, LITHIC_CARD = "ic_1", "7e1a3b52-0d3f-4f5e-9d5f-9a0a4c4f3a01"

Headers = list[tuple[str, str | bytes]]


def head(*headers: tuple[str, str | bytes]) -> Incoming:
    """The head of a request with these headers."""
    raw = [(name.lower().encode(), value if isinstance(value, bytes) else value.encode()) for name, value in headers]
    return Incoming({"type": "http", "method": "POST", "path": "/", "headers": raw})


def stripe_digest(body: bytes, secret: str = STRIPE_SECRET, at: int = NOON) -> str:
    """One signature of Stripe's."""
    return hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()


def stripe_headers(body: bytes, secret: str = STRIPE_SECRET, at: int = NOON) -> Headers:
    """The header that Stripe signs with."""
    return [("Stripe-Signature", f"t={at},v1={stripe_digest(body, secret, at)}")]


def standard_digest(body: bytes, secret: str = LITHIC_SECRET, at: int = NOON, name: str = "msg_1") -> str:
    """One signature of Standard Webhooks."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return base64.b64encode(hmac.new(key, f"{name}.{at}.".encode() + body, hashlib.sha256).digest()).decode()


def standard_headers(body: bytes, secret: str = LITHIC_SECRET, at: int = NOON, name: str = "msg_1") -> Headers:
    """The headers that Lithic signs with."""
    signature = f"v1,{standard_digest(body, secret, at, name)}"
    return [("webhook-id", name), ("webhook-timestamp", str(at)), ("webhook-signature", signature)]


def stripe_event(kind: str, content: Document, name: str = "evt_1", created: int = NOON, **more: object) -> Document:
    """An event of Stripe's."""
    event = {"id": name, "object": "event", "api_version": "2024-06-20", "type": kind, "created": created}
    return event | {"livemode": False, "data": {"object": content}} | more


def authorization(**changes: object) -> Document:
    """An ``issuing.authorization`` whose request is pending, of 10 CAD."""
    found: Document = {
        "id": "iauth_1",
        "object": "issuing.authorization",
        "amount": 0,
        "approved": False,
        "currency": "cad",
        "card": {"id": STRIPE_CARD, "object": "issuing.card", "last4": "4242", "status": "active"},
        "merchant_data": {"name": "AWS", "network_id": "123", "category": "computer", "category_code": "7372"},
        "merchant_amount": 0,
        "pending_request": pending(1_000),
        "request_history": [],
        "status": "pending",
        "network_data": {"ratio": 0.5, "transaction_id": None},
    }
    return found | changes


def pending(amount: object, currency: object = "cad") -> Document:
    """A request that is pending."""
    return {"amount": amount, "currency": currency, "is_amount_controllable": False, "merchant_amount": amount}


def history(*requests: tuple[int, bool]) -> list[Document]:
    """The requests of an authorization that were answered."""
    return [{"amount": amount, "approved": approved, "created": NOON} for amount, approved in requests]


def transaction(amount: int, name: str = "ipi_1", **changes: object) -> Document:
    """An ``issuing.transaction``: a capture where money left."""
    found: Document = {
        "id": name,
        "object": "issuing.transaction",
        "type": "capture" if amount < 0 else "refund",
        "amount": amount,
        "currency": "cad",
        "card": STRIPE_CARD,
        "authorization": "iauth_1",
        "merchant_data": {"name": "AWS", "network_id": "123", "category_code": "7372"},
    }
    return found | changes


def approval_request(amount: object = 1_000, **changes: object) -> Document:
    """A request of Auth Stream Access, for 10 CAD."""
    money = {"amount": amount, "currency": "CAD"}
    found: Document = {
        "event_type": "card_authorization.approval_request",
        "token": "a1c4e2d0-0000-4000-8000-000000000001",
        "status": "AUTHORIZATION",
        "amount": amount,
        "amounts": {
            "cardholder": money | {"conversion_rate": "1.0"},
            "hold": None,
            "merchant": money,
            "settlement": None,
        },
        "card": {"token": LITHIC_CARD, "last_four": "4242", "state": "OPEN"},
        "merchant": {"descriptor": "AWS", "acceptor_id": "123", "mcc": "7372", "city": "SEATTLE"},
        "conversion_rate": 1.0,
        "event_token": "e1c4e2d0-0000-4000-8000-000000000001",
    }
    return found | changes


def happened(kind: str, amount: int, name: str, *, result: str = "APPROVED", settled: bool = False) -> Document:
    """One event of a Lithic transaction."""
    money = {"amount": amount, "currency": "CAD", "conversion_rate": "1.0"}
    return {
        "token": name,
        "type": kind,
        "result": result,
        "amount": amount,
        "amounts": {"cardholder": money, "merchant": money, "settlement": money if settled else None},
        "effective_polarity": "CREDIT" if kind == "RETURN" else "DEBIT",
    }


def lithic_transaction(hold: int, *events: Document, status: str = "PENDING", **changes: object) -> Document:
    """A ``card_transaction.updated``."""
    found: Document = {
        "event_type": "card_transaction.updated",
        "token": "a1c4e2d0-0000-4000-8000-000000000001",
        "card_token": LITHIC_CARD,
        "status": status,
        "amounts": {"hold": {"amount": hold, "currency": "CAD"}},
        "merchant": {"descriptor": "AWS", "mcc": "7372"},
        "updated": "2026-03-09T12:00:00Z",
        "events": list(events),
    }
    return found | changes


class Networks:
    """A tenant that has a program and a card at each network."""

    def __init__(self, house: House) -> None:
        """Register the programs and the cards."""
        self.house = house
        self.programs = {
            network: house.ok(
                "POST", "/v1/treasury/card-programs", {"network": network, "name": network, "secret": secret}
            )["program_id"]
            for network, secret in (("stripe", STRIPE_SECRET), ("lithic", LITHIC_SECRET))
        }
        self.cards = {
            network: house.ok(
                "POST",
                "/v1/treasury/cards",
                {"identity_id": house.agent, "currency": "CAD", "external_ref": {"network": network, "id": name}},
            )["card_id"]
            for network, name in (("stripe", STRIPE_CARD), ("lithic", LITHIC_CARD))
        }

    def post(self, path: str, body: bytes, headers: Headers) -> Answer:
        """Send a message."""
        return self.house.door.call("POST", f"/card-network/{path}", body, token=None, headers=headers)

    def stripe(self, document: object, path: str = "stripe") -> Answer:
        """Send a signed message of Stripe's."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.post(path, body, stripe_headers(body, at=self.house.door.clock.now_us // 1_000_000))

    def lithic(self, document: object, name: str = "msg_1", path: str = "lithic") -> Answer:
        """Send a signed message of Lithic's."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.post(path, body, standard_headers(body, at=self.house.door.clock.now_us // 1_000_000, name=name))

    def used(self) -> tuple[object, object]:
        """What the team's budget has reserved and settled."""
        usage = self.house.ok("GET", f"/v1/budgets/{self.house.budget}")["usage"]
        return usage["reserved"], usage["settled"]

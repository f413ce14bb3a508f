"""Stripe Issuing in words of our own.

Every event has its object in ``data.object``: an ``issuing.authorization`` with all requests that were made of it, or
an ``issuing.transaction``, which is money that moved. Source: docs.stripe.com/issuing/controls, "Real-time
authorizations", and the types of the PyPI package ``stripe``.
"""

import re
from typing import Annotated, Any, Final

import msgspec

from sidecar.core.card_events import CardEvent, Merchant, Moved, Network, Standing, Swipe
from sidecar.core.errors import ValidationFailed
from sidecar.doors.card_network.signatures import Signed, stripe_signed
from sidecar.doors.card_network.words import (
    Count,
    Currency,
    Message,
    Minor,
    NetworkId,
    Object,
    Signless,
    merchant_of,
    object_of,
    told,
)
from sidecar.doors.wire import typed
from sidecar.doors.wire.http import Header, Incoming
from sidecar.service.card_network import Asked

API_VERSION: Final = "2024-06-20"
"""The version of an answer where an event does not say its own; both fields of the answer are older."""

METADATA_LENGTH_MAX: Final = 500
"""Characters of a value in metadata."""

REQUEST: Final = "issuing_authorization.request"
AUTHORIZATIONS: Final = frozenset({"issuing_authorization.created", "issuing_authorization.updated"})
TRANSACTIONS: Final = frozenset({"issuing_transaction.created", "issuing_transaction.updated"})
HISTORY_MAX: Final = 10_000
"""Requests of one authorization that are read."""

_is_version: Final = re.compile("[A-Za-z0-9._-]{1,64}").fullmatch


class _Data(msgspec.Struct, frozen=True):
    object: dict[str, Any]


class _Kind(msgspec.Struct, frozen=True):
    id: NetworkId
    type: NetworkId
    api_version: str | None = None


class _Event(msgspec.Struct, frozen=True):
    created: Count
    data: _Data


class _Reference(msgspec.Struct, frozen=True):
    """An object of which only the id matters; Stripe writes the id alone where it is not expanded."""

    id: NetworkId


class _Merchant(msgspec.Struct, frozen=True):
    name: str | None = None
    network_id: str | None = None
    category_code: str | None = None


class _Pending(msgspec.Struct, frozen=True):
    amount: Minor
    currency: Currency


class _Asked(msgspec.Struct, frozen=True):
    amount: Minor
    approved: bool


class _Authorization(msgspec.Struct, frozen=True):
    id: NetworkId
    card: _Reference | NetworkId
    currency: Currency
    amount: Minor
    approved: bool
    status: str
    merchant_data: _Merchant
    pending_request: _Pending | None = None
    request_history: Annotated[tuple[_Asked, ...], msgspec.Meta(max_length=HISTORY_MAX)] = ()


class _Transaction(msgspec.Struct, frozen=True):
    id: NetworkId
    type: str
    amount: Signless
    currency: Currency
    card: _Reference | NetworkId
    authorization: _Reference | NetworkId | None = None
    merchant_data: _Merchant | None = None


class Stripe:
    """The words of Stripe Issuing."""

    network: Network = "stripe"
    request_type = REQUEST
    told_types = AUTHORIZATIONS | TRANSACTIONS

    def signed(self, head: Incoming, now_us: int) -> Signed:
        """Return what a message is signed with. Raises Unauthenticated."""
        return stripe_signed(head, now_us)

    def message(self, document: object, _head: Incoming) -> Message:
        """Return what kind of message a document is."""
        kind = typed.convert(object_of(document), _Kind)
        return Message(
            is_request=kind.type == REQUEST,
            type=kind.type,
            event_id=kind.id,
            content=object_of(document),
            echo=kind.api_version,
        )

    def swipe(self, message: Message) -> Swipe:
        """Return the request that is pending: what the network would hold beside what it holds already."""
        found = typed.convert(_event(message).data.object, _Authorization)
        if found.pending_request is None:
            raise ValidationFailed("nothing is asked", field="data.object.pending_request")
        return Swipe(
            network=self.network,
            event_id=message.event_id,
            authorization_id=found.id,
            index=len(found.request_history),
            card=_id_of(found.card),
            amount_minor=found.pending_request.amount,
            currency=found.pending_request.currency.upper(),
            merchant=_merchant(found.merchant_data),
        )

    def event(self, message: Message) -> CardEvent:
        """Return what an event tells; one that is not about an authorization or money is told by its type alone."""
        if message.type in AUTHORIZATIONS:
            return self._authorization(message)
        if message.type in TRANSACTIONS:
            return self._transaction(message)
        return CardEvent(network=self.network, event_id=message.event_id, type=message.type)

    def _authorization(self, message: Message) -> CardEvent:
        event = _event(message)
        found = typed.convert(event.data.object, _Authorization)
        standing = Standing(
            version=(max(1, len(found.request_history)), event.created * 1_000_000, message.event_id),
            authorized_minor=_authorized(found),
            is_over=found.status != "pending",
        )
        return CardEvent(
            network=self.network,
            event_id=message.event_id,
            type=message.type,
            card=_id_of(found.card),
            authorization_id=found.id,
            currency=found.currency.upper(),
            standing=standing,
            merchant=_merchant(found.merchant_data),
        )

    def _transaction(self, message: Message) -> CardEvent:
        """Return what a transaction tells; one without authorization stands for its own."""
        found = typed.convert(_event(message).data.object, _Transaction)
        return CardEvent(
            network=self.network,
            event_id=message.event_id,
            type=message.type,
            card=_id_of(found.card),
            authorization_id=found.id if found.authorization is None else _id_of(found.authorization),
            currency=found.currency.upper(),
            moved=_moved(found),
            merchant=_merchant(found.merchant_data or _Merchant()),
        )

    def approval(self, message: Message, asked: Asked) -> tuple[Object, tuple[Header, ...]]:
        """Return the answer that approves."""
        return {"approved": True, "metadata": {**told(asked.decision.decision_id, None)}}, _version(message)

    def refusal(
        self, message: Message | None, reason: str, sentence: str, decision_id: str | None
    ) -> tuple[Object, tuple[Header, ...]]:
        """Return the answer that declines, with the reason in the metadata that Stripe keeps of an authorization."""
        metadata = {**told(decision_id, reason), "message": sentence[:METADATA_LENGTH_MAX]}
        return {"approved": False, "metadata": metadata}, _version(message)


def _event(message: Message) -> _Event:
    return typed.convert(message.content, _Event)


def _version(message: Message | None) -> tuple[Header, ...]:
    """Return the header that says by which version of Stripe's API an answer is written: the event's own."""
    said = None if message is None else message.echo
    return (("Stripe-Version", said if said is not None and _is_version(said) else API_VERSION),)


def _id_of(found: _Reference | str) -> str:
    return found if isinstance(found, str) else found.id


def _merchant(data: _Merchant) -> Merchant:
    return merchant_of((data.name, data.network_id), data.category_code)


def _authorized(found: _Authorization) -> int:
    """Return what is authorised in all: nothing of what was declined, by us, by Stripe or by time.

    ``amount`` may count a request that was declined, and what was approved does not know of reversals.
    """
    if not found.approved or found.status == "reversed":
        return 0
    if not found.request_history:
        return found.amount
    return min(found.amount, sum(each.amount for each in found.request_history if each.approved))


def _moved(found: _Transaction) -> tuple[Moved, ...]:
    """Return the money that a transaction moved: a capture takes it from the balance, a refund brings it back."""
    if found.type == "capture" and found.amount < 0:
        return (Moved(kind="capture", id=found.id, amount_minor=-found.amount),)
    if found.type == "refund" and found.amount > 0:
        return (Moved(kind="refund", id=found.id, amount_minor=found.amount),)
    if found.type in {"capture", "refund"} and found.amount != 0:
        raise ValidationFailed(f"a {found.type} has the sign of the other kind", field="data.object.amount")
    return ()

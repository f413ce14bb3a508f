"""Lithic in words of our own: requests of Auth Stream Access, and transactions.

Bodies are not wrapped: beside ``event_type`` stand the fields of the request, or of the transaction with all events of
its life. An event that moved money has an amount in the settlement currency, which is the currency of the hold. Source:
docs.lithic.com/reference, and the types of the PyPI package ``lithic``.
"""

import hashlib
from typing import Annotated, Final, Literal

import msgspec

from sidecar.core.card_events import CardEvent, Merchant, Moved, Network, Standing, Swipe
from sidecar.core.errors import ValidationFailed
from sidecar.core.instants import parse_utc
from sidecar.doors.card_network.signatures import Signed, message_id, standard_signed
from sidecar.doors.card_network.words import (
    Currency,
    Message,
    NetworkId,
    Object,
    Signless,
    merchant_of,
    object_of,
)
from sidecar.doors.wire import strict_json, typed
from sidecar.doors.wire.http import Header, Incoming
from sidecar.service.card_network import Asked

TYPE_LENGTH_MAX: Final = 255
"""Characters of an event's type."""

REQUEST: Final = "card_authorization.approval_request"
TRANSACTION: Final = "card_transaction.updated"

EVENTS_MAX: Final = 10_000
"""Events of one transaction that are read."""

DEBITS: Final = frozenset({"AUTHORIZATION", "FINANCIAL_AUTHORIZATION"})
"""Requests that ask for money. The others credit the card, or ask for its balance: they are decided with an amount of
nothing, so that a card that may not be used is declined, and reserve nothing."""

ASKED: Final = DEBITS | {"CREDIT_AUTHORIZATION", "FINANCIAL_CREDIT_AUTHORIZATION", "BALANCE_INQUIRY"}
"""Events of a transaction that were requests."""

CAPTURES: Final = frozenset({"CLEARING", "FINANCIAL_AUTHORIZATION", "CORRECTION_DEBIT", "RETURN_REVERSAL"})
REFUNDS: Final = frozenset({"RETURN", "CORRECTION_CREDIT", "FINANCIAL_CREDIT_AUTHORIZATION"})
"""Events that move money, and which way, where they do not say it themselves."""

RESULTS: Final = {
    "identity_revoked": "CARD_PAUSED",
    "identity_suspended": "CARD_PAUSED",
    "card_frozen": "CARD_PAUSED",
    "card_closed": "CARD_PAUSED",
    "forbidden": "UNAUTHORIZED_MERCHANT",
    "not_permitted": "UNAUTHORIZED_MERCHANT",
    "currency_not_budgeted": "INSUFFICIENT_FUNDS",
    "budget_exceeded": "INSUFFICIENT_FUNDS",
    "per_transaction_limit": "INSUFFICIENT_FUNDS",
}
"""Of Lithic's results the one that a reason is. Any other reason is given by its own name, which Lithic takes as a
decline and shows as ``CUSTOM_ASA_RESULT``."""


class _Card(msgspec.Struct, frozen=True):
    token: NetworkId


class _Merchant(msgspec.Struct, frozen=True):
    descriptor: str | None = None
    acceptor_id: str | None = None
    mcc: str | None = None


class _Amount(msgspec.Struct, frozen=True):
    amount: Signless
    currency: Currency


class _AskedAmounts(msgspec.Struct, frozen=True):
    cardholder: _Amount
    hold: _Amount | None = None


class _Request(msgspec.Struct, frozen=True):
    token: NetworkId
    status: str
    amounts: _AskedAmounts
    card: _Card
    merchant: _Merchant
    event_token: NetworkId | None = None


class _EventAmounts(msgspec.Struct, frozen=True):
    settlement: _Amount | None = None


class _Event(msgspec.Struct, frozen=True):
    token: NetworkId
    type: str
    result: str
    amount: Signless
    amounts: _EventAmounts = _EventAmounts()
    effective_polarity: Literal["CREDIT", "DEBIT"] | None = None


class _Amounts(msgspec.Struct, frozen=True):
    hold: _Amount


class _Transaction(msgspec.Struct, frozen=True):
    token: NetworkId
    card_token: NetworkId
    status: str
    amounts: _Amounts
    merchant: _Merchant
    updated: str
    events: Annotated[tuple[_Event, ...], msgspec.Meta(max_length=EVENTS_MAX)] | None = None


class Lithic:
    """The words of Lithic."""

    network: Network = "lithic"
    request_type = REQUEST
    told_types = frozenset({TRANSACTION})

    def signed(self, head: Incoming, now_us: int) -> Signed:
        """Return what a message is signed with. Raises Unauthenticated."""
        return standard_signed(head, now_us)

    def message(self, document: object, head: Incoming) -> Message:
        """Return what kind of message a document is; its own id is that of Standard Webhooks."""
        content = object_of(document)
        kind, token = content.get("event_type"), content.get("token")
        if not isinstance(kind, str) or not 0 < len(kind) <= TYPE_LENGTH_MAX:
            raise ValidationFailed("the type of the event is missing", field="event_type")
        return Message(
            is_request=kind == REQUEST,
            type=kind,
            event_id=message_id(head),
            content=content,
            echo=token if isinstance(token, str) else None,
        )

    def swipe(self, message: Message) -> Swipe:
        """Return a request, which is to be held in the currency and the amount that Lithic would hold."""
        found = typed.convert(message.content, _Request)
        if found.status not in ASKED:
            raise ValidationFailed(f"unknown kind of request `{found.status[:64]}`", field="status")
        hold = found.amounts.hold or found.amounts.cardholder
        asked = hold.amount if found.status in DEBITS else 0
        if asked < 0:
            raise ValidationFailed("a request for less than nothing", field="amounts")
        return Swipe(
            network=self.network,
            event_id=_request_id(found, message.content),
            authorization_id=found.token,
            index=None,
            card=found.card.token,
            amount_minor=asked,
            currency=hold.currency.upper(),
            merchant=_merchant(found.merchant),
        )

    def event(self, message: Message) -> CardEvent:
        """Return what an event tells; one that is not about a transaction of a card is told by its type alone."""
        if message.type != TRANSACTION:
            return CardEvent(network=self.network, event_id=message.event_id, type=message.type)
        found = typed.convert(message.content, _Transaction)
        hold, events = found.amounts.hold, found.events or ()
        is_over = found.status != "PENDING"
        standing = Standing(
            version=(
                max(1, sum(each.type in ASKED for each in events)),
                parse_utc(found.updated, "updated"),
                message.event_id,
            ),
            remaining_minor=0 if is_over else max(0, hold.amount),
            is_over=is_over,
        )
        return CardEvent(
            network=self.network,
            event_id=message.event_id,
            type=message.type,
            card=found.card_token,
            authorization_id=found.token,
            currency=hold.currency.upper(),
            standing=standing,
            moved=tuple(moved for each in events for moved in _moved(each, hold.currency)),
            merchant=_merchant(found.merchant),
        )

    def approval(self, message: Message, _asked: Asked) -> tuple[Object, tuple[Header, ...]]:
        """Return the answer that approves."""
        return {"token": message.echo, "result": "APPROVED"}, ()

    def refusal(
        self, message: Message | None, reason: str, _sentence: str, _decision_id: str | None
    ) -> tuple[Object, tuple[Header, ...]]:
        """Return the answer that declines; of the decision there is no place in it but for the reason."""
        echo = None if message is None or message.echo is None else {"token": message.echo}
        return {**(echo or {}), "result": RESULTS.get(reason, reason.upper())}, ()


def _request_id(found: _Request, content: Object) -> str:
    """Return what a request is known by when it comes again.

    That is the token of its event, which Lithic gives to some programs only. Without it a request that comes again
    cannot be told from an increment but by its content: the same is the same request, anything else asks for more.
    """
    if found.event_token is not None:
        return found.event_token
    return f"{found.token}:{hashlib.sha256(strict_json.canonical(content)).hexdigest()}"


def _merchant(data: _Merchant) -> Merchant:
    return merchant_of((data.descriptor, data.acceptor_id), data.mcc)


def _moved(event: _Event, currency: str) -> tuple[Moved, ...]:
    """Return the money that an event moved, none where it is declined or only about a hold."""
    settled = event.amounts.settlement
    if event.result != "APPROVED" or (settled is None and event.type not in CAPTURES | REFUNDS):
        return ()
    if settled is not None and settled.currency != currency:
        raise ValidationFailed("an event is in another currency than its transaction", field="events")
    amount_minor = abs(event.amount if settled is None else settled.amount)
    is_refund = event.type in REFUNDS if event.effective_polarity is None else event.effective_polarity == "CREDIT"
    kind: Literal["capture", "refund"] = "refund" if is_refund else "capture"
    return (Moved(kind=kind, id=event.token, amount_minor=amount_minor),) if amount_minor else ()

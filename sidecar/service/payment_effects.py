"""What a payment changes, each step in the caller's transaction: books, its own state, the hold, audit record, event.

The record of a step says what it moved, leg by leg, so that the log alone gives the journal.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from sidecar.core.access import Caller
from sidecar.core.accounts import Entry, Leg
from sidecar.core.audit import Body
from sidecar.core.payments import Outcome, Payment, beginning, ended, ending
from sidecar.core.reservation import Reservation, Transition, release, settle
from sidecar.service.events import tell_payment
from sidecar.service.payment_store import Lists
from sidecar.service.settlement import end_hold
from sidecar.service.store import TenantTransaction

RETRY_US: Final = 60 * 1_000_000
"""When a payment that is on its way is looked after again: its rail was given up on before that."""


def begin(part: TenantTransaction, payment: Payment, lists: Lists, caller: Caller, now_us: int) -> Payment:
    """Keep a new payment, move what it moves, and settle what is held for it where it has succeeded.

    Raises Conflict where too little is in the account.
    """
    if payment.status == "initiated":
        payment = msgspec.structs.replace(payment, retry_at_us=now_us + RETRY_US)
    legs = beginning(payment)
    if payment.status == "success":
        _end(part, payment, caller, now_us)
    place = _record(part, payment, legs, caller.name, now_us)
    payment = msgspec.structs.replace(payment, place=place)
    if payment.status == "initiated":
        _expect(part, payment, 1)
    part.payments.add(payment, lists)
    _tell(part, payment, now_us)
    return payment


def complete(
    part: TenantTransaction, payment: Payment, outcome: Outcome, caller: Caller | None, now_us: int
) -> Payment:
    """End a payment that was on its way as its rail says; one that has ended stays as it is, whatever is said now."""
    if payment.status != "initiated":
        return payment
    changed = ended(payment, outcome, now_us, now_us + RETRY_US)
    part.payments.change(changed)
    if changed.status != "initiated":
        _expect(part, changed, -1)
        _end(part, changed, caller, now_us)
        _record(part, changed, ending(changed), "sidecar" if caller is None else caller.name, now_us)
        _tell(part, changed, now_us)
    return changed


def _expect(part: TenantTransaction, payment: Payment, change: int) -> None:
    for account_id in (payment.from_account_id, payment.to_account_id):
        part.books.expect(account_id, change)


def _end(part: TenantTransaction, payment: Payment, caller: Caller | None, now_us: int) -> None:
    """End the hold of a payment's decision; a rehearsal has none.

    Whoever ended it by hand meanwhile has said what becomes of the budgets; the value moves all the same.
    """
    reservation = None if payment.decision_id is None else part.ledger.reservation(payment.decision_id)
    if reservation is None:
        return
    if payment.status == "success":
        end_hold(part, "settle", _in_full, reservation, caller, now_us)
    else:
        end_hold(part, "release", _freed, reservation, caller, now_us)


def _in_full(reservation: Reservation) -> Transition:
    is_open = reservation.state in {"held", "expired"}
    return settle(reservation, None, final=True) if is_open else Transition(reservation, changed=False)


def _freed(reservation: Reservation) -> Transition:
    return release(reservation) if reservation.state == "held" else Transition(reservation, changed=False)


def _record(part: TenantTransaction, payment: Payment, legs: Sequence[Leg], by: str, now_us: int) -> int:
    """Record a step and book what it moves; returns the place of both."""
    body: Body = {
        "payment": payment.payment_id,
        "identity": payment.identity_id,
        "from": payment.from_account_id,
        "to": payment.to_account_id,
        "asset": payment.currency,
        "network": payment.network,
        "amount": payment.amount_minor,
        "status": payment.status,
        "by": by,
    }
    if payment.decision_id is not None:
        body["decision"] = payment.decision_id
    if payment.debug_mode:
        body["debug"] = True
    if payment.transaction_hash is not None:
        body["transaction"] = payment.transaction_hash
    if legs:
        body["moved"] = [[leg.account, leg.minor] for leg in legs]
    place = part.audit.append("payment", now_us, body).seq
    if legs:
        part.books.post(place, Entry("payment", tuple(legs), now_us))
    return place


def _tell(part: TenantTransaction, payment: Payment, now_us: int) -> None:
    if not payment.debug_mode and payment.status != "initiated":
        tell_payment(part, payment, now_us)

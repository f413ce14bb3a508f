"""Payments as they are shown: one by its id, and pages of those within reach."""

from collections.abc import Callable
from functools import cache

import msgspec

from sidecar.core.access import Caller
from sidecar.core.directory import walk
from sidecar.core.errors import NotFound
from sidecar.core.model import Decision
from sidecar.core.payments import Payment, PaymentStatus
from sidecar.service.accounts import reached_account
from sidecar.service.paging import Page, PageRequest, page_of
from sidecar.service.payment_store import ListOf
from sidecar.service.store import Listed, TenantTransaction


class Paid(msgspec.Struct, frozen=True):
    """A payment with the decision that it rests on, in debug mode what would be decided; None where it is not shown."""

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

    def fits(self, payment: Payment) -> bool:
        """Whether ``payment`` is asked for."""
        return (
            self.identity_id in {None, payment.identity_id}
            and self.sender_id in {None, payment.sender_id}
            and self.receiver_id in {None, payment.receiver_id}
            and self.account_id in {None, payment.from_account_id, payment.to_account_id}
            and self.status in {None, payment.status}
            and self.currency in {None, payment.currency}
        )


def paid(part: TenantTransaction, caller: Caller, payment: Payment) -> Paid:
    """Return a payment with its decision.

    Who does not reach the payer is shown neither it nor why it denied: both tell of the payer's policies, and of what
    its budgets have left.
    """
    decision = payment.rehearsal
    if payment.decision_id is not None:
        decision = part.answers.decision(payment.decision_id)
    if decision is not None and not caller.reaches(walk(payment.identity_id, part.identities.get)):
        if not decision.allowed:
            payment = msgspec.structs.replace(payment, error_details=None)
        decision = None
    return Paid(part.tenant.tenant_id, payment, decision)


def reached_payment(part: TenantTransaction, caller: Caller, payment_id: str) -> Payment:
    """Return a payment. Raises NotFound where it is unknown, or nobody who takes part in it is within reach."""
    payment = part.payments.get(payment_id)
    if payment is None or not takes_part(part, caller, payment):
        raise NotFound(f"unknown payment `{payment_id}`", field="payment_id")
    return payment


def takes_part(part: TenantTransaction, caller: Caller, payment: Payment) -> bool:
    """Whether somebody who takes part in a payment is within reach."""
    return _reach(part, caller)(payment)


def payments_within(
    part: TenantTransaction, caller: Caller, wanted: PaymentFilter, request: PageRequest, *, newest_first: bool
) -> Page[Payment]:
    """Return a page of the payments within reach that fit.

    Raises NotFound where an administrator names an identity or account that is unknown.
    """
    of = _list_of(part, caller, wanted)
    if of is None:
        return Page((), None)
    reaches = _reach(part, caller)
    found = part.payments.listed(*of, after=request.after, newest_first=newest_first)
    listed = (Listed(payment.place, payment) for payment in found)
    return page_of(listed, request, lambda payment: wanted.fits(payment) and reaches(payment))


def _reach(part: TenantTransaction, caller: Caller) -> Callable[[Payment], bool]:
    """Return whether somebody who takes part in a payment is within reach."""

    @cache
    def reaches(identity_id: str) -> bool:
        return caller.reaches(walk(identity_id, part.identities.get))

    return lambda payment: any(map(reaches, (payment.identity_id, payment.sender_id, payment.receiver_id)))


def _list_of(part: TenantTransaction, caller: Caller, wanted: PaymentFilter) -> tuple[ListOf, str] | None:
    """Return the shortest list that has what is asked for and is within reach; None for a caller that reaches nothing.

    What an agent names outside of its reach can still be the other side of a payment of its own.
    """
    if wanted.account_id is not None and (caller.may_administer or _is_reached(part, caller, wanted.account_id)):
        return "account", reached_account(part, caller, wanted.account_id)[0].account_id
    named: tuple[tuple[ListOf, str | None], ...] = (
        ("actor", wanted.identity_id),
        ("sender", wanted.sender_id),
        ("receiver", wanted.receiver_id),
    )
    for of, name in named:
        identity = None if name is None else part.identities.get(name)
        if name is not None and identity is None and caller.may_administer:
            raise NotFound(f"unknown identity `{name}`", field="identity_id" if of == "actor" else f"{of}_id")
        if identity is not None and caller.reaches(walk(identity.identity_id, part.identities.get)):
            return of, identity.identity_id
    top = part.tenant.root_identity_id if caller.may_administer else caller.top
    return None if top is None else ("within", top)


def _is_reached(part: TenantTransaction, caller: Caller, account_id: str) -> bool:
    account = part.accounts.get(account_id)
    return account is not None and caller.reaches(walk(account.identity_id, part.identities.get))

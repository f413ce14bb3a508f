"""Payments: decided, reserved, moved and settled in one transaction, or decided there and moved by a rail after it.

A payment is an authorization of ``payment.create`` with its effect, so budgets, audit record, events and the shadow
witness are those of any decision, and a denial is a payment that failed. What cannot be a payment (an unknown account,
too little in it) is an error and changes nothing. Order in the transaction: token, idempotency key and ``request_id``,
accounts, decision, books.

On a network with a rail the value is in transit between two transactions. Nothing is lost in between: a payment that is
on its way is looked after again until its rail says what became of it, and the first answer counts.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from sidecar.core.access import Caller
from sidecar.core.accounts import Leg, booked
from sidecar.core.budget import account_of
from sidecar.core.directory import Tenant, walk
from sidecar.core.errors import Conflict, Forbidden, IdempotencyConflict
from sidecar.core.idempotency import IdempotencyKey
from sidecar.core.model import Decision
from sidecar.core.payments import Payment
from sidecar.service.access import part_of, require_alive, tenant_of
from sidecar.service.authorize import Answered, Authorizer, Call
from sidecar.service.idempotency import Done, find_replay, first, replay_of, replayed
from sidecar.service.observe import Observer, Unobserved
from sidecar.service.paging import Page, PageRequest
from sidecar.service.payment_effects import begin
from sidecar.service.payment_lists import Paid, PaymentFilter, paid, payments_within, reached_payment
from sidecar.service.payment_plan import PaymentDraft, Plan, payer_of, plan
from sidecar.service.rails import PENDING
from sidecar.service.rehearsal import rehearsed
from sidecar.service.ruling import Proposal
from sidecar.service.snapshots import Snapshots
from sidecar.service.store import Store, TenantTransaction, Transaction
from sidecar.service.transits import Transits

TRIES_MAX: Final = 3
"""Plans made for one payment, before the tenant is said to change all the time."""


class _Proposed(msgspec.Struct, frozen=True):
    """A payment with its ruling, made on the committed state."""

    plan: Plan
    proposal: Proposal


class _Made(msgspec.Struct, frozen=True):
    """A new payment, and the decision that was recorded for it, None for a rehearsal."""

    paid: Paid
    tenant: Tenant
    answered: Answered | None = None


class Paymaster:
    """Makes the payments of every tenant."""

    def __init__(
        self,
        store: Store,
        authorizer: Authorizer,
        snapshots: Snapshots,
        new_id: Callable[[str, int], str],
        transits: Transits,
        observer: Observer | None = None,
    ) -> None:
        """Decide as ``authorizer`` does; ``transits`` moves what is not settled at once."""
        self._store = store
        self._authorizer = authorizer
        self._snapshots = snapshots
        self._new_id = new_id
        self._transits = transits
        self._observer = observer or Unobserved()

    async def pay(
        self, caller: Caller, tenant_id: str | None, draft: PaymentDraft, key: IdempotencyKey | None, now_us: int
    ) -> Done[Paid]:
        """Decide and make a payment; one that a rail moves may still be on its way.

        A denial is a payment of the status ``failed``. A repeated ``key`` or ``request_id`` returns the payment that it
        named first, as it is now. Raises as ``plan``, Conflict where too little is in the account and where a budget of
        it cannot be asked, IdempotencyConflict, Unavailable when it cannot be recorded; nothing is changed then.
        """
        for _ in range(TRIES_MAX):
            course = self._observer.course()
            with self._store.read() as txn:
                part = txn.of(tenant_of(txn, caller, tenant_id))
                earlier = _earlier(part, caller, draft, key, now_us)
                if earlier is not None:
                    require_alive(txn, caller, now_us)
                    return Done(earlier, replayed=True)
                self._store.require_room()
                planned = self._plan(txn, part, caller, draft, now_us)
                proposal = self._authorizer.propose(txn, part, caller, planned.request, now_us)
            course.ruled()
            enter = partial(
                self._enter,
                caller=caller,
                tenant_id=tenant_id,
                draft=draft,
                proposed=_Proposed(planned, proposal),
                key=key,
                now_us=now_us,
            )
            done = await self._store.write(enter, apart=True)
            if done is None:
                continue
            made = done.value
            if made.answered is not None:
                course.decided(made.answered.decision)
                self._authorizer.show(made.tenant, planned.request, made.answered)
            if made.paid.payment.status == "initiated" and not done.replayed:
                payment = await self._transits.submit(made.tenant, made.paid.payment)
                return Done(msgspec.structs.replace(made.paid, payment=payment))
            return Done(made.paid, done.replayed)
        raise Conflict("the tenant's accounts change all the time, try again")

    def _plan(
        self, txn: Transaction, part: TenantTransaction, caller: Caller, draft: PaymentDraft, now_us: int
    ) -> Plan:
        return plan(part, caller, draft, self._snapshots.files(txn).schema.forms, now_us)

    def _enter(
        self,
        txn: Transaction,
        *,
        caller: Caller,
        tenant_id: str | None,
        draft: PaymentDraft,
        proposed: _Proposed,
        key: IdempotencyKey | None,
        now_us: int,
    ) -> Done[_Made] | None:
        """Decide and move by a plan of now, or return None where it asks something else than what was ruled on."""
        part = part_of(txn, caller, tenant_id, now_us)
        earlier = _earlier(part, caller, draft, key, now_us)
        if earlier is not None:
            return Done(_Made(earlier, part.tenant), replayed=True)
        planned = self._plan(txn, part, caller, draft, now_us)
        request = planned.request
        if request != proposed.plan.request:
            return None
        call = Call(caller, part.tenant, request, None, now_us)
        proposal = self._authorizer.renew(txn, part, call, proposed.proposal)
        answered = None
        if draft.debug_mode:
            decision = rehearsed(part, proposal, request, now_us)
        else:
            answered = self._authorizer.record(txn, part, call, proposal, None)
            decision = answered.decision
        if decision.allowed:
            _require_governed(planned, proposal)
        payment = self._drawn(draft, planned, decision, now_us)
        if payment.status == "success":  # also where nothing is moved: a rehearsal shows what the payment would meet
            booked(Leg(payment.from_account_id, -payment.amount_minor), part.books.balance(payment.from_account_id))
        payment = begin(part, payment, planned.lists, caller, now_us)
        if key is not None:
            answer = msgspec.msgpack.encode(payment.payment_id)
            part.answers.keep_replay(replay_of(key, now_us, answer=answer))
        return Done(_Made(paid(part, caller, payment), part.tenant, answered))

    def _drawn(self, draft: PaymentDraft, planned: Plan, decision: Decision, now_us: int) -> Payment:
        """Return the payment that a decision makes of a draft."""
        payment = Payment(
            payment_id=self._new_id("pay", now_us),
            place=0,
            identity_id=planned.payer[0].identity_id,
            from_account_id=planned.source.account_id,
            to_account_id=planned.target.account_id,
            sender_id=planned.source.identity_id,
            receiver_id=planned.target.identity_id,
            amount_minor=planned.request.amount_minor or 0,
            currency=draft.currency,
            network=planned.source.network,
            status="initiated",
            request_id=draft.request_id,
            fingerprint=draft.fingerprint,
            debug_mode=draft.debug_mode,
            decision_id=decision.decision_id,
            rehearsal=decision if draft.debug_mode else None,
            metadata=draft.metadata,
            created_at_us=now_us,
            updated_at_us=now_us,
        )
        if not decision.allowed:
            why = "; ".join(f"{reason.code}: {reason.message}" for reason in decision.reasons)
            return msgspec.structs.replace(payment, status="failed", error_details=why)
        if draft.debug_mode or not self._transits.are_needed(payment.network):
            return msgspec.structs.replace(payment, status="success")
        return payment

    def get(self, caller: Caller, tenant_id: str | None, payment_id: str) -> Paid:
        """Return a payment: of who pays, of an account's owner, or of somebody below the caller. Raises NotFound."""
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            return paid(part, caller, reached_payment(part, caller, payment_id))

    def listed(
        self,
        caller: Caller,
        tenant_id: str | None,
        wanted: PaymentFilter,
        request: PageRequest,
        *,
        newest_first: bool = False,
    ) -> Page[Paid]:
        """Return a page of the payments that fit and are within reach, in order of creation or backwards.

        Raises NotFound where an administrator names an identity or account that is unknown.
        """
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            page = payments_within(part, caller, wanted, request, newest_first=newest_first)
            return Page(tuple(paid(part, caller, payment) for payment in page.values), page.next_after)

    async def cancel(
        self, caller: Caller, tenant_id: str | None, payment_id: str, key: IdempotencyKey | None, now_us: int
    ) -> Done[Paid]:
        """Stop a payment that is on its way; one that is cancelled stays so.

        Raises Forbidden for a token that may not free budget, Conflict where it has ended or its rail cannot stop it,
        Unavailable where the rail cannot be asked, NotFound.
        """
        if not caller.may_free_budget:
            raise Forbidden("cancelling a payment needs a tenant key or a token with `may_release`")
        with self._store.read() as txn:
            payment = reached_payment(txn.of(tenant_of(txn, caller, tenant_id)), caller, payment_id)
        outcome = await self._transits.stop(payment) if payment.status == "initiated" else PENDING

        def work(txn: Transaction) -> Done[Paid]:
            part = part_of(txn, caller, tenant_id, now_us)
            again = replayed(part, key, now_us, Paid)
            if again is not None:
                return again
            changed = self._transits.end(part, reached_payment(part, caller, payment_id), outcome, caller)
            shown = paid(part, caller, changed)
            # Where its rail says that it has arrived instead, that is kept, and is no answer to this call.
            return first(part, key, now_us, lambda: shown) if changed.status == "cancelled" else Done(shown)

        done = await self._store.write(work)
        status = done.value.payment.status
        if status != "cancelled":
            raise Conflict(f"payment `{payment_id}` is `{status}`, it cannot be cancelled")
        return done


def _require_governed(planned: Plan, proposal: Proposal) -> None:
    """Raise Conflict where a budget of the account was not asked: the schema has no word for what is paid from."""
    if account_of(planned.request) is None:
        for budget in proposal.view.budgets:
            if budget.account_id == planned.source.account_id:
                message = (
                    f"budget `{budget.budget_id}` limits an account, and the schema's payments have no `account_id`"
                )
                raise Conflict(message)


def _earlier(
    part: TenantTransaction, caller: Caller, draft: PaymentDraft, key: IdempotencyKey | None, now_us: int
) -> Paid | None:
    """Return the payment that the key or the draft's ``request_id`` named before. Raises IdempotencyConflict."""
    replay = None if key is None else find_replay(part, key, now_us)
    if replay is not None:
        payment_id = msgspec.msgpack.decode(replay.answer, type=str)
        return paid(part, caller, reached_payment(part, caller, payment_id))
    payer_id = payer_of(part, draft)
    if draft.request_id is None or payer_id is None:
        return None
    payment = part.payments.by_request(payer_id, draft.request_id)
    if payment is None or not caller.reaches(walk(payer_id, part.identities.get)):  # who may not pay is refused later
        return None
    if payment.fingerprint != draft.fingerprint:
        raise IdempotencyConflict("the request id names another payment", field="request_id")
    return paid(part, caller, payment)

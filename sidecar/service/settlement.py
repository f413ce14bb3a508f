"""Ending reservations: settle, release, refund, and the expiry of holds whose time has come.

Each is one transaction of the transition, its postings and its audit record. None is refused for lack of room: money
that moved must be recorded, and a hold that ends frees some.

A follower ends no hold by a time that its control plane does not vouch for (DESIGN rule 3): what is due waits, and what
settles it meanwhile is not late. What a control plane holds for a follower is ended by that follower's word
(``sidecar.service.remote_endings``), and by a caller here only once the follower can say nothing any more.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from sidecar.core.access import Caller
from sidecar.core.audit import Body
from sidecar.core.budget import AMOUNT, COUNT
from sidecar.core.directory import walk
from sidecar.core.errors import Conflict, Forbidden, NotFound, StoreUnusable, ValidationFailed
from sidecar.core.idempotency import IdempotencyKey
from sidecar.core.model import Decision
from sidecar.core.money import Major
from sidecar.core.reservation import Reservation, Transition, expire, refund, release, settle
from sidecar.service.access import part_of, tenant_of
from sidecar.service.events import tell_ending
from sidecar.service.freshness import Freshness
from sidecar.service.idempotency import Done, once
from sidecar.service.store import Store, TenantTransaction, Transaction

EXPIRE_BATCH: Final = 256
"""Holds that one transaction ends, each endpoint that may be told of one counting like another hold.

Some 25 to 50 ms of the writer lock, measured on two busy cores; 256 holds with 20 endpoints would take 300 to 400.
"""


class Wanted(msgspec.Struct, frozen=True):
    """What a settlement names; a dimension that is left out takes what is held of it."""

    amount: Major | None
    quantities: dict[str, Major]
    final: bool


class Found(msgspec.Struct, frozen=True):
    """A decision with the present state of its reservation, None where it has none to show."""

    decision: Decision
    reservation: Reservation | None


Change: TypeAlias = Callable[[Reservation], Transition]


class Settler:
    """Ends the reservations of this process's callers."""

    def __init__(self, store: Store, freshness: Freshness | None = None) -> None:
        """Work on ``store``; ``freshness`` is a follower's."""
        self._store = store
        self._freshness = freshness

    def find(self, caller: Caller, tenant_id: str | None, decision_id: str) -> Found:
        """Return a decision. Raises NotFound where it is unknown or outside the caller's reach."""
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            return _found(part, caller, decision_id)

    async def settle(
        self,
        caller: Caller,
        tenant_id: str | None,
        decision_id: str,
        wanted: Wanted,
        key: IdempotencyKey | None,
        now_us: int,
    ) -> Done[Reservation]:
        """Settle what ``wanted`` names.

        Raises Conflict where the reservation's state excludes it, where a follower or a card network ends it, and where
        more than is held is named, Forbidden where an agent settles less than is held, NotFound, ValidationFailed,
        IdempotencyConflict.
        """

        def change(reservation: Reservation) -> Transition:
            figures = _figures(wanted, reservation.currency)
            transition = settle(reservation, figures, final=wanted.final)
            if transition.changed and not caller.may_free_budget and not _in_full(transition.reservation):
                raise Forbidden("this token settles in full only; settling a part needs a tenant key or `may_release`")
            return transition

        return await self._change(caller, tenant_id, decision_id, ("settle", change), key, now_us)

    async def release(
        self, caller: Caller, tenant_id: str | None, decision_id: str, key: IdempotencyKey | None, now_us: int
    ) -> Done[Reservation]:
        """Free what is held. Raises Forbidden for a token that may not, else as ``settle``."""
        _require_freeing(caller)
        return await self._change(caller, tenant_id, decision_id, ("release", release), key, now_us)

    async def refund(
        self,
        caller: Caller,
        tenant_id: str | None,
        decision_id: str,
        amount: Major,
        key: IdempotencyKey | None,
        now_us: int,
    ) -> Done[Reservation]:
        """Give back a part of what was settled. Raises as ``release``."""
        _require_freeing(caller)

        def change(reservation: Reservation) -> Transition:
            return refund(reservation, _minor(amount, reservation.currency))

        return await self._change(caller, tenant_id, decision_id, ("refund", change), key, now_us)

    async def _change(
        self,
        caller: Caller,
        tenant_id: str | None,
        decision_id: str,
        named: tuple[str, Change],
        key: IdempotencyKey | None,
        now_us: int,
    ) -> Done[Reservation]:
        kind, change = named

        def work(txn: Transaction) -> Done[Reservation]:
            part = part_of(txn, caller, tenant_id, now_us)
            found = _found(part, caller, decision_id)
            reservation = found.reservation
            if reservation is None:
                raise NotFound(f"decision `{decision_id}` holds no amount or quantity")
            _require_ours(part, reservation, now_us)
            end = end_hold if self._may_expire(txn, now_us) else end_undue
            return once(part, key, now_us, Reservation, lambda: end(part, kind, change, reservation, caller, now_us))

        return await self._store.write(work, apart=True)  # a hold may have ended meanwhile

    async def expire_due(self, now_us: int) -> int:
        """End some holds whose time has come; returns how many, 0 once there are none."""
        with self._store.read() as txn:
            if not txn.due(now_us, 1) or not self._may_expire(txn, now_us):
                return 0
        return await self._store.write(
            lambda writing: _expire_due(writing, now_us) if self._may_expire(writing, now_us) else 0
        )

    def _may_expire(self, txn: Transaction, now_us: int) -> bool:
        return self._freshness is None or self._freshness.may_expire(txn, now_us)

    async def prune_replays(self, now_us: int) -> int:
        """Forget outcomes of idempotency keys whose day is over; returns how many.

        None by a time that is not sure: a key that is forgotten too soon is a request that is permitted twice.
        """
        return await self._store.write(
            lambda txn: txn.prune_replays(now_us, EXPIRE_BATCH) if self._may_expire(txn, now_us) else 0
        )


def end_hold(
    part: TenantTransaction, kind: str, change: Change, reservation: Reservation, caller: Caller | None, now_us: int
) -> Reservation:
    """Apply a change inside a transaction; ``caller`` is None where the sidecar itself ends it. Raises as ``change``.

    A hold whose time has come ends first, whether or not the background work was there already.
    """
    present = book(part, "expire", expire(reservation, now_us), None, now_us)
    return end_undue(part, kind, change, present, caller, now_us)


def end_undue(
    part: TenantTransaction, kind: str, change: Change, reservation: Reservation, caller: Caller | None, now_us: int
) -> Reservation:
    """Apply a change as ``end_hold``, to a hold that nobody can say of that its time has come."""
    return book(part, kind, change(reservation), None if caller is None else caller.name, now_us)


def book(part: TenantTransaction, kind: str, transition: Transition, by: str | None, now_us: int) -> Reservation:
    """Book a transition inside a transaction and record it; a repetition leaves no trace.

    ``by`` is the token that asks for it, None where the sidecar itself does.
    """
    if not transition.changed:
        return transition.reservation
    overdrawn = [posting.claim.budget_id for posting in transition.postings if part.ledger.book(posting)]
    reservation = msgspec.structs.replace(
        transition.reservation, overdrawn=transition.reservation.overdrawn or bool(overdrawn)
    )
    part.ledger.keep(reservation)
    part.audit.append(kind, now_us, ending_body(reservation, overdrawn, by))
    tell_ending(part, kind, reservation, overdrawn, now_us)
    return reservation


def _found(part: TenantTransaction, caller: Caller, decision_id: str) -> Found:
    decision = part.answers.decision(decision_id)
    if decision is None:
        raise NotFound(f"unknown decision `{decision_id}`", field="decision_id")
    chain = walk(decision.identity_id, part.identities.get)
    if not caller.reaches(chain):
        raise NotFound(f"unknown decision `{decision_id}`", field="decision_id")
    reservation = part.ledger.reservation(decision_id)
    return Found(decision, reservation if reservation is not None and reservation.is_visible else None)


def ending_body(reservation: Reservation, overdrawn: list[str], by: str | None) -> Body:
    """Return what the record of a change says of a reservation: how it stands after it, with all figures."""
    body: Body = {
        "decision": reservation.decision_id,
        "identity": reservation.identity_id,
        "state": reservation.state,
        "measures": [
            [name, measure.asked, measure.held, measure.settled, measure.refunded]
            for name, measure in sorted(reservation.measures.items())
        ],
        "by": "sidecar" if by is None else by,
    }
    if reservation.currency is not None:
        body["currency"] = reservation.currency
    if reservation.late:
        body["late"] = True
    if overdrawn:
        body["overdrawn"] = overdrawn
    return body


def _expire_due(txn: Transaction, now_us: int) -> int:
    room, ended = EXPIRE_BATCH, 0
    for hold in txn.due(now_us, EXPIRE_BATCH):
        tenant = txn.tenants.get(hold.tenant)
        part = None if tenant is None else txn.of(tenant)
        reservation = None if part is None else part.ledger.reservation(hold.decision_id)
        if part is None or reservation is None:
            raise StoreUnusable(f"`{hold.decision_id}` is due and does not exist")
        book(part, "expire", expire(reservation, now_us), None, now_us)
        ended += 1
        room -= 1 + len(part.webhooks.interests())
        if room <= 0:
            break
    return ended


def _require_ours(part: TenantTransaction, reservation: Reservation, now_us: int) -> None:
    """Raise Conflict for what somebody else ends: a card network, or a follower that can still say what became of it.

    Ended here as well, it would be told twice: what was freed here could be spent there. What is of a card network is
    that network's to end: its next word would undo what anybody else makes of it.
    """
    hold = reservation.network
    if hold is not None:
        named = f"authorization `{hold.authorization_id}` of the card network `{hold.network}`"
        raise Conflict(f"`{reservation.decision_id}` is of {named}, which alone says what becomes of it")
    follower_id = reservation.follower_id
    token = None if follower_id is None else part.tokens.get(follower_id)
    if token is not None and token.is_alive(now_us):
        raise Conflict(f"`{reservation.decision_id}` was decided by the follower `{follower_id}`: end it there")


def _require_freeing(caller: Caller) -> None:
    if not caller.may_free_budget:
        raise Forbidden("freeing what is held or settled needs a tenant key or a token with `may_release`")


def _in_full(reservation: Reservation) -> bool:
    settlement = reservation.settlement
    return settlement is not None and settlement.parts == settlement.held


def _figures(wanted: Wanted, currency: str | None) -> dict[str, int] | None:
    """Return what is wanted as figures per dimension, None for all that is held."""
    figures = {name: value.integer(f"quantities.{name}") for name, value in wanted.quantities.items()}
    for reserved in (AMOUNT, COUNT):
        if reserved in figures:
            raise ValidationFailed(f"`{reserved}` is no quantity", field=f"quantities.{reserved}")
    if wanted.amount is not None:
        figures[AMOUNT] = _minor(wanted.amount, currency)
    return figures or None


def _minor(amount: Major, currency: str | None) -> int:
    if currency is None:
        raise ValidationFailed("the decision has no amount", field="amount")
    return amount.minor(currency, "amount")

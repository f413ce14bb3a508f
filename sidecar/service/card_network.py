"""What card networks ask and tell: a swipe that is decided like any payment, and events that are booked on its hold.

A swipe is an authorization of ``card.authorize`` for the identity of the card, so budgets, audit record and events are
those of any decision. In the same transaction lie the answer, by the network's id of the request, and the dossier of
the authorization (``sidecar.core.card_authorization``), to which the reservations are brought each time it changes.

Order in a transaction: what was said before, card, decision, facts, reservations. The same request again has the same
answer even where its card or identity was blocked meanwhile: the network may have acted on it, and what was captured is
booked anyway. Events are refused for what they are, never for what they tell: captures always succeed (DESIGN rule 8).
"""

from collections.abc import Callable

import msgspec

from sidecar.core.access import Caller, Token
from sidecar.core.audit import Capture
from sidecar.core.card_authorization import (
    Opening,
    Request,
    Seen,
    asked,
    opened,
    place_of_request,
    require_room,
    told,
)
from sidecar.core.card_events import (
    CardEvent,
    CardProgram,
    Network,
    NetworkHold,
    Swipe,
    Told,
    check_event,
    check_swipe,
)
from sidecar.core.cards import Card, ExternalRef
from sidecar.core.directory import Tenant
from sidecar.core.errors import IdempotencyConflict, NotFound
from sidecar.core.ids import DECISION
from sidecar.core.model import Decision
from sidecar.core.restatement import bind
from sidecar.service.authorize import Answered, Authorizer, Call
from sidecar.service.card_bookings import book_shares
from sidecar.service.card_facts import counted, dossier_of, fingerprint_of
from sidecar.service.card_notes import Note, note
from sidecar.service.card_opening import capture_request, card_request, open_reservation
from sidecar.service.idempotency import stored_decision
from sidecar.service.observe import Observer, Unobserved
from sidecar.service.ruling import Proposal
from sidecar.service.snapshots import Snapshots, View, revisions_of
from sidecar.service.store import Store, TenantTransaction, Transaction


class Asked(msgspec.Struct, frozen=True):
    """The decision on a swipe, and whether it is the one that the same request of the network was answered before."""

    decision: Decision
    repeated: bool = False


class CardNetwork:
    """Decides swipes and books what networks tell, for every tenant. Who asks was authenticated by its door."""

    def __init__(
        self,
        store: Store,
        authorizer: Authorizer,
        snapshots: Snapshots,
        new_id: Callable[[str, int], str],
        observer: Observer | None = None,
    ) -> None:
        """Decide as ``authorizer`` does."""
        self._store = store
        self._authorizer = authorizer
        self._snapshots = snapshots
        self._new_id = new_id
        self._observer = observer or Unobserved()

    async def ask(self, tenant_id: str, program: CardProgram, swipe: Swipe, now_us: int) -> Asked:
        """Decide ``swipe`` and return once the decision is on disk.

        The same request again, by ``event_id``, gets the same answer and changes nothing, whatever was blocked
        meanwhile. Raises NotFound for a card that nobody knows, ValidationFailed for a request that does not fit,
        IdempotencyConflict for an ``event_id`` with other content, Conflict for too many requests of one
        authorization, Unavailable when it cannot be recorded; nothing is changed then.
        """
        check_swipe(swipe)
        course = self._observer.course()
        with self._store.read() as txn:
            part = _part(txn, tenant_id)
            earlier = _earlier(part, swipe)
            if earlier is not None:
                return Asked(earlier, repeated=True)
            self._store.require_room()
            card = _card(part, swipe.network, swipe.card)
            request = card_request(card, swipe.merchant, swipe.amount_minor, swipe.currency)
            proposal = self._authorizer.consider(txn, part, request, now_us)
        course.ruled()
        call = Call(_caller(program, part.tenant), part.tenant, request, None, now_us)
        done = await self._store.write(lambda writing: self._decide(writing, call, program, swipe, proposal))
        if isinstance(done, Decision):
            return Asked(done, repeated=True)
        course.decided(done.decision)
        self._authorizer.show(call.tenant, request, done)
        return Asked(done.decision)

    def _decide(
        self, txn: Transaction, call: Call, program: CardProgram, swipe: Swipe, proposal: Proposal
    ) -> Answered | Decision:
        """Decide and book, or return what the same request was answered before."""
        part, now_us = txn.of(call.tenant), call.now_us
        earlier = _earlier(part, swipe)
        if earlier is not None:
            return earlier
        dossier = dossier_of(part, program, swipe, call.request.card_id or "")
        require_room(dossier)
        answered = self._authorizer.record(txn, part, call, self._authorizer.renew(txn, part, call, proposal), None)
        decision_id, allowed = answered.decision.decision_id or "", answered.decision.allowed
        reservation = part.ledger.reservation(decision_id)
        if reservation is not None:
            part.ledger.keep(bind(reservation, NetworkHold(swipe.network, swipe.authorization_id)))
        place = place_of_request(dossier, swipe.index)
        request = Request(
            decision_id=decision_id,
            index=place.index,
            amount_minor=swipe.amount_minor,
            allowed=allowed,
            is_sure=place.is_sure,
        )
        part.card_authorizations.keep(book_shares(part, asked(dossier, request), program.program_id, now_us))
        part.card_authorizations.keep_seen(
            Seen(
                of="request",
                network=swipe.network,
                id=swipe.event_id,
                fingerprint=fingerprint_of(swipe),
                decision_id=decision_id,
                authorization_id=swipe.authorization_id,
                currency=swipe.currency,
            )
        )
        return answered

    async def tell(self, tenant_id: str, program: CardProgram, event: CardEvent, now_us: int) -> Told:
        """Record ``event``, book what it tells, and return what became of it once that is on disk.

        Raises NotFound for an unknown tenant, ValidationFailed for an event that cannot be (a text or figure beyond its
        limits), Unavailable when it cannot be recorded; nothing is changed then.
        """
        check_event(event)
        with self._store.read() as txn:
            part = _part(txn, tenant_id)
            tenant, card, view = part.tenant, _find_card(part, event), None
            if card is not None and event.captures:
                view = self._snapshots.current(txn, part, card.identity_id, card.card_id)
        became = await self._store.write(
            lambda writing: self._take(writing, _Telling(tenant, program, event, view, now_us))
        )
        return await self.tell(tenant_id, program, event, now_us) if became is None else became

    def _take(self, txn: Transaction, telling: "_Telling") -> Told | None:
        """Take an event in unless it was before; None, and nothing done, where its card came to be known just now."""
        part, event = txn.of(telling.tenant), telling.event
        seen, card = part.card_authorizations.seen("event", event.network, event.event_id), _find_card(part, event)
        row = Seen(of="event", network=event.network, id=event.event_id, fingerprint=fingerprint_of(event))
        if seen is not None and (seen.is_known or card is None):
            became: Told = "repeated" if seen.is_known else "unknown_card"
            if seen.fingerprint != row.fingerprint:
                note(part, telling.program, event, Note(became, card, differs=True), telling.now_us)
            return became
        if card is not None and event.captures and telling.view is None:
            return None
        is_known = card is not None or event.is_idle
        part.card_authorizations.keep_seen(msgspec.structs.replace(row, is_known=is_known))
        if card is None or event.is_idle:
            became = "no_effect" if is_known else "unknown_card"
            note(part, telling.program, event, Note(became, card), telling.now_us)
            return became
        return self._book(txn, part, telling, card)

    def _book(self, txn: Transaction, part: TenantTransaction, telling: "_Telling", card: Card) -> Told:
        """Gather what an event tells, and bring the reservations to it."""
        cards, event, program, now_us = part.card_authorizations, telling.event, telling.program, telling.now_us
        dossier = dossier_of(part, program, event, card.card_id)
        new, marks = counted(part, event)
        gathered = told(dossier, event.standing, new)
        became: Told = "booked" if new or gathered != dossier else "repeated"
        note(part, program, event, Note(became, card, marks), now_us)
        if became == "repeated":
            return became
        if gathered.lacks_opening and telling.view is not None:  # what a capture needs was looked at before
            opening = Opening(decision_id=self._new_id(DECISION, now_us), amount_minor=gathered.captured_minor)
            capture = Capture(
                decision_id=opening.decision_id,
                network=event.network,
                authorization_id=gathered.authorization_id,
                merchant=None if event.merchant is None else event.merchant.name,
                by=program.program_id,
            )
            request = capture_request(card.identity_id, card.card_id, opening.amount_minor, gathered.currency)
            open_reservation(part, self._fresh(txn, part, telling.view), request, capture, now_us)
            gathered = opened(gathered, opening)
        cards.keep(book_shares(part, gathered, program.program_id, now_us))
        return became

    def _fresh(self, txn: Transaction, part: TenantTransaction, view: View) -> View:
        """Return a card with its chain and budgets as this transaction sees them."""
        return view if view.revisions == revisions_of(txn, part) else self._snapshots.fresh(txn, part, view)


class _Telling(msgspec.Struct, frozen=True):
    """An event on its way into the books. ``view`` is the committed one of its card, None where no capture is told."""

    tenant: Tenant
    program: CardProgram
    event: CardEvent
    view: View | None
    now_us: int


def _part(txn: Transaction, tenant_id: str) -> TenantTransaction:
    tenant = txn.tenants.find(tenant_id)
    if tenant is None:
        raise NotFound(f"unknown tenant `{tenant_id}`", field="tenant_id")
    return txn.of(tenant)


def _caller(program: CardProgram, tenant: Tenant) -> Caller:
    """Return who a decision's record says has asked. It opens nothing: no such token lies in the store."""
    token = Token(
        token_id=program.program_id,
        key_id="",
        digest=b"",
        prefix="",
        tenant=tenant.number,
        kind="agent",
        name=program.name,
        identity_id=None,
        may_release=False,
        created_at_us=program.created_at_us,
        expires_at_us=None,
    )
    return Caller("agent", token)


def _earlier(part: TenantTransaction, swipe: Swipe) -> Decision | None:
    """Return what the same request was answered before. Raises IdempotencyConflict."""
    seen = part.card_authorizations.seen("request", swipe.network, swipe.event_id)
    if seen is None:
        return None
    if seen.fingerprint != fingerprint_of(swipe):
        raise IdempotencyConflict(f"the request `{swipe.event_id}` came before with other content", field="event_id")
    return stored_decision(part, seen.decision_id)


def _card(part: TenantTransaction, network: Network, name: str) -> Card:
    card = part.cards.by_external_id(ExternalRef(network, name).key)
    if card is None:
        raise NotFound(f"no card is known that `{network}` calls `{name}`", field="card")
    return card


def _find_card(part: TenantTransaction, event: CardEvent) -> Card | None:
    """Return the card of an event: the one it names, else that of its authorization."""
    if event.card is not None:
        return part.cards.by_external_id(ExternalRef(event.network, event.card).key)
    if event.authorization_id is None or event.currency is None:
        return None
    dossier = part.card_authorizations.find(event.network, event.authorization_id, event.currency)
    return None if dossier is None else part.cards.get(dossier.card_id)

"""The decision: rule on a snapshot, then check, reserve, record and store in one transaction.

The ruling is made before the transaction, on the committed state; inside it, a tenant whose revision moved is ruled
again under the writer lock, so no decision rests on a state older than its record (DESIGN rule 2). Order inside: token,
idempotency, identity chain, ruling, age of the data, budgets, reservation, audit record, answer.
"""

from collections.abc import Callable

import msgspec

from sidecar.core.access import Caller
from sidecar.core.audit import Verdict, decision_body
from sidecar.core.budget import Claim, Usage
from sidecar.core.delegation import HOME, Referral, Seat
from sidecar.core.directory import Tenant
from sidecar.core.idempotency import IdempotencyKey, Replay
from sidecar.core.model import AuthorizeRequest, Decision
from sidecar.core.policy import engine
from sidecar.core.staleness import Freshly
from sidecar.service.access import require_alive, tenant_of
from sidecar.service.delegation import Delegation, close, confirmed, seat_of
from sidecar.service.entry import book_permit, keep_facts
from sidecar.service.events import tell_decision
from sidecar.service.explain import Grounds, weigh
from sidecar.service.freshness import Freshness
from sidecar.service.idempotency import find_replay, replay_of
from sidecar.service.identity_changes import suspend_for_budget
from sidecar.service.judgement import Judgement, judge
from sidecar.service.observe import Observer, Unobserved, Witness
from sidecar.service.rehearsal import rehearsed
from sidecar.service.ruling import Proposal, rule
from sidecar.service.snapshots import Snapshots, View, revisions_of
from sidecar.service.store import Store, TenantTransaction, Transaction
from sidecar.service.withdrawal import standing_decision


class Answered(msgspec.Struct, frozen=True):
    """A decision, and whether it is the stored one of an earlier call with the same key.

    ``grounds`` are what ``sidecar.service.explain`` explains it from; a stored one has none. ``proposal`` is the ruling
    that a new decision rests on, ``claimed`` what it claims, of budgets that had used so much before.
    """

    decision: Decision
    replayed: bool = False
    grounds: Grounds | None = None
    proposal: Proposal | None = None
    claimed: tuple[tuple[Claim, Usage], ...] = ()


class Call(msgspec.Struct, frozen=True):
    """Who asks what, and when; ``explain`` asks for the grounds of the decision as well.

    ``seat`` is where it is decided. ``decision_id`` is given where a follower made it, ``referral`` where its control
    plane was asked.
    """

    caller: Caller
    tenant: Tenant
    request: AuthorizeRequest
    key: IdempotencyKey | None
    now_us: int
    explain: bool = False
    seat: Seat = HOME
    decision_id: str | None = None
    referral: Referral | None = None


class Authorizer:
    """Decides requests of this process."""

    def __init__(
        self,
        store: Store,
        snapshots: Snapshots,
        new_id: Callable[[str, int], str],
        observer: Observer | None = None,
        witness: Witness | None = None,
        freshness: Freshness | None = None,
        delegation: Delegation | None = None,
    ) -> None:
        """Decide over ``store``; ``new_id`` makes an id of a prefix at a time.

        ``freshness`` and ``delegation`` are a follower's.
        """
        self._delegation = delegation
        self._observer = observer or Unobserved()
        self._witness = witness or Unobserved()
        self._store = store
        self._snapshots = snapshots
        self._new_id = new_id
        self._freshness = freshness

    async def authorize(
        self,
        caller: Caller,
        tenant_id: str | None,
        request: AuthorizeRequest,
        key: IdempotencyKey | None,
        now_us: int,
        *,
        explain: bool = False,
    ) -> Answered:
        """Decide ``request`` and return once the decision is on disk.

        A repeated ``key`` returns the stored decision, unless it was a permit whose chain was blocked since, as far as
        data of this age tells: that is a new denial. Raises ValidationFailed and NotFound for a request that does not
        fit, IdempotencyConflict for a key with other content, Unavailable when it cannot be recorded; nothing is
        changed then.
        """
        course = self._observer.course()
        with self._store.read() as txn:
            tenant = tenant_of(txn, caller, tenant_id)
            part = txn.of(tenant)
            replay = None if key is None else find_replay(part, key, now_us)
            stored = None
            if replay is not None:
                stored = standing_decision(part, request, replay.decision_id, self.look(txn, part, request, now_us))
            if stored is not None:
                require_alive(txn, caller, now_us)
                return Answered(stored, replayed=True)
            self._store.require_room()
            proposal = self.propose(txn, part, caller, request, now_us)
            call = Call(caller, tenant, request, key, now_us, explain, self.seat(txn))
            lacks_word = self.follows and self.foresee(txn, part, call, proposal).lacks_word
        course.ruled()
        if lacks_word:
            call = await self.referred(call)
        answered = await self._store.write(lambda writing: self._decide(writing, call, proposal))
        if not answered.replayed:
            course.decided(answered.decision)
        self.show(tenant, request, answered)
        return answered

    def show(self, tenant: Tenant, request: AuthorizeRequest, answered: Answered) -> None:
        """Show a decision that is on disk to the witness; one that is not new is none."""
        if answered.proposal is not None:
            self._witness.witness(tenant, request, answered.proposal, answered.decision)

    def rehearse(
        self, caller: Caller, tenant_id: str | None, request: AuthorizeRequest, now_us: int, *, explain: bool = False
    ) -> Answered:
        """Return what would be decided now, with its grounds if asked for; nothing is reserved or recorded."""
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            proposal = self.propose(txn, part, caller, request, now_us)
            freshly = self.look(txn, part, request, now_us, proposal)
            seat = self.seat(txn)
            decision = rehearsed(part, proposal, request, now_us, freshly, seat)
            grounds = weigh(part, proposal, request, now_us, seat) if explain else None
        return Answered(decision, grounds=grounds)

    def propose(
        self, txn: Transaction, part: TenantTransaction, caller: Caller, request: AuthorizeRequest, now_us: int
    ) -> Proposal:
        """Return the ruling on the committed state.

        Raises NotFound outside of the caller's reach, Forbidden for a hold that would free budget too soon.
        """
        view = self._snapshots.current(txn, part, request.identity_id, request.card_id)
        caller.require_reach(view.chain)
        if request.amount_minor is not None or request.quantities:
            caller.require_hold(request.ttl_seconds)
        return rule(part, view, request, now_us)

    def consider(self, txn: Transaction, part: TenantTransaction, request: AuthorizeRequest, now_us: int) -> Proposal:
        """Return the ruling on the committed state, whoever asks. Raises NotFound, ValidationFailed."""
        view = self._snapshots.current(txn, part, request.identity_id, request.card_id)
        return rule(part, view, request, now_us)

    def seat(self, txn: Transaction) -> Seat:
        """Return where this process decides. Raises Unavailable for a follower that has not followed yet."""
        return HOME if self._delegation is None else seat_of(txn)

    @property
    def follows(self) -> bool:
        """Whether there is a control plane to be asked."""
        return self._delegation is not None

    def foresee(self, txn: Transaction, part: TenantTransaction, call: Call, proposal: Proposal) -> Judgement:
        """Return what a ruling comes to as long as the control plane has not been asked."""
        freshly = self.look(txn, part, call.request, call.now_us, proposal)
        return judge(part, proposal, call.request, call.now_us, freshly, seat=call.seat)

    async def referred(self, call: Call) -> Call:
        """Return ``call`` with what the control plane says of it. Raises Unavailable where nothing can be written."""
        if self._delegation is None:
            return call
        decision_id = self._new_id("dec", call.now_us)
        referral = await self._delegation.refer(decision_id, call.request, call.now_us)
        return msgspec.structs.replace(call, decision_id=decision_id, referral=referral)

    def _decide(self, txn: Transaction, call: Call, proposal: Proposal) -> Answered:
        require_alive(txn, call.caller, call.now_us)
        part = txn.of(call.tenant)
        replay = None if call.key is None else find_replay(part, call.key, call.now_us)
        stored = None
        if replay is not None:
            freshly = self.look(txn, part, call.request, call.now_us, proposal)
            stored = standing_decision(part, call.request, replay.decision_id, freshly)
        if stored is not None:
            if call.referral is not None:
                close(txn, call.referral, is_used=False)
            return Answered(stored, replayed=True)
        proposal = self.renew(txn, part, call, proposal)
        return self.record(txn, part, call, proposal, replay)

    def renew(
        self, txn: Transaction, part: TenantTransaction, call: Call, proposal: Proposal, seen: View | None = None
    ) -> Proposal:
        """Return ``proposal``, or a new ruling if the tenant's revision moved.

        The policies of a view that was ``seen`` in this transaction need not be compiled again.
        """
        if proposal.view.revisions == revisions_of(txn, part):
            return proposal
        return rule(part, self._snapshots.fresh(txn, part, proposal.view, seen), call.request, call.now_us)

    def record(
        self, txn: Transaction, part: TenantTransaction, call: Call, proposal: Proposal, replay: Replay | None
    ) -> Answered:
        """Reserve and record: all of it is committed together, or none."""
        request, now_us = call.request, call.now_us
        freshly = None if self._freshness is None else self.look(txn, part, request, now_us, proposal)
        referral = None if call.referral is None else confirmed(txn, call.referral)
        judgement = judge(part, proposal, request, now_us, freshly, seat=call.seat, referral=referral)
        findings, allowed = judgement.findings, judgement.allowed
        grounds = weigh(part, proposal, request, now_us, call.seat, referral) if call.explain else None
        decision_id = call.decision_id or self._new_id("dec", now_us)
        placed = book_permit(part, decision_id, request, findings, now_us, call.seat) if allowed else None
        visible = placed is not None and placed.reservation.is_visible
        expires_at_us = placed.reservation.expires_at_us if placed is not None and visible else None
        verdict = Verdict(
            decision_id=decision_id,
            allowed=allowed,
            codes=tuple([reason.code for reason in judgement.reasons]),
            determining=proposal.ruling.determining,
            errors=tuple([fault.policy_id for fault in proposal.ruling.errors]),
            expires_at_us=expires_at_us,
            replay_of=None if replay is None else replay.decision_id,
            freshly=freshly,
            seat=call.seat,
            referral=referral,
        )
        body = decision_body(
            request=request,
            verdict=verdict,
            claimed=findings.claimed,
            facts=keep_facts(part, proposal, request, findings),
            engine=engine(),
            token_id=call.caller.name,
            now_us=now_us,
            entity_revision=proposal.view.entity_revision,
        )
        decision = Decision(
            decision_id=decision_id,
            identity_id=request.identity_id,
            action=request.action,
            allowed=allowed,
            reasons=judgement.reasons,
            budget_checks=findings.checks,
            reserved_minor=request.amount_minor if visible else None,
            currency=request.currency,
            reserved_quantities=request.quantities if visible else {},
            expires_at_us=expires_at_us,
            evaluated_at_us=now_us,
            policy_revision=proposal.view.policies.revision,
            entity_revision=proposal.view.entity_revision,
            audit=part.audit.append("decision", now_us, body),
            data_age_us=None if freshly is None else freshly.age_us,
        )
        part.answers.keep_decision(decision)
        if call.key is not None and replay is None:
            part.answers.keep_replay(replay_of(call.key, now_us, decision_id=decision_id))
        tell_decision(part, request, decision, findings.claimed, now_us)
        if referral is not None:
            close(txn, referral, is_used=allowed)
        if not allowed and call.seat.at is None:  # identities of a follower are changed at its control plane only
            suspend_for_budget(txn, part, proposal.view.chain[0], findings.checks, proposal.view.budgets, now_us)
        return Answered(decision, grounds=grounds, proposal=proposal, claimed=findings.claimed)

    def look(
        self,
        txn: Transaction,
        part: TenantTransaction,
        request: AuthorizeRequest,
        now_us: int,
        proposal: Proposal | None = None,
    ) -> Freshly | None:
        """Return how old the data is that ``request`` is decided on, None on a server that follows nobody.

        Inside a write transaction ``proposal`` says by which policies, for there none may be read that would be kept.
        """
        if self._freshness is None:
            return None
        policies = self._snapshots.policies(txn, part) if proposal is None else proposal.view.policies
        return self._freshness.look(txn, policies.schema.model, request.action, now_us)

"""What the control plane decides and holds for its followers, under the followers' decision ids.

The whole request is decided again, by what holds here: the newest policies, statuses and limits. Only budgets that the
asking follower decides itself are left out. The decision is recorded in this log like any other, and what it holds ends
by the follower's word (``sidecar.service.remote_endings``), by ``cancel``, or a week after the follower's own hold.
"""

from hashlib import sha256
from typing import Final

import msgspec

from sidecar.core.access import Caller
from sidecar.core.delegation import Seat, Share, Word
from sidecar.core.directory import walk
from sidecar.core.errors import Conflict, Forbidden, NotFound
from sidecar.core.model import AuthorizeRequest
from sidecar.core.reasons import no_word
from sidecar.core.reservation import withdraw
from sidecar.service.access import part_of, require_alive, tenant_of
from sidecar.service.authorize import Answered, Authorizer, Call
from sidecar.service.delegation_store import Delegated
from sidecar.service.settlement import book
from sidecar.service.store import Store, TenantTransaction, Transaction

CANCELLED: Final = "the follower cancelled this decision"


class Reservations:
    """Decides for followers."""

    def __init__(self, store: Store, authorizer: Authorizer) -> None:
        """Decide as ``authorizer`` does."""
        self._store = store
        self._authorizer = authorizer

    async def reserve(
        self, caller: Caller, tenant_id: str | None, decision_id: str, request: AuthorizeRequest, now_us: int
    ) -> Word:
        """Decide a follower's request by every budget that is not its own, and hold what is granted.

        The same decision id with the same request returns the first word. Raises Forbidden for anyone but a follower,
        NotFound for an identity outside its scope, Conflict for another request and for a decision id that is not this
        follower's, Unavailable.
        """
        _require_follower(caller)
        asked = sha256(request.canonical()).digest()
        with self._store.read() as txn:
            tenant = tenant_of(txn, caller, tenant_id)
            part = txn.of(tenant)
            known = _known(part, caller, decision_id, asked)
            if known is not None:
                require_alive(txn, caller, now_us)
                return known
            self._store.require_room()
            _require_scope(part, caller, request.identity_id)
            proposal = self._authorizer.consider(txn, part, request, now_us)
        call = Call(caller, tenant, request, None, now_us, seat=Seat(asker=caller.name), decision_id=decision_id)

        def work(writing: Transaction) -> Word:
            writing_part = part_of(writing, caller, tenant_id, now_us)
            answered_before = _known(writing_part, caller, decision_id, asked)
            if answered_before is not None:
                return answered_before
            renewed = self._authorizer.renew(writing, writing_part, call, proposal)
            answered = self._authorizer.record(writing, writing_part, call, renewed, None)
            word = _word(answered, decision_id)
            writing_part.delegations.keep(
                Delegated(decision_id=decision_id, follower_id=caller.name, request=asked, word=word)
            )
            return word

        return await self._store.write(work)

    async def cancel(self, caller: Caller, tenant_id: str | None, decision_id: str, now_us: int) -> None:
        """Give back what a decision of a follower holds and counts, or see to it that a late request holds nothing.

        A second time changes nothing. Raises Forbidden, NotFound for a decision that is not this follower's.
        """
        _require_follower(caller)

        def work(txn: Transaction) -> None:
            _cancel(part_of(txn, caller, tenant_id, now_us), caller, decision_id, now_us)

        await self._store.write(work)


def _cancel(part: TenantTransaction, caller: Caller, decision_id: str, now_us: int) -> None:
    found = part.delegations.find(decision_id)
    if found is None and part.answers.decision(decision_id) is None:
        found = Delegated(decision_id=decision_id, follower_id=caller.name, request=None, word=None)
    if found is None or found.follower_id != caller.name:
        raise NotFound(f"unknown decision `{decision_id}`", field="decision_id")
    part.delegations.keep(msgspec.structs.replace(found, is_cancelled=True))
    reservation = part.ledger.reservation(decision_id)
    if reservation is not None:
        book(part, "release", withdraw(reservation), caller.name, now_us)


def _known(part: TenantTransaction, caller: Caller, decision_id: str, asked: bytes) -> Word | None:
    """Return what was said of a decision before, None where it was never asked for.

    A word that was cancelled grants nothing any more: it may come to whoever asked late, and again.
    """
    found = part.delegations.find(decision_id)
    if found is None:
        if part.answers.decision(decision_id) is not None:
            raise Conflict(f"`{decision_id}` is another decision", field="decision_id")
        return None
    if found.follower_id != caller.name:
        raise Conflict(f"`{decision_id}` is another decision", field="decision_id")
    if found.request not in {None, asked}:
        raise Conflict(f"`{decision_id}` was asked for with another request", field="decision_id")
    return _cancelled(decision_id) if found.word is None or found.is_cancelled else found.word


def _cancelled(decision_id: str) -> Word:
    return Word(
        decision_id=decision_id,
        granted=False,
        reasons=(no_word(CANCELLED),),
        checks=(),
        shares=(),
        expires_at_us=None,
        entity_revision=None,
        policy_revision=None,
        audit=None,
    )


def _word(answered: Answered, decision_id: str) -> Word:
    """Return a decision as its follower is told of it."""
    decision = answered.decision
    return Word(
        decision_id=decision_id,
        granted=decision.allowed,
        reasons=() if decision.allowed else decision.reasons,
        checks=decision.budget_checks,
        shares=tuple(
            Share(
                budget_id=claim.budget.budget_id,
                revision=claim.budget.revision,
                window_start_us=None if claim.window is None else claim.window.start_us,
                settled=usage.settled,
                held=usage.held,
                asked=claim.asked,
                granted=claim.asked if decision.allowed else 0,
            )
            for claim, usage in answered.claimed
        ),
        expires_at_us=decision.expires_at_us,
        entity_revision=decision.entity_revision,
        policy_revision=decision.policy_revision,
        audit=decision.audit,
    )


def _require_follower(caller: Caller) -> None:
    if caller.kind != "follower":
        raise Forbidden("only a follower's token reserves for a follower")


def _require_scope(part: TenantTransaction, caller: Caller, identity_id: str) -> None:
    """Raise NotFound for an identity that this follower does not follow."""
    chain = walk(identity_id, part.identities.get)
    if caller.top is not None:
        caller.require_reach(chain)

"""Several requests decided as one: in their order, in one transaction, each on what those before it left behind.

The whole batch is checked before anything of it is decided, so a mistake in any item fails all of them and changes
nothing. Items behind one that decides the batch are left out and have no effect; what was decided before it stands.

Rulings are made ``SLICE`` at a time, with the event loop free in between. The transaction itself has no break: while it
lasts nobody else writes, some 15 milliseconds for 100 items on which no policy is asked again. Where the tenant changed
since the rulings, all of them are made again in it, which takes as long as it took before: 50 to 100 milliseconds for
100 items and 200 policies.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Literal, NoReturn

import msgspec

from sidecar.core.access import Caller
from sidecar.core.delegation import Referral
from sidecar.core.directory import Tenant
from sidecar.core.errors import inside
from sidecar.core.idempotency import IdempotencyKey, Replay
from sidecar.core.model import AuthorizeRequest, Decision
from sidecar.core.staleness import Freshly
from sidecar.service.access import require_alive, tenant_of
from sidecar.service.authorize import Answered, Authorizer, Call
from sidecar.service.delegation import close
from sidecar.service.idempotency import find_replay, replay_of
from sidecar.service.observe import Observer, Unobserved
from sidecar.service.ruling import Proposal
from sidecar.service.snapshots import View
from sidecar.service.store import Store, TenantTransaction, Transaction
from sidecar.service.withdrawal import standing_decision

Semantics = Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"]

DECISIVE: Final[dict[Semantics, bool | None]] = {
    "execute_all": None,
    "deny_on_first_deny": False,
    "permit_on_first_permit": True,
}
"""The verdict that ends a batch, None where no verdict does."""

SLICE: Final = 8
"""Items that are ruled on at once, in a few milliseconds: nothing else happens on the event loop meanwhile."""


class Item(msgspec.Struct, frozen=True):
    """One request of a batch; ``explain`` asks for the grounds of its decision as well."""

    request: AuthorizeRequest
    explain: bool = False


class Batch(msgspec.Struct, frozen=True):
    """Who asks what, and when."""

    caller: Caller
    tenant_id: str | None
    items: tuple[Item, ...]
    semantics: Semantics
    now_us: int


class AnsweredBatch(msgspec.Struct, frozen=True):
    """The decisions that were made, fewer than the items where one decided the batch."""

    answers: tuple[Answered, ...]

    @property
    def replayed(self) -> bool:
        """Whether nothing was decided anew."""
        return all(answered.replayed for answered in self.answers)


class _Rehearsed(Exception):
    """Carries the outcome of a dry run out of a transaction that is given up."""

    def __init__(self, answers: tuple[Answered, ...]) -> None:
        super().__init__()
        self.answers = answers


class BatchAuthorizer:
    """Decides batches of this process."""

    def __init__(self, store: Store, authorizer: Authorizer, observer: Observer | None = None) -> None:
        """Decide each item as ``authorizer`` does."""
        self._observer = observer or Unobserved()
        self._store = store
        self._authorizer = authorizer

    async def authorize(self, batch: Batch, key: IdempotencyKey | None) -> AnsweredBatch:
        """Decide the items of ``batch`` and return once all decisions are on disk.

        A repeated ``key`` returns the stored decisions; each permit among them whose chain or card was blocked since is
        a new denial.

        Raises ValidationFailed, NotFound and Conflict with a field such as ``requests[3].resource.amount``,
        IdempotencyConflict for a key with other content, Unavailable when it cannot be recorded; nothing is changed
        then.
        """
        course = self._observer.course()
        with self._store.read() as txn:
            tenant = tenant_of(txn, batch.caller, batch.tenant_id)
            part = txn.of(tenant)
            replay = None if key is None else find_replay(part, key, batch.now_us)
            if replay is not None:
                stored = self._stored(txn, part, batch, replay)
                if None not in stored:
                    require_alive(txn, batch.caller, batch.now_us)
                    return AnsweredBatch(tuple(Answered(each, replayed=True) for each in stored if each is not None))
            self._store.require_room()
            calls = self._calls(txn, tenant, batch)
        proposals = await self._propose(batch)
        course.ruled()
        if self._authorizer.follows:
            calls = await self._refer(batch, calls, proposals)
        answered = await self._store.write(lambda writing: self._decide(writing, batch, key, calls, proposals))
        course.decided(*(each.decision for each in answered.answers if not each.replayed))
        for each, item in zip(answered.answers, batch.items, strict=False):
            self._authorizer.show(tenant, item.request, each)
        return answered

    async def rehearse(self, batch: Batch) -> AnsweredBatch:
        """Return what would be decided now, each item after those before it; nothing is reserved or recorded.

        The batch is decided in a transaction that is given up: only so does an item see what those before it claim.
        """
        with self._store.read() as txn:
            calls = self._calls(txn, tenant_of(txn, batch.caller, batch.tenant_id), batch)
        proposals = await self._propose(batch)

        def attempt(writing: Transaction) -> NoReturn:
            raise _Rehearsed(self._decide(writing, batch, None, calls, proposals).answers)

        try:
            await self._store.write(attempt, apart=True)
        except _Rehearsed as rehearsed:
            return AnsweredBatch(tuple(_undone(answered) for answered in rehearsed.answers))

    async def _propose(self, batch: Batch) -> list[Proposal]:
        """Return a ruling for every item, those that may be left out too, so that each mistake is found.

        Each slice rests on a state of its own; what rests on one that is over when it is recorded is made again.
        """
        proposals: list[Proposal] = []
        for start in range(0, len(batch.items), SLICE):
            if start > 0:
                await asyncio.sleep(0)
            with self._store.read() as txn:
                part = txn.of(tenant_of(txn, batch.caller, batch.tenant_id))
                for index, item in enumerate(batch.items[start : start + SLICE], start):
                    with inside(f"requests[{index}]"):
                        proposals.append(self._authorizer.propose(txn, part, batch.caller, item.request, batch.now_us))
        return proposals

    def _calls(self, txn: Transaction, tenant: Tenant, batch: Batch) -> list[Call]:
        seat = self._authorizer.seat(txn)
        return [
            Call(batch.caller, tenant, item.request, None, batch.now_us, item.explain, seat) for item in batch.items
        ]

    async def _refer(self, batch: Batch, calls: Sequence[Call], proposals: Sequence[Proposal]) -> list[Call]:
        """Return the calls, those that need it with what the control plane says, asked in their order.

        It is asked for none behind an item that decides the batch as far as can be foreseen, and for no other one once
        it did not answer. What is granted in vain is cancelled.
        """
        referred = list(calls)
        silence: Referral | None = None
        for index, (call, proposal) in enumerate(zip(calls, proposals, strict=True)):
            with self._store.read() as txn:
                foreseen = self._authorizer.foresee(txn, txn.of(call.tenant), call, proposal)
            allowed = foreseen.allowed
            if foreseen.lacks_word:
                asked = call if silence is not None else await self._authorizer.referred(call)
                referral = silence or asked.referral
                referred[index] = msgspec.structs.replace(asked, referral=referral)
                allowed = referral is not None and referral.is_granted
                silence = referral if referral is not None and not referral.is_answered else None
            if allowed is DECISIVE[batch.semantics]:
                break
        return referred

    def _decide(
        self,
        txn: Transaction,
        batch: Batch,
        key: IdempotencyKey | None,
        calls: Sequence[Call],
        proposals: Sequence[Proposal],
    ) -> AnsweredBatch:
        answered = self._taken(txn, batch, key, calls, proposals)
        for call in calls:
            if call.referral is not None:
                close(txn, call.referral, is_used=False)  # those of permits are forgotten already
        return answered

    def _taken(
        self,
        txn: Transaction,
        batch: Batch,
        key: IdempotencyKey | None,
        calls: Sequence[Call],
        proposals: Sequence[Proposal],
    ) -> AnsweredBatch:
        require_alive(txn, batch.caller, batch.now_us)
        part = txn.of(calls[0].tenant)
        replay = None if key is None else find_replay(part, key, batch.now_us)
        turns = _Turns(self._authorizer, txn, part, calls, proposals)
        if replay is not None:
            return self._again(part, batch, turns, replay)
        answers: list[Answered] = []
        for index in range(len(batch.items)):
            answers.append(turns.take(index, None))
            if answers[-1].decision.allowed is DECISIVE[batch.semantics]:
                break
        if key is not None:
            ids = msgspec.msgpack.encode([answered.decision.decision_id for answered in answers])
            part.answers.keep_replay(replay_of(key, batch.now_us, answer=ids))
        return AnsweredBatch(tuple(answers))

    def _again(self, part: TenantTransaction, batch: Batch, turns: "_Turns", replay: Replay) -> AnsweredBatch:
        """Return the stored decisions, and a new denial for each permit that must not be answered again."""
        answers = []
        for index, decision_id in enumerate(_ids(replay)):
            request = batch.items[index].request
            freshly = turns.look(index)
            stored = standing_decision(part, request, decision_id, freshly)
            if stored is None:
                answers.append(turns.take(index, msgspec.structs.replace(replay, decision_id=decision_id)))
            else:
                answers.append(Answered(stored, replayed=True))
        return AnsweredBatch(tuple(answers))

    def _stored(self, txn: Transaction, part: TenantTransaction, batch: Batch, replay: Replay) -> list[Decision | None]:
        """Return the stored decisions of a batch, None for each that must not be answered again."""
        kept = []
        # Fewer than the items: those behind a deciding one were left out.
        for item, decision_id in zip(batch.items, _ids(replay), strict=False):
            freshly = self._authorizer.look(txn, part, item.request, batch.now_us)
            kept.append(standing_decision(part, item.request, decision_id, freshly))
        return kept


class _Turns:
    """The items of a batch in one write transaction, decided one at a time."""

    def __init__(
        self,
        authorizer: Authorizer,
        txn: Transaction,
        part: TenantTransaction,
        calls: Sequence[Call],
        proposals: Sequence[Proposal],
    ) -> None:
        self._authorizer = authorizer
        self._txn = txn
        self._part = part
        self._calls = calls
        self._proposals = proposals
        self._seen: View | None = None

    def look(self, index: int) -> Freshly | None:
        """Return how old the data is that an item is decided on."""
        call, proposal = self._calls[index], self._proposals[index]
        return self._authorizer.look(self._txn, self._part, call.request, call.now_us, proposal)

    def take(self, index: int, replay: Replay | None) -> Answered:
        """Decide one item on what those before it left behind: an earlier one can have suspended its identity."""
        call = self._calls[index]
        with inside(f"requests[{index}]"):
            proposal = self._authorizer.renew(self._txn, self._part, call, self._proposals[index], self._seen)
            self._seen = proposal.view
            return self._authorizer.record(self._txn, self._part, call, proposal, replay)


def _ids(replay: Replay) -> list[str]:
    return msgspec.msgpack.decode(replay.answer, type=list[str])


def _undone(answered: Answered) -> Answered:
    """Return a decision as a dry run shows it."""
    decision = msgspec.structs.replace(
        answered.decision,
        decision_id=None,
        reserved_minor=None,
        reserved_quantities={},
        expires_at_us=None,
        audit=None,
        dry_run=True,
    )
    return Answered(decision, grounds=answered.grounds)

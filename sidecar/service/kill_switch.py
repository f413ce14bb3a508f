"""The kill switch: every active card of an identity and of everybody below is frozen by one mark on that identity."""

from collections.abc import Callable, Iterator

import msgspec

from sidecar.core.access import Caller
from sidecar.core.cards import CARDS_LISTED_MAX, Card, state_of
from sidecar.core.directory import Identity, walk
from sidecar.core.idempotency import IdempotencyKey
from sidecar.service.access import part_of, tenant_of
from sidecar.service.descent import descend, paged
from sidecar.service.idempotency import Done, once, replay_of
from sidecar.service.identity_changes import kill_cards
from sidecar.service.store import Listed, Store, TenantTransaction, Transaction


class Killed(msgspec.Struct, frozen=True, kw_only=True):
    """What the kill switch did: how many cards were active and are not any more, and the ids of some of them.

    ``earlier_mark`` is the one that the identity carried before. ``frozen`` is None until the cards were counted.
    """

    tenant_id: str
    identity: Identity
    earlier_mark: int
    frozen: int | None = None
    card_ids: tuple[str, ...] = ()


class KillSwitch:
    """Freezes the cards of whole subtrees."""

    def __init__(self, store: Store) -> None:
        """Work on ``store``."""
        self._store = store

    async def kill(
        self, caller: Caller, tenant_id: str | None, identity_id: str, key: IdempotencyKey | None, now_us: int
    ) -> Done[Killed]:
        """Freeze every active card of an identity and of everybody below, at once; then count them.

        The mark is one write however many cards there are, and is on disk before the first card is looked at. Raises
        NotFound.
        """
        caller.require_administrator()

        def mark(txn: Transaction, part: TenantTransaction) -> Killed:
            identity = walk(identity_id, part.identities.get)[0]
            marked = kill_cards(txn, part, identity, "kill_switch", caller.name, now_us)
            return Killed(tenant_id=part.tenant.tenant_id, identity=marked, earlier_mark=identity.killed_revision)

        def work(txn: Transaction) -> Done[Killed]:
            part = part_of(txn, caller, tenant_id, now_us)
            return once(part, key, now_us, Killed, lambda: mark(txn, part))

        done = await self._store.write(work)
        if done.value.frozen is not None:
            return done
        counted = await self._count(caller, done.value)
        if key is not None:
            replay = replay_of(key, now_us, answer=msgspec.msgpack.encode(counted))
            await self._store.write(lambda txn: txn.of(tenant_of(txn, caller, tenant_id)).answers.keep_replay(replay))
        return Done(counted, done.replayed)

    async def _count(self, caller: Caller, killed: Killed) -> Killed:
        """Return ``killed`` with the cards that its mark froze: those that were active before it."""
        mark = killed.identity.killed_revision
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, killed.tenant_id))
            above = walk(killed.identity.identity_id, part.identities.get)[1:]
        before = msgspec.structs.replace(killed.identity, killed_revision=killed.earlier_mark)
        count, card_ids = 0, []
        async for chain in descend(self._store, killed.tenant_id, (before, *above), _has_cards):
            async for card in paged(self._store, killed.tenant_id, _cards_of(chain[0].identity_id)):
                if card.thawed_revision < mark and state_of(card, chain).status == "active":
                    count += 1
                    card_ids += [card.card_id] if count <= CARDS_LISTED_MAX else []
        return msgspec.structs.replace(killed, frozen=count, card_ids=tuple(card_ids))


def _has_cards(part: TenantTransaction, identity: Identity) -> bool:
    return next(part.cards.owned(identity.identity_id), None) is not None


def _cards_of(identity_id: str) -> Callable[[TenantTransaction, int], Iterator[Listed[Card]]]:
    return lambda part, after: part.cards.owned(identity_id, after=after)

"""Cards: made, shown, frozen, unfrozen and closed.

Every change is a new revision of the tenant, a fact and an audit record, in one transaction; the next decision of every
process sees it. A card's limits are budgets of the card, claimed together with those of the identity chain.
"""

from collections.abc import Callable
from functools import cache, partial

import msgspec

from sidecar.core.access import Caller
from sidecar.core.audit import encode_hash
from sidecar.core.budget import Budget, card_owner
from sidecar.core.cards import (
    Card,
    CardState,
    CardStatus,
    apparent_state,
    closed,
    frozen,
    state_of,
    thawed,
)
from sidecar.core.currencies import places
from sidecar.core.directory import IdentityChain, block_on, walk
from sidecar.core.errors import Conflict
from sidecar.core.facts import card_fact
from sidecar.core.idempotency import IdempotencyKey
from sidecar.service.access import part_of, reached_card, tenant_of
from sidecar.service.budgets import Treasurer
from sidecar.service.card_drafts import CardDraft, limit_of, limited, require_place
from sidecar.service.events import tell_card
from sidecar.service.idempotency import Done, once
from sidecar.service.paging import Page, PageRequest, page_of
from sidecar.service.snapshots import budgets_of
from sidecar.service.store import Store, TenantTransaction, Transaction
from sidecar.service.subtrees import cards_within


class Shown(msgspec.Struct, frozen=True):
    """A card with what holds for it and the budgets that hang on it."""

    tenant_id: str
    card: Card
    state: CardState
    budgets: tuple[Budget, ...]


class CardFilter(msgspec.Struct, frozen=True):
    """Which cards a list shows."""

    identity_id: str | None = None
    status: CardStatus | None = None


class CardDesk:
    """Keeps the cards of every tenant."""

    def __init__(self, store: Store, treasurer: Treasurer, new_id: Callable[[str, int], str]) -> None:
        """Work on ``store``; ``treasurer`` makes the budgets of new cards."""
        self._store = store
        self._treasurer = treasurer
        self._new_id = new_id

    async def create(
        self, caller: Caller, tenant_id: str | None, draft: CardDraft, key: IdempotencyKey | None, now_us: int
    ) -> Done[Shown]:
        """Make a card with its limits.

        Without a limit of its own it gets that of its identity's card defaults. Raises NotFound for an unknown
        identity, ValidationFailed for a limit or currency that cannot be, Conflict for an identity that is revoked or
        has as many cards as it may, and for an external reference in use.
        """
        caller.require_administrator()
        return await self._create(caller, tenant_id, draft, key, now_us)

    async def issue(
        self, caller: Caller, tenant_id: str | None, draft: CardDraft, key: IdempotencyKey | None, now_us: int
    ) -> Done[Shown]:
        """Make a card for an identity within the caller's reach, which must be active.

        The card of an agent's token has the limit of the card defaults beside any of its own, so that it cannot give
        itself more. Raises as ``create``.
        """
        return await self._create(caller, tenant_id, draft, key, now_us, for_active=True)

    async def _create(
        self,
        caller: Caller,
        tenant_id: str | None,
        draft: CardDraft,
        key: IdempotencyKey | None,
        now_us: int,
        *,
        for_active: bool = False,
    ) -> Done[Shown]:
        if draft.currency is not None:
            places(draft.currency, "currency")

        def work(txn: Transaction) -> Done[Shown]:
            part = part_of(txn, caller, tenant_id, now_us)
            chain = walk(draft.identity_id, part.identities.get)
            caller.require_reach(chain)
            return once(part, key, now_us, Shown, lambda: make(txn, part, chain))

        def make(txn: Transaction, part: TenantTransaction, chain: IdentityChain) -> Shown:
            block = block_on(chain)
            if for_active and block is not None:
                raise Conflict(f"identity `{block.identity.identity_id}` is {block.status}, it gets no card")
            return self._make(txn, part, chain, draft, caller, now_us)

        return await self._store.write(work, apart=True)

    def _make(
        self,
        txn: Transaction,
        part: TenantTransaction,
        chain: IdentityChain,
        draft: CardDraft,
        caller: Caller,
        now_us: int,
    ) -> Shown:
        by = caller.name
        require_place(part, chain, draft)
        currency, limits = limited(chain[0], draft, is_bound_by_defaults=not caller.may_administer)
        revision = txn.tenants.advance(part.tenant.number)
        card = Card(
            card_id=self._new_id("card", now_us),
            identity_id=draft.identity_id,
            currency=currency,
            allowed_mccs=draft.allowed_mccs,
            external_ref=draft.external_ref,
            last4=draft.last4,
            created_at_us=now_us,
            thawed_revision=revision,
            revision=revision,
        )
        reference = None if card.external_ref is None else card.external_ref.key
        part.cards.add(card.card_id, card, revision, owner=card.identity_id, external_id=reference)
        _record(part, "card_created", card, by, now_us)
        for limit in limits:
            self._treasurer.make(txn, part, limit_of(card, limit), by, now_us)
        return _shown(part, card, chain)

    def get(self, caller: Caller, tenant_id: str | None, card_id: str) -> Shown:
        """Return a card. Raises NotFound."""
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            card, chain = reached_card(part, caller, card_id)
            return _shown(part, card, chain)

    def listed(self, caller: Caller, tenant_id: str | None, wanted: CardFilter, request: PageRequest) -> Page[Shown]:
        """Return a page of the cards that fit and are within reach, of one identity or of all, in order of creation."""
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            chain_of = cache(partial(walk, find=part.identities.get))

            def fits(card: Card) -> bool:
                return wanted.status in {None, apparent_state(card, chain_of(card.identity_id)).status}

            if wanted.identity_id is None:
                page = cards_within(part, caller, request, fits)
            else:
                caller.require_reach(chain_of(wanted.identity_id))
                page = page_of(part.cards.owned(wanted.identity_id, after=request.after), request, fits)
            shown = tuple(_shown(part, card, chain_of(card.identity_id)) for card in page.values)
        return Page(shown, page.next_after)

    async def freeze(
        self, caller: Caller, tenant_id: str | None, card_id: str, key: IdempotencyKey | None, now_us: int
    ) -> Done[Shown]:
        """Freeze a card; a second time changes nothing. Raises Conflict for a closed one, NotFound."""

        def change(card: Card, _chain: IdentityChain, _revision: int) -> Card:
            return frozen(card)

        return await self._change(caller, tenant_id, card_id, ("card_frozen", change), key, now_us)

    async def unfreeze(
        self, caller: Caller, tenant_id: str | None, card_id: str, key: IdempotencyKey | None, now_us: int
    ) -> Done[Shown]:
        """Make a card active again, also after the kill switch; an active one stays as it is. Raises as ``freeze``."""

        def change(card: Card, chain: IdentityChain, revision: int) -> Card:
            active = state_of(card, chain).status == "active"
            return card if active else thawed(card, revision)

        return await self._change(caller, tenant_id, card_id, ("card_unfrozen", change), key, now_us)

    async def close(
        self, caller: Caller, tenant_id: str | None, card_id: str, key: IdempotencyKey | None, now_us: int
    ) -> Done[Shown]:
        """Close a card for good; a second time changes nothing. Raises NotFound."""

        def change(card: Card, _chain: IdentityChain, _revision: int) -> Card:
            return closed(card)

        return await self._change(caller, tenant_id, card_id, ("card_closed", change), key, now_us)

    async def _change(
        self,
        caller: Caller,
        tenant_id: str | None,
        card_id: str,
        named: tuple[str, Callable[[Card, IdentityChain, int], Card]],
        key: IdempotencyKey | None,
        now_us: int,
    ) -> Done[Shown]:
        caller.require_administrator()
        kind, change = named

        def apply(txn: Transaction, part: TenantTransaction) -> Shown:
            card, chain = reached_card(part, caller, card_id)
            next_revision = txn.tenants.revisions(part.tenant.number).entities + 1
            changed = change(card, chain, next_revision)
            if changed != card:
                changed = msgspec.structs.replace(changed, revision=txn.tenants.advance(part.tenant.number))
                reference = None if changed.external_ref is None else changed.external_ref.key
                part.cards.change(card_id, changed, changed.revision, external_id=reference)
                _record(part, kind, changed, caller.name, now_us)
            return _shown(part, changed, chain)

        def work(txn: Transaction) -> Done[Shown]:
            part = part_of(txn, caller, tenant_id, now_us)
            return once(part, key, now_us, Shown, lambda: apply(txn, part))

        return await self._store.write(work)


def _shown(part: TenantTransaction, card: Card, chain: IdentityChain) -> Shown:
    budgets = tuple(budgets_of(part, card_owner(card.card_id)))
    return Shown(part.tenant.tenant_id, card, apparent_state(card, chain), budgets)


def _record(part: TenantTransaction, kind: str, card: Card, by: str, now_us: int) -> None:
    fact = part.audit.keep_fact(card_fact(card))
    body = {
        "card": card.card_id,
        "identity": card.identity_id,
        "revision": card.revision,
        "status": card.status,
        "cards": [[card.card_id, card.revision, encode_hash(fact)]],
        "by": by,
    }
    part.audit.append(kind, now_us, body)
    tell_card(part, kind, card, by, now_us)

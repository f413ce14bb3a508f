"""Cards: made, shown, frozen, unfrozen and closed.

Every change is a new revision of the tenant, a fact and an audit record, in one transaction; the next decision of every
process sees it. A card's limits are budgets of the card, claimed together with those of the identity chain.
"""

from collections.abc import Callable
from functools import cache, partial
from itertools import islice

import msgspec

from sidecar.core.access import Caller
from sidecar.core.audit import encode_hash
from sidecar.core.budget import AMOUNT, Budget, card_owner
from sidecar.core.cards import (
    Card,
    CardState,
    CardStatus,
    ExternalRef,
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
from sidecar.core.money import Major
from sidecar.core.windows import Period
from sidecar.service.access import part_of, reached_card, tenant_of
from sidecar.service.budget_changes import BudgetDraft
from sidecar.service.budgets import Treasurer
from sidecar.service.events import tell_card
from sidecar.service.idempotency import Done, once
from sidecar.service.paging import Page, PageRequest, page_of
from sidecar.service.snapshots import budgets_of
from sidecar.service.store import Store, TenantTransaction, Transaction
from sidecar.service.subtrees import cards_within


class CardDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A card to be made; the limits are in major units of ``currency``."""

    identity_id: str
    currency: str
    spend_limit_daily: Major | None = None
    spend_limit_monthly: Major | None = None
    allowed_mccs: tuple[str, ...] = ()
    external_ref: ExternalRef | None = None
    last4: str | None = None


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

        Raises NotFound for an unknown identity, ValidationFailed for a limit or currency that cannot be, Conflict for
        an identity that is revoked or has as many cards as it may, and for an external reference in use.
        """
        caller.require_administrator()
        places(draft.currency, "currency")

        def work(txn: Transaction) -> Done[Shown]:
            part = part_of(txn, caller, tenant_id, now_us)
            return once(part, key, now_us, Shown, lambda: self._make(txn, part, draft, caller.name, now_us))

        return await self._store.write(work, apart=True)

    def _make(self, txn: Transaction, part: TenantTransaction, draft: CardDraft, by: str, now_us: int) -> Shown:
        chain = walk(draft.identity_id, part.identities.get)
        _require_place(part, chain, draft)
        revision = txn.tenants.advance(part.tenant.number)
        card = Card(
            card_id=self._new_id("card", now_us),
            identity_id=draft.identity_id,
            currency=draft.currency,
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
        limits: tuple[tuple[Period, Major | None], ...] = (
            ("daily", draft.spend_limit_daily),
            ("monthly", draft.spend_limit_monthly),
        )
        for period, limit in limits:
            if limit is not None:
                self._treasurer.make(txn, part, _limit_of(card, period, limit), by, now_us)
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


def _require_place(part: TenantTransaction, chain: IdentityChain, draft: CardDraft) -> None:
    block = block_on(chain)
    if block is not None and block.status == "revoked":
        raise Conflict(f"identity `{block.identity.identity_id}` is revoked, it gets no card")
    if draft.external_ref is not None and part.cards.by_external_id(draft.external_ref.key) is not None:
        raise Conflict("the external reference is in use by another card", field="external_ref")
    most = chain[0].max_cards
    if most is not None:
        owned = (listed.value for listed in part.cards.owned(draft.identity_id))
        opened = (card for card in owned if card.status != "closed")
        if sum(1 for _ in islice(opened, most)) >= most:
            raise Conflict(f"identity `{draft.identity_id}` has as many open cards as it may: {most}")


def _limit_of(card: Card, period: Period, limit: Major) -> BudgetDraft:
    return BudgetDraft(
        card_id=card.card_id,
        name=f"Card spend limit, {period}",
        dimension=AMOUNT,
        period=period,
        limit=limit,
        limit_field=f"spend_limit_{period}",
        currency=card.currency,
    )


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

"""Budgets: limits that hang on identities and cards, made, shown with their usage, changed and deleted."""

from collections.abc import Callable, Iterable

import msgspec

from sidecar.core.access import Caller
from sidecar.core.budget import AMOUNT, Budget, card_owner
from sidecar.core.delegation import Seat, place_of
from sidecar.core.directory import IdentityChain, walk
from sidecar.core.errors import Conflict, NotFound, ValidationFailed
from sidecar.core.idempotency import IdempotencyKey
from sidecar.core.limits import BUDGETS_PER_CHAIN_MAX
from sidecar.service.access import part_of, reached_card, tenant_of
from sidecar.service.budget_changes import (
    BudgetDraft,
    BudgetPatch,
    Metered,
    checked_limit,
    delete_budget,
    drafted,
    metered,
    patch_budget,
    record_budget,
)
from sidecar.service.grants_in_force import require_kept
from sidecar.service.idempotency import Done, once
from sidecar.service.paging import Page, PageRequest, page_of
from sidecar.service.snapshots import Snapshots, budgets_of
from sidecar.service.store import Store, TenantTransaction, Transaction
from sidecar.service.subtrees import budgets_within


class BudgetFilter(msgspec.Struct, frozen=True):
    """Whose budgets a list shows."""

    identity_id: str | None = None
    card_id: str | None = None


class Treasurer:
    """Keeps the budgets of every tenant."""

    def __init__(self, store: Store, snapshots: Snapshots, new_id: Callable[[str, int], str]) -> None:
        """Work on ``store``."""
        self._store = store
        self._snapshots = snapshots
        self._new_id = new_id

    async def create(
        self, caller: Caller, tenant_id: str | None, draft: BudgetDraft, now_us: int, key: IdempotencyKey | None = None
    ) -> Done[Metered]:
        """Make a budget.

        Raises NotFound for an unknown identity or card, ValidationFailed for a draft that breaks a rule, Conflict for
        a closed card and where the identity chain and the card have as many as can be claimed.
        """
        caller.require_administrator()

        def work(txn: Transaction) -> Done[Metered]:
            part = part_of(txn, caller, tenant_id, now_us)
            return once(part, key, now_us, Metered, lambda: self.make(txn, part, draft, caller.name, now_us))

        return await self._store.write(work)

    def make(self, txn: Transaction, part: TenantTransaction, draft: BudgetDraft, by: str, now_us: int) -> Metered:
        """Make a budget inside a transaction."""
        limit = checked_limit(draft)
        self._require_actions(txn, draft.actions)
        if draft.account_id is not None and part.accounts.get(draft.account_id) is None:
            raise NotFound(f"unknown account `{draft.account_id}`", field="account_id")
        chain = _chain_of(part, draft)
        if draft.follower_id is not None:
            _require_follower(part, draft.follower_id, draft, chain)
            part.shipments.bind(draft.follower_id)
        owners = (
            *(() if draft.card_id is None else (card_owner(draft.card_id),)),
            *(each.identity_id for each in chain),
        )
        present = [budget for owner in owners for budget in budgets_of(part, owner)]
        if len(present) >= BUDGETS_PER_CHAIN_MAX:
            raise Conflict(f"the identity chain has {len(present)} budgets, which is the most that can be claimed")
        budget_id = self._new_id("bud", now_us)
        budget = drafted(draft, budget_id, limit, now_us, txn.tenants.advance(part.tenant.number))
        part.budgets.add(budget.budget_id, budget, budget.revision, owner=budget.owner)
        record_budget(part, "budget_created", budget, by, now_us)
        return metered(part, budget, now_us, _warnings([*present, budget]))

    def _require_actions(self, txn: Transaction, actions: Iterable[str]) -> None:
        known = self._snapshots.files(txn).schema.model.actions
        for index, action in enumerate(actions):
            if action not in known:
                raise ValidationFailed(f"the schema knows no action `{action}`", field=f"actions[{index}]")

    def get(self, caller: Caller, tenant_id: str | None, budget_id: str, now_us: int) -> Metered:
        """Return a budget with its usage, as far as that is known on this server. Raises NotFound."""
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            return _seen_here(txn, metered(part, _reached(part, caller, budget_id), now_us))

    def listed(
        self, caller: Caller, tenant_id: str | None, wanted: BudgetFilter, request: PageRequest, now_us: int
    ) -> Page[Metered]:
        """Return a page of the budgets within reach, of one identity, one card or all, in order of creation."""
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            owner = _owner(part, caller, wanted)
            if owner is None:
                page = budgets_within(part, caller, request)
            else:
                page = page_of(part.budgets.owned(owner, after=request.after), request)
            seen = tuple(_seen_here(txn, metered(part, budget, now_us)) for budget in page.values)
            return Page(seen, page.next_after)

    async def change(
        self, caller: Caller, tenant_id: str | None, budget_id: str, patch: BudgetPatch, now_us: int
    ) -> Metered:
        """Change a budget; a limit below what is used stops everything more.

        Raises NotFound, ValidationFailed, and Conflict for more than a wallet's owner signed with the budget's grant.
        """
        caller.require_administrator()

        def work(txn: Transaction) -> Metered:
            part = part_of(txn, caller, tenant_id, now_us)
            old = _reached(part, caller, budget_id)
            return patch_budget(txn, part, old, patch, caller.name, now_us)

        return await self._store.write(work)

    async def put(
        self, caller: Caller, tenant_id: str | None, draft: BudgetDraft, now_us: int, key: IdempotencyKey | None = None
    ) -> Done[Metered]:
        """Set the limit of the oldest budget that counts the same as ``draft``, or make that where there is none.

        The same is counted for the same identity or card in the same dimension, currency and period, of the same
        actions and account, and both refuse or have the same consequence: what one refuses by stays as it is, such as
        ``suspend``. Raises as ``create``.
        """
        caller.require_administrator()

        wanted = drafted(draft, "", 0, 0, 0)

        def set_limit(txn: Transaction, part: TenantTransaction) -> Metered:
            present = next(
                (each for each in budgets_of(part, wanted.owner) if _counted(each) == _counted(wanted)), None
            )
            if present is None:
                return self.make(txn, part, draft, caller.name, now_us)
            patch = BudgetPatch(limit=draft.limit, name=None, on_exceeded=None, notify_at_bp=None)
            return patch_budget(txn, part, present, patch, caller.name, now_us)

        def work(txn: Transaction) -> Done[Metered]:
            part = part_of(txn, caller, tenant_id, now_us)
            return once(part, key, now_us, Metered, lambda: set_limit(txn, part))

        return await self._store.write(work)

    async def delete(self, caller: Caller, tenant_id: str | None, budget_id: str, now_us: int) -> None:
        """Delete a budget; what was reserved from it stays reserved and is still booked.

        Raises NotFound, and Conflict for one of a grant in force.
        """
        caller.require_administrator()

        def work(txn: Transaction) -> None:
            part = part_of(txn, caller, tenant_id, now_us)
            budget = _reached(part, caller, budget_id)
            require_kept(part, budget, None, now_us)
            delete_budget(txn, part, budget, caller.name, now_us)

        await self._store.write(work)


def _counted(budget: Budget) -> tuple[object, ...]:
    """Return what a budget counts, and whether it refuses or what else comes of exceeding it."""
    return (
        *(budget.owner, budget.dimension, budget.currency, budget.period),
        *(budget.actions, budget.account_id, budget.is_hard or budget.on_exceeded),
    )


def _chain_of(part: TenantTransaction, draft: BudgetDraft) -> IdentityChain:
    """Return the identity chain that the budget will stand on, for a card that of its identity."""
    if draft.card_id is None:
        return walk(draft.identity_id or "", part.identities.get)
    card = part.cards.get(draft.card_id)
    if card is None:
        raise NotFound(f"unknown card `{draft.card_id}`", field="card_id")
    if card.status == "closed":
        raise Conflict(f"card `{draft.card_id}` is closed, it gets no budget")
    return walk(card.identity_id, part.identities.get)


def _require_follower(part: TenantTransaction, follower_id: str, draft: BudgetDraft, chain: IdentityChain) -> None:
    """Raise ValidationFailed unless a follower can decide on the budget: one whose limits it hears of.

    It could not suspend anybody, as identities are changed at the control plane only. Raises Conflict where several
    logs were sent with its token: each of those servers would decide on the whole limit.
    """
    token = part.tokens.get(follower_id)
    if token is None or token.kind != "follower":
        raise ValidationFailed(f"`{follower_id}` is no token of a follower", field="follower_id")
    scope = token.identity_id
    if scope is not None and scope not in {each.identity_id for each in chain}:
        above = {each.identity_id for each in walk(scope, part.identities.get)}
        if chain[0].identity_id not in above:
            raise ValidationFailed(f"follower `{token.token_id}` does not hear of this budget", field="follower_id")
    if draft.on_exceeded == "suspend":
        raise ValidationFailed("a budget that a follower decides on suspends nobody", field="on_exceeded")
    if len(part.shipments.logs(follower_id, 2)) > 1:
        raise Conflict(
            f"follower `{follower_id}` has sent several logs, expected one: make a token that one server has"
        )


def _owner(part: TenantTransaction, caller: Caller, wanted: BudgetFilter) -> str | None:
    """Return whose budgets are asked for, None for everybody's. Raises NotFound outside the caller's reach."""
    identity_id = wanted.identity_id
    if wanted.card_id is not None:
        card, _ = reached_card(part, caller, wanted.card_id)
        if identity_id not in {None, card.identity_id}:
            raise ValidationFailed("the card belongs to another identity", field="card_id")
        return card_owner(wanted.card_id)
    if identity_id is not None:
        caller.require_reach(walk(identity_id, part.identities.get))
    return identity_id


def _warnings(budgets: list[Budget]) -> tuple[str, ...]:
    """Return a sentence when the hard budgets have no currency in common: every amount is denied then."""
    by_owner: dict[str, set[str | None]] = {}
    for budget in budgets:
        if budget.dimension == AMOUNT and budget.is_hard:
            by_owner.setdefault(budget.owner, set()).add(budget.currency)
    if by_owner and not set.intersection(*by_owner.values()):
        return ("the budgets on this identity chain have no currency in common, so every amount will be denied",)
    return ()


def _reached(part: TenantTransaction, caller: Caller, budget_id: str) -> Budget:
    budget = part.budgets.get(budget_id)
    if budget is None or not _is_reached(part, caller, budget):
        raise NotFound(f"unknown budget `{budget_id}`", field="budget_id")
    return budget


def _is_reached(part: TenantTransaction, caller: Caller, budget: Budget) -> bool:
    card = None if budget.card_id is None else part.cards.get(budget.card_id)
    holder = budget.identity_id if card is None else card.identity_id
    return holder is not None and caller.reaches(walk(holder, part.identities.get))


def _seen_here(txn: Transaction, found: Metered) -> Metered:
    """Return a budget as this server can show it: a follower knows no usage but that of what it decides on."""
    state = txn.replica.state()
    if state is None or place_of(found.budget, Seat(at=state.follower_id)) == "here":
        return found
    return msgspec.structs.replace(found, is_elsewhere=True)

"""Budgets: limits that hang on identities, made, shown with their usage, changed and deleted."""

from collections.abc import Callable, Iterable

import msgspec

from sidecar.core.access import Caller
from sidecar.core.audit import encode_hash
from sidecar.core.budget import AMOUNT, COUNT, Budget, OnExceeded, OnExpiry, Usage
from sidecar.core.currencies import places
from sidecar.core.directory import IdentityChain, walk
from sidecar.core.errors import Conflict, NotFound, ValidationFailed
from sidecar.core.facts import budget_fact
from sidecar.core.idempotency import IdempotencyKey
from sidecar.core.ids import check_type
from sidecar.core.limits import BUDGETS_PER_CHAIN_MAX
from sidecar.core.money import Major
from sidecar.core.windows import Period, Window, window_at, zone
from sidecar.service.access import require_alive, tenant_of
from sidecar.service.idempotency import Done, once
from sidecar.service.paging import Page, PageRequest, page_of
from sidecar.service.snapshots import Snapshots, budgets_of
from sidecar.service.store import Store, TenantTransaction, Transaction
from sidecar.service.subtrees import budgets_within


class BudgetDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A budget to be made; ``limit`` in major units for the dimension amount."""

    identity_id: str
    name: str
    dimension: str
    period: Period
    limit: Major
    currency: str | None
    actions: tuple[str, ...]
    on_exceeded: OnExceeded
    on_expiry: OnExpiry
    notify_at_bp: int


class BudgetPatch(msgspec.Struct, frozen=True):
    """What to change; None leaves as it is."""

    limit: Major | None
    name: str | None
    on_exceeded: OnExceeded | None
    notify_at_bp: int | None


class Metered(msgspec.Struct, frozen=True):
    """A budget with what its present window has used; ``warnings`` are told when it is made."""

    tenant_id: str
    budget: Budget
    window: Window | None
    usage: Usage
    warnings: tuple[str, ...] = ()


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

        Raises NotFound for an unknown identity, ValidationFailed for a draft that breaks a rule, Conflict when the
        identity chain has as many as it can, IdempotencyConflict.
        """
        caller.require_administrator()
        limit = _checked_limit(draft)

        def work(txn: Transaction) -> Done[Metered]:
            require_alive(txn, caller, now_us)
            part = txn.of(tenant_of(txn, caller, tenant_id))
            return once(part, key, now_us, Metered, lambda: make(txn, part))

        def make(txn: Transaction, part: TenantTransaction) -> Metered:
            self._require_actions(txn, draft.actions)
            chain = walk(draft.identity_id, part.identities.get)
            present = [budget for identity in chain for budget in budgets_of(part, identity)]
            if len(present) >= BUDGETS_PER_CHAIN_MAX:
                raise Conflict(f"the identity chain has {len(present)} budgets, which is the most that can be claimed")
            budget = Budget(
                budget_id=self._new_id("bud", now_us),
                identity_id=draft.identity_id,
                name=draft.name,
                dimension=draft.dimension,
                period=draft.period,
                limit=limit,
                currency=draft.currency,
                actions=draft.actions,
                on_exceeded=draft.on_exceeded,
                on_expiry=draft.on_expiry,
                notify_at_bp=draft.notify_at_bp,
                created_at_us=now_us,
                revision=txn.tenants.advance(part.tenant.number),
            )
            part.budgets.add(budget.budget_id, budget, budget.revision, owner=budget.identity_id)
            _record(part, "budget_created", budget, caller.name, now_us)
            return _metered(part, budget, now_us, _warnings(chain, [*present, budget]))

        return await self._store.write(work)

    def _require_actions(self, txn: Transaction, actions: Iterable[str]) -> None:
        known = self._snapshots.files(txn).schema.model.actions
        for index, action in enumerate(actions):
            if action not in known:
                raise ValidationFailed(f"the schema knows no action `{action}`", field=f"actions[{index}]")

    def get(self, caller: Caller, tenant_id: str | None, budget_id: str, now_us: int) -> Metered:
        """Return a budget with its usage. Raises NotFound."""
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            return _metered(part, _reached(part, caller, budget_id), now_us)

    def listed(
        self, caller: Caller, tenant_id: str | None, identity_id: str | None, request: PageRequest, now_us: int
    ) -> Page[Metered]:
        """Return a page of the budgets within reach, of one identity or of all, in order of creation."""
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            if identity_id is None:
                page = budgets_within(part, caller, request)
            else:
                caller.require_reach(walk(identity_id, part.identities.get))
                page = page_of(part.budgets.owned(identity_id, after=request.after), request)
            return Page(tuple(_metered(part, budget, now_us) for budget in page.values), page.next_after)

    async def change(
        self, caller: Caller, tenant_id: str | None, budget_id: str, patch: BudgetPatch, now_us: int
    ) -> Metered:
        """Change a budget; a limit below what is used stops everything more. Raises NotFound, ValidationFailed."""
        caller.require_administrator()

        def work(txn: Transaction) -> Metered:
            require_alive(txn, caller, now_us)
            part = txn.of(tenant_of(txn, caller, tenant_id))
            old = _reached(part, caller, budget_id)
            changed = msgspec.structs.replace(
                old,
                limit=old.limit if patch.limit is None else _limit(patch.limit, old.currency),
                name=old.name if patch.name is None else patch.name,
                on_exceeded=old.on_exceeded if patch.on_exceeded is None else patch.on_exceeded,
                notify_at_bp=old.notify_at_bp if patch.notify_at_bp is None else patch.notify_at_bp,
            )
            if changed != old:
                changed = msgspec.structs.replace(changed, revision=txn.tenants.advance(part.tenant.number))
                part.budgets.change(budget_id, changed, changed.revision)
                window = _window(part, changed, now_us)
                if window is not None and (changed.limit, changed.on_exceeded) != (old.limit, old.on_exceeded):
                    part.ledger.rebound(changed, window)
                _record(part, "budget_updated", changed, caller.name, now_us)
            return _metered(part, changed, now_us)

        return await self._store.write(work)

    async def delete(self, caller: Caller, tenant_id: str | None, budget_id: str, now_us: int) -> None:
        """Delete a budget; what was reserved from it stays reserved and is still booked. Raises NotFound."""
        caller.require_administrator()

        def work(txn: Transaction) -> None:
            require_alive(txn, caller, now_us)
            part = txn.of(tenant_of(txn, caller, tenant_id))
            _reached(part, caller, budget_id)
            part.budgets.remove(budget_id, txn.tenants.advance(part.tenant.number))
            part.audit.append("budget_deleted", now_us, {"budget": budget_id, "by": caller.name})

        await self._store.write(work)


def _checked_limit(draft: BudgetDraft) -> int:
    if draft.dimension not in {AMOUNT, COUNT}:
        check_type(draft.dimension, "dimension")
    if draft.dimension == AMOUNT and draft.currency is None:
        raise ValidationFailed("a budget of amounts needs a currency", field="currency")
    if draft.dimension != AMOUNT and draft.currency is not None:
        raise ValidationFailed(f"a budget of `{draft.dimension}` has no currency", field="currency")
    if draft.currency is not None:
        places(draft.currency, "currency")
    return _limit(draft.limit, draft.currency)


def _limit(limit: Major, currency: str | None) -> int:
    return limit.integer("limit") if currency is None else limit.minor(currency, "limit")


def _warnings(chain: IdentityChain, budgets: list[Budget]) -> tuple[str, ...]:
    """Return a sentence when the chain's hard budgets have no currency in common: every amount is denied then."""
    by_owner = [{budget.currency for budget in budgets if _limits(budget, identity.identity_id)} for identity in chain]
    limited = [currencies for currencies in by_owner if currencies]
    if limited and not set.intersection(*limited):
        return ("the budgets on this identity chain have no currency in common, so every amount will be denied",)
    return ()


def _limits(budget: Budget, identity_id: str) -> bool:
    return budget.identity_id == identity_id and budget.dimension == AMOUNT and budget.is_hard


def _metered(part: TenantTransaction, budget: Budget, now_us: int, warnings: tuple[str, ...] = ()) -> Metered:
    window = _window(part, budget, now_us)
    usage = Usage() if window is None else part.ledger.usage_in(budget, window)
    return Metered(part.tenant.tenant_id, budget, window, usage, warnings)


def _window(part: TenantTransaction, budget: Budget, now_us: int) -> Window | None:
    return window_at(budget.period, now_us, zone(part.tenant.time_zone))


def _record(part: TenantTransaction, kind: str, budget: Budget, by: str, now_us: int) -> None:
    fact = part.audit.keep_fact(budget_fact(budget))
    body = {
        "budget": budget.budget_id,
        "revision": budget.revision,
        "budgets": [[budget.budget_id, budget.revision, encode_hash(fact)]],
        "by": by,
    }
    if budget.identity_id is not None:
        body["identity"] = budget.identity_id
    part.audit.append(kind, now_us, body)


def _reached(part: TenantTransaction, caller: Caller, budget_id: str) -> Budget:
    budget = part.budgets.get(budget_id)
    if budget is None or not _is_reached(part, caller, budget):
        raise NotFound(f"unknown budget `{budget_id}`", field="budget_id")
    return budget


def _is_reached(part: TenantTransaction, caller: Caller, budget: Budget) -> bool:
    if budget.identity_id is None:
        return caller.may_administer
    return caller.reaches(walk(budget.identity_id, part.identities.get))

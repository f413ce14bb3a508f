"""How budgets are made, changed and deleted: each change with its fact and record, in the caller's transaction."""

from typing import Final

import msgspec

from sidecar.core.audit import encode_hash
from sidecar.core.budget import AMOUNT, COUNT, Budget, OnExceeded, OnExpiry, Usage
from sidecar.core.currencies import places
from sidecar.core.errors import Conflict, ValidationFailed
from sidecar.core.facts import budget_fact
from sidecar.core.ids import check_type
from sidecar.core.money import Major
from sidecar.core.windows import Period, Window, window_at, zone
from sidecar.service.events import tell_budget
from sidecar.service.grants_in_force import require_kept
from sidecar.service.store import TenantTransaction, Transaction

NOTIFY_AT_DEFAULT_BP: Final = 8_000
"""Four fifths of a limit, in hundredths of a percent: when its approach is announced unless told."""


class BudgetDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A budget to be made, of an identity or a card; ``limit`` in major units for the dimension amount.

    ``limit_field`` is what the caller calls the limit.
    """

    identity_id: str | None = None
    card_id: str | None = None
    name: str
    dimension: str
    period: Period
    limit: Major
    limit_field: str = "limit"
    currency: str | None
    actions: tuple[str, ...] = ()
    on_exceeded: OnExceeded = "deny"
    on_expiry: OnExpiry = "release"
    notify_at_bp: int = NOTIFY_AT_DEFAULT_BP
    account_id: str | None = None
    follower_id: str | None = None


class BudgetPatch(msgspec.Struct, frozen=True):
    """What to change; None leaves as it is."""

    limit: Major | None
    name: str | None
    on_exceeded: OnExceeded | None
    notify_at_bp: int | None


class Metered(msgspec.Struct, frozen=True):
    """A budget with what its present window has used; ``warnings`` are told when it is made.

    ``reported_at_us`` is when its follower told that usage, None where that is not told but known. Where it
    ``is_elsewhere``, a follower shows a budget whose usage only the server knows that decides on it.
    """

    tenant_id: str
    budget: Budget
    window: Window | None
    usage: Usage
    warnings: tuple[str, ...] = ()
    reported_at_us: int | None = None
    is_elsewhere: bool = False


def patch_budget(
    txn: Transaction, part: TenantTransaction, old: Budget, patch: BudgetPatch, by: str, now_us: int
) -> Metered:
    """Change a budget inside a transaction.

    Raises ValidationFailed, and Conflict for more than a wallet's owner signed with the budget's grant, and for one
    that a follower decides on and that is to suspend.
    """
    changed = msgspec.structs.replace(
        old,
        limit=old.limit if patch.limit is None else _limit(patch.limit, old.currency),
        name=old.name if patch.name is None else patch.name,
        on_exceeded=old.on_exceeded if patch.on_exceeded is None else patch.on_exceeded,
        notify_at_bp=old.notify_at_bp if patch.notify_at_bp is None else patch.notify_at_bp,
    )
    if changed.follower_id is not None and changed.on_exceeded == "suspend":
        raise Conflict("a budget that a follower decides on suspends nobody", field="on_exceeded")
    if changed != old:
        require_kept(part, old, changed, now_us)
        revision = txn.tenants.advance(part.tenant.number)
        changed = msgspec.structs.replace(changed, revision=revision, updated_at_us=now_us)
        part.budgets.change(changed.budget_id, changed, changed.revision)
        window = _window(part, changed, now_us)
        if window is not None and (changed.limit, changed.on_exceeded) != (old.limit, old.on_exceeded):
            part.ledger.rebound(changed, window)
        record_budget(part, "budget_updated", changed, by, now_us)
    return metered(part, changed, now_us)


def delete_budget(txn: Transaction, part: TenantTransaction, budget: Budget, by: str, now_us: int) -> None:
    """Delete a budget inside a transaction."""
    part.budgets.remove(budget.budget_id, txn.tenants.advance(part.tenant.number))
    part.outbox.forget_approach(budget.budget_id)
    part.audit.append("budget_deleted", now_us, {"budget": budget.budget_id, "by": by})
    tell_budget(part, "deleted", budget, by, now_us)


def drafted(draft: BudgetDraft, budget_id: str, limit: int, created_at_us: int, revision: int) -> Budget:
    """Return the budget that a draft describes; ``limit`` is the draft's, checked, in minor units or as a figure."""
    return Budget(
        budget_id=budget_id,
        identity_id=draft.identity_id,
        card_id=draft.card_id,
        name=draft.name,
        dimension=draft.dimension,
        period=draft.period,
        limit=limit,
        currency=draft.currency,
        actions=draft.actions,
        on_exceeded=draft.on_exceeded,
        on_expiry=draft.on_expiry,
        notify_at_bp=draft.notify_at_bp,
        created_at_us=created_at_us,
        revision=revision,
        account_id=draft.account_id,
        follower_id=draft.follower_id,
    )


def checked_limit(draft: BudgetDraft) -> int:
    """Return the limit of a budget to be made, in minor units for amounts.

    Raises ValidationFailed, naming the field, where dimension, currency and limit do not go together.
    """
    if draft.dimension not in {AMOUNT, COUNT}:
        check_type(draft.dimension, "dimension")
    if draft.dimension == AMOUNT and draft.currency is None:
        raise ValidationFailed("a budget of amounts needs a currency", field="currency")
    if draft.dimension != AMOUNT and draft.currency is not None:
        raise ValidationFailed(f"a budget of `{draft.dimension}` has no currency", field="currency")
    if draft.currency is not None:
        places(draft.currency, "currency")
    return _limit(draft.limit, draft.currency, draft.limit_field)


def _limit(limit: Major, currency: str | None, field: str = "limit") -> int:
    return limit.integer(field) if currency is None else limit.minor(currency, field)


def metered(part: TenantTransaction, budget: Budget, now_us: int, warnings: tuple[str, ...] = ()) -> Metered:
    """Return a budget with what its present window has used, as its follower told where another machine decides on it.

    A follower that decides on it has its counters itself; before its first report nothing is known to be used.
    """
    window = _window(part, budget, now_us)
    reported = None if budget.follower_id is None else part.shipments.usage(budget.budget_id)
    if reported is not None:
        is_present = window is not None and reported.window_us in {None, window.start_us}
        usage = Usage(reported.settled, reported.held) if is_present else Usage()
        return Metered(part.tenant.tenant_id, budget, window, usage, warnings, reported.reported_at_us)
    usage = Usage() if window is None else part.ledger.usage_in(budget, window)
    return Metered(part.tenant.tenant_id, budget, window, usage, warnings)


def _window(part: TenantTransaction, budget: Budget, now_us: int) -> Window | None:
    return window_at(budget.period, now_us, zone(part.tenant.time_zone))


def record_budget(part: TenantTransaction, kind: str, budget: Budget, by: str, now_us: int) -> None:
    """Append the record of a budget's new version, with its fact, and tell of it."""
    fact = part.audit.keep_fact(budget_fact(budget))
    body = {
        "budget": budget.budget_id,
        "revision": budget.revision,
        "budgets": [[budget.budget_id, budget.revision, encode_hash(fact)]],
        "by": by,
    }
    if budget.identity_id is not None:
        body["identity"] = budget.identity_id
    if budget.card_id is not None:
        body["card"] = budget.card_id
    if kind == "budget_updated":
        body["now"] = now_us  # may be before that of the record, and says what a rolling window still counted
    part.audit.append(kind, now_us, body)
    tell_budget(part, kind.removeprefix("budget_"), budget, by, now_us)

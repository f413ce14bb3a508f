"""How identities are written: each change with its fact, record and event, in the caller's transaction."""

import msgspec

from sidecar.core.audit import encode_hash
from sidecar.core.budget import Budget
from sidecar.core.directory import Identity
from sidecar.core.facts import identity_fact
from sidecar.core.model import BudgetCheck
from sidecar.service.events import tell_frozen, tell_identity
from sidecar.service.store import TenantTransaction, Transaction


def add_identity(part: TenantTransaction, identity: Identity, made_by: str, now_us: int) -> None:
    """Store a new identity with its fact and its record."""
    part.identities.add(
        identity.identity_id,
        identity,
        identity.revision,
        owner=identity.parent_id,
        external_id=identity.external_id,
    )
    _record(part, "identity_created", identity, made_by, now_us)


def change_identity(
    txn: Transaction, part: TenantTransaction, identity: Identity, kind: str, changed_by: str, now_us: int
) -> Identity:
    """Store a changed identity at the tenant's next revision and return it; a revoked one frees its external id."""
    revision = txn.tenants.advance(part.tenant.number)
    changed = msgspec.structs.replace(identity, revision=revision, updated_at_us=now_us)
    return _keep(part, changed, kind, changed_by, now_us)


def kill_cards(
    txn: Transaction, part: TenantTransaction, identity: Identity, kind: str, changed_by: str, now_us: int
) -> Identity:
    """Store a changed identity with a mark that freezes every active card of it and of everybody below."""
    revision = txn.tenants.advance(part.tenant.number)
    marked = msgspec.structs.replace(identity, revision=revision, killed_revision=revision, updated_at_us=now_us)
    _keep(part, marked, kind, changed_by, now_us)
    tell_frozen(part, marked, changed_by, now_us)
    return marked


def _keep(part: TenantTransaction, changed: Identity, kind: str, changed_by: str, now_us: int) -> Identity:
    found_by = None if changed.status == "revoked" else changed.external_id
    part.identities.change(changed.identity_id, changed, changed.revision, external_id=found_by)
    _record(part, kind, changed, changed_by, now_us)
    return changed


def _record(part: TenantTransaction, kind: str, identity: Identity, by: str, now_us: int) -> None:
    fact = part.audit.keep_fact(identity_fact(identity))
    body = {
        "identity": identity.identity_id,
        "revision": identity.revision,
        "status": identity.status,
        "chain": [[identity.identity_id, identity.revision, encode_hash(fact)]],
        "by": by,
    }
    part.audit.append(kind, now_us, body)
    tell_identity(part, kind, identity, by, now_us)


def suspend_for_budget(
    txn: Transaction,
    part: TenantTransaction,
    identity: Identity,
    checks: tuple[BudgetCheck, ...],
    budgets: tuple[Budget, ...],
    now_us: int,
) -> None:
    """Suspend the acting identity, and with it its cards, when a budget that says so refused it.

    No mark is set: cards are frozen for as long as it is suspended, and once it is active again so are they, apart from
    those that somebody froze.
    """
    refusing = {check.budget_id for check in checks if not check.allowed}
    suspends = any(budget.on_exceeded == "suspend" for budget in budgets if budget.budget_id in refusing)
    if suspends and identity.status == "active":
        suspended = msgspec.structs.replace(identity, status="suspended")
        changed = change_identity(txn, part, suspended, "identity_suspended", "sidecar", now_us)
        tell_frozen(part, changed, "sidecar", now_us)

"""Which permission grant is in force, found by who pays and from where, and what must not be done to it natively.

Found in one step, however many grants an identity was ever given: a payment asks for each identity of its chain.
"""

from sidecar.core.budget import Budget
from sidecar.core.errors import Conflict
from sidecar.core.grants import Grant, active_key
from sidecar.service.store import TenantTransaction


def grant_in_force(part: TenantTransaction, identity_id: str, account_id: str, now_us: int) -> Grant | None:
    """Return the grant by which an identity may pay from an account now, None without one."""
    grant = part.grants.by_external_id(active_key(identity_id, account_id))
    return None if grant is None or grant.has_run_out(now_us) else grant


def require_kept(part: TenantTransaction, old: Budget, changed: Budget | None, now_us: int) -> None:
    """Raise Conflict where a budget of a grant in force would allow more than the wallet's owner signed.

    ``changed`` is what it would be, None for nothing more.
    """
    if old.identity_id is None or old.account_id is None:
        return
    grant = grant_in_force(part, old.identity_id, old.account_id, now_us)
    if grant is None or old.budget_id not in grant.budget_ids:
        return
    if changed is None or not grant.is_kept_by(changed):
        message = f"the wallet's owner signed this limit with grant `{grant.grant_id}`, revoke that to end it"
        raise Conflict(message)

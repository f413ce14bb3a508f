"""The end of an enrolment: an identity revoked for good, and with it, in the same transaction, all that it acted by."""

from sidecar.core.access import Caller
from sidecar.service.grant_changes import end_grant
from sidecar.service.grants import of_identity
from sidecar.service.identities import revoke_identity
from sidecar.service.policies import remove
from sidecar.service.store import TenantTransaction, Transaction
from sidecar.service.token_changes import revoke_token


def end_enrolment(txn: Transaction, part: TenantTransaction, caller: Caller, identity_id: str, now_us: int) -> None:
    """Revoke an identity, delete its tokens and policies, and end its grants; a second time changes nothing.

    Its budgets, cards and accounts stay, for what was spent is still asked for. What hangs on identities below it stays
    too: the mark on it blocks them. Raises NotFound, Forbidden for the tenant's root.
    """
    revoke_identity(txn, part, caller, identity_id, now_us)
    for token in [listed.value for listed in part.tokens.owned(identity_id)]:
        revoke_token(txn, part, token, caller.name, now_us)
    for grant in of_identity(part, identity_id):
        if grant.status != "revoked":
            end_grant(txn, part, grant, caller.name, now_us)
    # Nobody needs them any more, and the policies of a tenant are counted.
    for policy in [listed.value for listed in part.policies.owned(identity_id)]:
        remove(txn, part, policy, caller.name, now_us)

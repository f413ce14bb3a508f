"""Who may have a token, and how one ends, in the caller's transaction."""

from sidecar.core.access import Token
from sidecar.core.directory import block_on, walk
from sidecar.core.errors import Conflict
from sidecar.service.events import tell_token
from sidecar.service.store import TenantTransaction, Transaction


def require_owner(part: TenantTransaction, identity_id: str) -> None:
    """Raise NotFound for an unknown identity, and Conflict for one that is revoked, itself or above."""
    block = block_on(walk(identity_id, part.identities.get))
    if block is not None and block.status == "revoked":
        raise Conflict(f"identity `{block.identity.identity_id}` is revoked, it gets no token")


def revoke_token(txn: Transaction, part: TenantTransaction, token: Token, by: str, now_us: int) -> None:
    """Delete a token inside a transaction."""
    txn.tokens.delete(token)
    part.tokens.remove(token.token_id, txn.tenants.advance(part.tenant.number))
    part.audit.append("token_revoked", now_us, {"token": token.token_id, "by": by})
    tell_token(part, "token.revoked", token, by, now_us)

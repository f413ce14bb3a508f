"""What a call is about and reaches, and whether its caller still exists when the effect is written."""

from sidecar.core.access import Caller
from sidecar.core.cards import Card
from sidecar.core.directory import IdentityChain, Tenant, walk
from sidecar.core.errors import Forbidden, NotFound, Unauthenticated, ValidationFailed
from sidecar.service.store import TenantTransaction, Transaction


def tenant_of(txn: Transaction, caller: Caller, tenant_id: str | None) -> Tenant:
    """Return the tenant of a call: the token's own, or the one that the operator names.

    Raises ValidationFailed when the operator names none, NotFound for an unknown one, Forbidden when another tenant's
    is named by a token of one tenant.
    """
    if caller.token is None:
        if tenant_id is None:
            raise ValidationFailed("the operator's calls name the tenant", field="tenant_id")
        tenant = txn.tenants.find(tenant_id)
        if tenant is None:
            raise NotFound(f"unknown tenant `{tenant_id}`", field="tenant_id")
        return tenant
    own = txn.tenants.get(caller.token.tenant)
    if own is None:
        raise Unauthenticated("the token's tenant does not exist")
    if tenant_id is not None and tenant_id != own.tenant_id:
        raise Forbidden(f"the token does not belong to tenant `{tenant_id}`", field="tenant_id")
    return own


def part_of(txn: Transaction, caller: Caller, tenant_id: str | None, now_us: int) -> TenantTransaction:
    """Return the part of a write transaction that a call is about, once its caller is known to exist still.

    Raises as ``require_alive`` and ``tenant_of``.
    """
    require_alive(txn, caller, now_us)
    return txn.of(tenant_of(txn, caller, tenant_id))


def require_alive(txn: Transaction, caller: Caller, now_us: int) -> None:
    """Raise Unauthenticated when the caller's token was deleted or ran out since the request was read."""
    if caller.token is None:
        return
    token = txn.tokens.find(caller.token.key_id)
    if token is None or token.digest != caller.token.digest or not token.is_alive(now_us):
        raise Unauthenticated("the token is not valid any more")


def reached_card(part: TenantTransaction, caller: Caller, card_id: str) -> tuple[Card, IdentityChain]:
    """Return a card and the chain of its identity. Raises NotFound where it is unknown or out of the caller's reach."""
    card = part.cards.get(card_id)
    chain = () if card is None else walk(card.identity_id, part.identities.get)
    if card is None or not caller.reaches(chain):
        raise NotFound(f"unknown card `{card_id}`", field="card_id")
    return card, chain

"""What happened, as the webhook endpoints of a tenant are told of it, in the transaction in which it happened.

Outcomes become events here, so that services stay about what they do. Call it after the audit record of what it tells.
A tenant without an endpoint pays for one small read, a dry run and an answer that is replayed tell nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from sidecar.core.access import Token
from sidecar.core.budget import Budget, Claim, Usage
from sidecar.core.cards import Card
from sidecar.core.directory import Identity
from sidecar.core.events import EventType, figure
from sidecar.core.grants import Grant
from sidecar.core.model import AuthorizeRequest, BudgetCheck, Decision
from sidecar.core.passkeys import Passkey
from sidecar.core.payments import Payment
from sidecar.core.reservation import Reservation
from sidecar.core.windows import ROLLING_US
from sidecar.service.policy_store import PoliciesLoaded
from sidecar.service.post import announce, heard_of, tell
from sidecar.service.shipment_store import Follower
from sidecar.service.store import TenantTransaction

_BASIS_POINTS: Final = 10_000

_OF_RECORDS: Final[Mapping[str, EventType]] = {
    "identity_created": "identity.created",
    "identity_updated": "identity.updated",
    "identity_suspended": "identity.suspended",
    "identity_revoked": "identity.revoked",
}
"""Which event tells of which type of audit record."""

_OF_CARDS: Final[Mapping[str, EventType]] = {
    "card_created": "card.created",
    "card_frozen": "card.frozen",
    "card_closed": "card.closed",
}
"""The same for cards."""

_OF_GRANTS: Final[Mapping[str, EventType]] = {
    "grant_created": "grant.created",
    "grant_approved": "grant.approved",
    "grant_revoked": "grant.revoked",
}
"""The same for permission grants."""


def tell_identity(part: TenantTransaction, record_type: str, identity: Identity, by: str, now_us: int) -> None:
    """Tell what an audit record of ``record_type`` says of an identity, if it says anything of the identity itself."""
    event_type = _OF_RECORDS.get(record_type)
    if event_type is None:
        return
    data = {
        "identity_id": identity.identity_id,
        "parent_id": identity.parent_id,
        "external_id": identity.external_id,
        "type": identity.type,
        "name": identity.name,
        "status": identity.status,
        "revision": identity.revision,
        "by": by,
    }
    announce(part, now_us, event_type, data)


def tell_frozen(part: TenantTransaction, identity: Identity, by: str, now_us: int) -> None:
    """Tell, in one event however many they are, that every active card of an identity and below it was frozen."""
    data = {"card_id": None, "identity_id": identity.identity_id, "with_descendants": True, "by": by}
    announce(part, now_us, "card.frozen", data)


def tell_card(part: TenantTransaction, record_type: str, card: Card, by: str, now_us: int) -> None:
    """Tell what an audit record of ``record_type`` says of a card, if there is an event for it."""
    event_type = _OF_CARDS.get(record_type)
    if event_type is None:
        return
    data = {
        "card_id": card.card_id,
        "identity_id": card.identity_id,
        "with_descendants": False,
        "currency": card.currency,
        "last4": card.last4,
        "external_ref": None if card.external_ref is None else msgspec.to_builtins(card.external_ref),
        "by": by,
    }
    announce(part, now_us, event_type, data)


def tell_grant(part: TenantTransaction, record_type: str, grant: Grant, by: str, now_us: int) -> None:
    """Tell what an audit record of ``record_type`` says of a permission grant."""
    data = {
        "grant_id": grant.grant_id,
        "identity_id": grant.identity_id,
        "account_id": grant.account_id,
        "owner_id": grant.owner_id,
        "asset": grant.asset,
        "max_per_tx": figure(grant.max_per_tx, grant.asset),
        "daily_cap": figure(grant.daily_cap, grant.asset),
        "status": grant.status,
        "by": by,
    }
    announce(part, now_us, _OF_GRANTS[record_type], data)


def tell_passkey(part: TenantTransaction, event_type: EventType, passkey: Passkey, by: str, now_us: int) -> None:
    """Tell that a passkey was registered or deleted: an owner should know of one that is not theirs."""
    data = {"passkey_id": passkey.passkey_id, "identity_id": passkey.identity_id, "name": passkey.name, "by": by}
    announce(part, now_us, event_type, data)


def tell_token(part: TenantTransaction, event_type: EventType, token: Token, by: str, now_us: int) -> None:
    """Tell that a token was made or revoked; of its text only the public part."""
    data = {
        "token_id": token.token_id,
        "prefix": token.prefix,
        "kind": token.kind,
        "name": token.name,
        "identity_id": token.identity_id,
        "by": by,
    }
    announce(part, now_us, event_type, data)


def tell_budget(part: TenantTransaction, change: str, budget: Budget, by: str, now_us: int) -> None:
    """Tell that a budget was ``created``, ``updated`` or ``deleted``."""
    announce(part, now_us, "budget.changed", _limit(budget) | {"change": change, "by": by})


def tell_policy(part: TenantTransaction, policy_id: str, change: str, by: str, now_us: int) -> None:
    """Tell that a policy made by the API was ``created`` or ``deleted``."""
    announce(part, now_us, "policy.changed", {"policy_id": policy_id, "change": change, "by": by})


def tell_policy_files(part: TenantTransaction, loaded: PoliciesLoaded, now_us: int) -> None:
    """Tell that the policy files, which hold for all tenants, were replaced."""
    data = {"policy_id": None, "change": "files", "digest": loaded.digest.hex(), "by": loaded.by}
    announce(part, now_us, "policy.changed", data)


def tell_follower(part: TenantTransaction, follower: Follower, origin: str, reason: str, now_us: int) -> None:
    """Tell that the audit log of a follower cannot be what it says."""
    data = {"follower_id": follower.token_id, "name": follower.name, "origin": origin, "reason": reason}
    announce(part, now_us, "follower.alarm", data)


def tell_payment(part: TenantTransaction, payment: Payment, now_us: int) -> None:
    """Tell how a payment has ended: that it succeeded, or that it failed or was cancelled."""
    data = {
        "payment_id": payment.payment_id,
        "decision_id": payment.decision_id,
        "identity_id": payment.identity_id,
        "sender_id": payment.sender_id,
        "receiver_id": payment.receiver_id,
        "from_account_id": payment.from_account_id,
        "to_account_id": payment.to_account_id,
        "amount": figure(payment.amount_minor, payment.currency),
        "currency": payment.currency,
        "network": payment.network,
        "status": payment.status,
        "request_id": payment.request_id,
        "transaction_hash": payment.transaction_hash,
        "error_details": payment.error_details,
    }
    announce(part, now_us, "payment.succeeded" if payment.status == "success" else "payment.failed", data)


def tell_decision(
    part: TenantTransaction,
    request: AuthorizeRequest,
    decision: Decision,
    claimed: Iterable[tuple[Claim, Usage]],
    now_us: int,
) -> None:
    """Tell what a decision that was just recorded means: a denial, and which budgets it exceeded or came close to.

    A budget that only tracks tells nothing. One that notifies tells that it is exceeded, though it allows.
    """
    if not part.webhooks.interests():
        return
    if not decision.allowed:
        announce(part, now_us, "decision.denied", _denial(request, decision))
    for (claim, usage), check in zip(claimed, decision.budget_checks, strict=True):
        used = usage.total + claim.asked
        if claim.budget.on_exceeded == "track":
            continue
        if used > claim.budget.limit:
            announce(part, now_us, "budget.exceeded", _exceeded(claim.budget, check, decision))
        if decision.allowed:
            _tell_approach(part, claim, used, decision.decision_id, now_us)


def _denial(request: AuthorizeRequest, decision: Decision) -> dict[str, object]:
    return {
        "decision_id": decision.decision_id,
        "identity_id": decision.identity_id,
        "action": decision.action,
        "resource": {"type": request.resource.type, "id": request.resource.id},
        "amount": figure(request.amount_minor, request.currency),
        "currency": request.currency,
        "codes": [reason.code for reason in decision.reasons],
    }


def _limit(budget: Budget) -> dict[str, object]:
    return {
        "budget_id": budget.budget_id,
        "identity_id": budget.identity_id,
        "card_id": budget.card_id,
        "account_id": budget.account_id,
        "name": budget.name,
        "dimension": budget.dimension,
        "period": budget.period,
        "currency": budget.currency,
        "limit": figure(budget.limit, budget.currency),
    }


def _exceeded(budget: Budget, check: BudgetCheck, decision: Decision) -> dict[str, object]:
    return _limit(budget) | {
        "settled": figure(check.settled, check.currency),
        "reserved": figure(check.reserved, check.currency),
        "requested": figure(check.requested, check.currency),
        "allowed": check.allowed,
        "decision_id": decision.decision_id,
    }


def _tell_approach(part: TenantTransaction, claim: Claim, used: int, decision_id: str | None, now_us: int) -> None:
    """Tell, once a window, that a budget has used the share of its limit that it names."""
    budget, window = claim.budget, claim.window
    if window is None or used * _BASIS_POINTS < budget.notify_at_bp * budget.limit:
        return
    heard = heard_of(part, "budget.approaching", _approach(budget, used, decision_id), now_us)
    if not heard:
        return
    length_us = ROLLING_US if budget.period == "rolling_24h" else None
    if part.outbox.mark_approach(budget.budget_id, window.start_us, length_us):
        tell(part, now_us, heard)


def _approach(budget: Budget, used: int, decision_id: str | None) -> dict[str, object]:
    return _limit(budget) | {"used": figure(used, budget.currency), "decision_id": decision_id}


def tell_ending(
    part: TenantTransaction, record_type: str, reservation: Reservation, overdrawn: Iterable[str], now_us: int
) -> None:
    """Tell that a hold expired, and which budgets what was booked has overdrawn."""
    data: dict[str, object] = {"decision_id": reservation.decision_id, "identity_id": reservation.identity_id}
    if record_type == "expire":
        announce(part, now_us, "reservation.expired", data | {"currency": reservation.currency})
    for budget_id in overdrawn:
        announce(part, now_us, "budget.overdrawn", data | {"budget_id": budget_id, "late": reservation.late})

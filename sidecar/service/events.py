"""What happened, told to the webhook endpoints that asked for it, in the transaction in which it happened.

``announce`` is for every service; what is below it turns outcomes into events, so that services stay about what they
do. Call it after the audit record of what it tells. A tenant without an endpoint pays for one small read, a dry run and
an answer that is replayed tell nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec

from sidecar.core.access import Token
from sidecar.core.budget import Budget, Claim, Usage
from sidecar.core.cards import Card
from sidecar.core.directory import Identity
from sidecar.core.events import EventType, event_body, figure
from sidecar.core.model import AuthorizeRequest, BudgetCheck, Decision
from sidecar.core.payments import Payment
from sidecar.core.reservation import Reservation
from sidecar.core.webhooks import WAITING_MAX, Waiting, Webhook
from sidecar.core.windows import ROLLING_US
from sidecar.service.policy_store import PoliciesLoaded
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


def announce(part: TenantTransaction, now_us: int, event_type: EventType, data: Mapping[str, object]) -> None:
    """Let an event wait for each active endpoint of the tenant that asked for its type.

    ``data`` is JSON to be, with figures as ``sidecar.core.events.figure`` gives them; it must hold no secret. An
    endpoint for which too much waits is disabled in its place.
    """
    interested = [interest for interest in part.webhooks.interests() if interest.wants(event_type)]
    if not interested:
        return
    waiting = event_of(part, now_us, event_type, data)
    for interest in interested:
        # A lane that is gone was too full as well, and was disabled when it should have been told of another one's end.
        if enqueue(part, interest.lane, waiting) == "full":
            disable(part, part.webhooks.at(interest.number), "too_many_waiting", "sidecar", now_us)


def event_of(part: TenantTransaction, now_us: int, event_type: EventType, data: Mapping[str, object]) -> Waiting:
    """Return an event of the tenant, with an id of its own, that is due at once."""
    return Waiting(
        event_id=part.outbox.next_event_id(now_us),
        type=event_type,
        body=event_body(event_type, now_us, {"tenant_id": part.tenant.tenant_id, **data}),
        created_at_us=now_us,
        due_at_us=now_us,
    )


def enqueue(part: TenantTransaction, number: int, waiting: Waiting) -> Literal["waits", "full", "gone"]:
    """Let an event wait in the lane with this number, unless as much waits there as may, or the lane was dropped."""
    lane = part.outbox.lane(number)
    if lane is None:
        return "gone"
    if lane.waiting >= WAITING_MAX:
        return "full"
    part.outbox.add(number, waiting)
    return "waits"


def disable(part: TenantTransaction, webhook: Webhook, reason: str, by: str, now_us: int) -> Webhook:
    """Disable an active endpoint, drop what waits for it, and tell the tenant's other endpoints; returns it."""
    disabled = msgspec.structs.replace(
        webhook, status="disabled", disabled_reason=reason, revision=webhook.revision + 1
    )
    part.webhooks.keep(disabled)
    part.outbox.drop(webhook.lane)
    part.audit.append("webhook_disabled", now_us, {"webhook": webhook.webhook_id, "reason": reason, "by": by})
    announce(part, now_us, "webhook.disabled", {"webhook_id": webhook.webhook_id, "reason": reason, "by": by})
    return disabled


def tell_identity(part: TenantTransaction, record_type: str, identity: Identity, by: str, now_us: int) -> None:
    """Tell what an audit record of ``record_type`` says of an identity, if it says anything of the identity itself."""
    event_type = _OF_RECORDS.get(record_type)
    if event_type is None:
        return
    data = {
        "identity_id": identity.identity_id,
        "parent_id": identity.parent_id,
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


def tell_policy(part: TenantTransaction, policy_id: str, change: str, by: str, now_us: int) -> None:
    """Tell that a policy made by the API was ``created`` or ``deleted``."""
    announce(part, now_us, "policy.changed", {"policy_id": policy_id, "change": change, "by": by})


def tell_policy_files(part: TenantTransaction, loaded: PoliciesLoaded, now_us: int) -> None:
    """Tell that the policy files, which hold for all tenants, were replaced."""
    data = {"policy_id": None, "change": "files", "digest": loaded.digest.hex(), "by": loaded.by}
    announce(part, now_us, "policy.changed", data)


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
            announce(part, now_us, "budget.exceeded", _exceeded(check, decision))
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


def _exceeded(check: BudgetCheck, decision: Decision) -> dict[str, object]:
    return {
        "budget_id": check.budget_id,
        "identity_id": check.identity_id,
        "card_id": check.card_id,
        "name": check.name,
        "dimension": check.dimension,
        "period": check.period,
        "currency": check.currency,
        "limit": figure(check.limit, check.currency),
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
    if not any(interest.wants("budget.approaching") for interest in part.webhooks.interests()):
        return
    length_us = ROLLING_US if budget.period == "rolling_24h" else None
    if part.outbox.mark_approach(budget.budget_id, window.start_us, length_us):
        announce(part, now_us, "budget.approaching", _approach(budget, used, decision_id))


def _approach(budget: Budget, used: int, decision_id: str | None) -> dict[str, object]:
    return {
        "budget_id": budget.budget_id,
        "identity_id": budget.identity_id,
        "card_id": budget.card_id,
        "name": budget.name,
        "dimension": budget.dimension,
        "period": budget.period,
        "currency": budget.currency,
        "limit": figure(budget.limit, budget.currency),
        "used": figure(used, budget.currency),
        "decision_id": decision_id,
    }


def tell_ending(
    part: TenantTransaction, record_type: str, reservation: Reservation, overdrawn: Iterable[str], now_us: int
) -> None:
    """Tell that a hold expired, and which budgets what was booked has overdrawn."""
    data: dict[str, object] = {"decision_id": reservation.decision_id, "identity_id": reservation.identity_id}
    if record_type == "expire":
        announce(part, now_us, "reservation.expired", data | {"currency": reservation.currency})
    for budget_id in overdrawn:
        announce(part, now_us, "budget.overdrawn", data | {"budget_id": budget_id, "late": reservation.late})

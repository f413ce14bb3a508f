"""The answers of the native API: services' values as JSON documents with exact numbers."""

from functools import lru_cache
from typing import Final, TypeAlias

import msgspec
import orjson

from sidecar.core.access import Token
from sidecar.core.budget import AMOUNT, COUNT, Budget
from sidecar.core.directory import CardDefaults, Identity, IdentityChain, Tenant
from sidecar.core.instants import utc_text
from sidecar.core.model import BudgetCheck, Decision, Reason
from sidecar.core.money import major_text
from sidecar.core.reservation import Measure, Reservation
from sidecar.doors.native import answers, verdicts
from sidecar.service.budget_changes import Metered
from sidecar.service.identities import Described
from sidecar.service.policies import Stored

Document: TypeAlias = dict[str, object]

BASIS_POINTS = 10_000

FIGURES_KEPT: Final = 4096
"""Figures whose text is kept: limits, zeros and usual prices are in most answers, each of them several times."""


@lru_cache(FIGURES_KEPT)
def number(figure: int | None, currency: str | None) -> object:
    """Return a figure as it is written in an answer: minor units become an exact number of major units."""
    if figure is None or currency is None:
        return figure
    return orjson.Fragment(major_text(figure, currency).encode())


def instant(us: int | None) -> str | None:
    """Return a time as it is written in an answer."""
    return None if us is None else utc_text(us)


def tenant(value: Tenant) -> answers.Tenant:
    """Return a tenant without its key."""
    return {
        "tenant_id": value.tenant_id,
        "root_identity_id": value.root_identity_id,
        "name": value.name,
        "mode": value.mode,
        "time_zone": value.time_zone,
        "rate_limit": None if value.rate_limit is None else value.rate_limit.text,
        "external_id": value.external_id,
        "authzen": msgspec.to_builtins(value.authzen),
        "created_at": utc_text(value.created_at_us),
    }


def identity(described: Described) -> answers.Identity:
    """Return an identity; ``effective_status`` is what holds for it, ``blocked_by`` whose status that is."""
    value, block = described.identity, described.block
    return {
        "identity_id": value.identity_id,
        "tenant_id": described.tenant_id,
        "parent_id": value.parent_id,
        "type": value.type,
        "name": value.name,
        "status": value.status,
        "effective_status": "active" if block is None else block.status,
        "blocked_by": None if block is None else block.identity.identity_id,
        "external_id": value.external_id,
        "metadata": value.metadata,
        "max_cards": value.max_cards,
        "description": value.description,
        "card_defaults": None if value.card_defaults is None else card_defaults(value.card_defaults),
        "revoked_at": instant(value.revoked_at_us),
        "created_at": utc_text(value.created_at_us),
        "updated_at": instant(value.updated_at_us),
        "revision": value.revision,
    }


def card_defaults(value: CardDefaults) -> answers.CardDefaults:
    """Return the limit of cards that come without one."""
    return {"limit": number(value.limit, value.currency), "currency": value.currency, "period": value.period}


def chain(value: IdentityChain) -> answers.IdentityChain:
    """Return an identity chain, the root last."""
    return {"identity_id": value[0].identity_id, "chain": [_link(identity) for identity in value]}


def _link(value: Identity) -> answers.Link:
    return {"identity_id": value.identity_id, "type": value.type, "name": value.name, "status": value.status}


def policy(stored: Stored, warnings: tuple[str, ...] = ()) -> answers.Policy:
    """Return a policy with the Cedar text that is evaluated."""
    record = stored.record
    return {
        "policy_id": record.policy_id,
        "tenant_id": stored.tenant_id,
        "identity_id": record.identity_id,
        "name": record.name,
        "rules": None if record.rules is None else orjson.Fragment(record.rules.encode()),
        "cedar": record.cedar,
        "warnings": warnings,
        "created_at": utc_text(record.created_at_us),
        "revision": record.revision,
    }


def budget(metered: Metered) -> answers.Budget:
    """Return a budget with what its present window has used."""
    value = metered.budget
    return {
        "budget_id": value.budget_id,
        "tenant_id": metered.tenant_id,
        "identity_id": value.identity_id,
        "card_id": value.card_id,
        "name": value.name,
        "dimension": value.dimension,
        "period": value.period,
        "limit": number(value.limit, value.currency),
        "currency": value.currency,
        "actions": value.actions,
        "on_exceeded": value.on_exceeded,
        "on_expiry": value.on_expiry,
        "account_id": value.account_id,
        "follower_id": value.follower_id,
        "notify_at": _share(value),
        "usage": None if metered.is_elsewhere else _usage(metered),
        "warnings": metered.warnings,
        "created_at": utc_text(value.created_at_us),
        "updated_at": instant(value.updated_at_us),
        "revision": value.revision,
    }


def _usage(metered: Metered) -> answers.Usage:
    value, window = metered.budget, metered.window
    shown: answers.Usage = {
        "window_start": None if window is None else instant(window.start_us),
        "window_end": None if window is None else instant(window.end_us),
        "settled": number(metered.usage.settled, value.currency),
        "reserved": number(metered.usage.held, value.currency),
        "remaining": number(max(0, value.limit - metered.usage.total), value.currency),
    }
    if value.follower_id is not None:
        shown["reported_at"] = instant(metered.reported_at_us)
    return shown


def _share(value: Budget) -> answers.Exact:
    whole, rest = divmod(value.notify_at_bp, BASIS_POINTS)
    text = f"{whole}.{rest:04}".rstrip("0").rstrip(".")
    return orjson.Fragment(text.encode())


def decision(value: Decision, reservation: Reservation | None = None) -> verdicts.Decision:
    """Return a decision; with ``reservation`` its present state, without one the state it was answered with."""
    document: verdicts.Decision = {
        "decision_id": value.decision_id,
        "identity_id": value.identity_id,
        "action": value.action,
        "allowed": value.allowed,
        "reasons": [reason(each) for each in value.reasons],
        "budget_checks": [budget_check(each) for each in value.budget_checks],
        "reservation": _placed(value) if reservation is None else reservation_of(reservation),
        "evaluated_at": utc_text(value.evaluated_at_us),
        "policy_revision": value.policy_revision,
        "entity_revision": value.entity_revision,
        "data_age_seconds": None if value.data_age_us is None else _seconds(value.data_age_us),
        "audit": None if value.audit is None else {"seq": value.audit.seq, "hash": value.audit.hash},
    }
    if value.dry_run:
        document["dry_run"] = True
    return document


def _seconds(us: int) -> answers.Exact:
    """Return a time in seconds, to the millisecond and never shorter than it is."""
    whole, rest = divmod(-(-us // 1_000), 1_000)
    return orjson.Fragment((f"{whole}.{rest:03}".rstrip("0") if rest else f"{whole}").encode())


def _placed(value: Decision) -> verdicts.Reservation | None:
    if value.expires_at_us is None:
        return None
    amount = number(value.reserved_minor, value.currency)
    zero = number(None if value.reserved_minor is None else 0, value.currency)
    return {
        "state": "held",
        "amount": amount,
        "currency": value.currency if value.reserved_minor is not None else None,
        "held": amount,
        "settled": zero,
        "refunded": zero,
        "quantities": {
            name: {"asked": asked, "held": asked, "settled": 0} for name, asked in value.reserved_quantities.items()
        },
        "expires_at": utc_text(value.expires_at_us),
        "late": False,
        "overdrawn": False,
    }


def reservation_of(value: Reservation) -> verdicts.Reservation:
    """Return a reservation: ``amount`` is what was asked, of which ``held``, ``settled`` and ``refunded``."""
    amount = value.measures.get(AMOUNT)
    currency = value.currency
    shown: verdicts.Reservation = {
        "decision_id": value.decision_id,
        "state": value.state,
        "amount": None if amount is None else number(amount.asked, currency),
        "currency": None if amount is None else currency,
        "held": None if amount is None else number(amount.held, currency),
        "settled": None if amount is None else number(amount.settled, currency),
        "refunded": None if amount is None else number(amount.refunded, currency),
        "quantities": {
            name: _quantity(measure) for name, measure in value.measures.items() if name not in {AMOUNT, COUNT}
        },
        "expires_at": utc_text(value.expires_at_us),
        "late": value.late,
        "overdrawn": value.overdrawn,
    }
    if value.network is not None:
        shown["card_authorization"] = {"network": value.network.network, "id": value.network.authorization_id}
    return shown


def _quantity(measure: Measure) -> verdicts.MeasuredQuantity:
    return {"asked": measure.asked, "held": measure.held, "settled": measure.settled}


def reason(value: Reason) -> verdicts.Reason:
    """Return a reason; what a code has no use for is left out, apart from the four fields that all have."""
    document: verdicts.Reason = {
        "verdict": value.verdict,
        "code": value.code,
        "policy_id": value.policy_id,
        "matched_rule": value.matched_rule,
        "source": value.source,
        "message": value.message,
    }
    if value.advice is not None:
        document["advice"] = value.advice
    if value.identity_id is not None:
        document["identity_id"] = value.identity_id
    if value.card_id is not None:
        document["card_id"] = value.card_id
    if value.budget_id is not None:
        document["budget_id"] = value.budget_id
        document["currency"] = value.currency
    if value.requested is not None:
        document["requested"] = number(value.requested, value.currency)
        document["remaining"] = number(value.remaining, value.currency)
        document["retry_at"] = instant(value.retry_at_us)
    return document


def budget_check(value: BudgetCheck) -> verdicts.BudgetCheck:
    """Return what one budget said: its figures before the request, in major units for amounts."""
    currency = value.currency
    return {
        "budget_id": value.budget_id,
        "identity_id": value.identity_id,
        "card_id": value.card_id,
        "name": value.name,
        "dimension": value.dimension,
        "period": value.period,
        "currency": currency,
        "limit": number(value.limit, currency),
        "settled": number(value.settled, currency),
        "reserved": number(value.reserved, currency),
        "requested": number(value.requested, currency),
        "remaining": number(value.remaining, currency),
        "allowed": value.allowed,
        "resets_at": instant(value.resets_at_us),
    }


def token(value: Token, tenant_id: str) -> answers.Token:
    """Return a token without its text."""
    return {
        "token_id": value.token_id,
        "tenant_id": tenant_id,
        "prefix": value.prefix,
        "kind": value.kind,
        "name": value.name,
        "identity_id": value.identity_id,
        "may_release": value.may_release,
        "rate_limit": None if value.rate_limit is None else value.rate_limit.text,
        "created_at": utc_text(value.created_at_us),
        "expires_at": instant(value.expires_at_us),
        "rotated_at": instant(value.rotated_at_us),
        "former_expires_at": None if value.former is None else instant(value.former.until_us),
    }

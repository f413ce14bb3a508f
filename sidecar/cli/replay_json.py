"""A replay's findings as one JSON object: everything, nothing shortened, amounts as exact numbers."""

from decimal import Decimal
from typing import Final

import msgspec

from sidecar.cli.audit_replay import proof_told
from sidecar.cli.replay_report import DIRECTIONS, Group, Replayed, groups_of, money_of
from sidecar.core.instants import utc_text
from sidecar.core.money import major_text
from sidecar.service.courses import Ground
from sidecar.service.replay import Flip

_encoder: Final = msgspec.json.Encoder(decimal_format="number")


def as_json(found: Replayed) -> str:
    """Return the report as one JSON object."""
    ordered = [(each, found.flips(each[0])) for each in DIRECTIONS]
    permitted, denied = ordered[0][1], ordered[1][1]
    times = [at for each in found.comparisons for at in (each.first_us, each.last_us) if at is not None]
    document = {
        "decisions": found.decisions,
        "same": found.decisions - len(permitted) - len(denied),
        "allow_to_deny": len(denied),
        "deny_to_allow": len(permitted),
        "money": {"deny_to_allow": _money(money_of(permitted)), "allow_to_deny": _money(money_of(denied))},
        "groups": [_group(group) for _, flips in ordered for group in groups_of(flips)],
        "flips": [_flip(flip) for _, flips in ordered for flip in flips],
        "missing_count": found.missing,
        "missing": [
            {"tenant_id": each.tenant_id, "seq": one.seq, "decision_id": one.decision_id, "what": one.what}
            for each in found.comparisons
            for one in each.missing
        ],
        "suspensions": {"only_then": found.suspended[0], "only_by_candidate": found.suspended[1]},
        "range": {
            "from": _time(found.span.from_us),
            "to": _time(found.span.to_us),
            "first": _time(min(times, default=None)),
            "last": _time(max(times, default=None)),
        },
        "tenants": [
            {"tenant_id": each.tenant_id, "decisions": each.decisions, "flips": len(each.flips)}
            for each in found.comparisons
        ],
        "left_out": found.left_out,
        "proof": {"exact": found.is_exact, "tenants": [proof_told(proof) for proof in found.proofs]},
        "candidate": found.candidate,
        "engine": found.engine,
    }
    return _encoder.encode(document).decode() + "\n"


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else utc_text(at_us)


def _money(money: tuple[tuple[str, int], ...]) -> dict[str, Decimal]:
    return {currency: Decimal(major_text(minor, currency)) for currency, minor in money}


def _amount(flip: Flip) -> Decimal | None:
    if flip.amount_minor is None or flip.currency is None:
        return None
    return Decimal(major_text(flip.amount_minor, flip.currency))


def _group(group: Group) -> dict[str, object]:
    return {
        "from": group.before,
        "to": group.after,
        "kind": group.cause.kind,
        "id": group.cause.id,
        "source": group.cause.source,
        "decisions": group.decisions,
        "money": _money(group.money),
    }


def _flip(flip: Flip) -> dict[str, object]:
    return {
        "seq": flip.seq,
        "tenant_id": flip.tenant_id,
        "decision_id": flip.decision_id,
        "at": utc_text(flip.now_us),
        "identity_id": flip.identity_id,
        "action": flip.action,
        "resource": {"type": flip.resource_type, "id": flip.resource_id},
        "amount": _amount(flip),
        "currency": flip.currency,
        "from": flip.before,
        "to": flip.after,
        "reasons_then": [_ground(each) for each in flip.reasons_before],
        "reasons_now": [_ground(each) for each in flip.reasons_after],
        "cause": msgspec.to_builtins(flip.cause),
    }


def _ground(ground: Ground) -> dict[str, object]:
    told = {
        "code": ground.code,
        "policy_id": ground.policy_id,
        "matched_rule": ground.rule,
        "source": ground.source,
        "budget_id": ground.budget_id,
        "message": ground.message,
    }
    return {name: value for name, value in told.items() if value is not None}

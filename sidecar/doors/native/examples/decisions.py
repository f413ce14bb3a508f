"""Examples of the calls that decide, end what was decided, show the audit log, and tell how the process is."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sidecar.doors.native.examples.scene import (
    AGENT,
    AT,
    BUDGET_ID,
    DECISION_ID,
    FACT,
    HASH,
    POLICY_ID,
    POLICY_REVISION,
    TOKEN_ID,
    page,
)
from sidecar.doors.wire.openapi import Example

_RESOURCE: Final = {"type": "merchant", "id": "AWS", "currency": "CAD", "merchant_category": "7372"}
_PAYMENT: Final = {"identity_id": AGENT, "action": "card.authorize"}
_RESERVATION: Final = {
    "state": "held",
    "amount": 47.23,
    "currency": "CAD",
    "held": 47.23,
    "settled": 0,
    "refunded": 0,
    "quantities": {},
    "expires_at": "2026-03-16T12:00:00Z",
    "late": False,
    "overdrawn": False,
}
_HOLDING: Final = {"revision": POLICY_REVISION, "loaded_at": AT, "last_reload": None}
_ENDED: Final = {"decision_id": DECISION_ID} | _RESERVATION | {"held": 0}
_PERMIT: Final = {
    "decision_id": DECISION_ID,
    "identity_id": AGENT,
    "action": "card.authorize",
    "allowed": True,
    "reasons": [
        {
            "verdict": "permit",
            "code": "permitted",
            "policy_id": POLICY_ID,
            "matched_rule": None,
            "source": f"/v1/policies/{POLICY_ID}:1",
            "message": f"permitted by `{POLICY_ID}`",
        }
    ],
    "budget_checks": [
        {
            "budget_id": BUDGET_ID,
            "identity_id": AGENT,
            "card_id": None,
            "name": "Daily spend cap",
            "dimension": "amount",
            "period": "daily",
            "currency": "CAD",
            "limit": 500,
            "settled": 0,
            "reserved": 0,
            "requested": 47.23,
            "remaining": 500,
            "allowed": True,
            "resets_at": "2026-03-10T04:00:00Z",
        }
    ],
    "reservation": _RESERVATION,
    "evaluated_at": AT,
    "policy_revision": POLICY_REVISION,
    "entity_revision": 5,
    "data_age_seconds": None,
    "audit": {"seq": 6, "hash": HASH},
}
_DENIAL: Final = _PERMIT | {
    "allowed": False,
    "reasons": [
        {
            "verdict": "deny",
            "code": "forbidden",
            "policy_id": POLICY_ID,
            "matched_rule": "max_amount",
            "source": f"/v1/policies/{POLICY_ID}:4",
            "message": f"`max_amount` of policy `{POLICY_ID}` requires amount at most 200 CAD, got `250 CAD`",
        }
    ],
    "budget_checks": [],
    "reservation": None,
}
_DRY: Final = {"decision_id": None, "reservation": None, "audit": None, "dry_run": True}
_RECORD: Final = {
    "seq": 6,
    "hash": HASH,
    "prev_hash": FACT,
    "type": "decision",
    "tenant_id": "acme",
    "recorded_at": AT,
    "decision_id": DECISION_ID,
    "identity_id": AGENT,
    "action": "card.authorize",
    "amount": 47.23,
    "budgets": [[BUDGET_ID, 5, FACT, 1773028800000000, 0, 0, 4723]],
    "chain": [[AGENT, 3, FACT], ["ann@acme.example", 1, FACT]],
    "codes": ["permitted"],
    "currency": "CAD",
    "engine": "cedarpy 4.12.2",
    "entity_revision": 5,
    "expires": "2026-03-16T12:00:00Z",
    "matched": [POLICY_ID],
    "now": AT,
    "policies": FACT,
    "request": FACT,
    "resource": {"id": "AWS", "type": "merchant"},
    "token": TOKEN_ID,
    "verdict": "allow",
}

EXAMPLES: Final[Mapping[str, tuple[Example, ...]]] = MappingProxyType(
    {
        "POST /v1/authorize": (
            Example("A payment that is permitted", _PAYMENT | {"resource": _RESOURCE | {"amount": 47.23}}, _PERMIT),
            Example(
                "A payment that is denied",
                _PAYMENT | {"resource": _RESOURCE | {"amount": "250.00"}, "context": {"purpose": "licences"}},
                _DENIAL,
            ),
            Example(
                "A dry run", _PAYMENT | {"resource": _RESOURCE | {"amount": 47.23}, "dry_run": True}, _PERMIT | _DRY
            ),
        ),
        "POST /v1/authorize/batch": (
            Example(
                "A booking of two parts, of which the second is only tried once the first was permitted",
                {
                    "semantics": "deny_on_first_deny",
                    "requests": [
                        _PAYMENT | {"resource": _RESOURCE | {"amount": 47.23}},
                        _PAYMENT | {"resource": _RESOURCE | {"amount": "250.00"}},
                    ],
                },
                {"decisions": [_PERMIT, _DENIAL]},
            ),
        ),
        "GET /v1/decisions/{decision_id}": (
            Example(
                "A decision with its reservation as it is now",
                answer=_PERMIT | {"reservation": {"decision_id": DECISION_ID} | _RESERVATION},
            ),
        ),
        "POST /v1/decisions/{decision_id}/settle": (
            Example("All that is held", {}, _ENDED | {"state": "settled", "settled": 47.23}),
            Example(
                "A part; the rest is free again", {"amount": "40.00"}, _ENDED | {"state": "settled", "settled": 40}
            ),
        ),
        "POST /v1/decisions/{decision_id}/release": (
            Example("Give back what is held", {}, _ENDED | {"state": "released"}),
        ),
        "POST /v1/decisions/{decision_id}/refund": (
            Example(
                "A part of what was settled",
                {"amount": 5},
                _ENDED | {"state": "settled", "settled": 47.23, "refunded": 5},
            ),
        ),
        "GET /v1/audit": (Example("The permits", answer=page(_RECORD), query="verdict=allow"),),
        "GET /v1/audit/verify": (
            Example(
                "A log that is whole",
                answer={"valid": True, "entries_checked": 7, "head": {"seq": 6, "hash": HASH}, "facts_missing": 0},
            ),
        ),
        "GET /v1/health": (Example("Alive", answer={"status": "ok", "service": "sidecar", "timestamp": AT}),),
        "GET /livez": (Example("Alive", answer={"status": "ok", "timestamp": AT}),),
        "GET /readyz": (Example("Ready", answer={"status": "ok", "timestamp": AT, "policies": _HOLDING}),),
    }
)

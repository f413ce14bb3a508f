"""Examples of the calls that followers make about reservations."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sidecar.doors.native.examples.scene import AGENT, BUDGET_ID, DECISION_ID, HASH, POLICY_REVISION
from sidecar.doors.wire.openapi import Example

EXAMPLES: Final[Mapping[str, tuple[Example, ...]]] = MappingProxyType(
    {
        "POST /v1/reservations": (
            Example(
                "Have a card payment decided and held",
                {
                    "decision_id": DECISION_ID,
                    "request": {
                        "identity_id": AGENT,
                        "action": "card.authorize",
                        "resource": {"type": "merchant", "id": "AWS"},
                        "amount_minor": 4723,
                        "currency": "CAD",
                        "merchant_category": "7372",
                        "ttl_seconds": 604800,
                    },
                },
                {
                    "decision_id": DECISION_ID,
                    "granted": True,
                    "reasons": [],
                    "budget_checks": [
                        {
                            "budget_id": BUDGET_ID,
                            "identity_id": AGENT,
                            "card_id": None,
                            "name": "Daily spend cap",
                            "dimension": "amount",
                            "period": "daily",
                            "currency": "CAD",
                            "limit": 50000,
                            "settled": 0,
                            "reserved": 0,
                            "requested": 4723,
                            "remaining": 50000,
                            "allowed": True,
                            "resets_at_us": 1773115200000000,
                        }
                    ],
                    "claims": [
                        {
                            "budget_id": BUDGET_ID,
                            "revision": 4,
                            "window_start_us": 1773028800000000,
                            "settled": 0,
                            "held": 0,
                            "asked": 4723,
                            "granted": 4723,
                        }
                    ],
                    "expires_at_us": 1774267200000000,
                    "entity_revision": 5,
                    "policy_revision": POLICY_REVISION,
                    "audit": {"seq": 6, "hash": HASH},
                },
            ),
        ),
        "POST /v1/reservations/{decision_id}/cancel": (Example("Let go what came to nothing", {}),),
    }
)

"""Example of the call about shadow policies: the payment of the other examples, which they would have denied."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sidecar.doors.native.examples.scene import AGENT, AT, DECISION_ID, POLICY_ID, POLICY_REVISION, page
from sidecar.doors.wire.openapi import Example

_DIFFERENCE: Final = {
    "decision_id": DECISION_ID,
    "seq": 6,
    "direction": "allow_to_deny",
    "evaluated_at": AT,
    "identity_id": AGENT,
    "action": "card.authorize",
    "resource": {"type": "merchant", "id": "AWS"},
    "amount": 47.23,
    "currency": "CAD",
    "live": {
        "allowed": True,
        "codes": ["permitted"],
        "policies": [{"policy_id": POLICY_ID, "source": f"/v1/policies/{POLICY_ID}:1"}],
    },
    "shadow": {
        "allowed": False,
        "codes": ["forbidden"],
        "policies": [{"policy_id": "cards/at-most-40", "source": "shadow/cards.cedar:1"}],
    },
    "policy_revision": POLICY_REVISION,
    "shadow_revision": POLICY_REVISION,
}
_SUMMARY: Final = {
    "shadow_revision": POLICY_REVISION,
    "evaluated": 1,
    "same": 0,
    "allow_to_deny": {"count": 1, "amounts": [{"currency": "CAD", "amount": 47.23}]},
    "deny_to_allow": {"count": 0, "amounts": []},
    "errors": 0,
    "dropped": 0,
}

EXAMPLES: Final[Mapping[str, tuple[Example, ...]]] = MappingProxyType(
    {
        "GET /v1/shadow": (
            Example(
                "A payment that other policies would have denied",
                answer=page(_DIFFERENCE) | {"summary": _SUMMARY},
                query="direction=allow_to_deny",
            ),
        ),
    }
)

"""Examples of the calls about webhooks."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sidecar.doors.native.examples.scene import AT, EVENT_ID, WEBHOOK_ID, page
from sidecar.doors.wire.openapi import Example

_URL: Final = "https://hooks.example.com/sidecar"
_SECRET: Final = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="  # noqa: S105 -- of no endpoint
_WEBHOOK: Final = {
    "webhook_id": WEBHOOK_ID,
    "tenant_id": "acme",
    "url": _URL,
    "events": ["budget.exceeded", "decision.denied"],
    "format": "standard",
    "description": "on call",
    "status": "active",
    "disabled_reason": None,
    "secret_prefix": "whsec_AAAA",
    "created_at": AT,
    "revision": 1,
}
_ONE: Final = "/v1/webhooks/{webhook_id}"

EXAMPLES: Final[Mapping[str, tuple[Example, ...]]] = MappingProxyType(
    {
        "POST /v1/webhooks": (
            Example(
                "Be told of denials and exceeded budgets",
                {"url": _URL, "events": ["budget.exceeded", "decision.denied"], "description": "on call"},
                _WEBHOOK | {"secret": _SECRET},
            ),
            Example(
                "Be told as a receiver that was written for Ledger expects",
                {"url": _URL, "events": ["agent.limit_exceeded"], "format": "ledger", "description": "on call"},
                _WEBHOOK | {"events": ["agent.limit_exceeded"], "format": "ledger", "secret": _SECRET},
            ),
        ),
        "GET /v1/webhooks": (Example("The only endpoint", answer=page(_WEBHOOK)),),
        f"GET {_ONE}": (Example("An endpoint", answer=_WEBHOOK),),
        f"PATCH {_ONE}": (Example("Be told of everything", {"events": ["*"]}, _WEBHOOK | {"events": ["*"]}),),
        f"POST {_ONE}/test": (
            Example(
                "Try an endpoint",
                {},
                {"event_id": EVENT_ID, "webhook_id": WEBHOOK_ID, "type": "webhook.test"},
            ),
        ),
        f"POST {_ONE}/rotate": (
            Example("A new secret; for an hour both sign", {"grace_seconds": 3600}, _WEBHOOK | {"secret": _SECRET}),
        ),
        f"GET {_ONE}/deliveries": (Example("Nothing was sent yet", answer=page()),),
    }
)

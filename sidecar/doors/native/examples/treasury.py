"""Examples of the calls about cards and the kill switch."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sidecar.doors.native.examples.scene import AGENT, AT, BUDGET_ID, CARD_ID, page
from sidecar.doors.wire.openapi import Example

_CARD: Final = {
    "card_id": CARD_ID,
    "tenant_id": "acme",
    "identity_id": AGENT,
    "status": "active",
    "frozen_by": None,
    "currency": "CAD",
    "last4": "4242",
    "external_ref": {"network": "stripe_issuing", "id": "ic_1MvSieLkdIwHu7ix"},
    "allowed_mccs": ["5734", "7372"],
    "spend_limit_daily": 200,
    "spend_limit_monthly": 2000,
    "budget_ids": [BUDGET_ID, BUDGET_ID],
    "created_at": AT,
    "revision": 6,
}
_ONE: Final = "/v1/treasury/cards/{card_id}"

EXAMPLES: Final[Mapping[str, tuple[Example, ...]]] = MappingProxyType(
    {
        "POST /v1/treasury/cards": (
            Example(
                "A card of a network, with its limits",
                {
                    "identity_id": AGENT,
                    "currency": "CAD",
                    "spend_limit_daily": 200,
                    "spend_limit_monthly": 2000,
                    "allowed_mccs": ["5734", "7372"],
                    "external_ref": {"network": "stripe_issuing", "id": "ic_1MvSieLkdIwHu7ix"},
                    "last4": "4242",
                },
                _CARD,
            ),
        ),
        "GET /v1/treasury/cards": (
            Example("The agent's active cards", answer=page(_CARD), query=f"identity_id={AGENT}&status=active"),
        ),
        f"GET {_ONE}": (Example("A card", answer=_CARD),),
        f"POST {_ONE}/freeze": (Example("Freeze a card", {}, _CARD | {"status": "frozen"}),),
        f"POST {_ONE}/unfreeze": (Example("A card that is active stays as it is", {}, _CARD),),
        f"POST {_ONE}/close": (Example("Close a card for good", {}, _CARD | {"status": "closed"}),),
        "POST /v1/treasury/kill-switch": (
            Example(
                "Freeze every card of an agent and of everybody below",
                {"identity_id": AGENT},
                {"frozen": 1, "card_ids": [CARD_ID]},
            ),
        ),
    }
)

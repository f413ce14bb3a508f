"""Examples of the calls about accounts and payments."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sidecar.doors.native.examples.scene import (
    ACCOUNT_ID,
    AGENT,
    AT,
    BUDGET_ID,
    DECISION_ID,
    PAYMENT_ID,
    POLICY_ID,
    ROOT,
    page,
)
from sidecar.doors.wire.openapi import Example

_ACCOUNT: Final = {
    "account_id": ACCOUNT_ID,
    "tenant_id": "acme",
    "identity_id": AGENT,
    "asset": "CAD",
    "network": "internal",
    "wallet_address": None,
    "name": "Operating account",
    "status": "active",
    "balance": 0,
    "created_at": AT,
    "revision": 6,
}
_ONE: Final = "/v1/accounts/{account_id}"
_PAYMENT: Final = {
    "payment_id": PAYMENT_ID,
    "tenant_id": "acme",
    "identity_id": AGENT,
    "from_account_id": ACCOUNT_ID,
    "to_account_id": ACCOUNT_ID,
    "sender_id": AGENT,
    "receiver_id": ROOT,
    "amount": 25.5,
    "currency": "CAD",
    "network": "internal",
    "status": "success",
    "request_id": "order-7",
    "transaction_hash": None,
    "transaction_fee": 0,
    "error_details": None,
    "challenge": None,
    "risk_level": None,
    "debug_mode": False,
    "metadata": {"order": "7"},
    "decision": {
        "decision_id": DECISION_ID,
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
                "requested": 25.5,
                "remaining": 500,
                "allowed": True,
                "resets_at": "2026-03-10T04:00:00Z",
            }
        ],
    },
    "created_at": AT,
    "updated_at": AT,
}

EXAMPLES: Final[Mapping[str, tuple[Example, ...]]] = MappingProxyType(
    {
        "POST /v1/accounts": (
            Example(
                "An account in the ledger of the sidecar",
                {"identity_id": AGENT, "asset": "CAD", "name": "Operating account"},
                _ACCOUNT,
            ),
            Example(
                "An account of whoever is paid",
                {"identity_id": ROOT, "asset": "CAD"},
            ),
        ),
        "GET /v1/accounts": (
            Example(
                "The agent's open accounts", answer=page(_ACCOUNT), query=f"identity_id={AGENT}&asset=CAD&status=active"
            ),
        ),
        f"GET {_ONE}": (Example("An account and what is in it", answer=_ACCOUNT),),
        f"POST {_ONE}/deposits": (
            Example("100 CAD came in", {"amount": 100, "reference": "wire 4711"}, _ACCOUNT | {"balance": 100}),
        ),
        f"POST {_ONE}/withdrawals": (Example("40 CAD go out", {"amount": "40.00"}, _ACCOUNT | {"balance": 60}),),
        f"POST {_ONE}/close": (Example("Close an empty account for good", {}, _ACCOUNT | {"status": "closed"}),),
        "POST /v1/payments": (
            Example(
                "Pay an identity, once however often it is asked for",
                {
                    "identity_id": AGENT,
                    "receiver_id": ROOT,
                    "amount": 25.5,
                    "currency": "CAD",
                    "request_id": "order-7",
                    "metadata": {"order": "7"},
                },
                _PAYMENT,
            ),
        ),
        "GET /v1/payments": (
            Example("What the agent paid", answer=page(_PAYMENT), query=f"identity_id={AGENT}&status=success"),
        ),
        "GET /v1/payments/{payment_id}": (Example("A payment", answer=_PAYMENT),),
        "POST /v1/payments/{payment_id}/cancel": (
            Example("Stop a payment that is on its way", {}, _PAYMENT | {"status": "cancelled"}),
        ),
    }
)

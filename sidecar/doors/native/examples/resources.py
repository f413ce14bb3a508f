"""Examples of the calls about what a tenant consists of."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sidecar.doors.native.examples.scene import AGENT, AT, BUDGET_ID, POLICY_ID, POLICY_REVISION, TOKEN_ID, page
from sidecar.doors.wire.openapi import Example

_TENANT: Final = {
    "tenant_id": "acme",
    "root_identity_id": "ann@acme.example",
    "name": "Acme Co",
    "mode": "live",
    "time_zone": "America/Toronto",
    "rate_limit": None,
    "external_id": None,
    "authzen": {"subject_properties": [], "resource_properties": [], "item_context": False},
    "created_at": AT,
}
_IDENTITY: Final = {
    "identity_id": AGENT,
    "tenant_id": "acme",
    "parent_id": "ann@acme.example",
    "type": "agent",
    "name": "Procurement worker",
    "status": "active",
    "effective_status": "active",
    "blocked_by": None,
    "external_id": "crew-7",
    "metadata": {"cost_center": "7"},
    "max_cards": None,
    "description": None,
    "card_defaults": None,
    "revoked_at": None,
    "created_at": AT,
    "updated_at": None,
    "revision": 3,
}
_RULES: Final = {"actions": ["card.authorize"], "max_amount": 200, "currencies": ["CAD"]}
_SCOPE: Final = '(principal in Agent::"agent-procurement", action in [Action::"card.authorize"], resource)'
_CEDAR: Final = f"""\
@id("{POLICY_ID}")
permit {_SCOPE};

@id("{POLICY_ID}/max_amount")
forbid {_SCOPE}
unless {{ !["CAD"].contains(context.currency) || (["CAD"].contains(context.currency) && context.amount <= 20000) }};

@id("{POLICY_ID}/currencies")
forbid {_SCOPE}
unless {{ ["CAD"].contains(context.currency) }};
"""
_POLICY: Final = {
    "policy_id": POLICY_ID,
    "tenant_id": "acme",
    "identity_id": AGENT,
    "name": "Card payments",
    "rules": _RULES,
    "cedar": _CEDAR,
    "warnings": [],
    "created_at": AT,
    "revision": 4,
}
_USAGE: Final = {
    "window_start": "2026-03-09T04:00:00Z",
    "window_end": "2026-03-10T04:00:00Z",
    "settled": 0,
    "reserved": 0,
    "remaining": 500,
}
_BUDGET: Final[dict[str, object]] = {
    "budget_id": BUDGET_ID,
    "tenant_id": "acme",
    "identity_id": AGENT,
    "card_id": None,
    "name": "Daily spend cap",
    "dimension": "amount",
    "period": "daily",
    "limit": 500,
    "currency": "CAD",
    "actions": [],
    "on_exceeded": "deny",
    "on_expiry": "release",
    "account_id": None,
    "follower_id": None,
    "notify_at": 0.8,
    "usage": _USAGE,
    "warnings": [],
    "created_at": AT,
    "updated_at": None,
    "revision": 5,
}
_CHANGED: Final = {"updated_at": AT}
_USED_BUDGET: Final = _BUDGET | {"usage": _USAGE | {"reserved": 47.23, "remaining": 452.77}}
_TOKEN: Final = {
    "token_id": TOKEN_ID,
    "tenant_id": "acme",
    "prefix": "at_live_DTBALKZ6K3",
    "kind": "agent",
    "name": "procurement",
    "identity_id": AGENT,
    "may_release": False,
    "rate_limit": None,
    "created_at": AT,
    "expires_at": "2027-01-01T00:00:00Z",
    "rotated_at": None,
    "former_expires_at": None,
}
_TOKEN_TEXT: Final = "at_live_DTBALKZ6K3_0000000000000000000000000000000000000000000_000000"  # noqa: S105 -- opens nothing


EXAMPLES: Final[Mapping[str, tuple[Example, ...]]] = MappingProxyType(
    {
        "POST /v1/tenants": (
            Example(
                "A tenant with ids of its own choice",
                {
                    "name": "Acme Co",
                    "id": "acme",
                    "time_zone": "America/Toronto",
                    "root": {"id": "ann@acme.example", "name": "Ann"},
                },
                _TENANT | {"api_key": "sk_live_VDOIB6M6KJ_0000000000000000000000000000000000000000000_000000"},
            ),
        ),
        "GET /v1/tenants": (Example("The only tenant", answer=page(_TENANT)),),
        "GET /v1/tenants/{tenant_id}": (Example("A tenant", answer=_TENANT),),
        "PATCH /v1/tenants/{tenant_id}": (
            Example(
                "Limit the requests of a tenant", {"rate_limit": "100/second"}, _TENANT | {"rate_limit": "100/second"}
            ),
        ),
        "POST /v1/identities": (
            Example(
                "An agent below the root",
                {
                    "parent_id": "ann@acme.example",
                    "type": "agent",
                    "name": "Procurement worker",
                    "id": AGENT,
                    "external_id": "crew-7",
                    "metadata": {"cost_center": "7"},
                },
                _IDENTITY,
            ),
        ),
        "GET /v1/identities": (Example("The agents", answer=page(_IDENTITY), query="type=agent"),),
        "GET /v1/identities/{identity_id}": (Example("An agent", answer=_IDENTITY),),
        "PATCH /v1/identities/{identity_id}": (
            Example(
                "Suspend an agent",
                {"status": "suspended"},
                _IDENTITY | _CHANGED | {"status": "suspended", "effective_status": "suspended", "blocked_by": AGENT},
            ),
        ),
        "GET /v1/identities/{identity_id}/chain": (
            Example(
                "From an agent to the human who is accountable for it",
                answer={
                    "identity_id": AGENT,
                    "chain": [
                        {"identity_id": AGENT, "type": "agent", "name": "Procurement worker", "status": "active"},
                        {"identity_id": "ann@acme.example", "type": "user", "name": "Ann", "status": "active"},
                    ],
                },
            ),
        ),
        "POST /v1/identities/{identity_id}/revoke": (
            Example(
                "Revoke an agent",
                {},
                _IDENTITY
                | _CHANGED
                | {"status": "revoked", "revoked_at": AT, "effective_status": "revoked", "blocked_by": AGENT}
                | {"affected": 1},
            ),
        ),
        "POST /v1/policies/reload": (
            Example(
                "Files that hold already",
                {},
                {
                    "outcome": "unchanged",
                    "policy_revision": POLICY_REVISION,
                    "previous_revision": POLICY_REVISION,
                    "files": 4,
                    "seconds": 0.62,
                    "reason": None,
                },
            ),
        ),
        "POST /v1/policies": (
            Example(
                "Payments by card up to 200 CAD",
                {"identity_id": AGENT, "name": "Card payments", "rules": _RULES},
                _POLICY,
            ),
            Example(
                "Cedar for the whole tenant",
                {
                    "name": "Search only",
                    "cedar": 'permit (principal is Agent, action == Action::"tool.call", resource == Tool::"search");',
                },
            ),
            Example(
                "Payments out of accounts",
                {"identity_id": AGENT, "name": "Payments", "rules": {"actions": ["payment.create"]}},
            ),
        ),
        "GET /v1/policies": (Example("The only policy", answer=page(_POLICY)),),
        "GET /v1/policies/{policy_id}": (Example("A policy", answer=_POLICY),),
        "POST /v1/budgets": (
            Example(
                "500 CAD a day",
                {
                    "identity_id": AGENT,
                    "name": "Daily spend cap",
                    "dimension": "amount",
                    "period": "daily",
                    "limit": 500,
                    "currency": "CAD",
                },
                _BUDGET,
            ),
            Example(
                "Tokens of a model, counted and announced",
                {
                    "identity_id": AGENT,
                    "name": "Tokens an hour",
                    "dimension": "tokens",
                    "period": "hourly",
                    "limit": 100000,
                    "on_exceeded": "notify",
                    "on_expiry": "settle",
                    "notify_at": 0.9,
                },
            ),
        ),
        "GET /v1/budgets": (Example("The only budget", answer=page(_USED_BUDGET)),),
        "GET /v1/budgets/{budget_id}": (Example("A budget of which a part is reserved", answer=_USED_BUDGET),),
        "PATCH /v1/budgets/{budget_id}": (
            Example(
                "Stop spending",
                {"limit": 0},
                _BUDGET | _CHANGED | {"limit": 0, "usage": _USAGE | {"reserved": 47.23, "remaining": 0}},
            ),
        ),
        "POST /v1/tokens": (
            Example(
                "A token for an agent",
                {"name": "procurement", "identity_id": AGENT, "expires_at": "2027-01-01T00:00:00Z"},
                _TOKEN | {"token": _TOKEN_TEXT},
            ),
            Example("A token for a follower", {"name": "edge", "kind": "follower"}),
        ),
        "GET /v1/tokens": (Example("The agent's tokens", answer=page(_TOKEN), query=f"identity_id={AGENT}"),),
        "PATCH /v1/tokens/{token_id}": (
            Example("Limit the requests of a token", {"rate_limit": "5/hour"}, _TOKEN | {"rate_limit": "5/hour"}),
        ),
        "POST /v1/tokens/{token_id}/rotate": (
            Example(
                "A new secret; the old one opens for ten minutes more",
                {"grace_seconds": 600},
                _TOKEN | {"rotated_at": AT, "former_expires_at": "2026-03-09T12:10:00Z"} | {"token": _TOKEN_TEXT},
            ),
        ),
    }
)

"""The formats in which endpoints are told: the native one, and those for which vendors' receivers were written.

One event is told in each format that an endpoint asked for, under the same id. ``tally`` has the native types and body,
only its signature is that vendor's. ``ledger`` has its own seven types, which are about agents only: their identities,
their tokens, and the limits in money that are set on the agent itself. What a format has no name for is not told in it.
How a format is signed belongs to the door that sends.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast, get_args

import orjson

from sidecar.core.budget import AMOUNT
from sidecar.core.directory import Identity, IdentityChain, Status, block_on, funder_of, walk
from sidecar.core.errors import ValidationFailed
from sidecar.core.events import ALL, EventType, Figure, Subscribable, event_body
from sidecar.core.windows import Period

Format = Literal["standard", "ledger", "tally"]

LedgerType = Literal[
    "agent.registered",
    "agent.deregistered",
    "agent.updated",
    "agent.limit_exceeded",
    "agent.limit_approaching",
    "agent.token.created",
    "agent.token.revoked",
]
"""What an endpoint of the format ``ledger`` can ask for."""

Data: TypeAlias = Mapping[str, Any]
"""What a native event tells, with figures as ``Figure``."""

AGENT: Final = "agent"
"""The type of identity that the format ``ledger`` tells of."""

USER: Final = "user"
"""The type of who pays for it: the nearest above, or the tenant's root, whatever its type."""

TEST: Final[EventType] = "webhook.test"

LedgerStatus = Literal["active", "suspended", "deregistered"]
LedgerFrequency = Literal["perTransaction", "per24HourPeriod", "perWeek", "perMonth", "perYear", "allTime"]

LEDGER_STATUSES: Final[Mapping[Status, LedgerStatus]] = {
    "active": "active",
    "suspended": "suspended",
    "revoked": "deregistered",
}

LEDGER_FREQUENCIES: Final[Mapping[Period, LedgerFrequency]] = {
    "per_transaction": "perTransaction",
    "rolling_24h": "per24HourPeriod",
    "weekly": "perWeek",
    "monthly": "perMonth",
    "yearly": "perYear",
    "total": "allTime",
}
"""The vendor's words for periods; it has none for a calendar day or an hour."""

_LEDGER_NAMES: Final[Mapping[EventType, LedgerType]] = {
    "identity.created": "agent.registered",
    "identity.updated": "agent.updated",
    "identity.suspended": "agent.updated",
    "identity.revoked": "agent.deregistered",
    "budget.changed": "agent.updated",
    "budget.exceeded": "agent.limit_exceeded",
    "budget.approaching": "agent.limit_approaching",
    "token.created": "agent.token.created",
    "token.revoked": "agent.token.revoked",
}

_TYPES: Final[Mapping[Format, tuple[str, ...]]] = {
    "standard": get_args(Subscribable),
    "ledger": get_args(LedgerType),
    "tally": get_args(Subscribable),
}


class Told(NamedTuple):
    """An event as one format tells it."""

    type: str
    data: Data


def check_types(wanted: tuple[str, ...], form: Format) -> None:
    """Raise ValidationFailed, naming the place in ``events``, for a type that the format does not have."""
    for index, name in enumerate(wanted):
        if name != ALL and name not in _TYPES[form]:
            raise ValidationFailed(f"`{name}` is no type of event of the format `{form}`", field=f"events[{index}]")


def name_in(form: Format, event_type: EventType) -> str | None:
    """Return what a format calls a native type of event; None where it has no such thing."""
    return _LEDGER_NAMES.get(event_type) if form == "ledger" else event_type


def told_in(
    form: Format, event_type: EventType, data: Data, look: Callable[[str], Identity | None], now_us: int
) -> Told | None:
    """Return an event as a format tells it; None where the format does not tell it. ``look`` returns an identity."""
    if form != "ledger":
        return Told(event_type, data)
    name, identity_id = name_in(form, event_type), data.get("identity_id")
    if name is None or identity_id is None:
        return None
    chain = walk(identity_id, look)
    if chain[0].type != AGENT:
        return None
    if "token_id" in data:
        return Told(name, _ledger_token(name, data))
    if "budget_id" not in data:
        return Told(name, _ledger_agent(chain))
    is_told = _is_spending_limit(data) and not _is_of_registration(data, chain[0], now_us)
    return Told(name, _ledger_agent(chain) | _ledger_spending(data)) if is_told else None


def trial_in(form: Format, data: Data) -> Told:
    """Return a test as a format tells it; every format does."""
    return Told(TEST, {"object": "webhook", "id": data["webhook_id"]} if form == "ledger" else data)


def body_of(form: Format, told: Told, event_id: str, now_us: int) -> bytes:
    """Return the bytes that are sent and signed for what ``told_in`` returned."""
    if form == "ledger":
        body = {"id": event_id, "type": told.type, "createdAt": now_us // 1000, "data": told.data}
        return orjson.dumps(body)
    return event_body(cast("EventType", told.type), now_us, told.data)


def _is_spending_limit(data: Data) -> bool:
    """Whether a budget is the agent's own: a card's or an account's is not, and what is no money has no cents."""
    return data["card_id"] is None and data["account_id"] is None and data["dimension"] == AMOUNT


def _is_of_registration(data: Data, agent: Identity, now_us: int) -> bool:
    """Whether a budget was made with its agent, which is told already: what is enrolled is made at one time."""
    return data.get("change") == "created" and agent.created_at_us == now_us


def _ledger_agent(chain: IdentityChain) -> dict[str, object]:
    agent, block = chain[0], block_on(chain)
    return {
        "object": "agent",
        "id": agent.identity_id,
        "externalId": agent.external_id,
        "userId": funder_of(chain, USER),
        "name": agent.name,
        "description": agent.description,
        "status": LEDGER_STATUSES["active" if block is None else block.status],
        "maxCards": agent.max_cards,
    }


def _ledger_token(name: str, data: Data) -> dict[str, object]:
    return {
        "object": "agent_token",
        "id": data["token_id"],
        "agentId": data["identity_id"],
        "tokenPrefix": data["prefix"],
        "name": data["name"],
        "isActive": name == "agent.token.created",
    }


def _ledger_spending(data: Data) -> dict[str, object]:
    """Return the agent's limit in cents and, of a request, what it left spent: one that was refused adds nothing."""
    if data.get("change") == "deleted":
        return {"spendingLimit": None, "spendingLimitFrequency": None, "currency": None}
    limit = _minor(data["limit"])
    fields: dict[str, object] = {
        "spendingLimit": limit,
        "spendingLimitFrequency": LEDGER_FREQUENCIES.get(data["period"]),
        "currency": data["currency"],
    }
    if "change" in data:
        return fields
    if "used" in data:
        spent = _minor(data["used"])
    else:
        requested = _minor(data["requested"])
        spent = _minor(data["settled"]) + _minor(data["reserved"]) + (requested if data["allowed"] else 0)
        fields["amount"] = requested
    return fields | {"currentSpend": spent, "remaining": max(0, limit - spent)}


def _minor(figure: Figure) -> int:
    return figure.value

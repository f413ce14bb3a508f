"""The answers of the Ledger dialect: agents, tokens, cards and lists as its clients know them, and its errors."""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias, TypeVar

import orjson

from sidecar.core.access import Token
from sidecar.core.budget import AMOUNT, Budget, OnExceeded
from sidecar.core.errors import RateLimited, SidecarError, Unauthenticated
from sidecar.core.event_formats import LEDGER_FREQUENCIES, LEDGER_STATUSES
from sidecar.doors.dialects import ledger_shapes as shapes
from sidecar.doors.wire.endpoint import json_answer
from sidecar.doors.wire.http import Answer, Header, Incoming, status_of
from sidecar.doors.wire.manner import Credentials, Manner
from sidecar.doors.wire.query import cursor_at
from sidecar.doors.wire.rates import rate_headers
from sidecar.service.enrolment import Enrolled
from sidecar.service.paging import Page
from sidecar.service.spenders import Spender
from sidecar.service.tokens import Minted
from sidecar.service.treasury import Shown

T = TypeVar("T")

Document: TypeAlias = dict[str, object]

ON_LIMIT: Final[Mapping[OnExceeded, shapes.OnLimit]] = {native: name for name, native in shapes.ON_EXCEEDED.items()}

_FIELDS: Final[Mapping[str, str]] = {
    "parent_id": "userId",
    "external_id": "externalId",
    "identity_id": "agentId",
    "policy_id": "defaultPolicyId",
    "token_id": "tokenId",
}
"""What the dialect calls fields that services name."""


def agent(spender: Spender) -> Document:
    """Return an agent; what it has none of is left out, as in its vendor's answers."""
    identity, limit = spender.described.identity, spender.limit
    document: Document = {
        "object": "agent",
        "id": identity.identity_id,
        "userId": spender.funder_id,
        "name": identity.name,
        "status": LEDGER_STATUSES[spender.status],
        "createdAt": _ms(identity.created_at_us),
        "cardCount": spender.cards,
        "metadata": identity.metadata,
    }
    if identity.external_id is not None:
        document["externalId"] = identity.external_id
    if identity.description is not None:
        document["description"] = identity.description
    if limit is not None:
        document |= _limit(limit.budget) | {"currentSpend": limit.usage.total}
        if limit.budget.on_exceeded in ON_LIMIT:
            document["onLimitExceeded"] = ON_LIMIT[limit.budget.on_exceeded]
    if identity.max_cards is not None:
        document["maxCards"] = identity.max_cards
    defaults = identity.card_defaults
    if defaults is not None:
        document["defaultCardLimit"] = defaults.limit
        document["defaultCardLimitCurrency"] = defaults.currency
        if defaults.period in LEDGER_FREQUENCIES:
            document["defaultCardLimitFrequency"] = LEDGER_FREQUENCIES[defaults.period]
    if identity.revoked_at_us is not None:
        document["deregisteredAt"] = _ms(identity.revoked_at_us)
    return document


def new_agent(enrolled: Enrolled) -> Spender:
    """Return an agent as it was made."""
    limit = enrolled.budgets[0] if enrolled.budgets else None
    return Spender(described=enrolled.described, funder_id=enrolled.described.identity.parent_id or "", limit=limit)


def registered(spender: Spender, enrolled: Enrolled) -> Document:
    """Return a registered agent; the text of its token is in the answer that made it, and in no other."""
    text = None if enrolled.token is None else enrolled.token.text or None
    return agent(spender) | {"created": enrolled.is_new, "token": text}


def policy(spender: Spender) -> Document:
    """Return what an agent may spend and has spent; without a limit, nulls."""
    document: Document = {"agentId": spender.described.identity.identity_id}
    limit = spender.limit
    if limit is None:
        nothing = ("spendingLimit", "spendingLimitFrequency", "currency", "currentSpend", "remaining")
        return document | dict.fromkeys(nothing)
    remaining = max(0, limit.budget.limit - limit.usage.total)
    return document | _limit(limit.budget) | {"currentSpend": limit.usage.total, "remaining": remaining}


def token(value: Token, now_us: int) -> Document:
    """Return a token without its text."""
    return {
        "object": "agent_token",
        "id": value.token_id,
        "agentId": value.identity_id,
        "tokenPrefix": value.prefix,
        "name": value.name,
        "isActive": value.is_alive(now_us),
        "createdAt": _ms(value.created_at_us),
    }


def new_token(minted: Minted, now_us: int) -> Document:
    """Return a new token with its text, which a replay no longer has."""
    return token(minted.token, now_us) | {"token": minted.text or None}


def card(shown: Shown) -> Document:
    """Return a card; ``status`` is what holds, so a suspended agent's is frozen."""
    value = shown.card
    document: Document = {
        "object": "card",
        "id": value.card_id,
        "agentId": value.identity_id,
        "status": shown.state.status,
        "currency": value.currency,
        "createdAt": _ms(value.created_at_us),
    }
    if value.last4 is not None:
        document["last4"] = value.last4
    if value.allowed_mccs:
        document["allowedMccs"] = value.allowed_mccs
    limits = (each for each in shown.budgets if each.dimension == AMOUNT and each.period in LEDGER_FREQUENCIES)
    limit = next((each for each in limits if each.currency == value.currency), None)
    return document if limit is None else document | _limit(limit)


def _limit(budget: Budget) -> Document:
    return {
        "spendingLimit": budget.limit,
        "spendingLimitFrequency": LEDGER_FREQUENCIES[budget.period],
        "currency": budget.currency,
    }


def _ms(us: int) -> int:
    return us // 1_000


def list_answer(page: Page[T], shown: Callable[[T], Document], name: str) -> Answer:
    """Return a page of the list ``name``."""
    cursor = cursor_at(page.next_after, name)
    data = [shown(value) for value in page.values]
    return json_answer({"object": "list", "data": data, "hasMore": cursor is not None, "cursor": cursor})


def error_answer(error: SidecarError, _request_id: str, methods: tuple[str, ...]) -> Answer:
    """Return the answer that tells of ``error``; the place of a mistake is in the message."""
    field = None if error.field is None else _FIELDS.get(error.field, error.field)
    message = error.message if field is None or f"`{field}`" in error.message else f"{error.message} (in `{field}`)"
    code = "unavailable" if error.code == "store_unusable" else error.code
    headers: tuple[Header, ...] = ()
    if isinstance(error, RateLimited):
        headers = (("Retry-After", str(error.retry_after_seconds)),)
    elif code == "unavailable":
        headers = (("Retry-After", "1"),)
    elif code == "method_not_allowed":
        headers = (("Allow", ", ".join(sorted(methods))),)
    return Answer(status_of(error), orjson.dumps({"error": {"code": code, "message": message}}), headers)


def _credentials(incoming: Incoming) -> Credentials:
    text = incoming.header(b"api-key")
    if not text:
        raise Unauthenticated("the header `Api-Key` is missing")
    return Credentials(text)


MANNER: Final = Manner(credentials=_credentials, error_answer=error_answer, limit_headers=rate_headers)
"""The manner of the Ledger dialect."""

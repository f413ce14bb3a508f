"""Events: what happened in a tenant, as webhook endpoints are told of it.

The body is what Standard Webhooks recommends, ``{"type", "timestamp", "data"}``, made once and stored as bytes: every
attempt gets the same ones, and so does every endpoint of one format (``sidecar.core.event_formats`` has the others). An
event's id is made from its tenant's log and the time, and ascends within the tenant, so it needs no randomness inside a
transaction and is the same for every retry and after a restart.
"""

import hashlib
from collections.abc import Mapping
from typing import Final, Literal, cast, get_args

import msgspec
import orjson

from sidecar.core.ids import RANDOMNESS_BYTES
from sidecar.core.instants import utc_text
from sidecar.core.money import major_text

Subscribable = Literal[
    "identity.created",
    "identity.updated",
    "identity.suspended",
    "identity.revoked",
    "budget.changed",
    "budget.approaching",
    "budget.exceeded",
    "budget.overdrawn",
    "decision.denied",
    "reservation.expired",
    "card.created",
    "card.frozen",
    "card.closed",
    "token.created",
    "token.revoked",
    "policy.changed",
    "grant.created",
    "grant.approved",
    "grant.revoked",
    "passkey.created",
    "passkey.deleted",
    "payment.succeeded",
    "payment.failed",
    "webhook.disabled",
    "follower.alarm",
]
"""What an endpoint can ask for."""

EventType = Literal[Subscribable, "webhook.test"]
"""Every type there is; a test is only sent by its own call."""

EVENT_TYPES: Final = cast("tuple[EventType, ...]", get_args(EventType))
"""The same to walk through; permanent once released."""

ALL: Final = "*"
"""In place of types: whatever there is and will be."""

_MILLISECONDS: Final = 6
_ULID_MAX: Final = (1 << 128) - 1


class Figure(msgspec.Struct, frozen=True):
    """An amount in minor units of its currency, which events tell as an exact number of major units."""

    value: int
    currency: str


def event_body(event_type: EventType, now_us: int, data: Mapping[str, object]) -> bytes:
    """Return the bytes that are sent and signed; ``data`` may hold what ``figure`` returns."""
    return orjson.dumps({"type": event_type, "timestamp": utc_text(now_us), "data": data}, default=_major)


def figure(value: int | None, currency: str | None) -> Figure | int | None:
    """Return a figure as events hold it: with a currency an amount in its minor units, others as they are."""
    return value if value is None or currency is None else Figure(value, currency)


def _major(value: Figure) -> orjson.Fragment:
    return orjson.Fragment(major_text(value.value, value.currency).encode())


def next_ulid(last: bytes | None, now_us: int, log_id: str) -> bytes:
    """Return the 16 bytes of a tenant's next event id, which sorts after ``last``, the id before it.

    The first of a millisecond is drawn from the tenant's log, whose id no other deployment shares; further ones count.
    A clock that went back goes on counting.
    """
    milliseconds = (now_us // 1000).to_bytes(_MILLISECONDS)
    drawn = hashlib.sha256(f"sidecar/event/v1\n{log_id}\n".encode() + milliseconds).digest()[:RANDOMNESS_BYTES]
    fresh = milliseconds + bytes((drawn[0] >> 1,)) + drawn[1:]  # the top bit stays clear: counting never runs over
    if last is None or fresh > last:
        return fresh
    return min(int.from_bytes(last) + 1, _ULID_MAX).to_bytes(len(fresh))

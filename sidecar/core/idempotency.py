"""Idempotency keys: the stored outcome of a call, so that a retry after an unknown outcome is safe.

The outcome is stored in the transaction of its effect, so there is no state in between. A key belongs to one caller and
one call: another caller's key of the same text is another key, and no caller can read an answer that was given to
another.
"""

import hashlib

import msgspec


class IdempotencyKey(msgspec.Struct, frozen=True):
    """What a caller sent with a call: ``scope`` is caller, call and key; ``fingerprint`` stands for the content."""

    scope: str
    fingerprint: bytes


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """The stored outcome: a decision, to be read by its id, or the answer itself as JSON. Never a secret."""

    scope: str
    fingerprint: bytes
    decision_id: str | None = None
    answer: bytes = b""
    expires_at_us: int


def idempotency_key(caller: str, call: str, key: str, content: bytes) -> IdempotencyKey:
    """Return the key as it is stored. ``content`` is the canonical request, so that spelling does not matter."""
    return IdempotencyKey(f"{caller}\n{call}\n{key}", hashlib.sha256(content).digest())

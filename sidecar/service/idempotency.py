"""Calls that can be repeated: the stored outcome of a key, in the same transaction as its effect."""

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import msgspec

from sidecar.core.errors import IdempotencyConflict
from sidecar.core.idempotency import IdempotencyKey, Replay
from sidecar.core.limits import IDEMPOTENCY_LIFE_SECONDS
from sidecar.service.store import TenantTransaction

T = TypeVar("T")


class Done(NamedTuple, Generic[T]):
    """What a call answers, and whether that is the stored answer of an earlier one."""

    value: T
    replayed: bool = False


def once(
    part: TenantTransaction, key: IdempotencyKey | None, now_us: int, answer_type: type[T], run: Callable[[], T]
) -> Done[T]:
    """Return what ``run`` returns, or what it returned when ``key`` came first.

    Raises IdempotencyConflict when the key came with other content. What ``run`` returns must hold no secret.
    """
    replay = None if key is None else find_replay(part, key, now_us)
    if replay is not None:
        return Done(msgspec.msgpack.decode(replay.answer, type=answer_type), replayed=True)
    value = run()
    if key is not None:
        part.answers.keep_replay(replay_of(key, now_us, answer=msgspec.msgpack.encode(value)))
    return Done(value)


def find_replay(part: TenantTransaction, key: IdempotencyKey, now_us: int) -> Replay | None:
    """Return the stored outcome of ``key``. Raises IdempotencyConflict when it was used with other content."""
    replay = part.answers.replay(key.scope, now_us)
    if replay is not None and replay.fingerprint != key.fingerprint:
        raise IdempotencyConflict("the idempotency key was used before with other content")
    return replay


def replay_of(key: IdempotencyKey, now_us: int, *, decision_id: str | None = None, answer: bytes = b"") -> Replay:
    """Return the outcome of a call as it is stored for a retry."""
    return Replay(
        scope=key.scope,
        fingerprint=key.fingerprint,
        decision_id=decision_id,
        answer=answer,
        expires_at_us=now_us + IDEMPOTENCY_LIFE_SECONDS * 1_000_000,
    )

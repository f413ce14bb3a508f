"""Calls that can be repeated: the stored outcome of a key, in the same transaction as its effect.

A call that changes something takes the caller's key as ``key`` and answers with a ``Done``. Its work is one function
of the transaction, in this order (DESIGN rule 11)::

    def work(txn: Transaction) -> Done[Card]:
        part = part_of(txn, caller, tenant_id, now_us)           # 1 the token, and what it reaches
        return once(part, key, now_us, Card, lambda: make(part)) # 2 the stored answer, or the effect with its answer

    return await self._store.write(work)

Duplicates that arrive together are answered once, since the writer lock orders them. What is stored is the service's
value, never a door's bytes, so that a replay shows what this version shows. Its type must be readable from what an
older version stored: a field that is added to it has a default. A value that holds a secret is stored through
``kept``, which returns it without. What the caller must wait for before the transaction (vetting) is asked for with
``replayed`` first. A call that belongs to no tenant gives the whole transaction in place of a tenant's part.
"""

from collections.abc import Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec

from sidecar.core.errors import IdempotencyConflict, StoreUnusable
from sidecar.core.idempotency import IdempotencyKey, Replay
from sidecar.core.limits import IDEMPOTENCY_LIFE_SECONDS
from sidecar.core.model import Decision
from sidecar.service.log_store import Answers
from sidecar.service.store import TenantTransaction

T = TypeVar("T")


class Done(NamedTuple, Generic[T]):
    """What a call answers, and whether that is the stored answer of an earlier one."""

    value: T
    replayed: bool = False


class Answering(Protocol):
    """Where answers are kept: a tenant's part of a transaction, or the whole for calls that belong to no tenant."""

    @property
    def answers(self) -> Answers:
        """The answers that were given."""


def once(
    part: Answering,
    key: IdempotencyKey | None,
    now_us: int,
    answer_type: type[T],
    run: Callable[[], T],
    *,
    kept: Callable[[T], T] = lambda value: value,
) -> Done[T]:
    """Return what ``run`` returns, or what it returned when ``key`` came first.

    ``kept`` returns the value as it may be stored: without its secrets. Raises IdempotencyConflict when the key came
    with other content; what ``run`` raises is stored nowhere, so the next try runs again.
    """
    return replayed(part, key, now_us, answer_type) or first(part, key, now_us, run, kept=kept)


def first(
    part: Answering,
    key: IdempotencyKey | None,
    now_us: int,
    run: Callable[[], T],
    *,
    kept: Callable[[T], T] = lambda value: value,
) -> Done[T]:
    """Return what ``run`` returns, kept for ``key``, which was looked for in this transaction and has no answer yet."""
    value = run()
    if key is not None:
        part.answers.keep_replay(replay_of(key, now_us, answer=msgspec.msgpack.encode(kept(value))))
    return Done(value)


def replayed(part: Answering, key: IdempotencyKey | None, now_us: int, answer_type: type[T]) -> Done[T] | None:
    """Return the stored answer of ``key``, None without one. Raises IdempotencyConflict."""
    replay = None if key is None else find_replay(part, key, now_us)
    return None if replay is None else Done(msgspec.msgpack.decode(replay.answer, type=answer_type), replayed=True)


def find_replay(part: Answering, key: IdempotencyKey, now_us: int) -> Replay | None:
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


def stored_decision(part: TenantTransaction, decision_id: str | None) -> Decision:
    """Return a decision that a stored outcome names."""
    decision = part.answers.decision(decision_id or "")
    if decision is None:
        raise StoreUnusable(f"the stored decision `{decision_id}` does not exist")
    return decision

"""Audit records that followers ship: taken in at their place in the follower's log or refused, a batch whole or not.

Invariant: what is stored of a follower's log is a chain without a gap from its first record, of the bytes that the
follower has. What comes twice must be what came before. Whatever cannot be true of an honest log raises an alarm.
"""

from collections.abc import Callable
from typing import Protocol, TypeAlias

import msgspec

from sidecar.core.access import Caller
from sidecar.core.history import Ended
from sidecar.service.store import Store, TenantTransaction, Transaction

ApplyEnding: TypeAlias = Callable[[Transaction, TenantTransaction, str, Ended, int], None]
"""Applies what became of a hold on a follower, whose token is named, to what is reserved here for it."""


class UsageReport(msgspec.Struct, frozen=True, array_like=True):
    """What the present window of a budget has used at the follower that alone decides on it."""

    budget_id: str
    window_us: int | None
    settled: int
    held: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What a follower says of itself beside the records: ``head`` is the size of its log, ``hash`` the last link."""

    revision: int
    age_ms: int | None
    head: int
    hash: str | None = None
    usages: tuple[UsageReport, ...] = ()


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Records of one log from ``from_seq`` on, with facts that they refer to; without any it asks where to begin."""

    origin: str
    from_seq: int
    records: tuple[bytes, ...]
    facts: tuple[bytes, ...]
    status: Status


class Receipt(msgspec.Struct, frozen=True):
    """The first record that is not here yet, and how many were new."""

    next_seq: int
    received: int


class ShipmentObserver(Protocol):
    """Who counts what is shipped."""

    def shipped(self, records: int) -> None:
        """These new records are on disk."""

    def alarmed(self) -> None:
        """An alarm was raised."""


class Receiver:
    """Takes in what followers ship."""

    def __init__(self, store: Store, observer: ShipmentObserver, apply_ending: ApplyEnding) -> None:
        """Work on ``store``."""
        self._store = store
        self._observer = observer
        self._apply_ending = apply_ending

    async def receive(self, caller: Caller, tenant_id: str | None, batch: Batch, now_us: int) -> Receipt:
        """Take in a batch.

        Raises Forbidden for whoever is no follower, ValidationFailed for facts that no record names, and Conflict,
        with an alarm, for records that the log cannot have at this place.
        """
        raise NotImplementedError

"""What followers and their control planes need of a store for what they decide together."""

from collections.abc import Iterator
from typing import Protocol

import msgspec

from sidecar.core.delegation import Word


class Intent(msgspec.Struct, frozen=True):
    """That the control plane may hold something for a decision of this follower, of which nothing is known here yet.

    One that ``is_abandoned`` will be cancelled, so no permit may rest on it any more.
    """

    decision_id: str
    made_at_us: int
    is_abandoned: bool = False


class Intents(Protocol):
    """The intents of a follower."""

    def find(self, decision_id: str) -> Intent | None:
        """Return the intent of a decision."""

    def keep(self, intent: Intent) -> None:
        """Store an intent."""

    def forget(self, decision_id: str) -> None:
        """Forget the intent of a decision; nothing happens where there is none."""

    def all(self) -> Iterator[Intent]:
        """Yield the intents, the oldest decision first."""


class Delegated(msgspec.Struct, frozen=True, kw_only=True):
    """What a control plane decided for a follower under the follower's decision id.

    ``request`` is the digest of what was asked. Both that and ``word`` are None where it was cancelled before it came.
    """

    decision_id: str
    follower_id: str
    request: bytes | None
    word: Word | None
    is_cancelled: bool = False


class Delegations(Protocol):
    """What one tenant's control plane decided for its followers."""

    def find(self, decision_id: str) -> Delegated | None:
        """Return what was decided under an id."""

    def keep(self, delegated: Delegated) -> None:
        """Store what was decided."""

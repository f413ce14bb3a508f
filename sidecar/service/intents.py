"""What the control plane may hold for a follower and no permit stands for: cancelled until it is acknowledged.

No permit that was answered is ever cancelled, whatever the clock does: an intent is marked before the control plane is
told, in a transaction of its own, and a decision that finds it marked or gone grants nothing. Time only says when it is
worth marking.
"""

from contextlib import suppress
from typing import Final

import msgspec

from sidecar.core.errors import NotFound
from sidecar.service.delegation import Delegate
from sidecar.service.delegation_store import Intent
from sidecar.service.store import Store, Transaction

LIFE_US: Final = 10_000_000
"""How long a decision may take from its intent on: some times what the call and the commit take together at most."""

CANCELLED_MAX: Final = 64
"""Intents that one turn cancels."""


class Canceller:
    """Cancels reservations at the control plane that came to nothing."""

    def __init__(self, store: Store, delegate: Delegate) -> None:
        """Work on ``store`` through ``delegate``."""
        self._store = store
        self._delegate = delegate

    async def cancel_due(self, now_us: int) -> int:
        """Cancel some of what is due; returns how many were acknowledged. Raises Unavailable where no answer came.

        Raises also what else the control plane answers, such as Unauthenticated: it is tried again the next time.
        """
        with self._store.read() as txn:
            if not _due(txn, now_us):
                return 0
        due = await self._store.write(lambda writing: _abandon(writing, now_us))
        for decision_id in due:
            await self._cancel(decision_id)
        return len(due)

    async def _cancel(self, decision_id: str) -> None:
        with suppress(NotFound):  # then it is none of ours there, and nothing is held for us
            await self._delegate.cancel(decision_id)
        await self._store.write(lambda txn: txn.intents.forget(decision_id))


def _due(txn: Transaction, now_us: int) -> list[Intent]:
    """Return intents that nobody is going to answer any more; one from the future was made before a clock went back."""
    due: list[Intent] = []
    for intent in txn.intents.all():
        if len(due) == CANCELLED_MAX:
            break
        if intent.is_abandoned or not intent.made_at_us <= now_us < intent.made_at_us + LIFE_US:
            due.append(intent)
    return due


def _abandon(txn: Transaction, now_us: int) -> list[str]:
    """Mark what is due: from here on no permit rests on it."""
    due = _due(txn, now_us)
    for intent in due:
        if not intent.is_abandoned:
            txn.intents.keep(msgspec.structs.replace(intent, is_abandoned=True))
    return [intent.decision_id for intent in due]

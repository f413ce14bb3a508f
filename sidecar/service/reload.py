"""Policy files loaded at an operator's wish, beside a server that goes on deciding.

Reading, checking and switching is done by whoever implements ``Load``, since files and processes are none of a
service's business. A repeated call gets the stored answer; one that was refused stores none, so the next try looks at
the files as they are then.
"""

from typing import Protocol

import msgspec

from sidecar.core.access import Caller
from sidecar.core.errors import Conflict
from sidecar.core.idempotency import IdempotencyKey
from sidecar.service.idempotency import Done, first, replayed
from sidecar.service.policy_store import LastReload, Outcome
from sidecar.service.store import Store, Transaction


class Reloaded(msgspec.Struct, frozen=True):
    """What became of the files, as revisions of all of them: that which holds now, and which held before.

    ``reason`` says why files were refused, or of those that were loaded, why the shadow files among them were not.
    """

    outcome: Outcome
    revision: str | None
    previous: str | None
    files: int
    seconds: float
    reason: str | None = None


class PolicyState(msgspec.Struct, frozen=True):
    """Which files hold since when, and how the newest reload since the start ended."""

    revision: str | None
    loaded_at_us: int | None
    last: LastReload | None


class Load(Protocol):
    """Loads the policy files as they lie there now."""

    async def __call__(self, by: str, /) -> Reloaded:
        """Return what became of them. Raises Unavailable where nobody could find out."""


class Reloading:
    """Reloads for the operator."""

    def __init__(self, store: Store, load: Load) -> None:
        """Have ``load`` do it, and keep answers in ``store``."""
        self._store = store
        self._load = load

    async def reload(self, caller: Caller, now_us: int, key: IdempotencyKey | None = None) -> Done[Reloaded]:
        """Load the policy files; once this returns, every process decides by them.

        Raises Forbidden for all but the operator, Conflict for files that may not hold, saying why: the last good ones
        still do; Unavailable, IdempotencyConflict.
        """
        caller.require_operator()
        with self._store.read() as txn:
            again = replayed(txn, key, now_us, Reloaded)
        if again is not None:
            return again
        done = await self._load(caller.name)
        if done.outcome == "refused":
            raise Conflict(f"the policy files were refused, the last good ones still hold: {done.reason}")
        if key is None:
            return Done(done)

        def keep(txn: Transaction) -> Done[Reloaded]:
            return replayed(txn, key, now_us, Reloaded) or first(txn, key, now_us, lambda: done)

        return await self._store.write(keep)

    def state(self) -> PolicyState:
        """Return which files hold, as every process sees it."""
        with self._store.read() as txn:
            digest, tried = txn.policy_files_digest(), txn.policies_tried()
            return PolicyState(
                None if digest is None else revision_of(digest),
                txn.policy_files_since(),
                None if tried is None else tried.last,
            )


def revision_of(digest: bytes) -> str:
    """Return how answers name exactly these files."""
    return f"sha256:{digest.hex()}"

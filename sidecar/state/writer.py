"""Write transactions of a process that is no worker: each waits for its turn, and leaves the workers theirs.

The process writes little at a time, so that no decision waits for long, and stands back after each transaction: whoever
waits has to wake up first, and would otherwise find it inside again.
"""

import time
from collections.abc import Callable
from typing import Final, TypeVar

from sidecar.state.committer import TURNSTILE
from sidecar.state.environment import Environment, MapFull, MapResized, Txn
from sidecar.state.transaction import Transaction
from sidecar.state.turnstile import Turnstile

STAND_BACK_SECONDS: Final = 0.001

T = TypeVar("T")


class Writer:
    """Writes into ``environment``, from one thread."""

    def __init__(self, environment: Environment) -> None:
        """Pass the turnstile that the workers pass."""
        self._environment = environment
        self._turnstile = Turnstile(environment.path.with_name(TURNSTILE))

    def write(self, run: Callable[[Transaction, Txn], T]) -> T:
        """Run ``run`` in a durable transaction, which it also gets bare, and return its result once it is on disk.

        It may run twice. What it raises is raised, with nothing of it kept; StoreError where the store does not commit.
        """
        while True:
            try:
                return self._attempt(run)
            except MapResized:
                self._environment.adopt()
            except MapFull:
                if not self._environment.grow():
                    raise

    def _attempt(self, run: Callable[[Transaction, Txn], T]) -> T:
        self._turnstile.enter()
        try:
            txn = self._environment.begin_write()
            try:
                result = run(Transaction(txn, self._environment.tables), txn)
                txn.commit()
            except BaseException:
                txn.abort()
                raise
            return result
        finally:
            self._turnstile.leave()
            time.sleep(STAND_BACK_SECONDS)

    def close(self) -> None:
        """Close the turnstile; the environment stays open."""
        self._turnstile.close()

"""Rails: how the value of a payment is moved, one for each network; the ledger of the sidecar is the built-in one."""

from typing import Final, Protocol

from sidecar.core.payments import Outcome, Payment


class Rail(Protocol):
    """Moves the value of payments on one network.

    A payment's id names it for good: submitted again, which happens after a crash, it moves nothing twice and has the
    outcome that it has. One that was cancelled before it was submitted stays cancelled. Raises Unavailable where the
    network cannot be asked.
    """

    @property
    def is_immediate(self) -> bool:
        """Whether a payment is settled by the transaction that permits it, and never on its way."""

    async def submit(self, payment: Payment) -> Outcome:
        """Move the value of ``payment`` and return what became of it."""

    async def cancel(self, payment: Payment) -> Outcome:
        """Stop ``payment`` if that can still be done, and return what became of it."""


class BuiltInLedger:
    """Implements ``Rail`` for accounts whose value lies with the sidecar: what is booked is settled.

    A payment can be on its way here only where its network had a rail that is gone: what became of it nobody knows
    before that rail is back, so it is neither completed nor given back.
    """

    is_immediate = True

    async def submit(self, _payment: Payment) -> Outcome:
        """Return that nothing is known."""
        return PENDING

    async def cancel(self, _payment: Payment) -> Outcome:
        """Return that nothing is known."""
        return PENDING


PENDING: Final = Outcome(status="pending")

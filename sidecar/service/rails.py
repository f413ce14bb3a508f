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
    """Implements ``Rail`` for accounts whose value lies with the sidecar: what is booked is settled."""

    is_immediate = True

    async def submit(self, _payment: Payment) -> Outcome:
        """Return success; a payment that was on its way when its network lost its rail is settled here."""
        return SETTLED

    async def cancel(self, _payment: Payment) -> Outcome:
        """Cancel a payment that nobody else moves."""
        return Outcome(status="cancelled")


SETTLED: Final = Outcome(status="success")

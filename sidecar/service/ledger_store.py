"""What the use cases need of a store for budget counters and reservations."""

from typing import Protocol

from sidecar.core.budget import Budget, Claim, Usage
from sidecar.core.reservation import Posting, Reservation
from sidecar.core.windows import Window


class Ledger(Protocol):
    """Counters and reservations of one tenant."""

    def usage(self, claim: Claim) -> Usage:
        """Return what the claim's window has used before it."""

    def usage_in(self, budget: Budget, window: Window) -> Usage:
        """Return what a budget has used in a window."""

    def frees_at(self, claim: Claim, needed: int) -> int:
        """Return when ``needed`` will have left a rolling window."""

    def grant(self, posting: Posting, budget: Budget) -> None:
        """Book what a permit claims, under the limit of ``budget``."""

    def force(self, posting: Posting, budget: Budget) -> None:
        """Book what was captured without a hold; what is above the limit of ``budget`` is overdrawn."""

    def rebound(self, budget: Budget, window: Window) -> None:
        """Take the changed limit of ``budget``, or what was used where that is more, as the bound of its window."""

    def book(self, posting: Posting) -> bool:
        """Book what no limit can refuse; returns whether the window is overdrawn."""

    def reservation(self, decision_id: str) -> Reservation | None:
        """Return the reservation of a decision."""

    def keep(self, reservation: Reservation) -> None:
        """Store a reservation."""

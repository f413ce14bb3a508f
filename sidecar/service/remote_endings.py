"""What became of a follower's hold, applied to what the control plane holds for the same decision.

A follower tells how its reservation stands, all of it each time, so the same word twice changes nothing.
"""

from sidecar.core.history import Ended
from sidecar.service.store import TenantTransaction, Transaction


def apply_ending(txn: Transaction, part: TenantTransaction, follower_id: str, ended: Ended, now_us: int) -> None:
    """Settle, release, refund or expire what is held for a decision of a follower, as its record says.

    Nothing happens where nothing is held for this follower under that decision, or where it was told before. What does
    not fit, since somebody else ended the hold here, is recorded as ``reservation_conflict`` and raises nothing.
    """
    raise NotImplementedError

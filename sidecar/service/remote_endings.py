"""What became of a follower's hold, applied to what the control plane holds for the same decision.

A follower tells how its reservation stands, all of it each time, so the same word twice changes nothing.
"""

from sidecar.core.audit import Body
from sidecar.core.endings import followed
from sidecar.core.errors import Conflict
from sidecar.core.history import Ended
from sidecar.service.settlement import book
from sidecar.service.store import TenantTransaction, Transaction


def apply_ending(_txn: Transaction, part: TenantTransaction, follower_id: str, ended: Ended, now_us: int) -> None:
    """Settle, release, refund or expire what is held for a decision of a follower, as its record says.

    Nothing happens where nothing is held for this follower under that decision, or where it was told before. What does
    not fit, since somebody else ended the hold here, is recorded as ``reservation_conflict`` and raises nothing.
    """
    reservation = part.ledger.reservation(ended.decision_id)
    if reservation is None or reservation.follower_id != follower_id or not reservation.is_visible:
        return
    try:
        transition = followed(reservation, ended, follower_id)
    except Conflict as error:
        body: Body = {
            "decision": ended.decision_id,
            "identity": reservation.identity_id,
            "state": reservation.state,
            "told": ended.state,
            "measures": ended.measures,
            "reason": error.message,
            "by": follower_id,
        }
        part.audit.append("reservation_conflict", now_us, body)
        return
    book(part, ended.kind, transition, follower_id, now_us)

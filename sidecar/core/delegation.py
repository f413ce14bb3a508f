"""Who decides on a budget where servers follow a control plane, and what the control plane says of a request.

A budget with a ``follower_id`` is decided by that follower alone; every other one at the control plane, which a
follower asks in the course of a decision. Nobody else may decide on either: what cannot be asked is denied, so the sum
of what all servers permit stays within each limit (I8). A limit per transaction adds up to nothing, so each server
decides on it alone.
"""

from typing import Final, Literal

import msgspec

from sidecar.core.budget import Budget
from sidecar.core.model import AuditMark, BudgetCheck, Reason

Place = Literal["here", "control_plane", "asker", "elsewhere"]
"""Who decides on a budget: this server, the control plane that it follows, the follower that asks, another follower."""

HOLD_GRACE_SECONDS: Final = 7 * 86_400
"""How much longer the control plane holds than the follower that it holds for.

What becomes of the hold is the follower's to say, and a follower that is cut off says it late: what the control plane
gave back in the meantime could be spent twice. A week is longer than a network is down and nobody looks.
"""


class Seat(msgspec.Struct, frozen=True):
    """Where a request is decided: at the follower ``at``, or for the follower ``asker`` at its control plane.

    Neither is set on a server that follows nobody and is asked by whoever acts.
    """

    at: str | None = None
    asker: str | None = None


_WITHOUT_EFFECT: Final = frozenset({"deny", "track"})
"""What exceeding a budget can come to that nobody else hears of: neither a suspension nor an announcement."""

HOME: Final = Seat()
"""A server that follows nobody."""


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What the control plane says of one of its budgets: its figures before, what was ``asked``, what was ``granted``.

    Today as much is granted as was asked, or nothing; a lease would be more than was asked.
    """

    budget_id: str
    revision: int
    window_start_us: int | None
    settled: int
    held: int
    asked: int
    granted: int


class Word(msgspec.Struct, frozen=True, kw_only=True, rename={"checks": "budget_checks", "shares": "claims"}):
    """What the control plane decided on a request of a follower, under the follower's decision id.

    ``audit`` is where its own record stands. It and the revisions are None where nothing was decided, since it was
    cancelled before.
    """

    decision_id: str
    granted: bool
    reasons: tuple[Reason, ...]
    checks: tuple[BudgetCheck, ...]
    shares: tuple[Share, ...]
    expires_at_us: int | None
    entity_revision: int | None
    policy_revision: str | None
    audit: AuditMark | None


class Referral(msgspec.Struct, frozen=True, kw_only=True):
    """A request that a follower referred to its control plane: its ``word``, or the ``trouble`` that there was.

    ``is_answered`` is False where no answer came at all, ``is_sent`` where it certainly never left this server.
    """

    decision_id: str
    word: Word | None = None
    trouble: str | None = None
    is_answered: bool = True
    is_sent: bool = True

    @property
    def is_granted(self) -> bool:
        """Whether the control plane holds what was asked."""
        return self.word is not None and self.word.granted


def place_of(budget: Budget, seat: Seat) -> Place:
    """Return who decides on ``budget``, seen from ``seat``."""
    if budget.period == "per_transaction" and budget.on_exceeded in _WITHOUT_EFFECT:
        return "here"
    follower_id = budget.follower_id
    if follower_id == seat.at:
        return "here"
    if follower_id is None:
        return "control_plane"
    return "asker" if follower_id == seat.asker else "elsewhere"

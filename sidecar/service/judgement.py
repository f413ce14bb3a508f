"""What becomes of a request that was ruled on: all that stands against it, or that it is permitted.

Pure of effects: a decision reserves and records what is judged here, a dry run and a trial only look at it.
"""

import msgspec

from sidecar.core import reasons
from sidecar.core.budget import AMOUNT, COUNT
from sidecar.core.delegation import HOLD_GRACE_SECONDS, HOME, Referral, Seat
from sidecar.core.model import AuthorizeRequest, Reason
from sidecar.core.reservation import Transition, place
from sidecar.core.staleness import Freshly
from sidecar.service.consult import NOTHING, Findings, consult
from sidecar.service.premises import Premises
from sidecar.service.ruling import Proposal


class Judgement(msgspec.Struct, frozen=True, gc=False):
    """A ruling with what budgets say of it. ``denials`` is all that stands against the request, in the codes' order."""

    proposal: Proposal
    findings: Findings
    denials: tuple[Reason, ...]

    @property
    def allowed(self) -> bool:
        """Whether nothing stands against the request."""
        return not self.denials

    @property
    def lacks_word(self) -> bool:
        """Whether all that stands against the request is that the control plane was not asked."""
        return bool(self.findings.unasked) and not self.findings.denials

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why it is denied, or which policies permit it."""
        return self.denials or self.proposal.permits


def judge(
    premises: Premises,
    proposal: Proposal,
    request: AuthorizeRequest,
    now_us: int,
    freshly: Freshly | None = None,
    *,
    seat: Seat = HOME,
    referral: Referral | None = None,
) -> Judgement:
    """Return what becomes of ``request``, given its ruling and what budgets have used by now. Raises Conflict.

    ``freshly`` is how old the data of a follower is: where it is too old, no budget is asked, as on any denial.
    ``seat`` is where it is decided, ``referral`` what came of asking a control plane.
    """
    stale = () if freshly is None else reasons.stale(freshly, request.action, now_us)
    findings = NOTHING if stale else consult(premises, proposal, request, now_us, seat, referral)
    denials = (*proposal.denials, *findings.denials, *stale)
    if not denials:  # nobody asks for what is denied anyway
        denials = tuple([reasons.not_asked(budget) for budget in findings.unasked])
    return Judgement(proposal, findings, reasons.in_order(denials) if denials else ())


def reserve(
    findings: Findings, request: AuthorizeRequest, decision_id: str, now_us: int, seat: Seat = HOME
) -> Transition | None:
    """Return what a permit holds and has to book, a posting per claim; None where there is nothing to hold or count.

    What is held for a follower is held for longer than there.
    """
    wanted = [claim for claim, _ in findings.claimed]
    asked = dict(request.quantities)
    if request.amount_minor is not None:
        asked[AMOUNT] = request.amount_minor
    for claim in wanted:
        if claim.budget.dimension == COUNT:
            asked[COUNT] = 1
    if not asked:
        return None
    return place(
        decision_id=decision_id,
        identity_id=request.identity_id,
        currency=request.currency,
        asked=asked,
        claims=wanted,
        now_us=now_us,
        ttl_seconds=request.ttl_seconds + (0 if seat.asker is None else HOLD_GRACE_SECONDS),
        follower_id=seat.asker,
    )

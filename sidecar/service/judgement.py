"""What becomes of a request that was ruled on: all that stands against it, or that it is permitted.

Pure of effects: a decision reserves and records what is judged here, a dry run and a trial only look at it.
"""

import msgspec

from sidecar.core import reasons
from sidecar.core.model import AuthorizeRequest, Reason
from sidecar.service.consult import Findings, consult
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
    def reasons(self) -> tuple[Reason, ...]:
        """Why it is denied, or which policies permit it."""
        return self.denials or self.proposal.permits


def judge(premises: Premises, proposal: Proposal, request: AuthorizeRequest, now_us: int) -> Judgement:
    """Return what becomes of ``request``, given its ruling and what budgets have used by now. Raises Conflict."""
    findings = consult(premises, proposal, request, now_us)
    denials = (*proposal.denials, *findings.denials)
    return Judgement(proposal, findings, reasons.in_order(denials) if denials else ())

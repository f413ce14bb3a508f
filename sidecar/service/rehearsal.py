"""What would be decided: a decision without an id, a reservation or a record."""

from sidecar.core.delegation import HOME, Seat
from sidecar.core.model import AuthorizeRequest, Decision
from sidecar.core.staleness import Freshly
from sidecar.service.judgement import judge
from sidecar.service.ruling import Proposal
from sidecar.service.store import TenantTransaction


def rehearsed(
    part: TenantTransaction,
    proposal: Proposal,
    request: AuthorizeRequest,
    now_us: int,
    freshly: Freshly | None = None,
    seat: Seat = HOME,
) -> Decision:
    """Return what would be decided on a ruling now; nothing is reserved or recorded.

    A control plane is not asked, so what it has to decide on as well is a denial that says so.
    """
    judgement = judge(part, proposal, request, now_us, freshly, seat=seat)
    return Decision(
        decision_id=None,
        identity_id=request.identity_id,
        action=request.action,
        allowed=judgement.allowed,
        reasons=judgement.reasons,
        budget_checks=judgement.findings.checks,
        reserved_minor=None,
        currency=request.currency,
        reserved_quantities={},
        expires_at_us=None,
        evaluated_at_us=now_us,
        policy_revision=proposal.view.policies.revision,
        entity_revision=proposal.view.entity_revision,
        audit=None,
        dry_run=True,
        data_age_us=None if freshly is None else freshly.age_us,
    )

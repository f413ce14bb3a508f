"""What a decision enters beside its record: the claims of a permit, and the facts that the record refers to."""

from sidecar.core.audit import DecisionFacts, encode_hash
from sidecar.core.delegation import Seat
from sidecar.core.model import AuthorizeRequest
from sidecar.core.reservation import Transition
from sidecar.service.consult import Findings
from sidecar.service.judgement import reserve
from sidecar.service.ruling import Proposal
from sidecar.service.snapshots import identity_version
from sidecar.service.store import TenantTransaction


def book_permit(
    part: TenantTransaction, decision_id: str, request: AuthorizeRequest, findings: Findings, now_us: int, seat: Seat
) -> Transition | None:
    """Book every claim of a permit; None where there is nothing to hold or count."""
    placed = reserve(findings, request, decision_id, now_us, seat)
    if placed is None:
        return None
    ledger = part.ledger
    for posting, (claim, _) in zip(placed.postings, findings.claimed, strict=True):
        ledger.grant(posting, claim.budget)
    ledger.keep(placed.reservation)
    return placed


def keep_facts(
    part: TenantTransaction, proposal: Proposal, request: AuthorizeRequest, findings: Findings
) -> DecisionFacts:
    """Keep what the record refers to and is not kept yet.

    Identities, budgets and the texts of policies were kept when they were written.
    """
    view, policies = proposal.view, proposal.view.policies
    if not part.audit.has_fact(policies.digest):
        part.audit.keep_fact(policies.manifest)
    return DecisionFacts(
        request=encode_hash(part.audit.keep_request(request.canonical())),
        policies=encode_hash(policies.digest),
        chain=view.identity_versions,
        budgets=tuple([view.budget_versions[claim.budget.budget_id] for claim, _ in findings.claimed]),
        others=tuple([identity_version(identity) for identity in proposal.others]),
        card=view.card_version,
    )

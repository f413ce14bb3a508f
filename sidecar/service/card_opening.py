"""What a network captured though nothing was held for it: claimed of every budget, booked as settled, refused by none.

No policy is asked, as the money has moved: the claims are those that ``card.authorize`` would make with the card now.
Pure of effects but ``open_reservation``, so that a proof makes the same claims of the same records.
"""

from typing import Final

import msgspec

from sidecar.core.audit import Capture, DecisionFacts, encode_hash, forced_body
from sidecar.core.budget import Claim, Usage, claims, overdraws, terms_of
from sidecar.core.card_events import Merchant, NetworkHold
from sidecar.core.cards import Card
from sidecar.core.delegation import HOME, place_of
from sidecar.core.limits import BUDGETS_PER_CHAIN_MAX, RESERVATION_TTL_SECONDS_MAX
from sidecar.core.model import AuthorizeRequest, ResourceRef
from sidecar.core.reservation import Transition
from sidecar.core.restatement import open_settled
from sidecar.service.events import tell_ending
from sidecar.service.premises import Usages
from sidecar.service.snapshots import View
from sidecar.service.store import TenantTransaction

ACTION: Final = "card.authorize"
MERCHANT: Final = "merchant"


def card_request(card: Card, merchant: Merchant, amount_minor: int, currency: str) -> AuthorizeRequest:
    """Return the question whether a card may pay, held for as long as captures can take to come."""
    return AuthorizeRequest(
        identity_id=card.identity_id,
        action=ACTION,
        resource=ResourceRef(MERCHANT, merchant.name),
        amount_minor=amount_minor,
        currency=currency,
        merchant_category=merchant.category,
        card_id=card.card_id,
        ttl_seconds=RESERVATION_TTL_SECONDS_MAX,
    )


def capture_request(identity_id: str, card_id: str, amount_minor: int, currency: str) -> AuthorizeRequest:
    """Return what stands for a capture where its claims are made; whom it paid matters to no budget."""
    return AuthorizeRequest(
        identity_id=identity_id,
        action=ACTION,
        resource=ResourceRef(MERCHANT, ""),
        amount_minor=amount_minor,
        currency=currency,
        card_id=card_id,
        ttl_seconds=0,
    )


def capture_claims(
    ledger: Usages, view: View, request: AuthorizeRequest, now_us: int
) -> tuple[tuple[Claim, Usage], ...]:
    """Return what a capture claims, each budget with what its window has used before.

    A budget that a follower alone decides on is that follower's to count. Of more budgets than a request can claim the
    first are taken, those of the card and of who is next to it: nothing may refuse a capture.
    """
    is_known = request.action in view.policies.schema.model.actions
    terms = view.terms(request) if is_known else terms_of(view.budgets, frozenset({request.action}))
    wanted = [claim for claim in claims(request, terms, now_us, view.zone) if place_of(claim.budget, HOME) == "here"]
    return tuple([(claim, ledger.usage(claim)) for claim in wanted[:BUDGETS_PER_CHAIN_MAX]])


def capture_facts(view: View, claimed: tuple[tuple[Claim, Usage], ...]) -> DecisionFacts:
    """Return where the facts lie that the record of a capture refers to."""
    return DecisionFacts(
        request="",
        policies=encode_hash(view.policies.digest),
        chain=view.identity_versions,
        budgets=tuple([view.budget_versions[claim.budget.budget_id] for claim, _ in claimed]),
        card=view.card_version,
    )


def open_reservation(
    part: TenantTransaction, view: View, request: AuthorizeRequest, capture: Capture, now_us: int
) -> None:
    """Book what ``request`` asks on a new reservation, as settled, and record it.

    The view must be that of this transaction.
    """
    ledger = part.ledger
    claimed = capture_claims(ledger, view, request, now_us)
    opened = settled_at_once(request, capture, claimed, now_us)
    for posting, (claim, _) in zip(opened.postings, claimed, strict=True):
        ledger.force(posting, claim.budget)
    overdrawn = [claim.budget.budget_id for claim, usage in claimed if overdraws(claim, usage)]
    reservation = msgspec.structs.replace(opened.reservation, overdrawn=bool(overdrawn))
    ledger.keep(reservation)
    if not part.audit.has_fact(view.policies.digest):
        part.audit.keep_fact(view.policies.manifest)
    body = forced_body(
        request=request,
        capture=capture,
        claimed=claimed,
        facts=capture_facts(view, claimed),
        now_us=now_us,
        entity_revision=view.entity_revision,
    )
    part.audit.append("forced", now_us, body)
    tell_ending(part, "forced", reservation, overdrawn, now_us)


def settled_at_once(
    request: AuthorizeRequest, capture: Capture, claimed: tuple[tuple[Claim, Usage], ...], now_us: int
) -> Transition:
    """Return the reservation of what was captured, and what has to be booked for it, a posting per claim."""
    return open_settled(
        decision_id=capture.decision_id,
        identity_id=request.identity_id,
        amount=(request.amount_minor or 0, request.currency or ""),
        claims=[claim for claim, _ in claimed],
        now_us=now_us,
        hold=NetworkHold(capture.network, capture.authorization_id),
    )

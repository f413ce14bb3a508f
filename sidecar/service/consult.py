"""What budgets say of a request that the policies permit, read inside the transaction that decides.

Nothing is changed here, and a denial by policies makes no claims.
"""

from typing import Final

import msgspec

from sidecar.core import reasons
from sidecar.core.budget import Claim, Usage, assess, claims, unbudgeted
from sidecar.core.cards import is_foreign
from sidecar.core.errors import Conflict
from sidecar.core.limits import BUDGETS_PER_CHAIN_MAX
from sidecar.core.model import AuthorizeRequest, BudgetCheck, Reason
from sidecar.service.premises import Premises
from sidecar.service.ruling import Proposal
from sidecar.service.snapshots import View


class Findings(msgspec.Struct, frozen=True):
    """What the budgets said of a request that the policies permit."""

    claimed: tuple[tuple[Claim, Usage], ...] = ()
    checks: tuple[BudgetCheck, ...] = ()
    denials: tuple[Reason, ...] = ()


NOTHING: Final = Findings()
"""What they say of a request that is denied already."""


def consult(part: Premises, proposal: Proposal, request: AuthorizeRequest, now_us: int) -> Findings:
    """Return what the budgets say; nothing when the request is denied already."""
    if proposal.denials:
        return NOTHING
    view = proposal.view
    wanted = claims(request, view.terms(request), now_us, view.zone)
    if len(wanted) > BUDGETS_PER_CHAIN_MAX:
        raise Conflict(f"{len(wanted)} budgets govern this request, at most {BUDGETS_PER_CHAIN_MAX} can be claimed")
    denials = list(unbudgeted_denials(view, request))
    claimed, checks = [], []
    for claim in wanted:
        usage = part.ledger.usage(claim)
        check = assess(claim, usage)
        claimed.append((claim, usage))
        checks.append(check)
        if not check.allowed:
            denials.append(reasons.exceeded(check, _retry_at(part, claim, usage)))
    return Findings(tuple(claimed), tuple(checks), tuple(denials))


def unbudgeted_denials(view: View, request: AuthorizeRequest) -> tuple[Reason, ...]:
    """Return why the currency is one that an owner of budgets, or the card, knows nothing of."""
    terms = view.terms(request)
    lacking = unbudgeted(request, terms)
    found = reasons.unbudgeted(lacking, request.currency) if lacking else ()
    card, currency = view.card, request.currency
    if card is None or currency is None or not is_foreign(card, request, terms.budgets):
        return found
    named = any(budget.card_id == card.card_id for budget in lacking)
    return found if named else (*found, reasons.foreign_currency(card, currency))


def _retry_at(part: Premises, claim: Claim, usage: Usage) -> int | None:
    if claim.budget.period == "rolling_24h":
        return part.ledger.frees_at(claim, usage.total + claim.asked - claim.budget.limit)
    return None if claim.window is None else claim.window.end_us

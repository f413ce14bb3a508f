"""What budgets say of a request that the policies permit, read inside the transaction that decides.

Nothing is changed here, and a denial by policies makes no claims. Budgets that are decided elsewhere claim nothing: a
follower takes the word of its control plane for them, and what nobody gave a word for is a denial.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from sidecar.core import reasons
from sidecar.core.budget import Budget, Claim, Usage, assess, claims, unbudgeted
from sidecar.core.cards import is_foreign
from sidecar.core.delegation import HOME, Place, Referral, Seat, place_of
from sidecar.core.errors import Conflict
from sidecar.core.limits import BUDGETS_PER_CHAIN_MAX
from sidecar.core.model import AuthorizeRequest, BudgetCheck, Reason
from sidecar.service.premises import Premises
from sidecar.service.ruling import Proposal
from sidecar.service.snapshots import View


class Findings(msgspec.Struct, frozen=True):
    """What the budgets said of a request that the policies permit.

    ``unasked`` are those of the control plane that stand against it only because nobody asked there.
    """

    claimed: tuple[tuple[Claim, Usage], ...] = ()
    checks: tuple[BudgetCheck, ...] = ()
    denials: tuple[Reason, ...] = ()
    unasked: tuple[Budget, ...] = ()


NOTHING: Final = Findings()
"""What they say of a request that is denied already."""


def consult(
    part: Premises,
    proposal: Proposal,
    request: AuthorizeRequest,
    now_us: int,
    seat: Seat = HOME,
    referral: Referral | None = None,
) -> Findings:
    """Return what the budgets say; nothing when the request is denied already.

    ``seat`` is where it is decided, ``referral`` what came of asking the control plane where that is elsewhere.
    """
    if proposal.denials:
        return NOTHING
    view = proposal.view
    terms = view.terms(request)
    wanted = claims(request, terms, now_us, view.zone)
    if len(wanted) > BUDGETS_PER_CHAIN_MAX:
        raise Conflict(f"{len(wanted)} budgets govern this request, at most {BUDGETS_PER_CHAIN_MAX} can be claimed")
    denials = unbudgeted_denials(view, request)
    if not terms.is_assigned and seat is HOME:
        return _assessed(part, wanted, denials)
    by_place: dict[Place, list[Claim]] = {"here": [], "control_plane": [], "asker": [], "elsewhere": []}
    for claim in wanted:
        by_place[place_of(claim.budget, seat)].append(claim)
    own = _assessed(
        part,
        by_place["here"],
        (*denials, *(reasons.decided_elsewhere(claim.budget) for claim in by_place["elsewhere"])),
    )
    if referral is None:
        return msgspec.structs.replace(own, unasked=tuple(claim.budget for claim in by_place["control_plane"]))
    return _joined(view, own, referral)


def _joined(view: View, own: Findings, referral: Referral) -> Findings:
    """Return what the budgets here and those of the control plane say, in the order in which the view has them.

    Its word holds for all of them: it knows of those that were made or deleted since, and what it says of a limit per
    transaction, on which both decide, is newer.
    """
    word = referral.word
    if word is None:
        silence = reasons.no_word(referral.trouble or "nobody knows why")
        return msgspec.structs.replace(own, denials=(*own.denials, silence))
    places = {budget.budget_id: place for place, budget in enumerate(view.budgets)}
    said = {check.budget_id: check for check in (*own.checks, *word.checks)}
    checks = sorted(said.values(), key=lambda check: places.get(check.budget_id, len(places)))
    denials = own.denials if word.granted else (*own.denials, *word.reasons)
    return Findings(own.claimed, tuple(checks), denials)


def _assessed(part: Premises, wanted: Iterable[Claim], against: Iterable[Reason]) -> Findings:
    """Return what the budgets of claims say, beside what stands ``against`` the request already."""
    denials = list(against)
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

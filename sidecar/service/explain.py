"""Why a decision came out as it did, and the nearest requests that would be permitted.

``weigh`` gathers, in the transaction of the decision, what it rested on; ``explain`` works from that alone, after the
commit, so the writer is not held up and an explanation is of exactly the state that was decided on. It takes up to some
25 milliseconds of CPU (35 on a busy machine), most for the nearest requests: run it in a thread, one at a time.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from sidecar.core.access import Caller
from sidecar.core.budget import Claim, Usage, asked_of
from sidecar.core.delegation import HOME, Referral, Seat, place_of
from sidecar.core.directory import IdentityChain, Mode
from sidecar.core.errors import ValidationFailed
from sidecar.core.explanation import UNMATCHED_MAX, Entity, PolicyVerdicts, asking, judge
from sidecar.core.hints import hints
from sidecar.core.ids import pascal_case
from sidecar.core.model import AuthorizeRequest, BudgetCheck, Decision
from sidecar.core.nearest import TRIALS_MAX, Nearest, search
from sidecar.core.policy import entity_slice
from sidecar.core.policy_scope import EntityUid
from sidecar.core.policy_set import PolicySet
from sidecar.core.question import Circumstances, Unanswerable, pose
from sidecar.core.standing import BUDGETS_STOOD_MAX, Standing, Standings
from sidecar.core.windows import window_at
from sidecar.service.consult import unbudgeted_denials
from sidecar.service.ruling import Asked, Proposal, card_denials
from sidecar.service.store import TenantTransaction

NEAREST_POLICIES_MAX: Final = 100
"""Policies that may reach an identity for its nearest requests to be sought: each trial evaluates all of them."""

NEAREST_TEXT_MAX: Final = 6_000
"""Characters that these policies may have in all: each is read for hints at about a microsecond and a half."""

TRIALS_WORK_MAX: Final = 550_000
"""Characters of policies that the trials of one search evaluate, at about 25 nanoseconds each."""

TRIAL_WORK: Final = 6_000
"""What a trial costs beside the policies, in characters."""

CURABLE: Final = frozenset(
    {"policy_error", "forbidden", "not_permitted", "currency_not_budgeted", "budget_exceeded", "per_transaction_limit"}
)
"""Codes of denials that another request could be spared; whoever is blocked is blocked for every request."""


class Grounds(msgspec.Struct, frozen=True):
    """What one decision rested on.

    ``knows_budgets`` is False where some are decided on another machine: of those only what it said is known.
    """

    proposal: Proposal
    request: AuthorizeRequest
    standings: Standings
    mode: Mode
    now_us: int
    knows_budgets: bool = True


class Explanation(msgspec.Struct, frozen=True):
    """What policies and budgets said, and on a denial the nearest requests that would be permitted.

    ``policies`` lists nothing where Cedar was not asked: a blocked identity, an unknown action or resource type.
    ``nearest_sought`` says whether a search was made: without one nothing follows from ``nearest`` being None.
    """

    policies: PolicyVerdicts
    budgets: tuple[BudgetCheck, ...]
    nearest: Nearest | None
    nearest_sought: bool


def weigh(
    part: TenantTransaction,
    proposal: Proposal,
    request: AuthorizeRequest,
    now_us: int,
    seat: Seat = HOME,
    referral: Referral | None = None,
) -> Grounds:
    """Return what explains a decision, read in its transaction before anything is claimed; it changes nothing.

    ``seat`` is where it is decided, ``referral`` what came of asking the control plane: what it did not say of a budget
    that is decided elsewhere is left out.
    """
    view = proposal.view
    word = None if referral is None else referral.word
    told = {} if word is None else {share.budget_id: Usage(share.settled, share.held) for share in word.shares}
    rows = []
    knows_budgets = True
    for budget in view.budgets[:BUDGETS_STOOD_MAX]:
        window = window_at(budget.period, now_us, view.zone)
        if place_of(budget, seat) != "here":
            knows_budgets = False
            if budget.budget_id in told:
                rows.append(Standing(budget, window, told[budget.budget_id]))
            continue
        usage = Usage() if window is None else part.ledger.usage_in(budget, window)
        asked = asked_of(budget, request)
        frees_us = None
        if budget.period == "rolling_24h" and asked is not None:
            needed = usage.total + asked - budget.limit
            frees_us = part.ledger.frees_at(Claim(budget, window, asked), needed) if needed > 0 else None
        rows.append(Standing(budget, window, usage, frees_us))
    standings = Standings(request, tuple(rows), view.policies.schema.model.actions, view.zone)
    return Grounds(proposal, request, standings, part.tenant.mode, now_us, knows_budgets)


def explain(caller: Caller, grounds: Grounds, decision: Decision, *, seek_nearest: bool = True) -> Explanation:
    """Return why ``decision`` came out as it did, with nothing that ``caller`` must not see.

    The nearest requests are sought on a denial that another request could be spared, unless more policies reach the
    identity than can be tried in time, a budget is decided elsewhere, or ``seek_nearest`` is false.
    """
    asked = grounds.proposal.asked
    seek = None
    verdicts = PolicyVerdicts()
    if asked is not None:
        policies = grounds.proposal.view.policies
        verdicts = judge(
            policies.policies,
            grounds.proposal.ruling,
            asked.question.request,
            asked.entities(),
            policies.schema,
            hidden=_hidden(caller, grounds.proposal.view.chain, asked),
            unmatched_max=UNMATCHED_MAX if caller.may_administer else 0,
        )
        if seek_nearest and not decision.allowed and _is_curable(grounds, decision):
            seek = _seeker(grounds, asked)
    nearest = None if seek is None else seek()
    return Explanation(verdicts, grounds.standings.checks(), nearest, nearest_sought=seek is not None)


def _is_curable(grounds: Grounds, decision: Decision) -> bool:
    """Whether another request could be permitted, as far as is known here.

    Nobody was blocked before, and none by this decision.
    """
    if not grounds.knows_budgets or not all(reason.code in CURABLE for reason in decision.reasons):
        return False
    refusing = {check.budget_id for check in decision.budget_checks if not check.allowed}
    budgets = grounds.proposal.view.budgets
    suspends = any(budget.on_exceeded == "suspend" for budget in budgets if budget.budget_id in refusing)
    return decision.dry_run or not suspends


def _hidden(caller: Caller, chain: IdentityChain, asked: Asked) -> frozenset[EntityUid]:
    """Return the identities that the caller knows by their id only: those outside of its reach."""
    reached = {identity.identity_id: identity for identity, _ in asked.reached}
    within = {identity.identity_id for identity in chain}
    hidden = set[EntityUid]()
    for at, identity in enumerate(chain):
        if not caller.reaches(chain[at:]):
            hidden.add((pascal_case(identity.type), identity.identity_id))
    for at, identity in enumerate(asked.target or ()):
        reached.pop(identity.identity_id, None)
        if identity.identity_id not in within and not caller.reaches((asked.target or ())[at:]):
            hidden.add((pascal_case(identity.type), identity.identity_id))
    if not caller.may_administer:
        # Their chains are not known here, so they count as out of reach.
        hidden |= {(pascal_case(identity.type), identity.identity_id) for identity in reached.values()}
    return frozenset(hidden)


def _seeker(grounds: Grounds, asked: Asked) -> Callable[[], Nearest | None] | None:
    """Return the search for the nearest requests, None where too many policies reach the identity."""
    view = grounds.proposal.view
    schema = view.policies.schema
    who = asking(asked.question.request, asked.entities(), schema)
    reaching = [entry for entry in view.policies.policies.entries if who.principal_matches(entry.scope)]
    length = sum(len(entry.unit.text) for entry in reaching)
    if len(reaching) > NEAREST_POLICIES_MAX or length > NEAREST_TEXT_MAX:
        return None
    names = {entry.id for entry in reaching}
    units, links = view.policies.policies.parts
    kept = tuple(link for link in links if link.id in names)
    templates = {link.template_id for link in kept}
    narrow = PolicySet(tuple(unit for unit in units if unit.id in names | templates), kept, schema)
    trial = _Trial(grounds, asked, narrow)
    found = hints(reaching, schema.model)
    fitting = schema.model.actions[grounds.request.action].resources
    resources = tuple(each for each in found.resources if pascal_case(each.type) in fitting)
    found = msgspec.structs.replace(found, resources=resources)
    if view.card is not None:
        categories = dict.fromkeys((*view.card.allowed_mccs, *found.merchant_categories))
        currencies = dict.fromkeys((view.card.currency, *found.currencies))
        found = msgspec.structs.replace(found, merchant_categories=tuple(categories), currencies=tuple(currencies))
    return partial(
        search,
        grounds.request,
        grounds.now_us,
        view.zone,
        found,
        grounds.standings,
        trial.permits,
        trials_max=min(TRIALS_MAX, TRIALS_WORK_MAX // (TRIAL_WORK + length)),
    )


class _Trial:
    """Rules on requests that were not made, over the state that one decision rested on."""

    def __init__(self, grounds: Grounds, asked: Asked, policies: PolicySet) -> None:
        self._grounds = grounds
        self._asked = asked
        self._policies = policies
        self._entities: list[Entity] = asked.entities()
        self._slice = entity_slice(self._entities, grounds.proposal.view.policies.schema)

    def _is_foreign(self, request: AuthorizeRequest) -> bool:
        view = self._grounds.proposal.view
        known = request.action in view.policies.schema.model.actions
        return known and bool(unbudgeted_denials(view, request))

    def permits(self, request: AuthorizeRequest, at_us: int) -> bool:
        """Whether the policies would permit ``request`` at that time; one that does not fit the schema is not."""
        view = self._grounds.proposal.view
        schema = view.policies.schema
        if card_denials(view, request) or self._is_foreign(request):
            return False
        same = request.resource == self._grounds.request.resource
        target = self._asked.target if same else None
        try:
            posed = pose(request, view.chain, target, schema.forms, Circumstances(at_us, view.zone, self._grounds.mode))
            if isinstance(posed, Unanswerable):
                return False
            entities = Asked(posed, target, self._asked.reached).entities()
            seen = self._slice if entities == self._entities else entity_slice(entities, schema)
            return self._policies.evaluate(posed.request, seen).effect == "allow"
        except ValidationFailed:
            return False

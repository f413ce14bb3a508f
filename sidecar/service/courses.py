"""Courses that a history can take: the one that was recorded, and those that it would take by other policy files.

A course says of each decision whether it permits, and why. By other files, requests, identities, cards, budgets and
times are those of then, and so are the policies made by the API; budgets have used what the course itself permitted: a
permit that it denies holds and settles nothing, a denial that it permits is settled in full at once.
"""

from typing import Final, Literal, Protocol

import msgspec

from sidecar.core.budget import Budget
from sidecar.core.delegation import Referral, Word
from sidecar.core.errors import ConfigurationInvalid, Conflict, NotFound, PolicyInvalid, ValidationFailed
from sidecar.core.history import Decided, Ended, Forced
from sidecar.core.manifests import ApiPolicy
from sidecar.core.model import AuthorizeRequest, Reason
from sidecar.core.policy_files import check_files
from sidecar.core.policy_set import ParsedPolicies
from sidecar.core.policy_unit import PolicyUnit
from sidecar.core.recent import Recent
from sidecar.core.snapshot import PolicyFiles, TenantPolicies, compile_files, compile_tenant
from sidecar.service.books import Books
from sidecar.service.chronicle import FactMissing
from sidecar.service.judgement import Judgement, reserve
from sidecar.service.past import Past
from sidecar.service.scene import Trial
from sidecar.service.statutes import REVISIONS_MAX, Statutes

BUDGET_CODES: Final = frozenset({"budget_exceeded", "per_transaction_limit"})


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """One reason of an outcome; ``rule`` is that of a JSON policy, ``source`` where the policy stands."""

    code: str
    policy_id: str | None = None
    rule: str | None = None
    source: str | None = None
    budget_id: str | None = None
    message: str | None = None


class Outcome(msgspec.Struct, frozen=True):
    """What one course makes of a decision.

    ``suspends`` are denials by a budget that suspends whom it refuses; ``unfit`` says why the schema takes no such
    request.
    """

    allowed: bool
    suspends: bool = False
    judgement: Judgement | None = None
    unfit: str | None = None


class Course(Protocol):
    """What happens in a history, one decision after the other."""

    def decide(self, decided: Decided, request: AuthorizeRequest) -> Outcome:
        """Return what this course makes of a decision. Raises FactMissing."""

    def book(self, decided: Decided, request: AuthorizeRequest, outcome: Outcome) -> None:
        """Go on from that outcome."""

    def pass_over(self, decided: Decided) -> None:
        """Go on from a decision that cannot be decided again as it was recorded."""

    def end(self, ended: Ended) -> None:
        """Go on from what became of a hold."""

    def force(self, forced: Forced) -> None:
        """Go on from what a card network captured without a hold, which no policy refuses."""

    def sweep(self, budget_id: str, now_us: int) -> None:
        """Let go what has left a rolling window by now."""

    def grounds(self, decided: Decided, outcome: Outcome) -> tuple[Ground, ...]:
        """Return why it came out so, the most important first."""


class Recorded:
    """The course that was taken."""

    def __init__(self, past: Past) -> None:
        """Read it from the records of ``past``."""
        self._past = past

    def decide(self, decided: Decided, _request: AuthorizeRequest) -> Outcome:
        """Return what was decided."""
        suspends = not BUDGET_CODES.isdisjoint(decided.codes) and any(
            budget.on_exceeded == "suspend" for budget in self._refusing(decided)
        )
        return Outcome(decided.is_allowed, suspends)

    def book(self, decided: Decided, request: AuthorizeRequest, outcome: Outcome) -> None:
        """Nothing has to be booked: what comes next is recorded as well."""

    def pass_over(self, decided: Decided) -> None:
        """As ``book``."""

    def end(self, ended: Ended) -> None:
        """As ``book``."""

    def force(self, forced: Forced) -> None:
        """As ``book``."""

    def sweep(self, budget_id: str, now_us: int) -> None:
        """As ``book``."""

    def grounds(self, decided: Decided, _outcome: Outcome) -> tuple[Ground, ...]:
        """Return the recorded codes, with the policies and budgets behind them."""
        found: list[Ground] = []
        for code in decided.codes:
            if code in BUDGET_CODES:
                once = code == "per_transaction_limit"
                refusing = [each for each in self._refusing(decided) if (each.period == "per_transaction") is once]
                found += [Ground(code=code, budget_id=each.budget_id) for each in refusing] or [Ground(code=code)]
            else:
                named = decided.errors if code == "policy_error" else decided.matched
                units = [self._named(decided, code, each) for each in named] if code in POLICY_CODES else []
                found += units or [Ground(code=code)]
        return tuple(found)

    def _named(self, decided: Decided, code: str, unit_id: str) -> Ground:
        try:
            return _of_unit(code, self._past.statutes.of(decided).policies.unit(unit_id))
        except (FactMissing, ValidationFailed, KeyError):  # its text was erased, or the record names what never was
            return Ground(code=code, policy_id=unit_id)

    def _refusing(self, decided: Decided) -> list[Budget]:
        """Return the budgets that did not have room, by the figures of the record."""
        found = []
        for budget_id, _, _, _, settled, held, asked in decided.budgets:
            budget = self._past.scene.budgets.get(budget_id)
            if budget is not None and budget.is_hard and int(settled) + int(held) + asked > budget.limit:
                found.append(budget)
        return found


POLICY_CODES: Final = frozenset({"permitted", "forbidden", "policy_error"})
"""Reasons that name a policy."""


class Candidate:
    """Policy files that could be in force: each tenant's policies are they, and those of then that the API made."""

    def __init__(self, files: PolicyFiles) -> None:
        """Compile what holds for all. Raises PolicyInvalid, ValidationFailed naming the first fault in any file."""
        check_files(files)
        self.digest = f"sha256:{files.digest().hex()}"
        self._compiled = compile_files(files)
        self._parsed = ParsedPolicies()
        self._newest: TenantPolicies | None = None
        self._made: Recent[tuple[str, tuple[ApiPolicy, ...]], TenantPolicies] = Recent(REVISIONS_MAX)
        self._at: Recent[tuple[str, str], TenantPolicies] = Recent(REVISIONS_MAX)

    def policies(self, tenant_id: str, statutes: Statutes, decided: Decided) -> TenantPolicies:
        """Return the policies of a tenant at a decision.

        Raises FactMissing, ConfigurationInvalid for a policy made by the API that does not go with the files.
        """
        at = (
            tenant_id,
            decided.policies,
        )  # ten thousand policies take longer to be compared than a request to be decided
        known = self._at.get(at)
        if known is None:
            known = self._make(tenant_id, statutes, decided)
            self._at.keep(at, known)
        return known

    def _make(self, tenant_id: str, statutes: Statutes, decided: Decided) -> TenantPolicies:
        api = statutes.manifest(decided).api
        made = self._made.get((tenant_id, api))
        if made is None:
            records = statutes.records(api, decided.seq)
            try:
                made = compile_tenant(self._compiled, tenant_id, records, self._newest, self._parsed)
            except PolicyInvalid as error:
                raise ConfigurationInvalid(
                    f"a policy of tenant `{tenant_id}` that the API made does not fit the schema: {error.message}"
                ) from error
            except ValidationFailed as error:
                raise ConfigurationInvalid(f"the policies of tenant `{tenant_id}`: {error.message}") from error
            self._newest = made
            self._made.keep((tenant_id, api), made)
        return made


class Retrial:
    """The course that a history takes by other policy files."""

    def __init__(self, past: Past, candidate: Candidate, reopened: frozenset[str]) -> None:
        """Decide by ``candidate``; ``reopened`` are as in ``Books``."""
        self._past = past
        self._candidate = candidate
        self._books = Books(reopened)
        self._trial: Trial | None = None

    def decide(self, decided: Decided, request: AuthorizeRequest) -> Outcome:
        """Return what comes out by these policies; a request that their schema does not take is denied."""
        past = self._past
        policies = self._candidate.policies(past.scene.tenant.tenant_id, past.statutes, decided)
        if self._trial is None:
            self._trial = Trial(past.scene, policies, self._books.counters)
        self._trial.turn_to(policies)
        try:
            referral = decided.referral or _let_pass(decided)
            judgement = self._trial.decide(
                request, decided.now_us, decided.freshly, seat=decided.seat, referral=referral
            )
        except (ValidationFailed, NotFound, Conflict) as error:
            return Outcome(allowed=False, unfit=error.message)
        return Outcome(judgement.allowed, _suspends(judgement), judgement)

    def book(self, decided: Decided, request: AuthorizeRequest, outcome: Outcome) -> None:
        """Book what it permits: held as it was then, or settled at once where it was denied then."""
        if outcome.judgement is None or not outcome.allowed:
            return
        placed = reserve(outcome.judgement.findings, request, decided.decision_id, decided.now_us, decided.seat)
        if decided.is_allowed:
            self._books.permit(placed)
        else:
            self._books.spend(placed)

    def pass_over(self, decided: Decided) -> None:
        """Book what was recorded."""
        self._books.permit_as_recorded(decided, self._past.scene.budgets.get)

    def end(self, ended: Ended) -> None:
        """Book what became of a hold that this course gave as well."""
        self._books.end(ended)

    def force(self, forced: Forced) -> None:
        """Book it as it was recorded."""
        self._books.force_as_recorded(forced, self._past.scene.budgets.get)

    def sweep(self, budget_id: str, now_us: int) -> None:
        """Let go what has left a rolling window by now."""
        self._books.counters.sweep(budget_id, now_us)

    def grounds(self, _decided: Decided, outcome: Outcome) -> tuple[Ground, ...]:
        """Return the reasons of the judgement."""
        if outcome.judgement is None:
            return (Ground(code=UNFIT, message=outcome.unfit),)
        return tuple(_of_reason(reason) for reason in outcome.judgement.reasons)


def _let_pass(decided: Decided) -> Referral | None:
    """Return what a control plane might have said that a follower did not ask: nobody knows, and it is not at issue."""
    if decided.at is None:
        return None
    word = Word(
        decision_id=decided.decision_id,
        granted=True,
        reasons=(),
        checks=(),
        shares=(),
        expires_at_us=None,
        entity_revision=None,
        policy_revision=None,
        audit=None,
    )
    return Referral(decision_id=decided.decision_id, word=word)


UNFIT: Final = "validation_failed"
"""In place of a reason's code: the request would be refused as one that does not fit the schema."""

CauseKind = Literal["policy", "budget", "schema"]


def _suspends(judgement: Judgement) -> bool:
    refusing = {check.budget_id for check in judgement.findings.checks if not check.allowed}
    budgets = judgement.proposal.view.budgets if refusing else ()
    return any(budget.on_exceeded == "suspend" for budget in budgets if budget.budget_id in refusing)


def _of_unit(code: str, unit: PolicyUnit) -> Ground:
    return Ground(code=code, policy_id=unit.policy_id or unit.id, rule=unit.rule, source=unit.source)


def _of_reason(reason: Reason) -> Ground:
    return Ground(
        code=reason.code,
        policy_id=reason.policy_id,
        rule=reason.matched_rule,
        source=reason.source,
        budget_id=reason.budget_id,
        message=reason.message,
    )

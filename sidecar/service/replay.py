"""A history decided twice, and what comes out differently: each flip, what made it, and how much money goes with it.

The scene is folded once for both courses. A suspension by a budget is part of the chain of then: where only one of the
courses would have made it, that is counted and changes nothing.
"""

from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import msgspec

from sidecar.core.errors import ValidationFailed
from sidecar.core.history import Decided, Ended, Event, Forced, Opened, opening, read_event
from sidecar.core.model import AuthorizeRequest
from sidecar.service.chain_proof import CHUNK
from sidecar.service.chronicle import Chronicle, FactMissing, Facts, reopened
from sidecar.service.courses import UNFIT, Candidate, CauseKind, Course, Ground, Outcome, Recorded, Retrial
from sidecar.service.past import Past
from sidecar.service.proof import MISSING_MAX, Missing

Verdict = Literal["allow", "deny"]


class Span(msgspec.Struct, frozen=True):
    """The decisions that are told of: those made at ``from_us`` or later and before ``to_us``; None is no bound."""

    from_us: int | None = None
    to_us: int | None = None

    def holds(self, now_us: int) -> bool:
        """Whether a decision of this time is told of."""
        return (self.from_us is None or now_us >= self.from_us) and (self.to_us is None or now_us < self.to_us)


class Cause(msgspec.Struct, frozen=True):
    """What made the difference: a policy, a budget that has more or less room than before, or the schema."""

    kind: CauseKind
    id: str
    source: str | None = None


class Flip(msgspec.Struct, frozen=True, kw_only=True):
    """A decision that comes out the other way. The amount is in minor units."""

    seq: int
    tenant_id: str
    decision_id: str
    now_us: int
    identity_id: str
    action: str
    resource_type: str
    resource_id: str
    amount_minor: int | None
    currency: str | None
    before: Verdict
    after: Verdict
    reasons_before: tuple[Ground, ...]
    reasons_after: tuple[Ground, ...]
    cause: Cause


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one tenant's history: ``decisions`` were decided by both courses, ``flips`` of them differ.

    ``suspended_only_before`` and ``suspended_only_after`` count denials by a budget that suspends, in one course only.
    """

    tenant_id: str
    decisions: int
    flips: tuple[Flip, ...]
    missing: tuple[Missing, ...]
    missing_count: int
    suspended_only_before: int
    suspended_only_after: int
    first_us: int | None
    last_us: int | None


Courses: TypeAlias = Callable[[Past, frozenset[str]], tuple[Course, Course]]
"""Makes the two courses over one past."""


def against_candidate(candidate: Candidate) -> Courses:
    """Compare what was recorded with what comes out by ``candidate``."""
    return lambda past, reopened: (Recorded(past), Retrial(past, candidate, reopened))


def between(old: Candidate, new: Candidate) -> Courses:
    """Compare what comes out by ``old`` with what comes out by ``new``."""
    return lambda past, reopened: (Retrial(past, old, reopened), Retrial(past, new, reopened))


def compare(chronicle: Chronicle, courses: Courses, span: Span, told: Callable[[int], object]) -> Comparison:
    """Return what differs between two courses of one history; ``told`` hears how many records are done.

    The fold begins at record 0 whatever ``span`` is. The log is believed: prove it first. Raises ConfigurationInvalid
    for a policy of then that does not go with a candidate, ValidationFailed for a record that cannot be read.
    """
    comparing: _Comparing | None = None
    for seq, body in chronicle.entries():
        try:
            event = read_event(body)
            if comparing is None:
                comparing = _Comparing(chronicle, opening(event), courses, span)
            comparing.take(seq, event)
        except ValidationFailed as error:
            raise ValidationFailed(f"{chronicle.place(seq)}: {error.message}") from error
        if seq % CHUNK == 0:
            told(seq)
    if comparing is None:
        raise ValidationFailed(f"{chronicle.place(0)}: the log is empty")
    told(chronicle.size)
    return comparing.end()


class _Comparing:
    def __init__(self, chronicle: Chronicle, opened: Opened, courses: Courses, span: Span) -> None:
        self._past = Past(opened, Facts(chronicle))
        self._before, self._after = courses(self._past, reopened(chronicle))
        self._span = span
        self._decisions = 0
        self._flips: list[Flip] = []
        self._missing: list[Missing] = []
        self._missing_count = 0
        self._suspended = [0, 0]
        self._times: list[int] = []

    def take(self, seq: int, event: Event) -> None:
        match event:
            case Decided():
                self._decide(event)
            case Ended():
                self._before.end(event)
                self._after.end(event)
            case Forced():
                self._before.force(event)
                self._after.force(event)
            case _:
                known = len(self._past.lost)
                self._past.take(event)
                for rebound in self._past.rebounds:
                    self._before.sweep(*rebound)
                    self._after.sweep(*rebound)
                for _, what in self._past.lost[known:]:
                    self._note(Missing(seq=seq, decision_id=None, what=what))

    def _decide(self, decided: Decided) -> None:
        is_told = self._span.holds(decided.now_us)
        try:
            self._past.require_known()
            request = self._past.facts.request(decided)
            before = self._before.decide(decided, request)
            after = self._after.decide(decided, request)
        except FactMissing as missing:
            if is_told:
                self._note(Missing(seq=decided.seq, decision_id=decided.decision_id, what=missing.what))
            self._before.pass_over(decided)
            self._after.pass_over(decided)
            return
        self._before.book(decided, request, before)
        self._after.book(decided, request, after)
        if not is_told:
            return
        self._decisions += 1
        self._times = [min([*self._times, decided.now_us]), max([*self._times, decided.now_us])]
        if before.suspends is not after.suspends:
            self._suspended[int(after.suspends)] += 1
        if before.allowed is not after.allowed:
            self._flips.append(self._flip(decided, request, before, after))

    def _flip(self, decided: Decided, request: AuthorizeRequest, before: Outcome, after: Outcome) -> Flip:
        was, comes = self._before.grounds(decided, before), self._after.grounds(decided, after)
        return Flip(
            seq=decided.seq,
            tenant_id=self._past.scene.tenant.tenant_id,
            decision_id=decided.decision_id,
            now_us=decided.now_us,
            identity_id=decided.identity,
            action=decided.action,
            resource_type=request.resource.type,
            resource_id=request.resource.id,
            amount_minor=request.amount_minor,
            currency=request.currency,
            before="allow" if before.allowed else "deny",
            after="allow" if after.allowed else "deny",
            reasons_before=was,
            reasons_after=comes,
            cause=_cause(denied=was if after.allowed else comes, permitted=comes if after.allowed else was),
        )

    def _note(self, missing: Missing) -> None:
        self._missing_count += 1
        if len(self._missing) < MISSING_MAX:
            self._missing.append(missing)

    def end(self) -> Comparison:
        return Comparison(
            tenant_id=self._past.scene.tenant.tenant_id,
            decisions=self._decisions,
            flips=tuple(self._flips),
            missing=tuple(self._missing),
            missing_count=self._missing_count,
            suspended_only_before=self._suspended[0],
            suspended_only_after=self._suspended[1],
            first_us=self._times[0] if self._times else None,
            last_us=self._times[-1] if self._times else None,
        )


SCHEMA_CAUSE: Final = Cause("schema", "schema")


def _cause(denied: tuple[Ground, ...], permitted: tuple[Ground, ...]) -> Cause:
    """Return what made the difference between a denial and a permit of one request.

    What denies, where that is a policy or a budget; where nothing permits, the policy that does so in the other course.
    A currency that no budget has, and a request that the schema does not take, depend on the schema alone.
    """
    first = denied[0]
    if first.policy_id is not None:
        return Cause("policy", first.policy_id, first.source)
    if first.code in {UNFIT, "currency_not_budgeted"}:
        return SCHEMA_CAUSE
    if first.budget_id is not None:
        return Cause("budget", first.budget_id)
    return next(
        (Cause("policy", each.policy_id, each.source) for each in permitted if each.policy_id is not None), SCHEMA_CAUSE
    )

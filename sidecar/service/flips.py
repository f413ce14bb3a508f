"""Requests that two policy sets decide differently: those of policy tests, and those of a history.

Each set decides a test's requests in their order, on a tenant of its own, so a permit that only one of them gives is
counted by that one alone. A history is decided anew by both sets, as ``sidecar.service.replay`` does it.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from sidecar.core.errors import Conflict, NotFound, ValidationFailed
from sidecar.core.model import AuthorizeRequest
from sidecar.core.snapshot import CompiledFiles
from sidecar.service.courses import Ground
from sidecar.service.policy_test_findings import told
from sidecar.service.policy_tests import Bench, Case
from sidecar.service.replay import Comparison
from sidecar.service.replay import Flip as Replayed

Verdict = Literal["allow", "deny", "undecided"]
"""``undecided`` is a request that one set cannot decide, as one that does not fit its schema."""


class Outcome(msgspec.Struct, frozen=True):
    """What one set says of a request, and why."""

    verdict: Verdict
    because: tuple[str, ...]


class Flip(msgspec.Struct, frozen=True, kw_only=True):
    """A request that comes out differently; ``place`` is where it stands, the amount is in minor units."""

    place: str
    name: str
    identity_id: str
    action: str
    resource: str
    amount_minor: int | None
    currency: str | None
    old: Outcome
    new: Outcome


class Flips(msgspec.Struct, frozen=True):
    """What came of a set of requests: how many were decided by both, and the flips, those to ``allow`` first.

    ``missing`` counts, apart from these, what neither set decides: of tests, requests that fit neither schema, and of
    a history, decisions that lack facts of then.
    """

    requests: int
    flips: tuple[Flip, ...]
    missing: int = 0

    def count(self, old: Verdict, new: Verdict) -> int:
        """Return how many flip in one direction."""
        return sum((each.old.verdict, each.new.verdict) == (old, new) for each in self.flips)


def flips_of_tests(cases: Iterable[Case], old: CompiledFiles, new: CompiledFiles) -> Flips:
    """Return which requests of policy tests two sets decide differently; what the tests expect is not looked at."""
    before, after = Bench(old), Bench(new)
    requests = missing = 0
    found: list[Flip] = []
    for case in cases:
        outcomes = zip(case.steps, _outcomes(before, case), _outcomes(after, case), strict=True)
        for step, one, other in outcomes:
            if one.verdict == other.verdict == "undecided":
                missing += 1
                continue
            requests += 1
            if one.verdict != other.verdict:
                name = f"{case.name} / {step.name}" if step.name else case.name
                found.append(_flip(step.request, step.place, name, (one, other)))
    return Flips(requests, _ordered(found), missing)


def _outcomes(bench: Bench, case: Case) -> Iterator[Outcome]:
    decided = 0
    try:
        for each in bench.decide(case):
            decided += 1
            yield Outcome("allow" if each.judgement.allowed else "deny", told(each.judgement))
    except (ValidationFailed, NotFound, Conflict) as error:
        for _ in case.steps[decided:]:
            yield Outcome("undecided", (error.message,))


def _flip(request: AuthorizeRequest, place: str, name: str, outcomes: tuple[Outcome, Outcome]) -> Flip:
    return Flip(
        place=place,
        name=name,
        identity_id=request.identity_id,
        action=request.action,
        resource=f"{request.resource.type}/{request.resource.id}",
        amount_minor=request.amount_minor,
        currency=request.currency,
        old=outcomes[0],
        new=outcomes[1],
    )


def flips_of_history(comparisons: Sequence[Comparison]) -> Flips:
    """Return what two sets decide differently of the histories that were compared."""
    found = [_of_history(flip) for each in comparisons for flip in each.flips]
    decisions, missing = (sum(each.decisions for each in comparisons), sum(each.missing_count for each in comparisons))
    return Flips(decisions, _ordered(found), missing)


def _of_history(flip: Replayed) -> Flip:
    return Flip(
        place=f"{flip.tenant_id}:{flip.seq}",
        name=flip.decision_id,
        identity_id=flip.identity_id,
        action=flip.action,
        resource=f"{flip.resource_type}/{flip.resource_id}",
        amount_minor=flip.amount_minor,
        currency=flip.currency,
        old=Outcome(flip.before, tuple(map(_ground, flip.reasons_before))),
        new=Outcome(flip.after, tuple(map(_ground, flip.reasons_after))),
    )


def _ground(ground: Ground) -> str:
    named = ground.policy_id or ground.budget_id
    source = f" at {ground.source}" if ground.source else ""
    return f"{ground.code} by `{named}`{source}" if named else ground.code


def _ordered(found: Iterable[Flip]) -> tuple[Flip, ...]:
    """Return the flips with those first that a reviewer must see."""
    return tuple(sorted(found, key=lambda flip: flip.new.verdict != "allow"))

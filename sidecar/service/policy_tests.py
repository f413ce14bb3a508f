"""Policy tests as values: a tenant that is made up, requests to it in their order, and what is expected of each.

A ``Bench`` decides them by one set of policy files, each case on a tenant of its own and in the very steps of a real
decision; what a permit claims is booked, so that the next request of the same case meets it. Nothing is stored.
"""

from collections.abc import Iterator

import msgspec

from sidecar.core.budget import AMOUNT, COUNT, Budget, Claim
from sidecar.core.cards import Card
from sidecar.core.counters import Counters
from sidecar.core.directory import Identity, Tenant, block_on
from sidecar.core.errors import Conflict, NotFound, PolicyInvalid, ValidationFailed, inside
from sidecar.core.ids import pascal_case
from sidecar.core.model import AuthorizeRequest
from sidecar.core.reservation import Posting, Reservation, expire, place
from sidecar.core.rules import Rules, compile_rules
from sidecar.core.snapshot import CompiledFiles, PolicyRecord, TenantPolicies, compile_tenant
from sidecar.core.windows import window_at, zone
from sidecar.service.judgement import Judgement
from sidecar.service.policy_test_findings import Difference, Expected, differences, told
from sidecar.service.scene import Scene, Trial


class WrittenPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy as the API would make it, from ``rules`` or ``cedar``."""

    policy_id: str
    identity_id: str | None
    rules: Rules | None
    cedar: str | None


class Used(msgspec.Struct, frozen=True):
    """What a budget has used before the first request; in the window of ``at_us``, None for that of the request."""

    budget_id: str
    settled: int
    held: int
    at_us: int | None


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """The tenant of a case: who is in it, and what they may use."""

    tenant: Tenant
    identities: tuple[Identity, ...]
    cards: tuple[Card, ...]
    policies: tuple[WrittenPolicy, ...]
    budgets: tuple[Budget, ...]
    used: tuple[Used, ...]


class Step(msgspec.Struct, frozen=True):
    """One request at a time, with what is expected of it; ``place`` reads ``file:line:column``."""

    name: str
    place: str
    request: AuthorizeRequest
    now_us: int
    expected: Expected


class Case(msgspec.Struct, frozen=True):
    """One test, or one row of a table of them."""

    name: str
    place: str
    setting: Setting
    steps: tuple[Step, ...]


class Result(msgspec.Struct, frozen=True):
    """How a case came out: it passed where there is neither a difference nor a fault.

    ``place`` is that of the step that failed; ``because`` are the reasons of its decision. A ``fault`` is why it could
    not be decided at all.
    """

    name: str
    place: str
    differences: tuple[Difference, ...] = ()
    because: tuple[str, ...] = ()
    fault: str | None = None

    @property
    def passed(self) -> bool:
        """Whether all came out as expected."""
        return not self.differences and self.fault is None

    @property
    def summary(self) -> str:
        """What is wrong, in one line: the fault or the first difference."""
        if self.fault is not None:
            return f"it cannot be decided: {self.fault}"
        first = self.differences[0]
        because = f": {self.because[0]}" if self.because else ""
        return f"`{first.field}` expected {first.expected}, got {first.got}{because}"


class Decided(msgspec.Struct, frozen=True):
    """A step with what would be decided, and by which policies."""

    step: Step
    judgement: Judgement
    policies: TenantPolicies


class Bench:
    """Decides cases by one set of policy files. The scene of the case before serves again where it is the same."""

    def __init__(self, compiled: CompiledFiles) -> None:
        """Decide by ``compiled``."""
        self._compiled = compiled
        self._last: tuple[Setting, TenantPolicies] | None = None

    def decide(self, case: Case) -> Iterator[Decided]:
        """Yield what is decided on each step, the claims of those before it counted.

        Raises ValidationFailed, NotFound and Conflict, with a sentence, for a request that no decision could be made
        on and for policies of the case that do not compile.
        """
        policies = self._policies(case.setting)
        play = _Play(case, policies)
        for step in case.steps:
            yield Decided(step, play.decide(step), policies)

    def run(self, case: Case) -> tuple[Result, tuple[Decided, ...]]:
        """Return how a case came out, up to its first step that failed, and what was decided on the way."""
        decided: list[Decided] = []
        try:
            for each in self.decide(case):
                decided.append(each)
                found = differences(each.step.expected, each.judgement)
                if found:
                    name = _named(case, each.step)
                    return Result(name, each.step.place, found, told(each.judgement)), tuple(decided)
        except (ValidationFailed, NotFound, Conflict) as error:
            step = case.steps[len(decided)]
            field = f"`{error.field}`: " if error.field and not isinstance(error, PolicyInvalid) else ""
            return Result(_named(case, step), step.place, fault=f"{field}{error.message}"), tuple(decided)
        return Result(case.name, case.place), tuple(decided)

    def _policies(self, setting: Setting) -> TenantPolicies:
        if self._last is not None and _same_policies(self._last[0], setting):
            return self._last[1]
        types = {each.identity_id: pascal_case(each.type) for each in setting.identities}
        records = [
            (self._record(each, setting, types), None if each.identity_id is None else types[each.identity_id])
            for each in setting.policies
        ]
        policies = compile_tenant(self._compiled, setting.tenant.tenant_id, records)
        self._last = setting, policies
        return policies

    def _record(self, written: WrittenPolicy, setting: Setting, types: dict[str, str]) -> PolicyRecord:
        cedar, requirements = written.cedar or "", {}
        if written.rules is not None:
            owner = written.identity_id or setting.tenant.root_identity_id
            principal, schema = (types[owner], owner), self._compiled.schema.model
            with inside(f"policies.{written.policy_id}"):
                clauses = compile_rules(written.rules, policy_id=written.policy_id, principal=principal, schema=schema)
            cedar = "\n\n".join(clause.text for clause in clauses) + "\n"
            requirements = {clause.id: clause.requirement or "" for clause in clauses if clause.key}
        return PolicyRecord(
            policy_id=written.policy_id,
            identity_id=written.identity_id,
            name=written.policy_id,
            rules=None if written.rules is None else "",
            cedar=cedar,
            requirements=requirements,
            created_at_us=0,
            revision=1,
        )


def _same_policies(one: Setting, other: Setting) -> bool:
    """Whether the policies of one case, compiled, serve another."""
    if one is other:
        return True
    if one.policies:  # they are compiled for the types of the identities that they hang on
        return (one.tenant, one.policies, one.identities) == (other.tenant, other.policies, other.identities)
    return not other.policies and one.tenant.tenant_id == other.tenant.tenant_id


def _named(case: Case, step: Step) -> str:
    return f"{case.name} / {step.name}" if step.name else case.name


class _Play:
    """One case: its tenant as the requests change it."""

    def __init__(self, case: Case, policies: TenantPolicies) -> None:
        setting = case.setting
        self._zone = zone(setting.tenant.time_zone)
        self._scene = Scene(setting.tenant)
        for values in (setting.identities, setting.cards, setting.budgets):
            for value in values:
                self._scene.put(value)
        self._counters = Counters()
        self._trial = Trial(self._scene, policies, self._counters)
        self._held: list[Reservation] = []
        budgets = {budget.budget_id: budget for budget in setting.budgets}
        for used in setting.used:
            self._use(budgets[used.budget_id], used, case.steps[0].now_us)

    def _use(self, budget: Budget, used: Used, now_us: int) -> None:
        window = window_at(budget.period, now_us if used.at_us is None else used.at_us, self._zone)
        moved = place(
            decision_id="",
            identity_id="",
            currency=budget.currency,
            asked={budget.dimension: 0},
            claims=[Claim(budget, window, 0)],
            now_us=now_us,
            ttl_seconds=1,
        )
        (claim,) = moved.reservation.claims
        self._counters.grant(Posting(claim, used.settled, used.held))

    def decide(self, step: Step) -> Judgement:
        """Decide one request and leave behind what a real decision would."""
        for at, reservation in enumerate(self._held):
            ended = expire(reservation, step.now_us)
            self._held[at] = ended.reservation
            for posting in ended.postings:
                self._counters.book(posting)
        judgement = self._trial.decide(step.request, step.now_us)
        if judgement.allowed:
            self._reserve(step, judgement)
        else:
            self._suspend(judgement)
        return judgement

    def _reserve(self, step: Step, judgement: Judgement) -> None:
        request, claims = step.request, [claim for claim, _ in judgement.findings.claimed]
        asked = dict(request.quantities)
        if request.amount_minor is not None:
            asked[AMOUNT] = request.amount_minor
        if any(claim.budget.dimension == COUNT for claim in claims):
            asked[COUNT] = 1
        placed = place(
            decision_id=f"step {len(self._held)}",
            identity_id=request.identity_id,
            currency=request.currency,
            asked=asked,
            claims=claims,
            now_us=step.now_us,
            ttl_seconds=request.ttl_seconds,
        )
        self._held.append(placed.reservation)
        for posting in placed.postings:
            self._counters.grant(posting)

    def _suspend(self, judgement: Judgement) -> None:
        """Suspend the acting identity where a budget that refused says so, as a real decision does."""
        refusing = {check.budget_id for check in judgement.findings.checks if not check.allowed}
        view = judgement.proposal.view
        suspends = any(each.on_exceeded == "suspend" for each in view.budgets if each.budget_id in refusing)
        if suspends and block_on(view.chain) is None:
            self._scene.put(msgspec.structs.replace(view.chain[0], status="suspended"))

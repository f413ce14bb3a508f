"""Budgets against a model that keeps every event in a list and adds them up again each time.

The machine drives the real services on a real store through any order of decisions, settlements, expiries, changes and
retries, over the changes of a clock and of daylight saving time. After every step the figures of every window are those
of the model (I1, I2), dry runs foretell decisions (I7), and nobody below a revoked identity is permitted (I6); at the
end the audit log is verified and the whole store is checked.
"""

import tempfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from sidecar.core.budget import OnExceeded, OnExpiry
from sidecar.core.errors import Conflict, IdempotencyConflict
from sidecar.core.idempotency import IdempotencyKey
from sidecar.core.model import AuthorizeRequest, Decision
from sidecar.core.money import Major, major_text
from sidecar.core.reservation import Reservation
from sidecar.core.windows import PERIODS, Period, window_at, zone
from sidecar.service.budget_changes import BudgetPatch
from sidecar.service.identities import IdentityPatch
from tests.service.builders import (
    DAY,
    HOUR,
    OPERATOR,
    SECOND,
    World,
    at,
    codes,
    key_for,
    limit,
    payment,
    tool_call,
)

ZONE = "America/Toronto"
STARTS = ("2026-03-07T22:30", "2026-10-31T22:30", "2026-12-31T23:59")
"""The evenings before the clock goes forward, before it goes back, and before a new year, month, week day and day."""

PARENTS = {"team": "root", "ann": "team", "bob": "team", "eve": "root", "sub": "ann"}
NAMES = ("root", *PARENTS)
HARD = ("deny", "suspend")


@dataclass
class Measured:
    """One dimension of a hold."""

    asked: int
    held: int
    settled: int = 0
    refunded: int = 0


@dataclass
class Portion:
    """What one hold has in one budget."""

    budget_id: str
    dimension: str
    settled: int
    held: int


@dataclass
class Hold:
    """One permit with something to count."""

    decision_id: str
    at_us: int
    expires_us: int
    currency: str | None
    measures: dict[str, Measured]
    portions: list[Portion]
    state: str
    ended: tuple[dict[str, int], dict[str, int]] | None = None

    def open(self) -> dict[str, Measured]:
        """Its dimensions that can be settled."""
        return {name: measure for name, measure in self.measures.items() if name != "count"}


@dataclass(kw_only=True)
class Plan:
    """A budget to be made."""

    owner: str
    dimension: str
    period: Period
    figure: int
    currency: str | None
    actions: tuple[str, ...]
    on_exceeded: OnExceeded
    on_expiry: OnExpiry


@dataclass(kw_only=True)
class Limit(Plan):
    """One budget. ``excused`` is, per window, what late settlements were flagged to have overdrawn."""

    budget_id: str
    changed_us: int
    used_at_change: int = 0
    deleted: bool = False
    excused: dict[int, int] = field(default_factory=dict)

    @property
    def hard(self) -> bool:
        """Whether it refuses."""
        return self.on_exceeded in HARD


@dataclass
class Expected:
    """What the model says of a request."""

    codes: list[str]
    checks: list[tuple[str, int, int, bool]]
    suspends: bool


def local(us: int) -> datetime:
    """The local time of an instant."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)).astimezone(ZoneInfo(ZONE))


def label(period: Period, us: int) -> object:
    """What two instants of one calendar window have in common."""
    moment = local(us)
    match period:
        case "hourly":
            return moment.date(), moment.hour, moment.utcoffset()
        case "daily":
            return moment.date()
        case "weekly":
            return moment.isocalendar()[:2]
        case "monthly":
            return moment.year, moment.month
        case "yearly":
            return moment.year
        case _:
            return "total"


def counts_at(period: Period, claimed_us: int, now_us: int) -> bool:
    """Whether a claim of one instant counts in the window of another."""
    if period == "per_transaction":
        return False
    if period == "rolling_24h":
        return now_us // SECOND - 86_400 < claimed_us // SECOND <= now_us // SECOND
    return label(period, claimed_us) == label(period, now_us)


class Model:
    """The obvious way: lists, filtered."""

    def __init__(self) -> None:
        """Begin with the tree and nothing else."""
        self.status = dict.fromkeys(NAMES, "active")
        self.limits: list[Limit] = []
        self.holds: dict[str, Hold] = {}

    def chain(self, name: str) -> list[str]:
        """From an identity up to the root."""
        found = [name]
        while found[-1] in PARENTS:
            found.append(PARENTS[found[-1]])
        return found

    def used(self, budget: Limit, now_us: int) -> tuple[int, int]:
        """Add up what counts now."""
        portions = [
            portion
            for hold in self.holds.values()
            for portion in hold.portions
            if portion.budget_id == budget.budget_id and counts_at(budget.period, hold.at_us, now_us)
        ]
        return sum(portion.settled for portion in portions), sum(portion.held for portion in portions)

    def governing(self, request: AuthorizeRequest) -> list[Limit]:
        """The budgets on the chain that govern the request, nearest first."""
        group = {"card.authorize": "spend", "tool.call": "use"}[request.action]
        return [
            budget
            for name in self.chain(request.identity_id)
            for budget in self.limits
            if budget.owner == name
            and not budget.deleted
            and (not budget.actions or {request.action, group} & {*budget.actions})
        ]

    def claims(self, request: AuthorizeRequest) -> list[tuple[Limit, int]]:
        """What is asked of which budget."""
        found = []
        for budget in self.governing(request):
            if budget.dimension == "count":
                found.append((budget, 1))
            elif budget.dimension == "amount":
                if request.amount_minor is not None and budget.currency == request.currency:
                    found.append((budget, request.amount_minor))
            elif budget.dimension in request.quantities:
                found.append((budget, request.quantities[budget.dimension]))
        return found

    def expect(self, request: AuthorizeRequest, now_us: int) -> Expected:
        """Decide."""
        chain = self.chain(request.identity_id)
        blocks = [
            f"identity_{kind}" for kind in ("revoked", "suspended") for name in chain if self.status[name] == kind
        ]
        if blocks:
            return Expected(blocks, [], suspends=False)
        denials = []
        for name in chain:
            own = [b for b in self.governing(request) if b.owner == name and b.dimension == "amount" and b.hard]
            if request.amount_minor is not None and own and all(b.currency != request.currency for b in own):
                denials.append("currency_not_budgeted")
        checks: list[tuple[str, int, int, bool]] = []
        exceeded: list[str] = []
        single: list[str] = []
        suspends = False
        for budget, asked in self.claims(request):
            settled, held = self.used(budget, now_us)
            allowed = not budget.hard or settled + held + asked <= budget.figure
            checks.append((budget.budget_id, settled, held, allowed))
            if not allowed:
                once = budget.period == "per_transaction"
                (single if once else exceeded).append("per_transaction_limit" if once else "budget_exceeded")
                suspends = suspends or budget.on_exceeded == "suspend"
        return Expected(denials + exceeded + single, checks, suspends)

    def permit(self, decision: Decision, request: AuthorizeRequest, now_us: int) -> None:
        """Note what a permit holds."""
        claims = self.claims(request)
        measures = {name: Measured(value, value) for name, value in request.quantities.items()}
        if request.amount_minor is not None:
            measures["amount"] = Measured(request.amount_minor, request.amount_minor)
        if any(budget.dimension == "count" for budget, _ in claims):
            measures["count"] = Measured(1, 0, 1)
        if not measures:
            return
        portions = [
            Portion(budget.budget_id, budget.dimension, asked, 0)
            if budget.dimension == "count"
            else Portion(budget.budget_id, budget.dimension, 0, asked)
            for budget, asked in claims
        ]
        state = "settled" if set(measures) == {"count"} else "held"
        expires_us = now_us + request.ttl_seconds * SECOND
        assert decision.decision_id is not None
        self.holds[decision.decision_id] = Hold(
            decision.decision_id, now_us, expires_us, request.currency, measures, portions, state
        )

    def settle(self, hold: Hold, wanted: dict[str, int] | None, *, final: bool) -> bool:
        """Settle; returns False where that is a conflict."""
        if hold.state == "settled":
            return self.repeats(hold, wanted, final=final)
        if hold.state == "released":
            return False
        late = hold.state == "expired"
        limits = {name: m.asked - m.settled if late else m.held for name, m in hold.open().items()}
        if wanted is not None and any(value > limits.get(name, 0) for name, value in wanted.items()):
            return False
        parts = limits if wanted is None else {**limits, **wanted} if final else wanted
        for name, part in parts.items():
            measure = hold.measures[name]
            measure.settled += part
            measure.held = 0 if final or late else measure.held - part
        if final:
            hold.state, hold.ended = "settled", (limits, dict(parts))
        self.follow(hold)
        return True

    def repeats(self, hold: Hold, wanted: dict[str, int] | None, *, final: bool) -> bool:
        """Whether a settlement says the same as the one before."""
        assert hold.ended is not None
        held, parts = hold.ended
        return final and {**held, **(wanted or {})} == parts

    def budget(self, budget_id: str) -> Limit:
        """The budget of this id, deleted or not."""
        return next(budget for budget in self.limits if budget.budget_id == budget_id)

    def follow(self, hold: Hold) -> None:
        """Each portion has what its dimension has; one that was settled in full at the expiry waits for the end."""
        for portion in hold.portions:
            if hold.state == "expired" and self.budget(portion.budget_id).on_expiry == "settle":
                continue
            measure = hold.measures[portion.dimension]
            portion.settled, portion.held = measure.settled - measure.refunded, measure.held

    def release(self, hold: Hold) -> bool:
        """Free all that is held; returns False where that is a conflict."""
        if hold.state in {"settled", "expired"}:
            return False
        if hold.state == "released":
            return True
        for measure in hold.measures.values():
            measure.held = 0
        hold.state = "released"
        self.follow(hold)
        return True

    def refund(self, hold: Hold, amount: int) -> bool:
        """Give back; returns False where that is a conflict."""
        measure = hold.measures["amount"]
        if hold.state != "settled" or amount > measure.settled - measure.refunded:
            return False
        measure.refunded += amount
        self.follow(hold)
        return True

    def expire(self, now_us: int) -> int:
        """End what is due; returns how many."""
        return sum(self.end_if_due(hold, now_us) for hold in self.holds.values())

    def end_if_due(self, hold: Hold, now_us: int) -> bool:
        """End a hold whose time has come."""
        if hold.state != "held" or hold.expires_us > now_us:
            return False
        hold.state = "expired"
        for measure in hold.measures.values():
            measure.held = 0
        for portion in hold.portions:
            portion.settled += portion.held if self.budget(portion.budget_id).on_expiry == "settle" else 0
            portion.held = 0
        return True

    def attempt(self, hold: Hold, now_us: int, change: Callable[[Hold], bool]) -> bool:
        """Change a hold, after it has ended where its time has come; of a conflict nothing is kept."""
        tried = deepcopy(hold)
        self.end_if_due(tried, now_us)
        if not change(tried):
            return False
        self.holds[hold.decision_id] = tried
        return True


PLANS = st.builds(
    Plan,
    owner=st.sampled_from(("root", "root", "team", "ann", "bob", "eve")),
    dimension=st.sampled_from(("amount", "amount", "amount", "count", "tokens")),
    period=st.sampled_from(PERIODS),
    figure=st.integers(0, 9_000),
    currency=st.sampled_from(("CAD", "CAD", "CAD", "CAD", "USD")),
    actions=st.sampled_from(((), (), ("spend",), ("tool.call",))),
    on_exceeded=st.sampled_from(("deny", "deny", "deny", *get_args(OnExceeded))),
    on_expiry=st.sampled_from(("release", *get_args(OnExpiry))),
)
NAME = st.sampled_from(("ann", "ann", "sub", "bob", *NAMES))
AMOUNT = st.integers(0, 4_000)
PAYMENTS = st.builds(
    payment, AMOUNT, st.sampled_from(("ann", "sub", "bob")), ttl_seconds=st.sampled_from((60, 604_800))
)
REQUESTS = st.one_of(
    st.builds(
        payment,
        AMOUNT,
        NAME,
        currency=st.sampled_from(("CAD", "CAD", "USD")),
        quantities=st.sampled_from(({}, {}, {"tokens": 5}, {"bytes": 900})),
        ttl_seconds=st.sampled_from((60, 60, 3_600, 90_000, 604_800)),
    ),
    st.builds(tool_call, NAME, quantities=st.sampled_from(({}, {"tokens": 7}))),
)


class Budgets(RuleBasedStateMachine):
    """The real thing and the model, side by side."""

    holds = Bundle("holds")
    keyed = Bundle("keyed")

    @initialize(start=st.sampled_from(STARTS), plans=st.lists(PLANS, min_size=2, max_size=6))
    def begin(self, start: str, plans: list[Plan]) -> None:
        """Make a tenant with a tree and some budgets."""
        self.folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self.folder.name), now_us=at(start, ZONE))
        self.world.tenant(time_zone=ZONE)
        for name, parent in PARENTS.items():
            self.world.identity(name, parent)
        self.model = Model()
        self.answers: dict[str, tuple[AuthorizeRequest, Decision, int]] = {}
        for plan in plans:
            self.add_budget(plan)

    def teardown(self) -> None:
        """Verify the log, check the store, and compare what is left."""
        if not hasattr(self, "world"):
            return
        report = self.world.auditor.verify(OPERATOR, "t_one", 0, None).report
        bodies = self.world.bodies()
        faults = self.world.faults()
        self.world.close()
        self.folder.cleanup()
        assert report.valid, report.first_invalid
        assert report.entries_checked == len(bodies)
        assert faults == []
        revoked = {str(body["identity"]): body["revision"] for body in bodies if body["type"] == "identity_revoked"}
        permits = [body for body in bodies if body["type"] == "decision" and body["verdict"] == "allow"]
        for body in permits:
            chain, revision = body["chain"], body["entity_revision"]
            assert isinstance(chain, list)
            assert isinstance(revision, int)
            for identity_id, _, _ in chain:
                assert revision < int(str(revoked.get(identity_id, 2**62)))

    # --- Time and what a tenant consists of ---------------------------------------------------------------------------

    @rule(
        seconds=st.sampled_from((0, 1, 59, 61, 599, 3_600, 20_000, 86_399, 86_400, 2_700_000)),
        edge=st.sampled_from((None, None, HOUR, DAY)),
        beyond=st.sampled_from((-1, 0)),
    )
    def tick(self, seconds: int, edge: int | None, beyond: int) -> None:
        """Let time pass; sometimes up to the last microsecond of a UTC hour or day, or to the first of the next."""
        self.world.now_us += seconds * SECOND
        if edge is not None:
            self.world.now_us = max(self.world.now_us, (self.world.now_us // edge + 1) * edge + beyond)

    @rule(plan=PLANS)
    def add_budget(self, plan: Plan) -> None:
        """Hang a budget on an identity."""
        counted = plan.dimension != "amount"
        figure = plan.figure // 250 if counted else plan.figure
        currency = None if counted else plan.currency
        draft = limit(
            str(figure) if currency is None else major_text(figure, currency),
            plan.owner,
            period=plan.period,
            dimension=plan.dimension,
            currency=currency,
            actions=plan.actions,
            on_exceeded=plan.on_exceeded,
            on_expiry=plan.on_expiry,
        )
        made = self.world.budget(draft).budget
        plan = replace(plan, figure=figure, currency=currency)
        self.model.limits.append(Limit(**vars(plan), budget_id=made.budget_id, changed_us=self.world.now_us))

    def living(self) -> list[Limit]:
        """The budgets that exist."""
        return [budget for budget in self.model.limits if not budget.deleted]

    @precondition(lambda self: self.living())
    @rule(
        data=st.data(),
        figure=st.one_of(st.none(), st.integers(0, 5_000)),
        on_exceeded=st.sampled_from((None, None, *get_args(OnExceeded))),
    )
    def change_budget(self, data: st.DataObject, figure: int | None, on_exceeded: OnExceeded | None) -> None:
        """Change a limit, also to just what is used or less, or what happens beyond it."""
        self.change(data.draw(st.sampled_from(self.living())), figure, on_exceeded)

    def change(self, budget: Limit, figure: int | None, on_exceeded: OnExceeded | None) -> None:
        """Change a budget; a ``figure`` of None is what is used."""
        if figure is None:
            figure = sum(self.model.used(budget, self.world.now_us))
        elif budget.currency is None:
            figure //= 250
        shown = major_text(figure, budget.currency) if budget.currency else str(figure)
        patch = BudgetPatch(Major(shown), None, on_exceeded, None)
        self.world.run(self.world.treasurer.change(OPERATOR, "t_one", budget.budget_id, patch, self.world.now_us))
        budget.figure, budget.on_exceeded = figure, on_exceeded or budget.on_exceeded
        budget.changed_us = self.world.now_us
        budget.used_at_change = sum(self.model.used(budget, self.world.now_us))
        budget.excused.clear()

    @precondition(lambda self: len(self.living()) > 3)
    @rule(data=st.data())
    def delete_budget(self, data: st.DataObject) -> None:
        """Delete a budget; what it holds is still settled and released."""
        budget = data.draw(st.sampled_from(self.living()))
        self.world.run(self.world.treasurer.delete(OPERATOR, "t_one", budget.budget_id, self.world.now_us))
        budget.deleted = True

    @rule(name=NAME, status=st.sampled_from(("active", "active", "active", "suspended", "revoked")))
    def change_status(self, name: str, status: str) -> None:
        """Suspend somebody, let them go on, or revoke them for good; the root and the team stay."""
        if status == "revoked":
            self.world.revoke("sub" if name in {"root", "team"} else name)
            self.model.status["sub" if name in {"root", "team"} else name] = status
            return
        patch = IdentityPatch(status="active" if status == "active" else "suspended")
        call = self.world.registry.change(OPERATOR, "t_one", name, patch, self.world.now_us)
        if self.model.status[name] == "revoked":
            with pytest.raises(Conflict):
                self.world.run(call)
        else:
            self.world.run(call)
            self.model.status[name] = status

    # --- Decisions ----------------------------------------------------------------------------------------------------

    @rule(target=holds, requests=st.lists(REQUESTS, min_size=1, max_size=4))
    def authorize(self, requests: list[AuthorizeRequest]) -> object:
        """Decide one after the other."""
        return multiple(*(held for request in requests if (held := self.decided(request, None)) is not None))

    @rule(target=holds, requests=st.lists(PAYMENTS, min_size=2, max_size=5))
    def spend(self, requests: list[AuthorizeRequest]) -> object:
        """Decide several payments of few identities, so that their budgets are used up."""
        return self.authorize(requests)

    @rule(target=keyed, request=REQUESTS, text=st.sampled_from(("k1", "k2", "k3")))
    def authorize_with_a_key(self, request: AuthorizeRequest, text: str) -> object:
        """Decide with a key that may have been used before, by this request or by another."""
        key = key_for(request, text)
        stored = self.answers.get(text)
        if stored is None or stored[2] + DAY <= self.world.now_us:
            self.decided(request, key)
        elif stored[0] != request:
            self.unchanged(request, key)
        else:
            self.retry((request, text))
        return (request, text)

    @precondition(lambda self: self.answers)
    @rule(again=keyed)
    def retry(self, again: tuple[AuthorizeRequest, str]) -> None:
        """Repeat a call: the same answer and no trace, unless the permit would not be given any more."""
        request, text = again
        key = key_for(request, text)
        stored = self.answers.get(text)
        if stored is None or stored[2] + DAY <= self.world.now_us:
            self.decided(request, key)
            return
        if stored[0] != request:
            self.unchanged(request, key)
            return
        before = len(self.world.bodies())
        answered = self.world.authorize(request, key)
        blocks = [
            kind for name in self.model.chain(request.identity_id) if (kind := self.model.status[name]) != "active"
        ]
        if stored[1].allowed and blocks:
            assert not answered.replayed
            assert not answered.decision.allowed
            assert len(self.world.bodies()) == before + 1
        else:
            assert answered.replayed
            assert answered.decision == stored[1]
            assert len(self.world.bodies()) == before

    def unchanged(self, request: AuthorizeRequest, key: IdempotencyKey) -> None:
        """A key with other content is refused and leaves no trace."""
        before = len(self.world.bodies())
        with pytest.raises(IdempotencyConflict):
            self.world.authorize(request, key)
        assert len(self.world.bodies()) == before

    def decided(self, request: AuthorizeRequest, key: IdempotencyKey | None) -> str | None:
        """Decide after a dry run that foretells it; returns the id of what is held."""
        now_us = self.world.now_us
        expected = self.model.expect(request, now_us)
        foretold = self.world.authorizer.rehearse(OPERATOR, "t_one", request, now_us).decision
        assert foretold == self.world.authorizer.rehearse(OPERATOR, "t_one", request, now_us).decision
        answered = self.world.authorize(request, key)
        decision = answered.decision
        assert not answered.replayed
        assert decision.allowed == (not expected.codes)
        assert codes(decision) == (expected.codes or ["permitted"])
        assert [(c.budget_id, c.settled, c.reserved, c.allowed) for c in decision.budget_checks] == expected.checks
        assert (foretold.allowed, foretold.reasons, foretold.budget_checks) == (
            decision.allowed,
            decision.reasons,
            decision.budget_checks,
        )
        if key is not None:
            self.answers[key.scope.rpartition("\n")[2]] = (request, decision, now_us)
        if expected.suspends:
            self.model.status[request.identity_id] = "suspended"
        if not decision.allowed:
            return None
        self.model.permit(decision, request, now_us)
        for budget, _ in self.model.claims(request):
            budget.excused.pop(self.window(budget, now_us), None)
        return decision.decision_id if decision.decision_id in self.model.holds else None

    def window(self, budget: Limit, us: int) -> int:
        """The start of a budget's window, -1 where it has none of its own."""
        window = window_at(budget.period, us, zone(ZONE))
        return -1 if window is None or budget.period == "rolling_24h" else window.start_us

    # --- Endings ------------------------------------------------------------------------------------------------------

    def attempt(self, hold: Hold, change: Callable[[Hold], bool]) -> bool:
        """Change a hold in the model."""
        return self.model.attempt(hold, self.world.now_us, change)

    @rule(decision_id=holds, share=st.sampled_from((None, None, 0, 30, 100, 101)), final=st.booleans())
    def settle(self, decision_id: str, share: int | None, final: bool) -> None:  # noqa: FBT001 -- drawn
        """Settle all, a part, or more than there is; while it is held, or late, or once more."""
        hold = self.model.holds[decision_id]
        if not hold.open():
            return
        wanted = None
        if share is not None:
            wanted = {name: m.asked * share // 100 + (share > 100) for name, m in hold.open().items()}
        late = hold.state == "expired" or (hold.state == "held" and hold.expires_us <= self.world.now_us)
        amount = None if wanted is None or "amount" not in wanted else wanted["amount"]
        shown = None if amount is None or hold.currency is None else major_text(amount, hold.currency)
        rest = {name: value for name, value in (wanted or {}).items() if name != "amount"}
        before = {portion.budget_id: portion.settled for portion in hold.portions}
        if not self.attempt(hold, lambda tried: self.model.settle(tried, wanted, final=final)):
            with pytest.raises(Conflict):
                self.world.settle(decision_id, shown, rest, final=final)
            return
        settled = self.world.settle(decision_id, shown, rest, final=final)
        hold = self.model.holds[decision_id]
        self.agree(hold, settled)
        if late:
            assert settled.late
            self.excuse(hold, before)

    def expired(self) -> list[str]:
        """The holds that can be settled late."""
        return [decision_id for decision_id, hold in self.model.holds.items() if hold.state == "expired"]

    @precondition(lambda self: self.expired())
    @rule(
        data=st.data(),
        share=st.sampled_from((None, None, 30)),
        final=st.booleans(),
        figure=st.sampled_from((False, None, 9_000)),
    )
    def settle_late(self, data: st.DataObject, share: int | None, final: bool, figure: int | bool | None) -> None:  # noqa: FBT001
        """Settle what has expired, since the money has moved; sometimes after a limit of it was changed meanwhile."""
        decision_id = data.draw(st.sampled_from(self.expired()))
        claimed = {portion.budget_id for portion in self.model.holds[decision_id].portions}
        touched = [budget for budget in self.living() if budget.budget_id in claimed]
        if touched and figure is not False:
            self.change(data.draw(st.sampled_from(touched)), figure, None)
        self.settle(decision_id, share, final)

    def excuse(self, hold: Hold, before: dict[str, int]) -> None:
        """Take from the log what a late settlement is said to have overdrawn, and believe it only where it is true."""
        overdrawn = self.world.bodies()[-1].get("overdrawn", [])
        assert isinstance(overdrawn, list)
        for portion in hold.portions:
            if portion.budget_id not in overdrawn:
                continue
            budget = self.model.budget(portion.budget_id)
            window = self.window(budget, hold.at_us)
            moved = portion.settled - before[portion.budget_id]
            budget.excused[window] = budget.excused.get(window, 0) + moved
            if counts_at(budget.period, hold.at_us, self.world.now_us) and not budget.deleted:
                assert budget.hard
                assert sum(self.model.used(budget, self.world.now_us)) > budget.figure

    @rule(decision_id=holds)
    def release(self, decision_id: str) -> None:
        """Release, also what has ended."""
        hold = self.model.holds[decision_id]
        if not hold.open():
            return
        if self.attempt(hold, self.model.release):
            self.agree(self.model.holds[decision_id], self.world.release(decision_id))
        else:
            with pytest.raises(Conflict):
                self.world.release(decision_id)

    @rule(decision_id=holds, amount=st.integers(1, 1_500))
    def refund(self, decision_id: str, amount: int) -> None:
        """Refund, also more than there is."""
        hold = self.model.holds[decision_id]
        if hold.currency is None:
            return
        shown = major_text(amount, hold.currency)
        if self.attempt(hold, lambda tried: self.model.refund(tried, amount)):
            self.agree(self.model.holds[decision_id], self.world.refund(decision_id, shown))
        else:
            with pytest.raises(Conflict):
                self.world.refund(decision_id, shown)

    @rule(decision_id=holds)
    def wait_for_expiry(self, decision_id: str) -> None:
        """Let time pass until a hold has ended, with all that end before."""
        self.world.now_us = max(self.world.now_us, self.model.holds[decision_id].expires_us)
        self.expire()

    @rule()
    def expire(self) -> None:
        """End what is due."""
        assert self.world.expire() == self.model.expire(self.world.now_us)

    def agree(self, hold: Hold, found: Reservation) -> None:
        """A reservation is what the model says."""
        assert found.state == hold.state
        figures = {name: (m.asked, m.held, m.settled, m.refunded) for name, m in found.measures.items()}
        assert figures == {name: (m.asked, m.held, m.settled, m.refunded) for name, m in hold.measures.items()}

    # --- What always holds --------------------------------------------------------------------------------------------

    @invariant()
    def figures_are_sums(self) -> None:
        """I1 and I2: every window counts what the list of events says, within its limit and what is excused."""
        if not hasattr(self, "world"):
            return
        with self.world.look() as part:
            for hold in self.model.holds.values():
                found = part.ledger.reservation(hold.decision_id)
                assert found is not None
                self.agree(hold, found)
                claimed = [(c.budget_id, c.settled, c.held) for c in found.claims]
                assert claimed == [(p.budget_id, p.settled, p.held) for p in hold.portions]
            for budget in self.living():
                stored = part.budgets.get(budget.budget_id)
                assert stored is not None
                instants = {self.world.now_us}
                if budget.period != "rolling_24h":
                    instants |= {hold.at_us for hold in self.model.holds.values()}
                for us in instants:
                    window = window_at(budget.period, us, zone(ZONE))
                    if window is not None:
                        usage = part.ledger.usage_in(stored, window)
                        assert (usage.settled, usage.held) == self.model.used(budget, us)
                self.within(budget)

    def within(self, budget: Limit) -> None:
        """``settled + held`` is at most the limit, what was used when that last changed, and what was flagged."""
        now_us = self.world.now_us
        if budget.hard:
            before = budget.used_at_change if counts_at(budget.period, budget.changed_us, now_us) else 0
            excused = budget.excused.get(self.window(budget, now_us), 0)
            assert sum(self.model.used(budget, now_us)) <= max(budget.figure, before) + excused


TestBudgets = Budgets.TestCase
TestBudgets.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)

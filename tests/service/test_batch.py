"""A batch is its requests one after the other, all of them or none, and nothing beyond the one that decides it."""

import asyncio
import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.core.access import Caller
from sidecar.core.errors import Conflict, IdempotencyConflict, NotFound, Unauthenticated, ValidationFailed
from sidecar.core.idempotency import IdempotencyKey, idempotency_key
from sidecar.core.model import AuthorizeRequest, Decision
from sidecar.core.policy_set import ParsedPolicies
from sidecar.core.rules import Rules
from sidecar.core.snapshot import CompiledFiles, PolicyRecord, Reading, TenantPolicies, compile_tenant
from sidecar.service import consult, snapshots
from sidecar.service.authorize import Authorizer
from sidecar.service.batch import SLICE, AnsweredBatch, BatchAuthorizer
from sidecar.service.identities import IdentityPatch
from sidecar.service.policies import PolicyDraft
from sidecar.service.ruling import Proposal
from sidecar.service.store import TenantTransaction, Transaction
from tests.service.builders import DAY, OPERATOR, World, codes, limit, payment, replaced, tool_call


def key(text: str = "k", content: bytes = b"{}") -> IdempotencyKey:
    """The idempotency key of a batch."""
    return idempotency_key("operator", "POST /v1/authorize/batch", text, content)


def verdicts(answered: AnsweredBatch) -> list[bool]:
    """What was decided."""
    return [each.decision.allowed for each in answered.answers]


def suspend(world: World, identity_id: str) -> None:
    """Suspend an identity."""
    world.run(world.registry.change(OPERATOR, "t_one", identity_id, IdentityPatch(status="suspended"), world.now_us))


# --- One after the other ----------------------------------------------------------------------------------------------


def test_each_item_sees_what_those_before_it_claimed(world: World) -> None:
    world.tenant()
    budget_id = world.budget(limit(25)).budget.budget_id
    answered = world.batch(payment("10"), payment("10"), payment("10"), payment("5"))
    assert verdicts(answered) == [True, True, False, True]
    assert codes(answered.answers[2].decision) == ["budget_exceeded"]
    assert [each.decision.budget_checks[0].reserved for each in answered.answers] == [0, 1_000, 2_000, 2_000]
    assert world.used(budget_id) == (0, 2_500)
    seqs = [each.decision.audit.seq for each in answered.answers if each.decision.audit is not None]
    assert seqs == list(range(seqs[0], seqs[0] + 4))


def test_an_item_that_suspends_its_identity_blocks_those_behind_it(world: World) -> None:
    world.tenant()
    world.identity("ann")
    world.budget(limit(5, "ann", on_exceeded="suspend"))
    answered = world.batch(payment("10", "ann"), payment("1", "ann"), payment("1"))
    assert [codes(each.decision) for each in answered.answers] == [
        ["budget_exceeded"],
        ["identity_suspended"],
        ["permitted"],
    ]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.sampled_from(["ann", "bob"]), st.integers(1, 12), st.booleans()), min_size=1, max_size=8),
    st.sampled_from(["deny", "suspend", "notify"]),
)
def test_a_batch_decides_as_the_same_requests_one_by_one(drawn: list[tuple[str, int, bool]], exceeded: str) -> None:
    requests = [
        payment(amount * 100, name) if pays else tool_call(name, quantities={"tokens": amount})
        for name, amount, pays in drawn
    ]
    outcomes = []
    for together in (True, False):
        with tempfile.TemporaryDirectory() as folder, World(Path(folder)) as world:
            world.tenant()
            for name in ("ann", "bob"):
                world.identity(name)
            budgets = [
                world.budget(limit(20)).budget.budget_id,
                world.budget(msgspec.structs.replace(limit(8, "ann"), on_exceeded=exceeded)).budget.budget_id,
                world.budget(limit(2, "bob", dimension="count", period="rolling_24h")).budget.budget_id,
                world.budget(limit(15, "bob", dimension="tokens", period="total")).budget.budget_id,
            ]
            if together:
                decisions = [answered.decision for answered in world.batch(*requests).answers]
            else:
                decisions = [world.decide(request) for request in requests]
            told = [(each.allowed, each.reasons, each.budget_checks, each.expires_at_us) for each in decisions]
            outcomes.append((told, [world.used(budget_id) for budget_id in budgets], world.kinds()))
            assert world.faults() == []
    assert outcomes[0] == outcomes[1]


# --- What ends a batch ------------------------------------------------------------------------------------------------


def test_the_first_denial_ends_a_batch_that_is_to_end_there(world: World) -> None:
    """What was permitted before it stays, what comes behind it has no effect."""
    world.tenant()
    budget_id = world.budget(limit(15)).budget.budget_id
    requests = (payment("10"), payment("10"), payment("5"))
    answered = world.batch(*requests, semantics="deny_on_first_deny")
    assert verdicts(answered) == [True, False]
    assert world.used(budget_id) == (0, 1_000)
    assert world.kinds().count("decision") == 2


def test_the_first_permit_ends_a_batch_that_is_to_end_there(world: World) -> None:
    world.tenant()
    budget_id = world.budget(limit(15)).budget.budget_id
    answered = world.batch(payment("20"), payment("15"), payment("1"), semantics="permit_on_first_permit")
    assert verdicts(answered) == [False, True]
    assert world.used(budget_id) == (0, 1_500)


# --- All or none ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "error", "field"),
    [
        (payment(identity_id="nobody"), NotFound, "requests[1].identity_id"),
        (replaced(payment(), context={"nope": 1}), ValidationFailed, "requests[1].context.nope"),
        (replaced(payment(), card_id="card_x"), NotFound, "requests[1].card_id"),
    ],
)
def test_one_item_that_does_not_fit_fails_them_all(
    world: World, bad: AuthorizeRequest, error: type[Exception], field: str
) -> None:
    """Also where it would have been left out."""
    world.tenant()
    before = world.bodies()
    with pytest.raises(error) as caught:
        world.batch(payment(), bad, semantics="permit_on_first_permit")
    assert getattr(caught.value, "field", None) == field
    assert world.bodies() == before


def test_an_item_that_fails_where_it_is_recorded_undoes_those_before_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.tenant()
    world.identity("ann")
    budget_id = world.budget(limit(100)).budget.budget_id
    world.budget(limit(100, "ann"))
    monkeypatch.setattr(consult, "BUDGETS_PER_CHAIN_MAX", 1)
    before = world.bodies()
    with pytest.raises(Conflict) as caught:
        world.batch(payment(), payment(identity_id="ann"))
    assert caught.value.field == "requests[1]"
    assert world.bodies() == before
    assert world.used(budget_id) == (0, 0)


def test_an_agent_reaches_only_its_own_in_a_batch(world: World) -> None:
    world.tenant()
    world.identity("ann")
    ann = world.token("ann")
    assert verdicts(world.batch(payment(identity_id="ann"), caller=ann)) == [True]
    with pytest.raises(NotFound) as caught:
        world.batch(payment(identity_id="ann"), payment(), caller=ann)
    assert caught.value.field == "requests[1].identity_id"


# --- What changes before the commit -----------------------------------------------------------------------------------


def test_a_batch_is_ruled_on_again_when_policies_change_before_it_is_recorded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are compiled once more, not once for each item."""
    world.tenant()
    world.identity("ann")
    compiled: list[str] = []

    def counted(
        files: CompiledFiles,
        tenant_id: str,
        records: Iterable[tuple[PolicyRecord, str | None]],
        before: TenantPolicies | None,
        parsed: ParsedPolicies,
        read: Reading,
    ) -> TenantPolicies:
        compiled.append(tenant_id)
        return compile_tenant(files, tenant_id, records, before, parsed, read)

    draft = PolicyDraft("narrow", None, Rules(currencies=("USD",)), "{}", None)
    world.batch(payment())
    monkeypatch.setattr(snapshots, "compile_tenant", counted)
    batch = world.batch_of(payment(), payment(identity_id="ann"), payment(), payment(currency="USD"))
    _, answered = world.together(
        world.legislator.create(OPERATOR, "t_one", draft, world.now_us), world.batches.authorize(batch, None)
    )
    assert isinstance(answered, AnsweredBatch)
    assert verdicts(answered) == [False, False, False, True]
    assert len(compiled) == 1


@pytest.mark.parametrize("is_rehearsed", [False, True])
def test_other_work_goes_on_while_a_batch_is_ruled_on(world: World, is_rehearsed: bool) -> None:  # noqa: FBT001
    """Here it suspends who asks, and every item is decided on that."""
    world.tenant()
    ruled = 0

    class Counting(Authorizer):
        """Counts rulings."""

        def propose(
            self, txn: Transaction, part: TenantTransaction, caller: Caller, request: AuthorizeRequest, now_us: int
        ) -> Proposal:
            nonlocal ruled
            ruled += 1
            return super().propose(txn, part, caller, request, now_us)

    batches = BatchAuthorizer(world.store, Counting(world.store, world.snapshots, world.ids))
    batch = world.batch_of(*(payment("1") for _ in range(SLICE * 2 + 1)))
    turns = []

    async def beside() -> None:
        while ruled < len(batch.items):
            turns.append(ruled)
            if len(turns) == 2:
                await world.registry.change(OPERATOR, "t_one", "root", IdentityPatch(status="suspended"), world.now_us)
            await asyncio.sleep(0)

    async def both() -> AnsweredBatch:
        going = asyncio.ensure_future(batches.rehearse(batch) if is_rehearsed else batches.authorize(batch, None))
        await beside()
        return await going

    answered = world.run(both())
    assert turns == [0, SLICE]
    assert verdicts(answered) == [False] * len(batch.items)


def test_a_token_deleted_before_the_commit_decides_no_batch(world: World) -> None:
    world.tenant()
    minted = world.minted(None)
    caller = world.desk.authenticate(minted.text, world.now_us)
    _, answered = world.together(
        world.desk.revoke(OPERATOR, "t_one", minted.token.token_id, world.now_us),
        world.batches.authorize(world.batch_of(payment(), caller=caller), None),
    )
    assert isinstance(answered, Unauthenticated)


# --- The same batch again ---------------------------------------------------------------------------------------------


def test_a_batch_with_the_same_key_is_answered_from_the_store(world: World) -> None:
    world.tenant()
    budget_id = world.budget(limit(15)).budget.budget_id
    requests = (payment("10"), payment("10"), payment("1"))
    first = world.batch(*requests, semantics="deny_on_first_deny", key=key())
    before = world.bodies()
    again = world.batch(*requests, semantics="deny_on_first_deny", key=key())
    assert (first.replayed, again.replayed) == (False, True)
    assert [each.decision for each in again.answers] == [each.decision for each in first.answers]
    assert world.bodies() == before
    assert world.used(budget_id) == (0, 1_000)
    with pytest.raises(IdempotencyConflict):
        world.batch(payment("1"), key=key(content=b"other"))
    world.now_us += DAY
    assert not world.batch(*requests, key=key()).replayed


def test_the_same_batch_twice_at_once_is_decided_once(world: World) -> None:
    world.tenant()
    batch = world.batch_of(payment(), payment())
    results = world.together(*(world.batches.authorize(batch, key()) for _ in range(2)))
    first, again = results
    assert isinstance(first, AnsweredBatch)
    assert isinstance(again, AnsweredBatch)
    assert (first.replayed, again.replayed) == (False, True)
    assert world.kinds().count("decision") == 2


def test_a_stored_permit_whose_chain_is_blocked_since_is_a_new_denial(world: World) -> None:
    """The others are answered as they are stored, and the reservations stay."""
    world.tenant()
    for name in ("ann", "bob"):
        world.identity(name)
    budget_id = world.budget(limit(20)).budget.budget_id
    requests = (payment(identity_id="ann"), payment(identity_id="bob"), payment(identity_id="ann"))
    first = world.batch(*requests, key=key())
    assert verdicts(first) == [True, True, False]
    suspend(world, "ann")
    again = world.batch(*requests, key=key())
    assert [codes(each.decision) for each in again.answers] == [
        ["identity_suspended"],
        ["permitted"],
        ["budget_exceeded"],
    ]
    assert ([each.replayed for each in again.answers], again.replayed) == ([False, True, True], False)
    old, new = first.answers[0].decision, again.answers[0].decision
    assert world.bodies()[-1]["replay_of"] == old.decision_id
    assert world.bodies()[-1]["decision"] == new.decision_id
    assert world.used(budget_id) == (0, 2_000)


def test_a_replay_needs_a_token_that_lives(world: World) -> None:
    world.tenant()
    minted = world.minted(None)
    caller = world.desk.authenticate(minted.text, world.now_us)
    world.batch(payment(), key=key(), caller=caller)
    world.run(world.desk.revoke(OPERATOR, "t_one", minted.token.token_id, world.now_us))
    with pytest.raises(Unauthenticated):
        world.batch(payment(), key=key(), caller=caller)


# --- Dry runs ---------------------------------------------------------------------------------------------------------


def test_a_dry_run_of_a_batch_foretells_it_and_changes_nothing(world: World) -> None:
    """An item sees what those before it would claim, and whom they would suspend."""
    world.tenant()
    world.identity("ann")
    budget_id = world.budget(limit(15)).budget.budget_id
    world.budget(limit(5, "ann", on_exceeded="suspend"))
    requests = (payment("10"), payment("10"), payment("5.01", "ann"), payment("1", "ann"))
    before = world.bodies()
    foretold = world.run(world.batches.rehearse(world.batch_of(*requests)))
    assert world.bodies() == before
    assert world.used(budget_id) == (0, 0)
    assert world.registry.get(OPERATOR, "t_one", "ann").identity.status == "active"
    for each in foretold.answers:
        shown = each.decision
        assert (shown.dry_run, shown.decision_id, shown.audit, shown.expires_at_us) == (True, None, None, None)
        assert (shown.reserved_minor, shown.reserved_quantities) == (None, {})
    decided = world.batch(*requests)

    def told(answered: AnsweredBatch) -> list[tuple[object, ...]]:
        decisions: list[Decision] = [each.decision for each in answered.answers]
        return [(each.allowed, each.reasons, each.budget_checks) for each in decisions]

    assert told(foretold) == told(decided)
    assert verdicts(decided) == [True, False, False, False]


def test_a_dry_run_of_a_batch_that_does_not_fit_says_so(world: World) -> None:
    world.tenant()
    with pytest.raises(NotFound) as caught:
        world.run(world.batches.rehearse(world.batch_of(payment(), payment(identity_id="nobody"))))
    assert caught.value.field == "requests[1].identity_id"


def test_a_dry_run_of_a_batch_makes_what_is_committed_beside_it_run_once(world: World) -> None:
    world.tenant()
    world.budget(limit(15))
    runs: list[int] = []

    def neighbour(txn: Transaction) -> int:
        runs.append(1)
        return len(list(txn.tenants.after(0)))

    rehearsal = world.batches.rehearse(world.batch_of(payment("10"), payment("10")))
    before, (answered, after) = world.bodies(), world.together(rehearsal, world.store.write(neighbour))
    assert isinstance(answered, AnsweredBatch)
    assert (verdicts(answered), after, runs) == ([True, False], 1, [1])
    assert world.bodies() == before

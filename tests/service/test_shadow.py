"""Decisions compared with shadow policies: what differs, what is counted, and that no answer ever feels any of it."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sidecar.core.errors import Forbidden, Unavailable
from sidecar.core.model import AuthorizeRequest, Decision, Json
from sidecar.core.shadow import Difference, Direction, NamedPolicy, Tally
from sidecar.core.snapshot import PolicyFiles, SourceFile, compile_tenant
from sidecar.service import shadow as shadow_module
from sidecar.service import shadow_policies
from sidecar.service.authorize import Authorizer
from sidecar.service.batch import BatchAuthorizer
from sidecar.service.differences import Comparison, Comparisons
from sidecar.service.identities import IdentityPatch
from sidecar.service.paging import PageRequest
from sidecar.service.shadow import PAUSE_SECONDS, QUEUE_MAX, REST, WRITE_SECONDS, WRITTEN_MAX, Pulse, Shadow
from tests.service.builders import OPERATOR, World, key_for, limit, only_schemas, payment, tool_call
from tests.service.following import Follower

NOTHING = only_schemas()
NO_PAYMENTS = '@id("no-payments") forbid (principal, action in Action::"spend", resource);'
NO_TOOLS = '@id("no-tools") forbid (principal, action == Action::"tool.call", resource);'
NO_SHELL = '@id("no-shell") forbid (principal, action == Action::"tool.call", resource == Tool::"shell");'
FAILS = '@id("fails") forbid (principal, action in Action::"spend", resource) when { context.amount * 9223372036854775807 > 0 };'  # noqa: E501
TRUSTS_BOB = '@id("trusts") forbid (principal, action, resource) when { Agent::"bob".hasTag("off") };'


class SlowClock:
    """Time that passes by resting, and by ``work`` at each look; ``rests`` are those longer than a pause."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.now = 0.0
        self.work = 0.0
        self.rests: list[float] = []

    def __call__(self) -> float:
        """Look at the clock."""
        self.now += self.work
        return self.now

    async def rest(self, seconds: float) -> None:
        """Let time pass, and the others have a turn."""
        self.now += seconds
        if seconds != PAUSE_SECONDS:
            self.rests.append(seconds)
        await asyncio.sleep(0)


class Theatre:
    """A world whose decisions are compared; ``counted`` and ``failures`` are what the observer was told."""

    def __init__(self, world: World) -> None:
        """Compare with nothing yet."""
        self.world = world
        self.clock = SlowClock()
        self.counted = Tally()
        self.failures: list[str] = []
        self._heard = asyncio.Event()
        world.tenant()
        self.begin()

    def begin(self) -> None:
        """Begin anew, as another process would."""
        world = self.world
        self.shadow = Shadow(world.store, world.snapshots, self, Pulse(self.clock, self.clock.rest))
        world.authorizer = Authorizer(world.store, world.snapshots, world.ids, witness=self.shadow)
        world.batches = BatchAuthorizer(world.store, world.authorizer)

    def shadowed(self, tally: Tally) -> None:
        """Count."""
        self.counted += tally
        self._heard.set()

    async def hear_of(self, decisions: int) -> None:
        """Wait until that many were counted."""
        while self.counted.all < decisions:
            self._heard.clear()
            await self._heard.wait()

    def shadow_failed(self, error: Exception) -> None:
        """Note."""
        self.failures.append(str(error))

    def load(self, files: PolicyFiles | None) -> None:
        """Make these the shadow files."""
        if files is None:
            self.world.write(lambda txn: txn.shadow_files.forget())
        else:
            self.world.write(lambda txn: txn.shadow_files.keep(files, "passed"))

    def decide(self, request: AuthorizeRequest) -> Decision:
        """Decide and compare."""
        decision = self.world.decide(request)
        self.finish()
        return decision

    def finish(self) -> None:
        """Compare all that waits."""
        self.world.run(self.shadow.finish())

    def seen(self, direction: Direction | None = None) -> Comparison:
        """What is shown of it."""
        return Comparisons(self.world.store).listed(OPERATOR, "t_one", direction, PageRequest(0, 200))

    @property
    def tally(self) -> Tally:
        """What is stored."""
        return self.seen().tally

    @property
    def only(self) -> Difference:
        """The only difference."""
        (found,) = self.seen().page.values
        return found


@pytest.fixture
def theatre(tmp_path: Path) -> Iterator[Theatre]:
    """A world without policy files."""
    with World(tmp_path, files=NOTHING) as world:
        yield Theatre(world)
        assert world.faults() == []


# --- What differs -----------------------------------------------------------------------------------------------------


def test_a_permit_that_the_shadow_denies_is_shown_with_both_sides(theatre: Theatre) -> None:
    theatre.load(only_schemas(NO_PAYMENTS))
    decision = theatre.decide(payment("12.50"))
    assert decision.allowed
    found = theatre.only
    assert (found.decision_id, found.at_us) == (decision.decision_id, decision.evaluated_at_us)
    assert decision.audit is not None
    assert found.seq == decision.audit.seq
    assert (found.amount_minor, found.currency, found.resource.id) == (1250, "CAD", "AWS")
    assert (found.live.allowed, found.live.codes) == (True, ("permitted",))
    assert (found.shadow.allowed, found.shadow.codes) == (False, ("forbidden",))
    assert found.shadow.policies == (NamedPolicy("no-payments", "policies/extra0.cedar:1"),)
    assert found.policy_revision == decision.policy_revision
    assert found.shadow_revision == theatre.seen().shadow_revision
    assert theatre.tally.allow_to_deny.amounts == {"CAD": 1250}
    assert theatre.counted == theatre.tally


def test_a_denial_for_the_age_of_the_data_is_no_policys(theatre: Theatre) -> None:
    """No policies would have permitted it, not even where those in force forbid it as well."""
    world = theatre.world
    world.load(only_schemas(NO_PAYMENTS))
    theatre.load(NOTHING)
    follower = Follower(world, witness=theatre.shadow)
    theatre.decide(payment("12.50"))
    assert theatre.tally == Tally(same=1)
    follower.hear()
    theatre.decide(payment("12.50"))
    assert theatre.only.live.codes == ("forbidden",)


def test_a_denial_that_the_shadow_permits_is_one_as_well(theatre: Theatre) -> None:
    theatre.world.load(only_schemas(NO_PAYMENTS, NO_TOOLS))
    theatre.load(NOTHING)
    theatre.decide(payment("12.50"))
    theatre.decide(tool_call())
    paid, called = theatre.seen("deny_to_allow").page.values
    assert (paid.live.codes, paid.shadow.codes) == (("forbidden",), ("permitted",))
    assert called.amount_minor is None
    assert theatre.tally.deny_to_allow.count == 2
    assert theatre.tally.deny_to_allow.amounts == {"CAD": 1250}
    assert theatre.seen("allow_to_deny").page.values == ()


def test_what_budgets_do_not_cover_the_shadow_does_not_allow(theatre: Theatre) -> None:
    """They are asked what they have left, and nothing is claimed."""
    theatre.world.load(only_schemas(NO_PAYMENTS))
    budget = theatre.world.budget(limit("10.00")).budget.budget_id
    theatre.load(NOTHING)
    theatre.decide(payment("10.01"))
    assert theatre.tally == Tally(same=1)
    theatre.decide(payment("10.00"))
    assert theatre.tally.deny_to_allow.count == 1
    assert theatre.world.used(budget) == (0, 0)


def test_a_denial_by_a_budget_is_one_whatever_the_shadow_policies_say(theatre: Theatre) -> None:
    """The same verdict for other reasons is no difference."""
    theatre.world.budget(limit("10.00"))
    for files in (NOTHING, only_schemas(NO_PAYMENTS)):
        theatre.load(files)
        assert not theatre.decide(payment("10.01")).allowed
        assert theatre.tally == Tally(same=1)


def test_policies_made_by_the_api_hold_in_both(theatre: Theatre) -> None:
    theatre.load(NOTHING)
    theatre.decide(tool_call())
    theatre.world.cedar(NO_SHELL)
    theatre.decide(tool_call(tool="shell"))
    theatre.decide(tool_call())
    assert theatre.tally == Tally(same=3)


def test_a_shadow_policy_that_fails_denies(theatre: Theatre) -> None:
    theatre.load(only_schemas(FAILS))
    theatre.decide(payment())
    assert theatre.only.shadow.codes == ("policy_error",)


@pytest.mark.parametrize(("identity_id", "action"), [("bot", "card.authorize"), ("root", "card.unknown")])
def test_where_no_policies_were_asked_nothing_differs(theatre: Theatre, identity_id: str, action: str) -> None:
    """A revoked identity and an action that nobody knows are denied under any policies."""
    theatre.world.identity("bot")
    theatre.load(NOTHING)
    theatre.world.revoke("bot")
    request = msgspec.structs.replace(payment(identity_id=identity_id), action=action)
    assert not theatre.decide(request).allowed
    assert theatre.tally == Tally(same=1)


def test_files_of_one_tenant_are_compared_with_that_tenants_decisions_only(theatre: Theatre) -> None:
    theatre.world.tenant("t_two")
    own = {"t_two": (SourceFile("shadow/t_two/a.cedar", NO_PAYMENTS),)}
    theatre.load(msgspec.structs.replace(NOTHING, by_tenant=own))
    theatre.decide(payment())
    theatre.world.authorize(payment(), tenant_id="t_two")
    theatre.finish()
    assert theatre.tally == Tally(same=1)
    other = Comparisons(theatre.world.store).listed(OPERATOR, "t_two", None, PageRequest())
    assert other.tally.allow_to_deny.count == 1


def test_an_identity_that_only_the_shadow_looks_into_is_read_for_it(theatre: Theatre) -> None:
    theatre.world.identity("bob", metadata={"off": "yes"})
    by_tenant = {"t_one": (SourceFile("shadow/t_one/a.cedar", TRUSTS_BOB),)}
    theatre.load(msgspec.structs.replace(NOTHING, by_tenant=by_tenant))
    theatre.decide(tool_call())
    assert theatre.tally.allow_to_deny.count == 1


def test_an_identity_that_the_decision_saw_is_as_it_was_then(theatre: Theatre) -> None:
    """Both sets look into it; it has changed when the comparison is made."""
    metadata: dict[str, Json] = {"off": "yes"}
    theatre.world.identity("bob", metadata=metadata)
    files = msgspec.structs.replace(NOTHING, by_tenant={"t_one": (SourceFile("policies/t_one/a.cedar", TRUSTS_BOB),)})
    theatre.world.load(files)
    theatre.load(files)
    assert not theatre.world.decide(tool_call()).allowed
    world, patch = theatre.world, IdentityPatch(metadata={})
    world.run(world.registry.change(OPERATOR, "t_one", "bob", patch, world.now_us))
    theatre.finish()
    assert theatre.tally == Tally(same=1)


def test_what_is_made_of_a_chain_serves_until_chain_or_policies_change(theatre: Theatre) -> None:
    """A new budget makes a new view of the same chain; other shadow files make another asker."""
    theatre.load(only_schemas(NO_SHELL))
    theatre.decide(tool_call())
    theatre.decide(tool_call())
    theatre.world.budget(limit("10.00"))
    theatre.decide(tool_call())
    theatre.world.identity("new", "root")
    theatre.decide(tool_call())
    assert theatre.tally == Tally(same=4)
    theatre.load(only_schemas(NO_TOOLS))
    theatre.decide(tool_call())
    assert theatre.tally.allow_to_deny.count == 1
    theatre.world.cedar(NO_SHELL)
    theatre.decide(tool_call())
    assert theatre.tally.allow_to_deny.count == 2


# --- What counts ------------------------------------------------------------------------------------------------------


def test_each_decision_of_a_batch_counts(theatre: Theatre) -> None:
    theatre.load(only_schemas(NO_PAYMENTS))
    theatre.world.batch(payment("1.00"), tool_call(), payment("2.00"))
    theatre.finish()
    assert (theatre.tally.allow_to_deny.count, theatre.tally.same) == (2, 1)
    assert theatre.tally.allow_to_deny.amounts == {"CAD": 300}


def test_dry_runs_and_replays_do_not_count(theatre: Theatre) -> None:
    theatre.load(only_schemas(NO_PAYMENTS))
    world, request = theatre.world, payment()
    for _ in range(3):
        world.authorize(request, key_for(request))
        world.batch(request, key=key_for(request, "k2"))
    world.authorizer.rehearse(OPERATOR, "t_one", request, world.now_us)
    world.run(world.batches.rehearse(world.batch_of(request)))
    theatre.finish()
    assert theatre.tally.evaluated == 2


def test_pages_go_on_where_the_last_one_ended(theatre: Theatre) -> None:
    theatre.load(only_schemas(NO_PAYMENTS))
    for minor in range(1, 6):
        theatre.decide(payment(minor))
    found, after = [], 0
    reader = Comparisons(theatre.world.store)
    for _ in range(3):
        page = reader.listed(OPERATOR, "t_one", "allow_to_deny", PageRequest(after, 2)).page
        found += [each.amount_minor for each in page.values]
        after = page.next_after or 0
    assert found == [1, 2, 3, 4, 5]
    assert after == 0


def test_an_agent_sees_none_of_it(theatre: Theatre) -> None:
    theatre.world.identity("bot")
    with pytest.raises(Forbidden):
        Comparisons(theatre.world.store).listed(theatre.world.token("bot"), None, None, PageRequest())


def test_sums_are_exact_beyond_64_bits(theatre: Theatre) -> None:
    theatre.load(only_schemas(NO_PAYMENTS))
    theatre.decide(payment(1))
    huge = Tally(allow_to_deny=msgspec.structs.replace(theatre.tally.allow_to_deny, amounts={"CAD": 10**30}))
    with theatre.world.look() as part:
        tenant = part.tenant
    theatre.world.write(lambda txn: txn.of(tenant).shadows.keep_tally(huge))
    assert theatre.tally == huge


# --- Which files ------------------------------------------------------------------------------------------------------


def test_without_shadow_files_nothing_is_compared(theatre: Theatre) -> None:
    theatre.decide(payment())
    assert theatre.seen() == Comparison(None, Tally(), theatre.seen().page)
    assert (theatre.counted, theatre.failures) == (Tally(), [])


def test_other_files_begin_at_zero_and_the_same_go_on(theatre: Theatre) -> None:
    theatre.load(only_schemas(NO_PAYMENTS))
    theatre.decide(payment())
    theatre.begin()
    theatre.load(only_schemas(NO_PAYMENTS))
    theatre.decide(payment())
    assert theatre.tally.allow_to_deny.count == 2
    theatre.load(only_schemas(NO_TOOLS))
    assert theatre.seen().page.values == ()
    theatre.decide(payment())
    assert theatre.tally == Tally(same=1)
    theatre.load(None)
    assert theatre.seen().shadow_revision is None
    assert theatre.tally == Tally()


def test_what_was_found_with_files_that_hold_no_more_is_not_written(theatre: Theatre) -> None:
    """Neither where they were replaced before the next comparison nor where they were right before the write."""
    theatre.load(only_schemas(NO_PAYMENTS))
    compare = theatre.shadow._compare  # noqa: SLF001 -- comparing without writing

    def compared() -> None:
        theatre.world.decide(payment())
        theatre.world.run(compare(theatre.shadow._queue.popleft()))  # noqa: SLF001

    compared()
    theatre.load(only_schemas(NO_TOOLS))
    theatre.decide(payment())
    assert theatre.tally == Tally(same=1)
    compared()
    theatre.load(NOTHING)
    theatre.finish()
    assert theatre.tally == Tally()
    compared()
    theatre.load(None)
    theatre.finish()
    theatre.load(NOTHING)
    theatre.decide(payment())
    assert theatre.tally == Tally(same=1)


def test_files_that_are_gone_when_they_are_read_are_none(theatre: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    theatre.load(NOTHING)
    theatre.world.decide(payment())
    compile_files = shadow_policies.ShadowPolicies._read  # noqa: SLF001 -- right before it reads

    async def gone(read: object, live: object) -> object:
        assert read
        environment = theatre.world.environment
        txn = environment.begin_write()
        for key in (b"shadow_files", b"shadow_files_digest"):
            txn.delete(key, db=environment.tables["meta"])
        txn.commit()
        return compile_files(theatre.shadow._policies, live)  # type: ignore[arg-type]  # noqa: SLF001

    monkeypatch.setattr(asyncio, "to_thread", gone)
    theatre.finish()
    assert (theatre.tally, theatre.failures) == (Tally(), [])


def test_a_schema_that_was_replaced_meanwhile_makes_a_comparison_impossible(theatre: Theatre) -> None:
    theatre.load(NOTHING)
    theatre.world.decide(payment())
    (schema,) = NOTHING.schemas
    grown = SourceFile(schema.path, schema.text + "\nentity Printer;\n")
    files = msgspec.structs.replace(NOTHING, schemas=(grown,))
    theatre.world.load(files)
    theatre.load(files)
    theatre.finish()
    assert theatre.tally == Tally(errors=1)
    theatre.decide(payment())
    assert theatre.tally == Tally(errors=1, same=1)


# --- Nobody feels it --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["compile_files", "compile_tenant", "ask"])
def test_a_comparison_that_fails_changes_no_answer(
    theatre: Theatre, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Wherever it fails: the permit stands, holds its budget, and counts as one that could not be compared."""

    def broken(*_args: object) -> None:
        raise RuntimeError("broken")

    budget = theatre.world.budget(limit("10.00")).budget.budget_id
    theatre.load(NOTHING)
    monkeypatch.setattr(shadow_policies, place, broken)
    assert theatre.decide(payment("4.00")).allowed
    assert theatre.world.used(budget) == (0, 400)
    assert (theatre.tally, theatre.failures) == (Tally(errors=1), ["broken"])
    monkeypatch.undo()
    theatre.decide(payment("4.00"))
    assert theatre.tally == Tally(same=1, errors=1)


def test_a_comparison_that_takes_long_keeps_no_answer_waiting(
    theatre: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decisions are answered while the shadow files are still being compiled."""
    may_go_on, compiling = threading.Event(), threading.Event()

    def slow(*args: object) -> object:
        compiling.set()
        assert may_go_on.wait(20)
        return compile_tenant(*args)  # type: ignore[arg-type]

    theatre.load(only_schemas(NO_PAYMENTS))
    monkeypatch.setattr(shadow_policies, "compile_tenant", slow)
    world = theatre.world

    async def course() -> list[bool]:
        task = asyncio.create_task(theatre.shadow.run())
        answers = []
        for _ in range(5):
            answered = await world.authorizer.authorize(OPERATOR, "t_one", payment("1.00"), None, world.now_us)
            answers.append(answered.decision.allowed)
            assert await asyncio.to_thread(compiling.wait, 20)
        assert theatre.counted == Tally()
        may_go_on.set()
        await theatre.hear_of(5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return answers

    assert world.run(course()) == [True] * 5
    assert theatre.tally.allow_to_deny.count == 5


def test_what_does_not_fit_into_the_queue_is_dropped_and_counted(
    theatre: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert QUEUE_MAX > 2
    monkeypatch.setattr(shadow_module, "QUEUE_MAX", 2)
    theatre.load(NOTHING)
    for _ in range(5):
        assert theatre.world.decide(payment()).allowed
    theatre.finish()
    assert theatre.tally == Tally(same=2, dropped=3)


def test_what_cannot_be_written_counts_as_dropped(theatre: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    theatre.load(only_schemas(NO_PAYMENTS))
    theatre.world.decide(payment())
    theatre.world.decide(tool_call())

    def full() -> None:
        raise Unavailable("no room")

    monkeypatch.setattr(theatre.world.store, "require_room", full)
    theatre.finish()
    assert (theatre.tally, theatre.counted, theatre.failures) == (Tally(), Tally(), ["no room"])
    monkeypatch.undo()
    theatre.finish()
    assert theatre.tally == theatre.counted == Tally(dropped=2)


# --- When it works ----------------------------------------------------------------------------------------------------


def run_until(theatre: Theatre, evaluated: int) -> None:
    """Let the task run until that much was written, then cancel it."""

    async def course() -> None:
        task = asyncio.create_task(theatre.shadow.run())
        await theatre.hear_of(evaluated)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    theatre.world.run(course())


def test_without_shadow_files_the_task_empties_the_queue_and_goes_on(theatre: Theatre) -> None:
    async def course() -> None:
        task = asyncio.create_task(theatre.shadow.run())
        for _ in range(1_000):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    theatre.world.decide(payment(1))
    theatre.world.run(course())
    assert (theatre.counted, theatre.failures) == (Tally(), [])
    theatre.load(NOTHING)
    theatre.decide(payment(1))
    assert theatre.tally == Tally(same=1)


def test_what_was_found_is_written_together_after_a_while(theatre: Theatre) -> None:
    theatre.load(only_schemas(NO_PAYMENTS))
    for _ in range(10):
        theatre.world.decide(payment(1))
    run_until(theatre, 10)
    assert theatre.tally.allow_to_deny.count == 10
    assert theatre.clock.now >= WRITE_SECONDS
    assert theatre.clock.rests == []


def test_many_differences_are_written_sooner_and_some_at_a_time(
    theatre: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert WRITTEN_MAX > 2
    monkeypatch.setattr(shadow_module, "WRITTEN_MAX", 2)
    theatre.load(only_schemas(NO_PAYMENTS))
    for _ in range(5):
        theatre.world.decide(payment(1))
    run_until(theatre, 4)
    assert theatre.clock.now < WRITE_SECONDS
    theatre.finish()
    for _ in range(5):
        theatre.world.decide(payment(1))
    theatre.finish()
    assert theatre.tally.allow_to_deny.count == 10


def test_on_a_busy_loop_it_rests_many_times_as_long_as_it_works(theatre: Theatre) -> None:
    theatre.load(NOTHING)
    theatre.clock.work = 0.001
    for _ in range(3):
        theatre.world.decide(payment(1))
    run_until(theatre, 3)
    assert theatre.clock.rests == [pytest.approx(0.001 * REST)] * 3


def test_it_waits_before_it_tries_once_more_to_write(theatre: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[None] = []
    theatre.load(NOTHING)

    def full_at_first() -> None:
        if not refused:
            refused.append(None)
            raise Unavailable("no room")

    theatre.world.decide(payment(1))
    monkeypatch.setattr(theatre.world.store, "require_room", full_at_first)
    run_until(theatre, 1)
    assert theatre.clock.rests == [WRITE_SECONDS]
    assert theatre.tally == Tally(dropped=1)

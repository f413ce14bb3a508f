"""Requests that two sets decide differently are found, all of them and no others, with the reasons of both."""

from collections.abc import Sequence

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.core.directory import Identity, Tenant
from sidecar.core.model import AuthorizeRequest
from sidecar.core.snapshot import CompiledFiles, PolicyFiles, compile_files
from sidecar.service.courses import Candidate
from sidecar.service.flips import Flips, flips_of_history, flips_of_tests
from sidecar.service.policy_test_findings import Expected
from sidecar.service.policy_tests import Case, Setting, Step, WrittenPolicy
from sidecar.service.proof import Missing
from sidecar.service.replay import Comparison, Span, between, compare
from sidecar.state.chronicle import chronicles
from tests.core.builders import budget
from tests.service.builders import NOON, World, limit, only_schemas, payment, tool_call

PAYS = '@id("pays") permit (principal, action == Action::"card.authorize", resource) when {{ context.amount <= {} }};'
TENANT = Tenant(
    tenant_id="t", number=1, name="t", mode="live", time_zone="UTC", root_identity_id="root", log_id="", created_at_us=0
)
ROOT = Identity(identity_id="root", parent_id=None, type="user", name="Root", created_at_us=0, revision=1)
SETTING = Setting(tenant=TENANT, identities=(ROOT,), cards=(), policies=(), budgets=(), used=())


def pays(bound: int) -> PolicyFiles:
    """A set that permits payments up to a bound."""
    return only_schemas(PAYS.format(bound))


def compiled(bound: int) -> CompiledFiles:
    """That set, compiled."""
    return compile_files(pays(bound))


def case(*requests: AuthorizeRequest, setting: Setting = SETTING, names: Sequence[str] = ()) -> Case:
    """A test of some requests."""
    named = names or [""] * len(requests)
    steps = (
        Step(name, f"f:{at}:1", each, NOON, Expected("deny"))
        for at, (each, name) in enumerate(zip(requests, named, strict=True))
    )
    return Case("case", "f:1:1", setting, tuple(steps))


def verdicts(found: Flips) -> list[tuple[int | None, str, str]]:
    """What flips, by amount."""
    return [(flip.amount_minor, flip.old.verdict, flip.new.verdict) for flip in found.flips]


@given(st.lists(st.integers(1, 9), max_size=12), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=40)
def test_exactly_the_requests_between_two_bounds_flip(amounts: list[int], old: int, new: int) -> None:
    found = flips_of_tests([case(payment(amount)) for amount in amounts], compiled(old), compiled(new))
    told = ("deny", "allow") if new > old else ("allow", "deny")
    assert verdicts(found) == [(amount, *told) for amount in amounts if min(old, new) < amount <= max(old, new)]
    assert found.requests == len(amounts)
    assert found.count(*told) == len(found.flips)  # type: ignore[arg-type]


def test_a_flip_says_what_was_asked_and_both_reasons() -> None:
    (flip,) = flips_of_tests([case(payment(5), names=["first"])], compiled(1), compiled(9)).flips
    assert (flip.place, flip.name, flip.identity_id) == ("f:0:1", "case / first", "root")
    assert (flip.action, flip.resource, flip.amount_minor, flip.currency) == (
        "card.authorize",
        "merchant/AWS",
        5,
        "CAD",
    )
    assert flip.old.because[0].startswith("not_permitted: ")
    assert flip.new.because == ("permitted by `pays` at policies/extra0.cedar:1",)


def test_what_neither_set_decides_is_counted_apart() -> None:
    """It is no request that both decide alike."""
    unfit = msgspec.structs.replace(tool_call(), context={"nope": 1})
    found = flips_of_tests([case(payment(1)), case(unfit, payment(2))], compiled(1), compiled(9))
    assert (found.requests, found.missing, found.flips) == (1, 2, ())


def test_each_set_counts_what_it_permits_itself() -> None:
    """The old set denies the first payment, so its budget has room for the second; the new one has spent it."""
    daily = msgspec.structs.replace(budget("daily", limit=8), identity_id="root")
    setting = msgspec.structs.replace(SETTING, budgets=(daily,))
    found = flips_of_tests([case(payment(6), payment(5), setting=setting)], compiled(5), compiled(9))
    assert verdicts(found) == [(6, "deny", "allow"), (5, "allow", "deny")]
    assert found.flips[1].new.because[0].startswith("budget_exceeded")


def test_what_one_set_cannot_decide_is_told() -> None:
    """A policy of the case names a type that only the new set's schema declares."""
    files = pays(9)
    grown = tuple(msgspec.structs.replace(each, text=f"{each.text}\nentity Door;") for each in files.schemas)
    door = "permit (principal, action, resource) when { resource is Door };"
    written = WrittenPolicy(policy_id="door", identity_id=None, rules=None, cedar=door)
    made = case(payment(1), payment(2), setting=msgspec.structs.replace(SETTING, policies=(written,)))
    new = compile_files(msgspec.structs.replace(files, schemas=grown))
    found = flips_of_tests([made], compiled(9), new)
    assert verdicts(found) == [(1, "undecided", "allow"), (2, "undecided", "allow")]
    assert "Door" in found.flips[0].old.because[0]
    assert found.requests == 2


def test_requests_without_an_amount_flip_too() -> None:
    tools = only_schemas('@id("tools") permit (principal, action == Action::"tool.call", resource);')
    found = flips_of_tests([case(tool_call("root"))], compiled(1), compile_files(tools))
    assert verdicts(found) == [(None, "deny", "allow")]


def history(world: World, old: PolicyFiles, new: PolicyFiles, tenant_id: str | None = None) -> Flips:
    """What two sets decide differently of all that happened, or of what happened to one tenant."""
    courses = between(Candidate(old), Candidate(new))
    compared = [compare(each, courses, Span(), lambda _: None) for each in chronicles(world.environment, tenant_id)]
    return flips_of_history(compared)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_exactly_the_decisions_between_two_bounds_flip(world: World, amounts: list[int], old: int, new: int) -> None:
    """Whatever was in force when they were made."""
    tenant_id = f"t_{world.now_us}"
    world.now_us += 1
    world.found(tenant_id)
    made = [world.authorize(payment(amount), tenant_id=tenant_id).decision.decision_id for amount in amounts]
    found = history(world, pays(old), pays(new), tenant_id)
    assert [flip.name for flip in found.flips] == [
        name for name, amount in zip(made, amounts, strict=True) if min(old, new) < amount <= max(old, new)
    ]
    assert found.requests == len(amounts)


def test_a_decision_that_flips_says_which_policy_and_which_budget(world: World) -> None:
    world.found()
    world.budget(limit("0.08", "root"))
    for amount in (6, 5):
        world.decide(payment(amount))
    found = history(world, pays(5), pays(9))
    assert verdicts(found) == [(6, "deny", "allow"), (5, "allow", "deny")]
    assert found.flips[0].old.because == ("not_permitted",)
    assert found.flips[0].new.because == ("permitted by `pays` at policies/extra0.cedar:1",)
    assert found.flips[1].new.because[0].startswith("budget_exceeded by `bud_")
    assert found.flips[0].place.startswith("t_one:")


def test_facts_that_are_gone_are_counted() -> None:
    lost = Comparison(
        tenant_id="t",
        decisions=0,
        flips=(),
        missing=(Missing(seq=1, decision_id=None, what="a request"),),
        missing_count=1,
        suspended_only_before=0,
        suspended_only_after=0,
        first_us=None,
        last_us=None,
    )
    assert flips_of_history([lost, lost]) == Flips(0, (), 2)

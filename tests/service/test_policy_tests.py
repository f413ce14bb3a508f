"""A case is decided as the sidecar would decide it, on a tenant of its own, and compared with what it expects."""

from pathlib import Path

import msgspec
import pytest

from sidecar.core.budget import Budget
from sidecar.core.directory import Identity, Tenant
from sidecar.core.model import AuthorizeRequest, ResourceRef
from sidecar.core.rules import Rules
from sidecar.core.snapshot import PolicyFiles, compile_files
from sidecar.service.policy_test_findings import Difference, Expected, Fields
from sidecar.service.policy_tests import Bench, Case, Result, Setting, Step, Used, WrittenPolicy
from tests.core.builders import budget
from tests.service.builders import DAY, HOUR, NOON, SECOND, World, payment, shipped_files, tool_call
from tests.service.builders import limit as stored_limit

ALLOW, DENY = Expected("allow"), Expected("deny")
GRANT = WrittenPolicy(
    policy_id="grant", identity_id=None, rules=Rules(actions=("card.authorize", "tool.call")), cedar=None
)
TENANT = Tenant(
    tenant_id="t",
    number=1,
    name="t",
    mode="live",
    time_zone="UTC",
    root_identity_id="root",
    log_id="",
    created_at_us=0,
)


def somebody(identity_id: str, **fields: object) -> Identity:
    made = Identity(
        identity_id=identity_id,
        parent_id=None if identity_id == "root" else "root",
        type="user" if identity_id == "root" else "agent",
        name=identity_id,
        created_at_us=0,
        revision=1,
    )
    return msgspec.structs.replace(made, **fields)


def setting(*budgets: Budget, used: tuple[Used, ...] = (), **fields: object) -> Setting:
    made = Setting(
        tenant=TENANT,
        identities=(somebody("root"), somebody("agent")),
        cards=(),
        policies=(GRANT,),
        budgets=budgets,
        used=used,
    )
    return msgspec.structs.replace(made, **fields)


def limit(amount: int = 10_000, **fields: object) -> Budget:
    made = budget("daily", limit=amount)
    return msgspec.structs.replace(made, **{"identity_id": "agent", "currency": "CAD", **fields})


def step(request: AuthorizeRequest, expected: Expected, now_us: int = NOON, name: str = "") -> Step:
    return Step(name, f"f:{name or 1}:1", request, now_us, expected)


def case(setting: Setting, *steps: Step) -> Case:
    return Case("case", "f:1:1", setting, steps)


def run(made: Case, files: PolicyFiles | None = None) -> Result:
    return Bench(compile_files(shipped_files() if files is None else files)).run(made)[0]


def checks(**fields: str | None) -> Expected:
    return Expected("allow", budgets={"daily": fields})


def test_a_permit_and_a_denial_pass_where_they_are_expected() -> None:
    assert run(case(setting(), step(payment("5", "agent"), ALLOW))).passed
    assert run(case(setting(policies=()), step(payment("5", "agent"), DENY))).passed


def test_another_decision_is_one_difference_with_its_reasons() -> None:
    result = run(case(setting(), step(msgspec.structs.replace(payment("5", "agent"), merchant_category="7995"), ALLOW)))
    assert result.differences == (Difference("decision", "allow", "deny"),)
    shipped = compile_files(shipped_files()).shared
    source = next(unit.source for unit in shipped if unit.id == "spend/no-gambling-or-cash")
    assert result.because == (f"forbidden by `spend/no-gambling-or-cash` at {source}: no gambling and no cash",)
    assert result.summary.startswith("`decision` expected allow, got deny: forbidden by")
    permitted = run(case(setting(), step(payment("5", "agent"), DENY)))
    assert permitted.because == ("permitted by `grant` at /v1/policies/grant:1",)


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        (({"code": "permitted", "policy": "grant"},), ()),
        (({"rule": None},), ()),
        (({"policy": "other"},), (Difference("reasons[0].policy", "other", "grant"),)),
        (({"advice": "x"},), (Difference("reasons[0].advice", "x", "nothing"),)),
        ((), (Difference("reasons[0]", "nothing", "{code: permitted, policy: grant}"),)),
        (({"policy": "grant"}, {"code": "forbidden"}), (Difference("reasons[1]", "{code: forbidden}", "nothing"),)),
    ],
)
def test_reasons_are_all_there_are_in_order(reasons: tuple[Fields, ...], expected: tuple[Difference, ...]) -> None:
    """Of each, only the fields that are named are compared."""
    wanted = Expected("allow", reasons=reasons)
    assert run(case(setting(), step(payment("5", "agent"), wanted))).differences == expected


def test_reasons_that_are_included_stand_beside_any_others() -> None:
    narrow = WrittenPolicy(policy_id="narrow", identity_id="agent", rules=Rules(currency="CAD"), cedar=None)
    tenant = setting(policies=(GRANT, narrow))
    wanted = Expected("allow", includes=({"policy": "narrow"}, {"policy": "wide", "rule": None}))
    (found,) = run(case(tenant, step(payment("5", "agent"), wanted))).differences
    assert found == Difference("reasons_include[1]", "{policy: wide, rule: nothing}", "no such reason")


def test_checks_of_budgets_are_compared_as_figures() -> None:
    """`100.0` is `100`; a budget that was not asked has no check."""
    tenant = setting(limit(), limit(5, budget_id="calls", dimension="count", currency=None))
    wanted = Expected(
        "allow",
        budgets={
            "daily": {"remaining": "100.0", "requested": "5.00", "allowed": "true", "limit": "99"},
            "calls": {"remaining": "5", "requested": "1"},
            "other": {},
        },
    )
    assert run(case(tenant, step(payment("5", "agent"), wanted))).differences == (
        Difference("budgets.daily.limit", "99", "100"),
        Difference("budgets.other", "a check", "none, the budget was not asked"),
    )
    unreadable = Expected("allow", budgets={"daily": {"limit": "many"}})
    assert not run(case(tenant, step(payment("5", "agent"), unreadable))).passed


def test_a_reason_has_figures_of_its_budget() -> None:
    """In major units for amounts, whole otherwise."""
    amount = Expected("deny", reasons=({"requested": "200", "remaining": "100", "currency": "CAD"},))
    assert run(case(setting(limit()), step(payment("200", "agent"), amount))).passed
    calls = setting(limit(0, dimension="count", currency=None))
    midnight = "2026-02-04T00:00:00Z"
    count = Expected("deny", reasons=({"requested": "1", "remaining": "0", "retry_at": midnight, "identity": "agent"},))
    assert run(case(calls, step(tool_call("agent"), count))).passed


def test_steps_see_the_claims_of_those_before() -> None:
    """Of amounts held and of calls counted; what was denied claims nothing."""
    tenant = setting(limit(), limit(3, budget_id="calls", dimension="count", currency=None))
    pay = payment("60", "agent")
    steps = [
        step(pay, checks(reserved="0")),
        step(pay, DENY),
        step(payment("40", "agent"), checks(reserved="60", remaining="40")),
        step(tool_call("agent"), Expected("allow", budgets={"calls": {"settled": "2"}})),
        step(tool_call("agent"), DENY),
    ]
    assert run(case(tenant, *steps)).passed
    assert run(case(tenant, *steps)).passed  # each case begins anew


def test_the_first_step_that_fails_ends_a_case() -> None:
    result = run(case(setting(), step(payment("5", "agent"), DENY, name="one"), step(payment("5", "agent"), DENY)))
    assert (result.name, result.place) == ("case / one", "f:one:1")


def test_holds_expire_between_steps() -> None:
    """What was held comes back, or stays where the budget settles at expiry; a new day is a new window."""
    tenant = setting(limit(period="total"), limit(period="total", budget_id="kept", on_expiry="settle"))
    late = NOON + 8 * DAY
    figures: dict[str, Fields] = {
        "daily": {"settled": "0", "reserved": "0"},
        "kept": {"settled": "60", "reserved": "0"},
    }
    steps = [step(payment("60", "agent"), ALLOW), step(payment("1", "agent"), Expected("allow", budgets=figures), late)]
    assert run(case(tenant, *steps)).passed
    daily = setting(limit())
    assert run(case(daily, steps[0], step(payment("60", "agent"), checks(reserved="0"), NOON + DAY))).passed


def test_what_was_used_before_counts_in_its_window() -> None:
    pay = payment("1", "agent")
    used = Used("daily", 4_000, 1_000, None)
    assert run(case(setting(limit(), used=(used,)), step(pay, checks(settled="40", reserved="10")))).passed
    yesterday = msgspec.structs.replace(used, at_us=NOON - DAY)
    assert run(case(setting(limit(), used=(yesterday,)), step(pay, checks(settled="0")))).passed
    rolling = setting(limit(period="rolling_24h"), used=(msgspec.structs.replace(used, at_us=NOON - 23 * HOUR),))
    assert run(case(rolling, step(pay, checks(settled="40")), step(pay, checks(settled="0"), NOON + HOUR))).passed
    calls = setting(limit(5, dimension="count", currency=None), used=(Used("daily", 2, 0, NOON - SECOND),))
    assert run(case(calls, step(tool_call("agent"), checks(settled="2")))).passed


def test_a_budget_of_an_account_counts_what_is_paid_from_it() -> None:
    pays = WrittenPolicy(policy_id="pays", identity_id=None, rules=Rules(actions=("payment.create",)), cedar=None)
    tenant = setting(
        limit(1, dimension="count", currency=None, account_id="acct_1"),
        policies=(pays,),
        identities=(somebody("root"), somebody("agent"), somebody("shop")),
    )
    first, other = (
        AuthorizeRequest(
            identity_id="agent",
            action="payment.create",
            resource=ResourceRef("agent", "shop"),
            amount_minor=1,
            currency="USDC",
            context={"account_id": account_id},
            ttl_seconds=60,
        )
        for account_id in ("acct_1", "acct_2")
    )
    assert run(case(tenant, step(other, ALLOW), step(first, ALLOW), step(other, ALLOW), step(first, DENY))).passed


def test_a_budget_that_suspends_does_so_for_the_next_step() -> None:
    tenant = setting(limit(on_exceeded="suspend"))
    suspended = Expected("deny", reasons=({"code": "identity_suspended", "identity": "agent"},))
    steps = [step(payment("101", "agent"), DENY), step(payment("1", "agent"), suspended)]
    assert run(case(tenant, *steps)).passed
    assert run(case(setting(limit()), steps[0], step(payment("1", "agent"), ALLOW))).passed


def test_a_request_that_no_decision_is_made_on_is_a_fault() -> None:
    unfit = run(case(setting(), step(msgspec.structs.replace(payment("1", "agent"), context={"purpos": "x"}), ALLOW)))
    assert unfit.fault == "`context.purpos`: the schema does not declare `purpos` here"
    assert not unfit.passed
    assert unfit.summary == f"it cannot be decided: {unfit.fault}"
    unknown = run(case(setting(), step(payment("1", "nobody"), ALLOW)))
    assert unknown.fault == "`identity_id`: unknown identity `nobody`"


def test_policies_of_a_case_that_do_not_compile_are_a_fault() -> None:
    rules = WrittenPolicy(policy_id="p", identity_id=None, rules=Rules(actions=("nope",)), cedar=None)
    result = run(case(setting(policies=(rules,)), step(payment("1", "agent"), ALLOW)))
    assert result.fault == "`policies.p.rules.actions`: the schema knows no action `nope`"
    text = WrittenPolicy(policy_id="p", identity_id=None, rules=None, cedar="permit (nobody);")
    fault = run(case(setting(policies=(text,)), step(payment("1", "agent"), ALLOW))).fault
    assert fault is not None
    assert fault.startswith("/v1/policies/p:1:9: ")


def test_cedar_of_one_identity_is_a_template() -> None:
    cedar = 'permit (principal in ?principal, action == Action::"card.authorize", resource);'
    own = WrittenPolicy(policy_id="own", identity_id="agent", rules=None, cedar=cedar)
    tenant = setting(policies=(own,))
    assert run(case(tenant, step(payment("1", "agent"), ALLOW))).passed
    assert run(case(tenant, step(payment("1", "root"), DENY))).passed


def test_cases_of_one_bench_do_not_mix() -> None:
    """Compiled policies serve again only where they are the same: other policies, identities and tenants are not."""
    bench = Bench(compile_files(shipped_files()))
    bare = setting(policies=())
    profiled = (somebody("root"), somebody("agent", metadata={"spend_profile": "standard"}))
    other = msgspec.structs.replace(TENANT, tenant_id="u")
    expected = [
        (setting(), ALLOW),
        (setting(), ALLOW),
        (bare, DENY),
        (setting(policies=(), identities=profiled), ALLOW),
        (setting(policies=(), tenant=other), DENY),
        (setting(tenant=other), ALLOW),
        (setting(identities=profiled, policies=(GRANT,)), ALLOW),
        (bare, DENY),
    ]
    for each, wanted in expected:
        assert bench.run(case(each, step(payment("5", "agent"), wanted)))[0].passed


def test_steps_are_decided_as_the_store_decides_them(tmp_path: Path) -> None:
    """Permits and denials by budgets: the same reasons, and the same figures before each."""
    with World(tmp_path) as world:
        world.tenant()
        world.identity("agent")
        made = [
            world.budget(made_limit).budget
            for made_limit in (stored_limit("100", "agent"), stored_limit("90", "agent", period="rolling_24h"))
        ]
        tenant = setting(*made)
        asked = [payment("40", "agent"), payment("70", "agent"), tool_call("agent"), payment("50", "agent")]
        asked += [payment("0.01", "agent"), payment("1", "agent", currency="EUR")]
        trial = Bench(compile_files(shipped_files())).decide(
            case(tenant, *(step(one, ALLOW, world.now_us) for one in asked))
        )
        for request, tried in zip(asked, trial, strict=True):
            real = world.decide(request)
            assert tried.judgement.allowed is real.allowed
            assert [each.code for each in tried.judgement.reasons] == [each.code for each in real.reasons]
            assert tried.judgement.findings.checks == real.budget_checks

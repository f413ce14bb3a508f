"""Budgets: made, shown with what they have used, changed and deleted."""

import msgspec
import pytest

from sidecar.core.errors import Forbidden, NotFound, Unauthenticated, ValidationFailed
from sidecar.core.money import Major
from sidecar.service.budget_changes import BudgetDraft, BudgetPatch, Metered
from sidecar.service.budgets import BudgetFilter
from sidecar.service.paging import PageRequest
from tests.service.builders import DAY, OPERATOR, SECOND, World, at, codes, limit, payment, tool_call

NOTHING = BudgetPatch(None, None, None, None)


@pytest.fixture
def org(world: World) -> World:
    """Root → team → ann, and root → bob."""
    world.tenant()
    world.identity("team", type_name="team")
    world.identity("ann", "team")
    world.identity("bob")
    return world


def change(org: World, budget_id: str, patch: BudgetPatch) -> int:
    """Change a budget; returns its limit."""
    return org.run(org.treasurer.change(OPERATOR, "t_one", budget_id, patch, org.now_us)).budget.limit


def test_a_budget_is_made_with_a_record_and_a_fact_and_shows_its_window(org: World) -> None:
    made = org.budget(limit("47.23", "ann", actions=("spend",)))
    assert (made.budget.limit, made.budget.identity_id, made.budget.actions) == (4723, "ann", ("spend",))
    assert (made.usage.total, made.warnings) == (0, ())
    assert made.window is not None
    assert (made.window.start_us, made.window.end_us) == (at("2026-02-03T00:00"), at("2026-02-04T00:00"))
    record = org.bodies()[-1]
    assert (record["type"], record["budget"], record["identity"]) == ("budget_created", made.budget.budget_id, "ann")
    assert org.treasurer.get(OPERATOR, "t_one", made.budget.budget_id, org.now_us) == made


def test_a_budget_about_an_account_that_does_not_exist_is_not_made(org: World) -> None:
    draft = msgspec.structs.replace(limit(100, "ann"), account_id="acct_1")
    before = org.kinds()
    with pytest.raises(NotFound, match="unknown account `acct_1`") as refused:
        org.budget(draft)
    assert refused.value.field == "account_id"
    assert org.kinds() == before


def test_a_limit_per_transaction_has_no_window_and_uses_nothing(org: World) -> None:
    made = org.budget(limit(10, period="per_transaction"))
    org.decide(payment())
    shown = org.treasurer.get(OPERATOR, "t_one", made.budget.budget_id, org.now_us)
    assert (shown.window, shown.usage.total) == (None, 0)


def test_usage_is_that_of_the_present_window(org: World) -> None:
    budget_id = org.budget(limit(100)).budget.budget_id
    org.decide(payment("10.00"))
    assert org.used(budget_id) == (0, 1000)
    org.now_us += DAY
    assert org.used(budget_id) == (0, 0)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"currency": None}, "currency"),
        ({"currency": "XXZ"}, "currency"),
        ({"limit": Major("1.001")}, "limit"),
        ({"limit": Major("-1")}, "limit"),
        ({"dimension": "count"}, "currency"),
        ({"dimension": "Tokens", "currency": None}, "dimension"),
        ({"dimension": "tokens", "currency": None, "limit": Major("1.5")}, "limit"),
        ({"actions": ("spend", "no.such")}, "actions[1]"),
    ],
)
def test_a_draft_that_breaks_a_rule_is_refused_naming_the_place(
    org: World, changes: dict[str, object], field: str
) -> None:
    before = org.kinds()
    with pytest.raises(ValidationFailed) as refused:
        org.budget(msgspec.structs.replace(limit(10), **changes))
    assert refused.value.field == field
    assert org.kinds() == before


def test_an_identity_that_does_not_exist_is_not_found(org: World) -> None:
    with pytest.raises(NotFound):
        org.budget(limit(10, "nobody"))


def test_only_administrators_make_change_and_delete_budgets(org: World) -> None:
    agent = org.token("root", may_release=True)
    budget_id = org.budget(limit(10)).budget.budget_id
    for call in (
        lambda: org.treasurer.create(agent, None, limit(10), org.now_us),
        lambda: org.treasurer.change(agent, None, budget_id, NOTHING, org.now_us),
        lambda: org.treasurer.delete(agent, None, budget_id, org.now_us),
    ):
        with pytest.raises(Forbidden):
            org.run(call())


def test_a_key_that_ran_out_touches_no_budget(org: World) -> None:
    key = org.token(None, life_us=SECOND)
    budget_id = org.budget(limit(10)).budget.budget_id
    org.now_us += SECOND
    for call in (
        lambda: org.treasurer.create(key, None, limit(10), org.now_us),
        lambda: org.treasurer.change(key, None, budget_id, NOTHING, org.now_us),
        lambda: org.treasurer.delete(key, None, budget_id, org.now_us),
    ):
        with pytest.raises(Unauthenticated):
            org.run(call())


# --- Warnings ---------------------------------------------------------------------------------------------------------


def test_a_chain_whose_hard_budgets_have_no_currency_in_common_is_warned_of(org: World) -> None:
    """DESIGN 7: every amount will be denied, so the one who made it so is told."""
    assert org.budget(limit(10, "root", currency="CAD")).warnings == ()
    (warning,) = org.budget(limit(10, "ann", currency="USD")).warnings
    assert "no currency in common" in warning
    assert codes(org.decide(payment("1.00", "ann"))) == ["currency_not_budgeted"]
    assert org.budget(limit(10, "ann", currency="CAD")).warnings == ()
    assert org.decide(payment("1.00", "ann")).allowed


def test_soft_budgets_other_dimensions_and_other_branches_are_no_reason_to_warn(org: World) -> None:
    org.budget(limit(10, "root", currency="CAD"))
    assert org.budget(limit(10, "ann", currency="USD", on_exceeded="track")).warnings == ()
    assert org.budget(limit(10, "ann", dimension="tokens")).warnings == ()
    assert org.budget(limit(10, "team", currency="CAD")).warnings == ()


# --- Changing ---------------------------------------------------------------------------------------------------------


def test_a_limit_below_what_is_used_leaves_nothing_and_permits_nothing(org: World) -> None:
    """DESIGN 8: finance must be able to stop spending."""
    budget_id = org.budget(limit(100)).budget.budget_id
    held = org.decide(payment("50.00"))
    change(org, budget_id, BudgetPatch(Major("20"), None, None, None))
    decision = org.decide(payment("0.01"))
    assert codes(decision) == ["budget_exceeded"]
    assert (decision.budget_checks[0].remaining, decision.budget_checks[0].limit) == (0, 2000)
    org.settle(str(held.decision_id), "10.00")
    assert org.decide(payment("10.00")).allowed
    assert not org.decide(payment("0.01")).allowed


def test_a_change_is_a_new_revision_with_a_record_and_keeps_what_was_used(org: World) -> None:
    before = org.budget(limit(100)).budget
    org.decide(payment("10.00"))
    patch = BudgetPatch(Major("200"), "More", "suspend", 5_000)
    after = org.run(org.treasurer.change(OPERATOR, "t_one", before.budget_id, patch, org.now_us)).budget
    assert (after.limit, after.name, after.on_exceeded, after.notify_at_bp) == (20_000, "More", "suspend", 5_000)
    assert after.revision > before.revision
    assert org.kinds()[-1] == "budget_updated"
    assert org.used(before.budget_id) == (0, 1000)


def test_a_change_that_changes_nothing_leaves_no_trace(org: World) -> None:
    budget = org.budget(limit(100)).budget
    before = org.kinds()
    for patch in (NOTHING, BudgetPatch(Major("100.00"), budget.name, "deny", 8_000)):
        change(org, budget.budget_id, patch)
    assert org.kinds() == before


def test_a_new_name_changes_no_bound(org: World) -> None:
    budget_id = org.budget(limit(10)).budget.budget_id
    late = org.decide(payment("10.00", ttl_seconds=60))
    org.now_us += 60 * SECOND
    org.expire()
    org.decide(payment("10.00"))
    change(org, budget_id, BudgetPatch(None, "Renamed", None, None))
    assert org.settle(str(late.decision_id)).overdrawn


@pytest.mark.parametrize("period", ["per_transaction", "total"])
def test_a_limit_without_an_end_is_changed_too(org: World, period: str) -> None:
    draft = limit(10, period="per_transaction" if period == "per_transaction" else "total")
    budget_id = org.budget(draft).budget.budget_id
    assert change(org, budget_id, BudgetPatch(Major("5"), None, None, None)) == 500
    assert not org.decide(payment("6.00")).allowed


def test_a_limit_is_read_in_the_dimension_of_its_budget(org: World) -> None:
    tokens = org.budget(limit(10, dimension="tokens")).budget.budget_id
    assert change(org, tokens, BudgetPatch(Major("7"), None, None, None)) == 7
    with pytest.raises(ValidationFailed):
        change(org, tokens, BudgetPatch(Major("7.5"), None, None, None))


def test_a_soft_budget_made_hard_permits_nothing_beyond_its_limit(org: World) -> None:
    budget_id = org.budget(limit(10, on_exceeded="track")).budget.budget_id
    held = org.decide(payment("30.00"))
    change(org, budget_id, BudgetPatch(None, None, "deny", None))
    assert codes(org.decide(payment("0.01"))) == ["budget_exceeded"]
    assert not org.settle(str(held.decision_id)).overdrawn, "as much as was used when it was changed"


def test_a_deleted_budget_governs_nothing_and_is_not_found(org: World) -> None:
    budget_id = org.budget(limit(5)).budget.budget_id
    assert not org.decide(payment("10.00")).allowed
    org.run(org.treasurer.delete(OPERATOR, "t_one", budget_id, org.now_us))
    assert org.kinds()[-1] == "budget_deleted"
    assert org.decide(payment("10.00")).allowed
    with pytest.raises(NotFound):
        org.treasurer.get(OPERATOR, "t_one", budget_id, org.now_us)


def test_what_does_not_exist_cannot_be_changed_or_deleted(org: World) -> None:
    for call in (
        org.treasurer.change(OPERATOR, "t_one", "bud_none", NOTHING, org.now_us),
        org.treasurer.delete(OPERATOR, "t_one", "bud_none", org.now_us),
    ):
        with pytest.raises(NotFound, match="unknown budget `bud_none`"):
            org.run(call)


# --- Finding ----------------------------------------------------------------------------------------------------------


def test_budgets_are_listed_of_one_identity_or_of_all_in_order_of_creation(org: World) -> None:
    made = [org.budget(limit(10, name)).budget.budget_id for name in ("ann", "root", "ann")]
    page = org.treasurer.listed(OPERATOR, "t_one", BudgetFilter(), PageRequest(), org.now_us)
    assert [metered.budget.budget_id for metered in page.values] == made
    page = org.treasurer.listed(OPERATOR, "t_one", BudgetFilter("ann"), PageRequest(), org.now_us)
    assert [metered.budget.budget_id for metered in page.values] == [made[0], made[2]]
    first = org.treasurer.listed(OPERATOR, "t_one", BudgetFilter(), PageRequest(0, 1), org.now_us)
    assert first.next_after is not None
    rest = org.treasurer.listed(OPERATOR, "t_one", BudgetFilter(), PageRequest(first.next_after), org.now_us)
    assert [metered.budget.budget_id for metered in rest.values] == made[1:]
    with pytest.raises(NotFound):
        org.treasurer.listed(OPERATOR, "t_one", BudgetFilter("nobody"), PageRequest(), org.now_us)


def test_an_agent_sees_the_budgets_of_itself_and_of_whoever_is_below(org: World) -> None:
    team = org.token("team")
    mine = org.budget(limit(10, "ann")).budget.budget_id
    others = [org.budget(limit(10, name)).budget.budget_id for name in ("root", "bob")]
    page = org.treasurer.listed(team, None, BudgetFilter(), PageRequest(), org.now_us)
    assert [metered.budget.budget_id for metered in page.values] == [mine]
    assert org.treasurer.get(team, None, mine, org.now_us).budget.budget_id == mine
    for outside in others:
        with pytest.raises(NotFound):
            org.treasurer.get(team, None, outside, org.now_us)
    with pytest.raises(NotFound):
        org.treasurer.listed(team, None, BudgetFilter("bob"), PageRequest(), org.now_us)


def test_a_budget_of_another_tenant_does_not_exist(org: World) -> None:
    org.tenant("t_two")
    budget_id = org.budget(limit(10), "t_two").budget.budget_id
    with pytest.raises(NotFound):
        org.treasurer.get(OPERATOR, "t_one", budget_id, org.now_us)
    assert org.decide(tool_call()).allowed


def put(org: World, draft: BudgetDraft) -> Metered:
    """Set a limit."""
    return org.run(org.treasurer.put(OPERATOR, "t_one", draft, org.now_us)).value


def test_a_limit_that_is_put_is_made_once_and_then_changed(org: World) -> None:
    first = put(org, limit(10, "ann"))
    org.now_us += SECOND
    second = put(org, limit(20, "ann"))
    assert (second.budget.budget_id, second.budget.limit) == (first.budget.budget_id, 2000)
    assert (first.budget.updated_at_us, second.budget.updated_at_us) == (None, org.now_us)
    assert org.kinds()[-2:] == ["budget_created", "budget_updated"]
    assert put(org, limit(20, "ann")).budget == second.budget
    assert org.kinds()[-1] == "budget_updated"
    assert org.faults() == []


def test_a_limit_that_is_put_over_one_that_suspends_goes_on_suspending(org: World) -> None:
    """A second budget beside it would leave the old limit in force, whatever was put."""
    first = org.budget(limit(10, "ann", on_exceeded="suspend"))
    second = put(org, limit(20, "ann")).budget
    assert (second.budget_id, second.limit, second.on_exceeded) == (first.budget.budget_id, 2000, "suspend")
    assert put(org, limit(20, "ann", on_exceeded="track")).budget.budget_id != second.budget_id


@pytest.mark.parametrize(
    "other",
    [
        limit(10, "ann", period="weekly"),
        limit(10, "ann", currency="USD"),
        limit(10, "ann", actions=("spend",)),
        limit(10, "ann", on_exceeded="notify"),
        limit(10, "bob"),
        limit(10, "ann", dimension="count"),
    ],
)
def test_a_limit_that_counts_something_else_is_another_budget(org: World, other: BudgetDraft) -> None:
    first = org.budget(limit(10, "ann"))
    assert put(org, other).budget.budget_id != first.budget.budget_id


def test_what_cannot_be_put_is_refused_and_nothing_is_changed(org: World) -> None:
    put(org, limit(10, "ann"))
    ann = org.token("ann")
    before = org.kinds()
    for draft, error in ((limit("1.001", "ann"), ValidationFailed), (limit(10, "nobody"), NotFound)):
        with pytest.raises(error):
            put(org, draft)
    with pytest.raises(Forbidden):
        org.run(org.treasurer.put(ann, "t_one", limit(1, "ann"), org.now_us))
    assert org.kinds() == before

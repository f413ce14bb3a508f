"""How holds end: by whom, in full or in part, late, once."""

from collections.abc import Callable

import pytest

from sidecar.core.errors import Conflict, Forbidden, IdempotencyConflict, NotFound, Unauthenticated, ValidationFailed
from sidecar.core.idempotency import IdempotencyKey, idempotency_key
from sidecar.core.money import Major
from sidecar.core.windows import Period
from sidecar.service import settlement
from sidecar.service.budget_changes import BudgetPatch
from sidecar.service.budgets import BudgetFilter
from sidecar.service.paging import PageRequest
from sidecar.service.settlement import Wanted
from tests.service.builders import DAY, OPERATOR, SECOND, World, at, limit, payment, tool_call
from tests.service.mailroom import Mailroom

ALL = Wanted(None, {}, final=True)


@pytest.fixture
def org(world: World) -> World:
    """A tenant with an agent and a budget of 100 CAD on the root."""
    world.tenant()
    world.identity("ann")
    world.budget(limit(100))
    return world


def first_budget(org: World) -> str:
    """The budget of the fixture."""
    return (
        org.treasurer.listed(OPERATOR, "t_one", BudgetFilter("root"), PageRequest(), org.now_us)
        .values[0]
        .budget.budget_id
    )


def used(org: World) -> tuple[int, int]:
    """What it has settled and held."""
    return org.used(first_budget(org))


def held(org: World, amount: str = "10.00", **options: int) -> str:
    """The id of a permit of the agent's that holds an amount."""
    decision = org.decide(payment(amount, "ann", ttl_seconds=options.get("ttl_seconds", 604_800)))
    assert decision.allowed
    return str(decision.decision_id)


def key(text: str = "k1", content: bytes = b"{}") -> IdempotencyKey:
    """An idempotency key of a settlement."""
    return idempotency_key("operator", "settle", text, content)


# --- Settling ---------------------------------------------------------------------------------------------------------


def test_settling_without_an_amount_takes_all_that_is_held(org: World) -> None:
    decision_id = held(org)
    reservation = org.settle(decision_id)
    assert (reservation.state, reservation.measures["amount"].settled) == ("settled", 1000)
    assert used(org) == (1000, 0)
    record = org.bodies()[-1]
    assert (record["type"], record["decision"], record["identity"], record["by"]) == (
        "settle",
        decision_id,
        "ann",
        "operator",
    )
    assert record["measures"] == [["amount", 1000, 0, 1000, 0]]
    assert record["currency"] == "CAD"


def test_settling_less_frees_the_rest(org: World) -> None:
    org.settle(held(org), "4.00")
    assert used(org) == (400, 0)


def test_settling_in_parts_keeps_the_rest_held_until_the_last(org: World) -> None:
    decision_id = held(org)
    assert org.settle(decision_id, "4.00", final=False).state == "held"
    assert used(org) == (400, 600)
    org.settle(decision_id, "1.00", final=False)
    assert used(org) == (500, 500)
    assert org.settle(decision_id, "2.00").state == "settled"
    assert used(org) == (700, 0)


def test_quantities_are_settled_beside_the_amount(org: World) -> None:
    tokens = org.budget(limit(100, dimension="tokens")).budget.budget_id
    decision = org.decide(payment("10.00", "ann", quantities={"tokens": 50}))
    org.settle(str(decision.decision_id), "9.00", {"tokens": 20})
    assert used(org) == (900, 0)
    assert org.used(tokens) == (20, 0)


def test_more_than_is_held_is_a_conflict_and_changes_nothing(org: World) -> None:
    decision_id = held(org)
    before = org.kinds()
    with pytest.raises(Conflict) as refused:
        org.settle(decision_id, "10.01")
    assert refused.value.field == "amount"
    assert org.kinds() == before
    assert used(org) == (0, 1000)


@pytest.mark.parametrize("name", ["amount", "count"])
def test_what_has_a_place_of_its_own_is_no_quantity(org: World, name: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        org.settle(held(org), quantities={name: 1})
    assert refused.value.field == f"quantities.{name}"


def test_an_amount_has_the_places_of_the_currency_that_was_held(org: World) -> None:
    with pytest.raises(ValidationFailed, match="has 3 decimal places"):
        org.settle(held(org), "1.001")


def test_what_only_counted_has_nothing_to_end(org: World) -> None:
    org.budget(limit(5, dimension="count"))
    decision = org.decide(tool_call("ann"))
    for call in (org.settle, org.release):
        with pytest.raises(NotFound, match="holds no amount or quantity"):
            call(str(decision.decision_id))


# --- Once -------------------------------------------------------------------------------------------------------------


def test_the_same_settlement_again_changes_nothing_and_other_content_is_a_conflict(org: World) -> None:
    """DESIGN 9."""
    decision_id = held(org)
    first = org.settle(decision_id, "4.00")
    before = org.kinds()
    assert org.settle(decision_id, "4.00") == first
    with pytest.raises(Conflict):
        org.settle(decision_id, "5.00")
    with pytest.raises(Conflict):
        org.release(decision_id)
    assert org.kinds() == before
    assert used(org) == (400, 0)


def test_a_release_again_changes_nothing_and_a_settlement_after_it_is_a_conflict(org: World) -> None:
    decision_id = held(org)
    first = org.release(decision_id)
    assert (first.state, used(org)) == ("released", (0, 0))
    before = org.kinds()
    assert org.release(decision_id) == first
    with pytest.raises(Conflict):
        org.settle(decision_id)
    assert org.kinds() == before
    assert before[-1] == "release"


def test_a_key_brings_the_first_outcome_also_where_the_state_has_moved_on(org: World) -> None:
    decision_id = held(org)
    first = org.settle(decision_id, "1.00", final=False, key=key())
    second = org.settle(decision_id, "1.00", final=False, key=key("k2"))
    assert used(org) == (200, 800)
    assert org.settle(decision_id, "1.00", final=False, key=key()) == first
    assert org.settle(decision_id, "1.00", final=False, key=key("k2")) == second
    assert used(org) == (200, 800)


def test_a_replay_says_that_it_is_one(org: World) -> None:
    decision_id = held(org)
    settled = [
        org.run(org.settler.settle(OPERATOR, "t_one", decision_id, ALL, key(), org.now_us)).replayed for _ in range(2)
    ]
    assert settled == [False, True]


def test_a_key_with_other_content_is_a_conflict(org: World) -> None:
    decision_id = held(org)
    org.settle(decision_id, "1.00", final=False, key=key())
    with pytest.raises(IdempotencyConflict):
        org.settle(decision_id, "1.00", final=False, key=key(content=b"{1}"))
    assert used(org) == (100, 900)


def test_a_key_of_a_call_that_failed_is_free(org: World) -> None:
    decision_id = held(org)
    with pytest.raises(Conflict):
        org.settle(decision_id, "11.00", key=key())
    assert org.settle(decision_id, "10.00", key=key(content=b"{1}")).state == "settled"


# --- Refunds ----------------------------------------------------------------------------------------------------------


def test_a_refund_gives_back_to_the_window_of_the_hold(org: World) -> None:
    decision_id = held(org)
    org.settle(decision_id)
    org.now_us += DAY
    org.refund(decision_id, "3.00")
    assert used(org) == (0, 0)
    org.now_us -= DAY
    assert used(org) == (700, 0)
    org.now_us += DAY


def test_no_more_is_refunded_than_was_settled(org: World) -> None:
    decision_id = held(org)
    org.settle(decision_id, "5.00")
    org.refund(decision_id, "3.00")
    with pytest.raises(Conflict, match=r"`200` are settled"):
        org.refund(decision_id, "2.01")
    org.refund(decision_id, "2.00")
    assert used(org) == (0, 0)


def test_only_what_was_settled_is_refunded(org: World) -> None:
    decision_id = held(org)
    with pytest.raises(Conflict):
        org.refund(decision_id, "1.00")


# --- Expiry -----------------------------------------------------------------------------------------------------------


def test_a_hold_ends_when_its_time_has_come_and_not_before(org: World) -> None:
    decision_id = held(org, ttl_seconds=60)
    org.now_us += 60 * SECOND - 1
    assert org.expire() == 0
    org.now_us += 1
    assert org.expire() == 1
    assert org.expire() == 0
    assert used(org) == (0, 0)
    assert org.settler.find(OPERATOR, "t_one", decision_id).reservation is not None
    record = org.bodies()[-1]
    assert (record["type"], record["state"], record["by"]) == ("expire", "expired", "sidecar")


def test_a_hold_whose_time_has_come_ends_first_whether_or_not_anybody_was_there_to_end_it(org: World) -> None:
    """What an answer says does not depend on when the background work came by."""
    first, second, third = (held(org, "1.00", ttl_seconds=60) for _ in range(3))
    org.now_us += 60 * SECOND
    reservation = org.settle(first)
    assert (reservation.state, reservation.late) == ("settled", True)
    assert org.kinds()[-2:] == ["expire", "settle"]
    before = org.kinds()
    with pytest.raises(Conflict):
        org.release(second)
    with pytest.raises(Conflict):
        org.settle(third, "1.01")
    assert org.kinds() == before, "of a conflict nothing is kept"
    assert used(org) == (100, 200)
    assert org.expire() == 2


def test_a_budget_that_says_so_counts_what_was_held_when_it_expires(org: World) -> None:
    kept = org.budget(limit(100, on_expiry="settle")).budget.budget_id
    held(org, ttl_seconds=60)
    org.now_us += 60 * SECOND
    org.expire()
    assert (used(org), org.used(kept)) == ((0, 0), (1000, 0))


def test_many_are_ended_some_at_a_time(org: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settlement, "EXPIRE_BATCH", 2)
    for _ in range(5):
        held(org, "1.00", ttl_seconds=60)
    org.now_us += 60 * SECOND
    assert [org.expire() for _ in range(4)] == [2, 2, 1, 0]


def test_the_more_endpoints_are_told_the_fewer_are_ended_at_a_time(org: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every event is a row of the same transaction, for which every writer waits."""
    monkeypatch.setattr(settlement, "EXPIRE_BATCH", 6)
    mail = Mailroom(org)
    hooks = [mail.hook(), mail.hook("reservation.expired")]
    for _ in range(5):
        held(org, "1.00", ttl_seconds=60)
    org.now_us += 60 * SECOND
    assert [org.expire() for _ in range(4)] == [2, 2, 1, 0]
    assert [mail.types(hook).count("reservation.expired") for hook in hooks] == [5, 5]


def test_holds_of_every_tenant_end(org: World) -> None:
    org.tenant("t_two")
    held(org, ttl_seconds=60)
    org.authorize(payment(ttl_seconds=60), tenant_id="t_two")
    org.now_us += 60 * SECOND
    assert org.expire() == 2
    assert org.kinds("t_two")[-1] == org.kinds()[-1] == "expire"


@pytest.mark.parametrize("period", ["hourly", "daily", "rolling_24h", "total"])
def test_what_has_expired_and_moved_nevertheless_is_recorded_in_the_window_of_the_hold(
    org: World, period: Period
) -> None:
    """Rule 16: never dropped, marked late."""
    budget_id = org.budget(limit(100, period=period)).budget.budget_id
    decision_id = held(org, ttl_seconds=60)
    org.now_us += 60 * SECOND
    org.expire()
    assert org.used(budget_id) == (0, 0)
    reservation = org.settle(decision_id)
    assert (reservation.state, reservation.late, reservation.overdrawn) == ("settled", True, False)
    assert org.used(budget_id) == (1000, 0)
    assert org.bodies()[-1]["late"] is True


@pytest.mark.parametrize("period", ["daily", "total"])
def test_money_that_moved_late_is_measured_against_the_limit_of_now(org: World, period: Period) -> None:
    """I1: lowered meanwhile, it is overdrawn and flagged; raised meanwhile, it is not."""
    budget_id = org.budget(limit(12, period=period)).budget.budget_id
    first, second = held(org, ttl_seconds=60), held(org, "2.00", ttl_seconds=60)
    org.now_us += 60 * SECOND
    assert org.expire() == 2
    patch = BudgetPatch(Major("5"), None, None, None)
    org.run(org.treasurer.change(OPERATOR, "t_one", budget_id, patch, org.now_us))
    assert org.settle(first).overdrawn
    assert org.bodies()[-1]["overdrawn"] == [budget_id]
    patch = BudgetPatch(Major("20"), None, None, None)
    org.run(org.treasurer.change(OPERATOR, "t_one", budget_id, patch, org.now_us))
    assert not org.settle(second).overdrawn


def test_what_a_deleted_budget_held_is_still_booked_and_ends(org: World) -> None:
    decision_id = held(org)
    org.run(org.treasurer.delete(OPERATOR, "t_one", first_budget(org), org.now_us))
    assert org.settle(decision_id).state == "settled"


def test_a_settlement_is_booked_in_the_window_of_the_hold(org: World) -> None:
    """DESIGN 9: never in today's."""
    org.now_us = at("2026-02-03T23:59")
    decision_id = held(org)
    org.now_us = at("2026-02-04T00:01")
    assert used(org) == (0, 0)
    org.settle(decision_id)
    assert used(org) == (0, 0)
    org.now_us = at("2026-02-03T23:59")
    assert used(org) == (1000, 0)


# --- Who may ----------------------------------------------------------------------------------------------------------


def test_an_agent_settles_in_full_and_nothing_else(org: World) -> None:
    """DESIGN 6: or it could spend and then free its own budget."""
    agent = org.token("ann")
    decision_id = held(org)
    refused: list[Callable[[], object]] = [
        lambda: org.settle(decision_id, "9.99", caller=agent),
        lambda: org.settle(decision_id, "5.00", caller=agent, final=False),
        lambda: org.settle(decision_id, caller=agent, final=False),
        lambda: org.release(decision_id, agent),
        lambda: org.refund(decision_id, "1.00", agent),
    ]
    for call in refused:
        with pytest.raises(Forbidden):
            call()
    assert used(org) == (0, 1000)
    assert org.settle(decision_id, "10.00", caller=agent).state == "settled"
    assert org.settle(decision_id, caller=agent).state == "settled", "a repetition changes nothing"
    with pytest.raises(Forbidden):
        org.refund(decision_id, "1.00", agent)


def test_an_agent_settles_late_in_full_too(org: World) -> None:
    agent = org.token("ann")
    decision_id = held(org, ttl_seconds=60)
    org.now_us += 60 * SECOND
    org.expire()
    with pytest.raises(Forbidden):
        org.settle(decision_id, "9.00", caller=agent)
    assert org.settle(decision_id, caller=agent).late


@pytest.mark.parametrize("kind", ["may_release", "tenant", "operator"])
def test_whoever_may_release_frees_budget(org: World, kind: str) -> None:
    caller = {
        "may_release": lambda: org.token("ann", may_release=True),
        "tenant": lambda: org.token(None),
        "operator": lambda: OPERATOR,
    }[kind]()
    org.settle(held(org), "4.00", caller=caller)
    org.release(held(org), caller)
    decision_id = held(org)
    org.settle(decision_id, caller=caller)
    org.refund(decision_id, "10.00", caller)
    assert used(org) == (400, 0)


def test_a_decision_outside_the_callers_reach_does_not_exist(org: World) -> None:
    org.identity("bob")
    bob = org.token("bob", may_release=True)
    decision_id = held(org)
    calls: list[Callable[[], object]] = [
        lambda: org.settle(decision_id, caller=bob),
        lambda: org.release(decision_id, bob),
        lambda: org.settler.find(bob, None, decision_id),
    ]
    for call in calls:
        with pytest.raises(NotFound) as refused:
            call()
        assert (refused.value.message, refused.value.field) == (f"unknown decision `{decision_id}`", "decision_id")


@pytest.mark.parametrize("decision_id", ["dec_00000000000000000000000000", "nonsense", ""])
def test_a_decision_that_does_not_exist_is_not_found(org: World, decision_id: str) -> None:
    with pytest.raises(NotFound, match="unknown decision"):
        org.settle(decision_id)
    with pytest.raises(NotFound, match="unknown decision"):
        org.settler.find(OPERATOR, "t_one", decision_id)


def test_a_decision_of_another_tenant_does_not_exist(org: World) -> None:
    org.tenant("t_two")
    decision_id = str(org.authorize(payment(), tenant_id="t_two").decision.decision_id)
    with pytest.raises(NotFound):
        org.settle(decision_id)


def test_a_token_that_ran_out_settles_nothing(org: World) -> None:
    caller = org.token("ann", life_us=SECOND)
    decision_id = held(org)
    org.now_us += SECOND
    with pytest.raises(Unauthenticated):
        org.settle(decision_id, caller=caller)
    assert used(org) == (0, 1000)


def test_a_revoked_identitys_holds_can_still_be_settled(org: World) -> None:
    """What was permitted before has happened."""
    decision_id = held(org)
    org.revoke("ann")
    assert org.settle(decision_id).state == "settled"


def test_a_decision_is_shown_with_the_present_state_of_its_reservation(org: World) -> None:
    decision = org.decide(payment("10.00", "ann"))
    found = org.settler.find(OPERATOR, "t_one", str(decision.decision_id))
    assert found.decision == decision
    assert found.reservation is not None
    assert found.reservation.state == "held"
    org.release(str(decision.decision_id))
    found = org.settler.find(OPERATOR, "t_one", str(decision.decision_id))
    assert found.decision == decision
    assert found.reservation is not None
    assert found.reservation.state == "released"
    denied = org.decide(payment("1000.00", "ann"))
    assert org.settler.find(OPERATOR, "t_one", str(denied.decision_id)).reservation is None

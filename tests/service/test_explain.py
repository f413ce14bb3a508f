"""An explanation is of the state that was decided on, and names nothing as near that would not pass."""

import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.core.access import Caller
from sidecar.core.explanation import Seen
from sidecar.core.model import AuthorizeRequest, Reason, ResourceRef
from sidecar.core.money import Major, major_text
from sidecar.core.nearest import TRIALS_MAX, Change, Nearest
from sidecar.core.policy import EntitySlice
from sidecar.core.policy_set import PolicySet
from sidecar.core.restrictions import RuleResource
from sidecar.core.rules import Rules
from sidecar.core.ruling import CedarRequest, Ruling
from sidecar.core.snapshot import SourceFile
from sidecar.service import explain as explaining
from sidecar.service.authorize import Answered
from sidecar.service.explain import Explanation, explain
from tests.service.builders import (
    DAY,
    HOUR,
    NOON,
    OPERATOR,
    World,
    codes,
    limit,
    only_schemas,
    payment,
    replaced,
    tool_call,
)

CARD = ("card.authorize",)
CAD = ("CAD",)


def decided(world: World, request: AuthorizeRequest, caller: Caller = OPERATOR) -> Answered:
    """A decision with its grounds."""
    named = None if caller.token is not None else "t_one"
    return world.run(world.authorizer.authorize(caller, named, request, None, world.now_us, explain=True))


def explained(world: World, request: AuthorizeRequest, caller: Caller = OPERATOR) -> Explanation:
    """The explanation of a decision."""
    answered = decided(world, request, caller)
    assert answered.grounds is not None
    return explain(caller, answered.grounds, answered.decision)


def near(world: World, request: AuthorizeRequest) -> Nearest | None:
    """What is nearest to a request that is denied."""
    answered = decided(world, request)
    assert not answered.decision.allowed
    assert answered.grounds is not None
    return explain(OPERATOR, answered.grounds, answered.decision).nearest


# --- What was decided on ----------------------------------------------------------------------------------------------


def test_a_denial_shows_the_rule_that_failed_and_the_value_seen(world: World) -> None:
    world.found()
    policy_id = world.grant(rules=Rules(actions=CARD, max_amount=Major("200"), currencies=CAD))
    first = explained(world, payment("250")).policies.listed[0]
    assert (first.id, first.applied, first.unit.rule) == (f"{policy_id}/max_amount", True, "max_amount")
    (piece,) = first.conditions
    assert (piece.kind, piece.satisfied) == ("unless", False)
    assert Seen("context.amount", 25_000) in piece.values


def test_budgets_are_shown_as_they_were_before_the_claim(world: World) -> None:
    world.tenant()
    world.budget(limit(100))
    for reserved in (0, 4_000):
        answered = decided(world, payment("40"))
        assert answered.grounds is not None
        found = explain(OPERATOR, answered.grounds, answered.decision)
        assert found.budgets == answered.decision.budget_checks
        assert found.budgets[0].reserved == reserved
        assert found.nearest is None


def test_budgets_are_shown_where_policies_deny_and_nothing_is_claimed(world: World) -> None:
    world.found()
    world.budget(limit(100))
    answered = decided(world, payment("40"))
    assert (codes(answered.decision), answered.decision.budget_checks) == (["not_permitted"], ())
    assert answered.grounds is not None
    (check,) = explain(OPERATOR, answered.grounds, answered.decision).budgets
    assert (check.requested, check.remaining, check.allowed) == (4_000, 10_000, True)
    assert check.resets_at_us == NOON + DAY // 2


def test_where_cedar_is_not_asked_there_are_budgets_only(world: World) -> None:
    world.tenant()
    world.identity("ann")
    world.budget(limit(100))
    for request in (replaced(payment(identity_id="ann"), action="nope"), payment(identity_id="ann")):
        world.revoke("ann")
        found = explained(world, request)
        assert (found.policies.listed, found.nearest, len(found.budgets)) == ((), None, 1)


def test_no_nearest_is_sought_where_no_other_request_would_help(world: World) -> None:
    world.tenant()
    world.budget(limit(100))
    answered = decided(world, payment("150"))
    assert answered.grounds is not None
    frozen = Reason(verdict="deny", code="card_frozen", message="the card is frozen")
    denied = msgspec.structs.replace(answered.decision, reasons=(frozen, *answered.decision.reasons))
    assert explain(OPERATOR, answered.grounds, answered.decision).nearest is not None
    assert explain(OPERATOR, answered.grounds, denied).nearest is None


def test_a_decision_is_explained_from_its_own_state_and_not_from_a_later_one(world: World) -> None:
    world.tenant()
    budget_id = world.budget(limit(100)).budget.budget_id
    answered = decided(world, payment("150"))
    world.decide(payment("90"))
    world.run(world.treasurer.delete(OPERATOR, "t_one", budget_id, world.now_us))
    assert answered.grounds is not None
    found = explain(OPERATOR, answered.grounds, answered.decision)
    assert found.nearest == Nearest(amount_minor=10_000, currency="CAD")


def test_nobody_is_explained_anything_unasked_or_again(world: World) -> None:
    world.tenant()
    assert world.authorize(payment()).grounds is None
    assert world.authorizer.rehearse(OPERATOR, "t_one", payment(), world.now_us).grounds is None


def test_a_dry_run_is_explained_as_the_decision_would_be(world: World) -> None:
    world.tenant()
    world.budget(limit(100))
    rehearsed = world.authorizer.rehearse(OPERATOR, "t_one", payment("150"), world.now_us, explain=True)
    assert rehearsed.grounds is not None
    foretold = explain(OPERATOR, rehearsed.grounds, rehearsed.decision)
    assert foretold == explained(world, payment("150"))


# --- What a caller may see --------------------------------------------------------------------------------------------


def test_an_agent_is_told_of_no_policy_that_cannot_speak_of_its_request(world: World) -> None:
    world.tenant()
    world.identity("ann")
    agent = world.token("ann")
    of_agent = explained(world, payment(identity_id="ann"), agent).policies
    of_operator = explained(world, payment(identity_id="ann")).policies
    assert all(verdict.scope.applied for verdict in of_agent.listed)
    assert not all(verdict.scope.applied for verdict in of_operator.listed)
    assert (of_agent.candidates, of_agent.total) == (of_operator.candidates, of_operator.total)


def test_an_agent_sees_of_other_identities_their_ids_only(tmp_path: Path) -> None:
    text = """permit(principal is Agent, action == Action::"payment.create", resource is Agent)
        when { principal.name == "Ann" && resource.name == "Bob" && resource.hasTag("x") };
    """
    with World(tmp_path, files=only_schemas()) as world:
        world.found()
        world.cedar(text)
        for name, parent in (("ann", "root"), ("bob", "root"), ("sub", "ann")):
            world.identity(name, parent)

        def values(to: str, caller: Caller) -> dict[str, tuple[object, bool]]:
            request = replaced(payment(identity_id="ann"), action="payment.create", resource=ResourceRef("agent", to))
            (verdict,) = explained(world, request, caller).policies.listed
            seen = [each for piece in verdict.conditions for each in piece.values]
            return {each.expression: (each.value, each.hidden) for each in seen}

        agent, tag = world.token("ann"), 'resource.getTag("x")'
        own = ("Ann", False)
        assert values("bob", agent) == {"principal.name": own, "resource.name": (None, True), tag: (None, True)}
        assert values("sub", agent) == {"principal.name": own, "resource.name": ("Sub", False), tag: (None, False)}
        assert values("ann", agent)["resource.name"] == own
        assert values("bob", OPERATOR)["resource.name"] == ("Bob", False)


# --- The nearest that would be permitted ------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.integers(1, 4_000), max_size=3),
    st.lists(st.tuples(st.integers(1, 4_000), st.integers(0, 2_000)), max_size=3),
    st.sampled_from(["CAD", "JPY", "USDC"]),
)
def test_the_nearest_amount_passes_and_the_next_one_does_not(
    limits: list[int], budgets: list[tuple[int, int]], currency: str
) -> None:
    with tempfile.TemporaryDirectory() as folder, World(Path(folder)) as world:
        world.tenant()
        for amount in limits:
            most = Major(major_text(amount, currency))
            world.grant(rules=Rules(actions=CARD, max_amount=most, currencies=(currency,)))
        for amount, used in budgets:
            world.budget(limit(major_text(amount, currency), currency=currency, period="total"))
            world.decide(payment(used, currency=currency))
        answered = decided(world, payment(9_999, currency=currency))
        if answered.decision.allowed:
            return
        assert answered.grounds is not None
        found = explain(OPERATOR, answered.grounds, answered.decision).nearest
        amount_minor = 0 if found is None or found.amount_minor is None else found.amount_minor

        def permitted(minor: int) -> bool:
            request = payment(minor, currency=currency)
            return world.authorizer.rehearse(OPERATOR, "t_one", request, world.now_us).decision.allowed

        assert amount_minor == 0 or permitted(amount_minor)
        assert not permitted(amount_minor + 1)


def test_the_nearest_hour_is_the_next_in_the_tenants_zone(world: World) -> None:
    world.found(time_zone="America/Toronto")
    world.grant(rules=Rules(actions=CARD, allowed_hours=(9, 17), allowed_days=(1, 3)))
    found = near(world, payment())
    assert found == Nearest(at_us=NOON + DAY + 2 * HOUR)
    world.now_us = found.at_us or 0
    assert world.decide(payment()).allowed
    world.now_us -= 1
    assert not world.decide(payment()).allowed


def test_the_nearest_time_is_when_a_rolling_window_has_room(world: World) -> None:
    world.tenant()
    world.budget(limit(100, period="rolling_24h"))
    world.decide(payment("60"))
    world.now_us += HOUR
    world.decide(payment("30"))
    world.now_us += HOUR
    found = near(world, payment("50"))
    assert found == Nearest(amount_minor=1_000, currency="CAD", at_us=NOON + DAY)
    world.now_us = NOON + DAY
    assert world.decide(payment("50")).allowed


def test_other_currencies_categories_resources_and_actions_are_named(world: World) -> None:
    world.found()
    rules = Rules(
        actions=("card.authorize", "tool.call"),
        currencies=("USD", "EUR"),
        allowed_resources=(RuleResource("merchant", "AWS"), RuleResource("tool", "search")),
    )
    world.grant(rules=rules)
    assert near(world, payment()) == Nearest(currencies=("USD", "EUR"))
    found = near(world, payment(currency="USD", merchant="GCP"))
    assert found == Nearest(resources=(ResourceRef("merchant", "AWS"),))
    assert near(world, tool_call(tool="fetch")) == Nearest(resources=(ResourceRef("tool", "search"),))
    found = near(world, replaced(tool_call(), action="model.invoke", resource=ResourceRef("model", "m")))
    assert found is None
    assert near(world, replaced(tool_call(), action="http.request", resource=ResourceRef("url", "u"))) is None


def test_an_action_is_named_where_it_applies_to_the_identity(tmp_path: Path) -> None:
    lend = """action lend in [spend] appliesTo { principal: [Agent], resource: [Merchant],
        context: { amount: Long, currency: String } };"""
    files = only_schemas('permit(principal, action == Action::"lend", resource);')
    files = msgspec.structs.replace(files, schemas=(*files.schemas, SourceFile("schemas/lend.cedarschema", lend)))
    with World(tmp_path, files=files) as world:
        world.found()
        world.identity("ann")
        assert near(world, payment(identity_id="ann")) == Nearest(actions=("lend",))
        assert near(world, payment()) is None


def test_a_category_that_is_permitted_is_named(world: World) -> None:
    world.found()
    world.grant(rules=Rules(actions=CARD, allowed_mccs=("7372", "5812")))
    found = near(world, replaced(payment(), merchant_category="5999"))
    assert found == Nearest(merchant_categories=("7372", "5812"))


def test_two_changes_are_named_where_one_is_not_enough(world: World) -> None:
    world.found()
    world.grant(rules=Rules(actions=CARD, max_amount=Major("5"), currencies=("USD",)))
    found = near(world, payment("10"))
    assert found == Nearest(together=Change(amount_minor=500, currency="USD"))


def test_the_nearest_for_a_linked_template_is_found(world: World) -> None:
    world.found()
    world.identity("ann")
    for name in ("ann", "root"):
        world.cedar(
            'permit(principal in ?principal, action == Action::"card.authorize", resource) '
            "when { context.amount <= 700 };",
            name,
        )
    assert near(world, payment("10", "ann")) == Nearest(amount_minor=700, currency="CAD")


def test_where_too_many_policies_reach_an_identity_no_nearest_is_sought(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.tenant()
    world.budget(limit(5))
    assert explained(world, payment("10")).nearest_sought
    for limit_name in ("NEAREST_POLICIES_MAX", "NEAREST_TEXT_MAX"):
        with monkeypatch.context() as patch:
            patch.setattr(explaining, limit_name, 1)
            found = explained(world, payment("10"))
        assert (found.nearest, found.nearest_sought) == (None, False)


def test_the_more_text_reaches_an_identity_the_fewer_requests_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ruled: list[object] = []
    evaluate = PolicySet.evaluate

    def counted(policies: PolicySet, request: CedarRequest, entities: EntitySlice) -> Ruling:
        ruled.append(request)
        return evaluate(policies, request, entities)

    scope = 'principal, action == Action::"card.authorize", resource'
    texts = [f"forbid({scope}) when {{ context.amount > {number} }};" for number in range(60)]
    with World(tmp_path, files=only_schemas(*texts)) as world:
        world.tenant()
        answered = decided(world, payment("10"))
        monkeypatch.setattr(PolicySet, "evaluate", counted)
        assert answered.grounds is not None
        assert explain(OPERATOR, answered.grounds, answered.decision).nearest_sought
    length = sum(map(len, texts))
    assert len(ruled) - 1 <= explaining.TRIALS_WORK_MAX // length  # one ruling is that on the conditions
    assert len(ruled) - 1 <= TRIALS_MAX * 2 // 3


def test_no_nearest_is_sought_unasked(world: World) -> None:
    world.tenant()
    world.budget(limit(5))
    answered = decided(world, payment("10"))
    assert answered.grounds is not None
    found = explain(OPERATOR, answered.grounds, answered.decision, seek_nearest=False)
    assert (found.nearest, found.nearest_sought) == (None, False)
    assert found.policies.listed


def test_a_nearest_resource_that_asks_for_more_than_the_request_has_is_not_named(tmp_path: Path) -> None:
    """It does not fit the schema, as an account's country is nothing that a merchant has."""
    text = 'permit(principal, action in Action::"spend", resource) when { resource == Account::"x" };'
    with World(tmp_path, files=only_schemas(text)) as world:
        world.found()
        assert near(world, payment()) is None


def test_an_explained_payment_to_an_identity_keeps_its_target(tmp_path: Path) -> None:
    text = """permit(principal, action == Action::"payment.create", resource is Agent)
        when { context.amount <= 500 && resource.status == "active" };"""
    with World(tmp_path, files=only_schemas(text)) as world:
        world.found()
        world.identity("ann")
        request = replaced(payment("10"), action="payment.create", resource=ResourceRef("agent", "ann"))
        assert near(world, request) == Nearest(amount_minor=500, currency="CAD")


def test_a_batch_explains_the_items_that_ask_for_it(world: World) -> None:
    world.tenant()
    world.budget(limit(15))
    batch = world.batch_of(payment("10"), payment("10"))
    items = (batch.items[0], msgspec.structs.replace(batch.items[1], explain=True))
    answered = world.run(world.batches.authorize(msgspec.structs.replace(batch, items=items), None))
    first, second = answered.answers
    assert first.grounds is None
    assert second.grounds is not None
    found = explain(OPERATOR, second.grounds, second.decision)
    assert found.budgets[0].remaining == 500
    assert found.nearest == Nearest(amount_minor=500, currency="CAD", at_us=NOON + DAY // 2)

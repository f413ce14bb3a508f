"""What the use cases refuse beyond what the doors' tests show, and who may see what."""

import msgspec
import pytest

from sidecar.core.access import Caller
from sidecar.core.errors import Conflict, NotFound, Unauthenticated, ValidationFailed
from sidecar.core.limits import BUDGETS_PER_CHAIN_MAX
from sidecar.core.model import AuthorizeRequest, ResourceRef
from sidecar.core.money import Major
from sidecar.service import policies, ruling
from sidecar.service.budgets import BudgetPatch
from sidecar.service.paging import PageRequest
from sidecar.service.policies import PolicyDraft
from sidecar.state.transaction import Transaction
from tests.service.builders import OPERATOR, World, codes, limit, payment, replaced, tool_call


def paying(receiver: str, type_name: str = "agent") -> AuthorizeRequest:
    return replaced(payment(), action="payment.create", resource=ResourceRef(type_name, receiver))


def test_a_token_of_a_tenant_that_does_not_exist_opens_nothing(world: World) -> None:
    world.tenant()
    token = world.token(None).token
    assert token is not None
    stranger = Caller("tenant", msgspec.structs.replace(token, tenant=99))
    with pytest.raises(Unauthenticated), world.store.read():
        world.registry.get(stranger, None, "root")


def test_a_chain_has_so_many_budgets_and_no_more(world: World) -> None:
    world.tenant()
    for _ in range(BUDGETS_PER_CHAIN_MAX):
        world.budget(limit(100))
    with pytest.raises(Conflict, match="the most that can be claimed"):
        world.budget(limit(100))


def test_a_request_that_more_budgets_govern_than_can_be_claimed_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.tenant()
    world.budget(limit(100))
    world.budget(limit(100))
    monkeypatch.setattr(ruling, "BUDGETS_PER_CHAIN_MAX", 1)
    with pytest.raises(Conflict, match="govern this request"):
        world.decide(payment())


def test_the_receiver_of_a_payment_must_exist_and_be_of_the_type_named(world: World) -> None:
    world.tenant()
    world.identity("shop")
    assert world.decide(paying("shop")).allowed
    for request in (paying("nobody"), paying("shop", "team")):
        with pytest.raises(NotFound):
            world.decide(request)


def test_the_attributes_of_an_identity_are_the_stored_ones(world: World) -> None:
    world.tenant()
    world.identity("shop")
    with pytest.raises(ValidationFailed, match="the stored ones"):
        world.decide(replaced(paying("shop"), attributes={"name": "another"}))


def test_the_record_names_which_version_of_the_receiver_was_looked_at(world: World) -> None:
    world.tenant()
    world.identity("shop")
    world.decide(paying("shop"))
    target = world.bodies()[-1]["target"]
    assert isinstance(target, list)
    assert [row[0] for row in target] == ["shop", "root"]


def test_a_card_that_does_not_exist_is_not_found(world: World) -> None:
    world.tenant()
    with pytest.raises(NotFound, match="unknown card"):
        world.decide(replaced(payment(), card_id="card_1"))


def test_a_policy_needs_an_identity_that_exists_and_something_to_say(world: World) -> None:
    world.tenant()
    with pytest.raises(NotFound):
        world.grant(identity_id="nobody")
    with pytest.raises(ValidationFailed, match="`rules` or `cedar`"):
        world.run(world.legislator.create(OPERATOR, "t_one", PolicyDraft("none", None, None, None, None), world.now_us))


def test_a_tenant_has_so_many_policies_and_so_much_text(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.tenant()
    monkeypatch.setattr(policies, "POLICY_BYTES_PER_TENANT_MAX", 10)
    with pytest.raises(Conflict, match="MiB"):
        world.grant()
    monkeypatch.setattr(policies, "POLICIES_PER_TENANT_MAX", 1)
    with pytest.raises(Conflict, match="the most it can have"):
        world.grant()


def test_a_policy_that_does_not_exist_cannot_be_deleted(world: World) -> None:
    world.tenant()
    with pytest.raises(NotFound):
        world.run(world.legislator.delete(OPERATOR, "t_one", "pol_1", world.now_us))


def test_a_decision_without_an_amount_has_none_to_settle_or_refund(world: World) -> None:
    world.tenant()
    decision = world.decide(tool_call(quantities={"tokens": 5}))
    assert decision.decision_id is not None
    with pytest.raises(ValidationFailed, match="has no amount"):
        world.settle(decision.decision_id, "1.00")


def test_money_that_moved_late_is_flagged_where_it_overdraws(world: World) -> None:
    world.tenant()
    budget = world.budget(limit(10))
    late = world.decide(replaced(payment("8.00"), ttl_seconds=1))
    world.now_us += 2_000_000
    assert world.expire() == 1
    assert world.decide(payment("9.00")).allowed
    assert late.decision_id is not None
    reservation = world.settle(late.decision_id)
    assert (reservation.late, reservation.overdrawn) == (True, True)
    assert world.bodies()[-1]["overdrawn"] == [budget.budget.budget_id]
    assert codes(world.decide(payment("0.01"))) == ["budget_exceeded"]


def test_a_budget_of_no_identity_is_an_administrators_to_see(world: World) -> None:
    """Budgets of cards will hang on no identity."""
    world.tenant()
    world.identity("buyer")
    made = world.budget(limit(10)).budget
    hung = msgspec.structs.replace(made, identity_id=None, card_id="card_1", revision=made.revision + 1)

    def hang(txn: Transaction) -> None:
        tenant = txn.tenants.find("t_one")
        assert tenant is not None
        txn.of(tenant).budgets.change(made.budget_id, hung, made.revision)

    world.run(world.store.write(hang))
    agent = world.token("buyer")
    with pytest.raises(NotFound):
        world.treasurer.get(agent, None, made.budget_id, world.now_us)
    assert world.treasurer.get(OPERATOR, "t_one", made.budget_id, world.now_us).budget.card_id == "card_1"
    assert world.treasurer.listed(agent, None, None, PageRequest(), world.now_us).values == ()
    patch = BudgetPatch(Major("20"), None, None, None)
    world.run(world.treasurer.change(OPERATOR, "t_one", made.budget_id, patch, world.now_us))
    assert "identity" not in world.bodies()[-1]

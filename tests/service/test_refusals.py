"""What the use cases refuse beyond what the doors' tests show, and who may see what."""

from pathlib import Path

import msgspec
import pytest

from sidecar.core.access import Caller
from sidecar.core.errors import Conflict, NotFound, Unauthenticated, ValidationFailed
from sidecar.core.limits import BUDGETS_PER_CHAIN_MAX
from sidecar.core.model import AuthorizeRequest, ResourceRef
from sidecar.core.snapshot import PolicyFiles, SourceFile
from sidecar.service import consult, policies, ruling
from sidecar.service.identities import IdentityPatch
from sidecar.service.policies import PolicyDraft
from sidecar.service.tokens import TokenDraft
from tests.service.builders import OPERATOR, World, codes, key_for, limit, payment, replaced, shipped_files, tool_call


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
    monkeypatch.setattr(consult, "BUDGETS_PER_CHAIN_MAX", 1)
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
    others = world.bodies()[-1]["others"]
    assert isinstance(others, list)
    assert [row[0] for row in others] == ["shop"]


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


MEMBER_GUARD = 'forbid (principal, action, resource) when { User::"ann" in Team::"x" };'
STATUS_GUARD = 'forbid (principal, action, resource) unless { Agent::"boss".status == "active" };'


def test_the_record_names_what_policies_of_the_acting_identity_look_into_and_nobody_elses(world: World) -> None:
    world.tenant()
    for name in ("ann", "bob", "boss"):
        world.identity(name)
    world.cedar('forbid (principal == Agent::"bob", action, resource) unless { Agent::"boss".status == "active" };')
    assert world.decide(tool_call("ann")).allowed
    assert world.decide(tool_call("bob")).allowed
    looked_at = []
    for body in world.bodies()[-2:]:
        others = body.get("others", [])
        assert isinstance(others, list)
        looked_at.append([row[0] for row in others])
    assert looked_at == [[], ["boss"]]


def test_a_condition_sees_the_stored_parents_of_an_entity_that_it_names(world: World) -> None:
    world.tenant()
    world.identity("x", type_name="team")
    world.cedar(MEMBER_GUARD)
    assert world.decide(payment()).allowed, "ann does not exist"
    world.identity("ann", "x", type_name="user")
    assert codes(world.decide(payment())) == ["forbidden"]
    others = world.bodies()[-1]["others"]
    assert isinstance(others, list)
    assert [row[0] for row in others] == ["ann", "x"]


def test_a_condition_sees_the_stored_attributes_of_an_entity_that_it_names(world: World) -> None:
    world.tenant()
    world.identity("boss")
    world.identity("aide", "boss")
    world.cedar(STATUS_GUARD)
    assert world.decide(payment()).allowed
    assert world.decide(payment(identity_id="aide")).allowed
    patch = IdentityPatch(status="suspended")
    world.run(world.registry.change(OPERATOR, "t_one", "boss", patch, world.now_us))
    assert codes(world.decide(payment())) == ["forbidden"]


def test_an_entity_of_another_type_than_the_stored_one_is_not_that_entity(world: World) -> None:
    world.tenant()
    world.identity("x", type_name="team")
    world.identity("ann", "x", type_name="agent")
    world.cedar(MEMBER_GUARD)
    assert world.decide(payment()).allowed


REFERRING = """
entity User, Agent, Team in [User, Agent, Team] = { name: String, status: String, external_id?: String } tags String;
entity Tool;
action "tool.call" appliesTo {
  principal: [User, Agent, Team], resource: [Tool], context: { approver?: User, watchers?: Set<User> }
};
"""


def test_a_condition_sees_the_stored_parents_of_an_entity_that_the_request_names(tmp_path: Path) -> None:
    text = """permit (principal, action, resource) when { context has approver && context.approver in Team::"x" };"""
    files = PolicyFiles(
        schemas=(SourceFile("s.cedarschema", REFERRING),), shared=(SourceFile("p.cedar", text),), by_tenant={}
    )
    with World(tmp_path, files=files) as world:
        world.found()
        world.identity("x", type_name="team")
        world.identity("ann", "x", type_name="user")
        world.identity("bob", type_name="user")

        def approved_by(name: str) -> bool:
            users: list[object] = [{"type": "User", "id": name}]
            return world.decide(
                replaced(tool_call(), context={"approver": {"type": "User", "id": name}, "watchers": users})
            ).allowed

        assert [approved_by(name) for name in ("ann", "bob", "nobody")] == [True, False, False]


def test_a_ruling_looks_at_so_many_identities_and_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ruling, "REACHED_MAX", 1)
    world.tenant()
    world.identity("x", type_name="team")
    world.identity("ann", "x", type_name="user")
    world.cedar(MEMBER_GUARD)
    with pytest.raises(Conflict, match="at most 1 are looked at"):
        world.decide(payment())


def test_a_retry_gets_its_answer_though_the_request_would_not_fit_any_more(world: World) -> None:
    world.tenant()
    request = payment()
    first = world.authorize(request, key_for(request))
    schema = shipped_files().schemas[0].text.replace("merchant_category?: String,", "merchant_category: String,")
    world.load(PolicyFiles(schemas=(SourceFile("s.cedarschema", schema),), shared=(), by_tenant={}))
    with pytest.raises(ValidationFailed):
        world.authorize(request)
    again = world.authorize(request, key_for(request))
    assert (again.decision, again.replayed) == (first.decision, True)


def test_a_tenant_key_belongs_to_no_identity(world: World) -> None:
    world.tenant()
    draft = TokenDraft("wrong", "tenant", "root", may_release=False, expires_at_us=None)
    with pytest.raises(ValidationFailed, match="belongs to no identity"):
        world.run(world.desk.create(OPERATOR, "t_one", draft, world.now_us))


def test_outcomes_of_keys_are_forgotten_after_their_day(world: World) -> None:
    world.tenant()
    request = payment()
    world.authorize(request, key_for(request))
    assert world.run(world.settler.prune_replays(world.now_us)) == 0
    world.now_us += 86_400_000_000
    assert world.run(world.settler.prune_replays(world.now_us)) == 1
    assert not world.authorize(request, key_for(request)).replayed

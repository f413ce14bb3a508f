"""Policies made by the API: checked with all others before they can hold, in force with the next decision."""

import pytest

from sidecar.core.errors import (
    Forbidden,
    NotFound,
    PolicyInvalid,
    Unauthenticated,
    ValidationFailed,
)
from sidecar.core.money import Major
from sidecar.core.rules import Rules
from sidecar.core.snapshot import PolicyFiles, SourceFile
from sidecar.service.paging import PageRequest
from sidecar.service.policies import Legislator, PolicyDraft
from sidecar.service.tokens import TokenDraft
from tests.service.builders import OPERATOR, SECOND, World, codes, only_schemas, payment, shipped_files, tool_call

PERMIT = 'permit (principal, action == Action::"tool.call", resource);'
TEMPLATE = 'permit (principal in ?principal, action == Action::"tool.call", resource);'


@pytest.fixture
def org(world: World) -> World:
    """A tenant with two agents and no policy of its own."""
    world.found()
    world.identity("ann")
    world.identity("bob")
    return world


def test_rules_are_compiled_stored_and_in_force_with_the_next_decision(org: World) -> None:
    assert codes(org.decide(payment())) == ["not_permitted"]
    draft = PolicyDraft("spend", "ann", Rules(actions=("spend",), currencies=("CAD",)), '{"x":1}', None)
    stored = org.run(org.legislator.create(OPERATOR, "t_one", draft, org.now_us)).value
    record = stored.record
    assert (stored.tenant_id, record.name, record.identity_id, record.rules) == ("t_one", "spend", "ann", '{"x":1}')
    assert f'@id("{record.policy_id}/currencies")' in record.cedar
    assert set(record.requirements) == {f"{record.policy_id}/currencies"}
    assert org.decide(payment("1.00", "ann")).allowed
    assert codes(org.decide(payment("1.00", "ann", currency="USD"))) == ["forbidden"]
    assert codes(org.decide(payment("1.00", "bob"))) == ["not_permitted"]
    assert org.legislator.get(OPERATOR, "t_one", record.policy_id) == stored
    assert "policy_created" in org.kinds()


def test_rules_without_an_identity_hang_on_the_root(org: World) -> None:
    org.grant()
    assert org.decide(payment("1.00", "ann")).allowed
    assert org.decide(payment()).allowed


def test_a_child_narrows_and_never_widens_what_an_ancestor_restricted(org: World) -> None:
    """DESIGN 4."""
    org.grant(rules=Rules(max_amount=Major("10"), currency="CAD"))
    org.grant(rules=Rules(max_amount=Major("50"), currency="CAD"), identity_id="ann")
    org.grant(rules=Rules(max_amount=Major("5"), currency="CAD"), identity_id="bob")
    assert org.decide(payment("10.00", "ann")).allowed
    assert codes(org.decide(payment("10.01", "ann"))) == ["forbidden"]
    assert codes(org.decide(payment("5.01", "bob"))) == ["forbidden"]


def test_cedar_text_is_vetted_before_it_is_parsed_here(org: World) -> None:
    """Rule 11: it may crash whoever reads it."""
    policy_id = org.cedar(PERMIT)
    assert org.vetted == [f"/v1/policies/{policy_id}\n{PERMIT}"]
    org.grant()
    assert len(org.vetted) == 1, "rules are compiled by us and hold nothing but what we wrote"


def test_what_the_vetting_refuses_is_never_read_or_stored(org: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(text: str, file: str) -> None:
        assert text == PERMIT
        raise PolicyInvalid("cannot be parsed safely", file=file, line=1, column=1)

    def read(*_: object) -> None:
        pytest.fail("the text was read")

    legislator = Legislator(org.store, org.snapshots, org.ids, refuse)
    monkeypatch.setattr("sidecar.service.policies.compile_statements", read)
    with pytest.raises(PolicyInvalid, match="cannot be parsed safely"):
        org.run(legislator.create(OPERATOR, "t_one", PolicyDraft("x", None, None, None, PERMIT), org.now_us))
    assert "policy_created" not in org.kinds()


def test_text_that_does_not_fit_the_schema_is_refused_naming_the_place(org: World) -> None:
    with pytest.raises(PolicyInvalid) as refused:
        org.cedar("\npermit (principal, action, resource) when { context.nothing == 1 };")
    assert refused.value.line == 2
    assert "policy_created" not in org.kinds()


def test_a_template_is_linked_to_its_identity(org: World) -> None:
    org.cedar(TEMPLATE, "ann")
    assert org.decide(tool_call("ann")).allowed
    assert codes(org.decide(tool_call("bob"))) == ["not_permitted"]


def test_a_template_needs_an_identity_and_an_identity_a_template(org: World) -> None:
    with pytest.raises(ValidationFailed, match="a template needs the identity"):
        org.cedar(TEMPLATE)
    with pytest.raises(ValidationFailed, match=r"is a template, `principal in \?principal`"):
        org.cedar(PERMIT, "ann")


def test_an_id_in_use_is_refused_also_where_a_file_uses_it(org: World) -> None:
    org.cedar(f'@id("mine")\n{PERMIT}')
    for used in ("mine", "baseline/active-payee"):
        with pytest.raises(ValidationFailed, match=f"two policies have the id `{used}`"):
            org.cedar(f'@id("{used}")\n{PERMIT}')


def test_policies_of_one_tenant_hold_in_no_other(org: World) -> None:
    org.found("t_two")
    org.cedar(f'@id("mine")\n{PERMIT}')
    org.cedar('@id("mine")\nforbid (principal, action, resource);', tenant_id="t_two")
    assert org.decide(tool_call()).allowed
    assert codes(org.authorize(tool_call(), tenant_id="t_two").decision) == ["forbidden"]


def test_the_files_of_one_tenant_hold_in_no_other(org: World) -> None:
    shipped = shipped_files()
    own = SourceFile("policies/t_one/own.cedar", PERMIT)
    org.load(PolicyFiles(schemas=shipped.schemas, shared=shipped.shared, by_tenant={"t_one": (own,)}))
    org.found("t_two")
    decision = org.decide(tool_call())
    assert (codes(decision), decision.reasons[0].source) == (["permitted"], "policies/t_one/own.cedar:1")
    assert codes(org.authorize(tool_call(), tenant_id="t_two").decision) == ["not_permitted"]


def test_a_deleted_policy_is_asked_no_more(org: World) -> None:
    policy_id = org.grant()
    assert org.decide(payment()).allowed
    org.run(org.legislator.delete(OPERATOR, "t_one", policy_id, org.now_us))
    assert org.kinds()[-1] == "policy_deleted"
    assert codes(org.decide(payment())) == ["not_permitted"]
    with pytest.raises(NotFound, match=f"unknown policy `{policy_id}`"):
        org.legislator.get(OPERATOR, "t_one", policy_id)


def test_policies_are_listed_of_one_identity_or_of_all_in_order_of_creation(org: World) -> None:
    made = [org.grant(identity_id=name) for name in ("ann", "bob", "ann")]
    page = org.legislator.listed(OPERATOR, "t_one", None, PageRequest())
    assert [stored.record.policy_id for stored in page.values] == made
    page = org.legislator.listed(OPERATOR, "t_one", "ann", PageRequest(0, 1))
    assert [stored.record.policy_id for stored in page.values] == made[:1]
    assert page.next_after is not None
    page = org.legislator.listed(OPERATOR, "t_one", "ann", PageRequest(page.next_after))
    assert [stored.record.policy_id for stored in page.values] == made[2:]


def test_agents_neither_read_nor_write_policies(org: World) -> None:
    agent = org.token("ann", may_release=True)
    policy_id = org.grant()
    draft = PolicyDraft("x", None, Rules(), "{}", None)
    for call in (
        lambda: org.run(org.legislator.create(agent, None, draft, org.now_us)),
        lambda: org.run(org.legislator.delete(agent, None, policy_id, org.now_us)),
        lambda: org.legislator.get(agent, None, policy_id),
        lambda: org.legislator.listed(agent, None, None, PageRequest()),
    ):
        with pytest.raises(Forbidden):
            call()


def test_a_key_that_ran_out_touches_no_policy(org: World) -> None:
    key = org.token(None, life_us=SECOND)
    policy_id = org.grant()
    org.now_us += SECOND
    draft = PolicyDraft("x", None, Rules(), "{}", None)
    for call in (
        org.legislator.create(key, None, draft, org.now_us),
        org.legislator.delete(key, None, policy_id, org.now_us),
    ):
        with pytest.raises(Unauthenticated):
            org.run(call)


def test_a_policy_is_checked_again_when_another_was_stored_meanwhile(org: World) -> None:
    """Both cannot have the same id: the second is refused, not stored beside it."""
    drafts = [PolicyDraft(name, None, None, None, f'@id("same")\n{PERMIT}') for name in ("one", "two")]
    first, second = org.together(*(org.legislator.create(OPERATOR, "t_one", draft, org.now_us) for draft in drafts))
    assert not isinstance(first, BaseException)
    assert isinstance(second, ValidationFailed)
    assert org.kinds().count("policy_created") == 1


def test_other_changes_meanwhile_are_no_reason_to_check_again(org: World) -> None:
    token = TokenDraft("t", "tenant", None, may_release=False, expires_at_us=None)
    draft = PolicyDraft("x", None, Rules(), "{}", None)

    async def both() -> list[object]:
        made = await org.desk.create(OPERATOR, "t_one", token, org.now_us)
        return [made, await org.legislator.create(OPERATOR, "t_one", draft, org.now_us)]

    assert len(org.run(both())) == 2


def test_the_text_behind_a_policy_lies_in_the_log_as_a_fact(org: World) -> None:
    policy_id = org.cedar(PERMIT)
    record = org.legislator.get(OPERATOR, "t_one", policy_id).record
    body = org.bodies()[-1]
    assert (body["type"], body["policy"], body["revision"]) == ("policy_created", policy_id, record.revision)
    org.decide(tool_call())
    assert org.auditor.verify(OPERATOR, "t_one", 0, None).report.facts_missing == 0


def test_a_schema_of_ones_own_declares_what_rules_may_name(org: World) -> None:
    org.load(only_schemas())
    with pytest.raises(ValidationFailed, match=r"the schema knows no action `no\.such`"):
        org.grant(rules=Rules(actions=("no.such",)))

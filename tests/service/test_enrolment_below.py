"""Enrolment further down: what is made below a new identity comes with it, in the same transaction or not at all."""

import msgspec
import pytest

from sidecar.core.errors import NotFound, ValidationFailed
from sidecar.core.idempotency import IdempotencyKey, idempotency_key
from sidecar.core.rules import Rules
from sidecar.service.accounts import AccountDraft
from sidecar.service.enrolment import OF_THE_NEW, Enrolled, EnrolmentDraft, Registrar
from sidecar.service.idempotency import Done
from sidecar.service.identities import IdentityDraft
from sidecar.service.policies import PolicyDraft
from tests.service.builders import OPERATOR, World, limit

WALLET = AccountDraft(identity_id=OF_THE_NEW, asset="SOL", network="solana", wallet_address=OF_THE_NEW)
AGENT = EnrolmentDraft(
    identity=IdentityDraft(OF_THE_NEW, "agent", "Treasury"),
    limits=(limit(5, OF_THE_NEW),),
    accounts=(WALLET, msgspec.structs.replace(WALLET, asset="USDC")),
    token_name="treasury",
)
PROJECT = EnrolmentDraft(
    identity=IdentityDraft("root", "project", "Research"),
    limits=(limit(10, OF_THE_NEW),),
    policy=PolicyDraft("pays", OF_THE_NEW, Rules(actions=("payment.create",)), "{}", None),
    below=(AGENT,),
)


@pytest.fixture
def org(world: World) -> World:
    """A tenant with a root."""
    world.found()
    return world


def enrol(org: World, draft: EnrolmentDraft = PROJECT, key: IdempotencyKey | None = None) -> Done[Enrolled]:
    """Enrol."""
    desk, legislator = org.desk, org.legislator
    registrar = Registrar(org.store, org.registry, org.treasurer, legislator, desk, org.ids)
    return org.run(registrar.enrol(OPERATOR, "t_one", draft, key, org.now_us))


def test_what_is_below_has_the_new_identity_as_its_parent(org: World) -> None:
    made = enrol(org).value
    (below,) = made.below
    project, agent = made.described.identity, below.described.identity
    assert (project.parent_id, agent.parent_id, agent.type) == ("root", project.identity_id, "agent")
    assert [each.budget.identity_id for each in (*made.budgets, *below.budgets)] == [
        project.identity_id,
        agent.identity_id,
    ]
    assert {each.identity_id for each in below.accounts} == {agent.identity_id}
    assert made.policy is not None
    assert (made.policy.record.identity_id, below.policy) == (project.identity_id, None)
    assert below.token is not None
    assert org.desk.authenticate(below.token.text, org.now_us).top == agent.identity_id
    assert org.faults() == []


def test_accounts_of_the_new_share_an_address_that_is_on_no_chain(org: World) -> None:
    (below,) = enrol(org).value.below
    identity_id = below.described.identity.identity_id
    assert [each.wallet_address for each in below.accounts] == [f"sidecar:{identity_id}"] * 2
    named = msgspec.structs.replace(PROJECT, accounts=(msgspec.structs.replace(WALLET, wallet_address="Ab7"),))
    assert [each.wallet_address for each in enrol(org, named).value.accounts] == ["Ab7"]


def test_a_replay_is_the_same_without_the_secrets_further_down(org: World) -> None:
    key = idempotency_key("operator", "POST /projects", "k1", b"{}")
    made, again = enrol(org, key=key), enrol(org, key=key)
    assert (made.replayed, again.replayed) == (False, True)
    (first,), (second,) = made.value.below, again.value.below
    assert first.token is not None
    assert second.token is not None
    assert (first.token.token, second.token.text) == (second.token.token, "")
    assert first.described == second.described


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"identity": IdentityDraft(OF_THE_NEW, "robot", "Treasury")}, ValidationFailed),
        ({"limits": (limit("1.001", OF_THE_NEW),)}, ValidationFailed),
        ({"accounts": (msgspec.structs.replace(WALLET, asset="XQQ"),)}, ValidationFailed),
    ],
)
def test_where_something_further_down_cannot_be_made_nothing_is(
    org: World, changes: dict[str, object], error: type[Exception]
) -> None:
    before = org.kinds()
    with pytest.raises(error):
        enrol(org, msgspec.structs.replace(PROJECT, below=(msgspec.structs.replace(AGENT, **changes),)))
    assert org.kinds() == before
    with pytest.raises(NotFound):
        enrol(org, msgspec.structs.replace(PROJECT, identity=IdentityDraft("nobody", "project", "Research")))
    assert org.kinds() == before

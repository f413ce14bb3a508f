"""Enrolment: an identity with its limits, policy, accounts and token, all or nothing, and once per external id."""

import msgspec
import pytest

from sidecar.core.access import Caller
from sidecar.core.errors import (
    Conflict,
    Forbidden,
    IdempotencyConflict,
    NotFound,
    PolicyInvalid,
    Unauthenticated,
    ValidationFailed,
)
from sidecar.core.idempotency import IdempotencyKey, idempotency_key
from sidecar.core.rules import read_rules
from sidecar.service import enrolment
from sidecar.service.accounts import AccountDraft
from sidecar.service.enrolment import OF_THE_NEW, Enrolled, EnrolmentDraft, Registrar
from sidecar.service.idempotency import Done
from sidecar.service.identities import IdentityDraft
from sidecar.service.paging import PageRequest
from sidecar.service.policies import PolicyDraft
from sidecar.service.subtrees import IdentityFilter
from tests.service.builders import OPERATOR, World, codes, limit, only_schemas, payment

RULES = '{"actions":["card.authorize"],"max_amount":5,"currencies":["CAD"]}'
POLICY = PolicyDraft("pays by card", OF_THE_NEW, read_rules(RULES), RULES, None)


class Office:
    """Where tenant `t_one` enrols: root → ann, a user, and root → team. No policy permits anything yet."""

    def __init__(self, world: World) -> None:
        """Make the tenant."""
        self.world = world
        self.registrar = Registrar(
            world.store, world.registry, world.treasurer, world.legislator, world.desk, world.ids
        )
        world.load(only_schemas())
        world.found()
        world.identity("ann", type_name="user")
        world.identity("team", type_name="team")

    def draft(self, external_id: str | None = "e-1", parent_id: str = "ann", **changes: object) -> EnrolmentDraft:
        """What is asked for."""
        identity = IdentityDraft(parent_id, "agent", "Bot", external_id=external_id)
        return msgspec.structs.replace(EnrolmentDraft(identity=identity), **changes)

    def enrol(
        self, draft: EnrolmentDraft, key: IdempotencyKey | None = None, caller: Caller = OPERATOR
    ) -> Done[Enrolled]:
        """Enrol one."""
        tenant_id = None if caller.token is not None else "t_one"
        return self.world.run(self.registrar.enrol(caller, tenant_id, draft, key, self.world.now_us))

    def together(self, *drafts: EnrolmentDraft) -> list[Done[Enrolled] | BaseException]:
        """Enrol several at the same time."""
        calls = [self.registrar.enrol(OPERATOR, "t_one", draft, None, self.world.now_us) for draft in drafts]
        return self.world.together(*calls)

    def agents(self) -> list[str]:
        """Return the ids of all agents."""
        page = self.world.registry.listed(OPERATOR, "t_one", IdentityFilter(type="agent"), PageRequest())
        return [each.identity.identity_id for each in page.values]

    def policies(self) -> int:
        """Return how many policies there are."""
        return len(self.world.legislator.listed(OPERATOR, "t_one", None, PageRequest()).values)


@pytest.fixture
def office(world: World) -> Office:
    """A tenant that enrols."""
    return Office(world)


def id_of(enrolled: Enrolled) -> str:
    """Return the id of who was enrolled."""
    return enrolled.described.identity.identity_id


# --- What is made -----------------------------------------------------------------------------------------------------


def test_all_parts_are_made_in_one_transaction(office: Office) -> None:
    head = len(office.world.kinds())
    wanted = office.draft(
        limits=(limit(50, OF_THE_NEW), limit(20, OF_THE_NEW, period="total")),
        accounts=(AccountDraft(identity_id=OF_THE_NEW, asset="USDC"),),
        policy=POLICY,
        token_name="first",
    )
    made = office.enrol(wanted).value
    assert made.is_new
    assert office.world.kinds()[head:] == [
        "identity_created",
        "policy_created",
        "budget_created",
        "budget_created",
        "account_created",
        "token_created",
    ]
    assert made.policy is not None
    assert made.token is not None
    assert {each.budget.identity_id for each in made.budgets} == {id_of(made)}
    assert [(each.identity_id, each.asset) for each in made.accounts] == [(id_of(made), "USDC")]
    assert made.policy.record.identity_id == id_of(made)
    assert office.world.desk.authenticate(made.token.text, office.world.now_us).top == id_of(made)


def test_what_was_made_is_native(office: Office) -> None:
    """The policy grants and restricts, the budget counts, and each is found and taken away where it always is."""
    made = office.enrol(office.draft(limits=(limit(8, OF_THE_NEW),), policy=POLICY)).value
    pay = office.world.decide
    assert codes(pay(payment("5.00", id_of(made)))) == ["permitted"]
    assert codes(pay(payment("5.01", id_of(made)))) == ["forbidden"]
    assert codes(pay(payment("4.00", id_of(made)))) == ["budget_exceeded"]
    assert made.policy is not None
    policy_id = made.policy.record.policy_id
    assert office.world.legislator.get(OPERATOR, "t_one", policy_id).record.rules == RULES
    office.world.run(office.world.legislator.delete(OPERATOR, "t_one", policy_id, office.world.now_us))
    assert codes(pay(payment("1.00", id_of(made)))) == ["not_permitted"]


def test_nothing_but_the_identity_is_needed(office: Office) -> None:
    made = office.enrol(office.draft(None)).value
    assert (made.budgets, made.accounts, made.policy, made.token) == ((), (), None, None)
    again = office.enrol(office.draft(None)).value
    assert id_of(again) != id_of(made)


def test_the_id_may_be_chosen(office: Office) -> None:
    identity = IdentityDraft("ann", "agent", "Bot", "chosen")
    assert id_of(office.enrol(EnrolmentDraft(identity=identity, policy=POLICY)).value) == "chosen"
    with pytest.raises(Conflict, match="`chosen` exists already"):
        office.enrol(EnrolmentDraft(identity=identity))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"limits": (limit("1.005", OF_THE_NEW),)}, ValidationFailed),
        ({"limits": (limit(1, OF_THE_NEW), limit(1, OF_THE_NEW, currency="XXZ"))}, ValidationFailed),
        ({"accounts": (AccountDraft(identity_id=OF_THE_NEW, asset="XXZ"),)}, ValidationFailed),
        ({"policy": PolicyDraft("odd", OF_THE_NEW, read_rules('{"actions":["fly"]}'), "{}", None)}, ValidationFailed),
        ({"policy": PolicyDraft("none", OF_THE_NEW, None, None, None)}, ValidationFailed),
        ({"policy": PolicyDraft("odd", OF_THE_NEW, None, None, "permit (")}, PolicyInvalid),
        ({"identity": IdentityDraft("ann", "starship", "Bot")}, ValidationFailed),
        ({"identity": IdentityDraft("ann", "starship", "Bot"), "policy": POLICY}, ValidationFailed),
        ({"identity": IdentityDraft("nobody", "agent", "Bot")}, NotFound),
        ({"policy_id": "pol_nobody"}, NotFound),
    ],
)
def test_one_part_that_cannot_be_made_leaves_nothing(
    office: Office, changes: dict[str, object], error: type[Exception]
) -> None:
    before = office.world.kinds()
    with pytest.raises(error):
        office.enrol(msgspec.structs.replace(office.draft(token_name="t", policy=POLICY), **changes))
    assert (office.agents(), office.policies()) == ([], 0)
    assert office.world.kinds() == before


def test_a_parent_of_another_type_is_as_unknown_as_none(office: Office) -> None:
    """The root is a parent whatever its type."""
    for parent_id in ("team", "nobody"):
        with pytest.raises(NotFound, match=f"unknown user `{parent_id}`") as refusal:
            office.enrol(office.draft(None, parent_id, parent_type="user"))
        assert refusal.value.field == "parent_id"
    office.enrol(office.draft(None, "ann", parent_type="user"))
    office.enrol(office.draft(None, "root", parent_type="team"))
    office.enrol(office.draft(None, "team"))


def test_an_agent_enrols_nobody(office: Office) -> None:
    with pytest.raises(Forbidden):
        office.enrol(office.draft(), caller=office.world.token("ann"))


def test_a_key_that_was_revoked_enrols_nobody(office: Office) -> None:
    caller = office.world.token(None)
    assert caller.token is not None
    office.world.run(office.world.desk.revoke(OPERATOR, "t_one", caller.token.token_id, office.world.now_us))
    with pytest.raises(Unauthenticated):
        office.enrol(office.draft(), caller=caller)


# --- External ids -----------------------------------------------------------------------------------------------------


def test_an_external_id_enrols_once(office: Office) -> None:
    """The second time says who has it, changes nothing and makes no token."""
    wanted = office.draft(limits=(limit(5, OF_THE_NEW),), policy=POLICY, token_name="first")
    made = office.enrol(wanted).value
    before = office.world.kinds()
    again = office.enrol(msgspec.structs.replace(wanted, limits=(limit(9, OF_THE_NEW),))).value
    assert again == Enrolled(described=made.described, is_new=False)
    assert office.world.kinds() == before


def test_who_has_the_external_id_is_shown_with_what_blocks_it(office: Office) -> None:
    made = office.enrol(office.draft()).value
    office.world.revoke("ann")
    again = office.enrol(office.draft()).value
    assert (id_of(again), again.is_new) == (id_of(made), False)
    assert again.described.block is not None
    assert again.described.block.identity.identity_id == "ann"


@pytest.mark.parametrize("parent_id", ["root", "team"])
def test_the_external_id_of_another_parents_is_in_use(office: Office, parent_id: str) -> None:
    office.enrol(office.draft())
    with pytest.raises(Conflict, match="`e-1` is in use by another identity") as refusal:
        office.enrol(office.draft("e-1", parent_id))
    assert refusal.value.field == "external_id"


def test_the_external_id_of_another_type_is_in_use(office: Office) -> None:
    office.world.identity("desk", "ann", type_name="service", external_id="e-1")
    with pytest.raises(Conflict):
        office.enrol(office.draft())


def test_an_external_id_is_free_again_after_the_revocation(office: Office) -> None:
    first = id_of(office.enrol(office.draft(policy=POLICY)).value)
    office.world.revoke(first)
    second = office.enrol(office.draft(policy=POLICY)).value
    assert (second.is_new, id_of(second) == first) == (True, False)


def test_of_those_that_enrol_one_external_id_together_one_is_new(office: Office) -> None:
    done = office.together(*[office.draft(policy=POLICY, token_name="t")] * 4)
    values = [each.value for each in done if isinstance(each, Done)]
    assert sorted(each.is_new for each in values) == [False, False, False, True]
    assert {id_of(each) for each in values} == set(office.agents())
    assert (len(office.agents()), office.policies()) == (1, 1)


def test_another_parent_that_enrols_it_at_the_same_time_is_refused(office: Office) -> None:
    done = office.together(office.draft(), office.draft("e-1", "root"))
    assert [isinstance(each, Conflict) for each in done] == [False, True]


def test_whoever_had_the_external_id_may_be_gone_by_the_time_of_writing(office: Office) -> None:
    """Its revocation is written first, and the enrolment, which found it there, makes a new one."""
    old = id_of(office.enrol(office.draft(policy=POLICY)).value)
    world = office.world
    revoked, done = world.together(
        world.registry.revoke(OPERATOR, "t_one", old, world.now_us),
        office.registrar.enrol(OPERATOR, "t_one", office.draft(policy=POLICY), None, world.now_us),
    )
    assert not isinstance(revoked, BaseException)
    assert isinstance(done, Done)
    assert isinstance(done.value, Enrolled)
    assert done.value.is_new
    assert done.value.policy is not None


# --- Policies ---------------------------------------------------------------------------------------------------------


def test_any_number_may_enrol_together_although_each_changes_the_policies(office: Office) -> None:
    done = office.together(*(office.draft(f"e-{number}", policy=POLICY) for number in range(12)))
    assert [each for each in done if isinstance(each, BaseException)] == []
    assert (len(office.agents()), office.policies()) == (12, 12)
    for identity_id in office.agents():
        assert codes(office.world.decide(payment("1.00", identity_id))) == ["permitted"]


def test_one_that_is_gone_again_at_each_try_is_a_conflict(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    old = id_of(office.enrol(office.draft(policy=POLICY)).value)
    monkeypatch.setattr(enrolment, "TRIES_MAX", 1)
    world = office.world
    _, done = world.together(
        world.registry.revoke(OPERATOR, "t_one", old, world.now_us),
        office.registrar.enrol(OPERATOR, "t_one", office.draft(policy=POLICY), None, world.now_us),
    )
    assert isinstance(done, Conflict)
    assert office.agents() == [old]


@pytest.mark.parametrize("owner", [None, "root", "ann"])
def test_a_named_policy_that_holds_above_is_neither_copied_nor_added_to(office: Office, owner: str | None) -> None:
    policy_id = office.world.grant(identity_id=owner)
    made = office.enrol(office.draft(policy=POLICY, policy_id=policy_id)).value
    assert (made.policy, office.policies()) == (None, 1)
    assert codes(office.world.decide(payment("99.00", id_of(made)))) == ["permitted"]


def test_a_named_policy_of_rules_is_copied(office: Office) -> None:
    policy_id = office.world.grant(rules=read_rules(RULES), identity_id="team")
    office.world.run(office.world.legislator.delete(OPERATOR, "t_one", policy_id, office.world.now_us))
    draft = PolicyDraft("template", "team", read_rules(RULES), RULES, None)
    made = office.world.legislator.create(OPERATOR, "t_one", draft, office.world.now_us)
    named = office.world.run(made).value.record
    enrolled = office.enrol(office.draft(policy_id=named.policy_id)).value
    assert enrolled.policy is not None
    copy = enrolled.policy.record
    assert (copy.name, copy.rules, copy.identity_id) == ("template", RULES, id_of(enrolled))
    assert copy.policy_id != named.policy_id
    assert codes(office.world.decide(payment("5.00", id_of(enrolled)))) == ["permitted"]
    assert codes(office.world.decide(payment("5.01", id_of(enrolled)))) == ["forbidden"]


def test_a_named_policy_of_cedar_is_copied(office: Office) -> None:
    named = office.world.cedar(
        'permit (principal == ?principal, action == Action::"card.authorize", resource);', "team"
    )
    enrolled = office.enrol(office.draft(policy=POLICY, policy_id=named)).value
    assert enrolled.policy is not None
    assert enrolled.policy.record.rules is None
    assert codes(office.world.decide(payment("6.00", id_of(enrolled)))) == ["permitted"]


def test_a_copy_of_a_policy_that_has_an_id_of_its_own_is_refused(office: Office) -> None:
    """Reasons name that id, so there can be one of them."""
    named = office.world.cedar('@id("own") permit (principal == ?principal, action, resource);', "team")
    with pytest.raises(ValidationFailed, match="own"):
        office.enrol(office.draft(policy_id=named))
    assert office.agents() == []


def test_a_named_policy_that_is_deleted_meanwhile_is_unknown(office: Office) -> None:
    named = office.world.grant(identity_id="team")
    world = office.world
    _, done = world.together(
        world.legislator.delete(OPERATOR, "t_one", named, world.now_us),
        office.registrar.enrol(OPERATOR, "t_one", office.draft(policy_id=named), None, world.now_us),
    )
    assert isinstance(done, NotFound)
    assert office.agents() == []


# --- Idempotency ------------------------------------------------------------------------------------------------------


def key(content: str = "a") -> IdempotencyKey:
    """Return a key as a door makes it."""
    return idempotency_key("operator", "POST /agents", "k-1", content.encode())


def test_a_repeated_key_answers_alike_without_the_text_of_the_token(office: Office) -> None:
    wanted = office.draft(None, policy=POLICY, limits=(limit(5, OF_THE_NEW),), token_name="first")
    first, again = office.enrol(wanted, key()), office.enrol(wanted, key())
    assert (first.replayed, again.replayed) == (False, True)
    assert first.value.token is not None
    assert first.value.token.text
    kept = msgspec.structs.replace(first.value, token=msgspec.structs.replace(first.value.token, text=""))
    assert again.value == kept
    assert len(office.agents()) == 1


def test_a_repeated_key_with_other_content_is_refused(office: Office) -> None:
    office.enrol(office.draft(), key())
    with pytest.raises(IdempotencyConflict):
        office.enrol(office.draft("e-2"), key("b"))
    assert len(office.agents()) == 1


def test_a_repeated_key_of_one_that_was_there_says_so_again(office: Office) -> None:
    office.enrol(office.draft())
    done = [office.enrol(office.draft(), key()), office.enrol(office.draft(), key())]
    assert [(each.value.is_new, each.replayed) for each in done] == [(False, False), (False, True)]


def test_one_key_used_twice_at_once_enrols_once(office: Office) -> None:
    wanted = office.draft(None, policy=POLICY, token_name="t")
    calls = [office.registrar.enrol(OPERATOR, "t_one", wanted, key(), office.world.now_us) for _ in range(3)]
    done = [each for each in office.world.together(*calls) if isinstance(each, Done)]
    assert [each.replayed for each in done] == [False, True, True]
    assert len(office.agents()) == 1

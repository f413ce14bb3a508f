"""Calls that change what a tenant consists of can be repeated: one effect, one answer, no secret in what is kept."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import pytest

from sidecar.core.access import Caller
from sidecar.core.errors import IdempotencyConflict, PolicyInvalid, Unauthenticated
from sidecar.core.idempotency import IdempotencyKey, idempotency_key
from sidecar.core.rules import Rules
from sidecar.service.idempotency import Done
from sidecar.service.identities import IdentityDraft
from sidecar.service.policies import Legislator, PolicyDraft
from sidecar.service.tenants import Founded, TenantDraft
from sidecar.service.tokens import Minted, TokenDraft, without_text
from tests.service.builders import DAY, OPERATOR, SECOND, World, limit

Key: TypeAlias = IdempotencyKey | None
Make: TypeAlias = Callable[[World, Caller, Key], Coroutine[Any, Any, Done[Any]]]

PERMIT = '@id("search") permit (principal, action == Action::"tool.call", resource);'


def tenant_id(caller: Caller) -> str | None:
    """Which tenant a caller names."""
    return None if caller.token else "t_one"


def rotated(world: World) -> str:
    """The token that is there to be rotated: the tenant's first key."""
    with world.look() as part:
        return next(part.tokens.all()).value.token_id


def token_draft(name: str = "made") -> TokenDraft:
    """A token to be made."""
    return TokenDraft(name, "agent", "ann", may_release=False, expires_at_us=None)


CALLS: dict[str, Make] = {
    "identity": lambda w, c, k: w.registry.create(c, tenant_id(c), IdentityDraft("root", "agent", "New"), w.now_us, k),
    "revocation": lambda w, c, k: w.registry.revoke(c, tenant_id(c), "ann", w.now_us, k),
    "rules": lambda w, c, k: w.legislator.create(
        c, tenant_id(c), PolicyDraft("p", "ann", Rules(), "{}", None), w.now_us, k
    ),
    "cedar": lambda w, c, k: w.legislator.create(
        c, tenant_id(c), PolicyDraft("p", None, None, None, PERMIT), w.now_us, k
    ),
    "budget": lambda w, c, k: w.treasurer.create(c, tenant_id(c), limit(15, "ann"), w.now_us, k),
    "token": lambda w, c, k: w.desk.create(c, tenant_id(c), token_draft(), w.now_us, k),
    "rotation": lambda w, c, k: w.desk.rotate(c, tenant_id(c), rotated(w), 60, w.now_us, k),
}


def key_of(content: bytes = b"content", caller: Caller = OPERATOR) -> IdempotencyKey:
    """The key of a call with this content."""
    return idempotency_key(caller.name, "call", "k", content)


def bare(value: object) -> object:
    """An answer as it may be stored."""
    return without_text(value) if isinstance(value, Minted) else value


@pytest.fixture
def org(world: World) -> World:
    """A tenant with two agents, one below the other."""
    world.tenant()
    world.identity("ann")
    world.identity("sub", "ann")
    return world


@pytest.mark.parametrize("make", CALLS.values(), ids=CALLS)
def test_a_repeated_call_has_one_effect_and_one_answer(org: World, make: Make) -> None:
    first = org.run(make(org, OPERATOR, key_of()))
    records, revision = org.bodies(), revision_of(org)
    org.now_us += DAY - SECOND
    assert org.run(make(org, OPERATOR, key_of())) == Done(bare(first.value), replayed=True)
    assert first.replayed is False
    assert (org.bodies(), revision_of(org)) == (records, revision)


@pytest.mark.parametrize("make", CALLS.values(), ids=CALLS)
def test_the_same_key_with_other_content_is_refused_and_changes_nothing(org: World, make: Make) -> None:
    org.run(make(org, OPERATOR, key_of()))
    records = org.bodies()
    with pytest.raises(IdempotencyConflict):
        org.run(make(org, OPERATOR, key_of(b"other")))
    assert org.bodies() == records


@pytest.mark.parametrize("make", CALLS.values(), ids=CALLS)
def test_duplicates_that_arrive_together_are_answered_once(org: World, make: Make) -> None:
    """None of them saw the answer of another before it was ready to write."""
    before = len(org.bodies())
    results = org.together(*(make(org, OPERATOR, key_of()) for _ in range(5)))
    answers = [result for result in results if isinstance(result, Done)]
    assert len(answers) == 5, results
    assert sorted(answer.replayed for answer in answers) == [False, True, True, True, True]
    first = next(answer for answer in answers if not answer.replayed)
    assert all(answer.value == bare(first.value) for answer in answers if answer.replayed)
    assert len(org.bodies()) == before + 1


@pytest.mark.parametrize("make", CALLS.values(), ids=CALLS)
def test_the_stored_answer_is_for_a_token_that_still_opens(org: World, make: Make) -> None:
    """DESIGN rule 11: the token is asked for before the key."""
    key = org.token(None, life_us=SECOND)
    org.run(make(org, key, key_of(caller=key)))
    assert org.run(make(org, key, key_of(caller=key))).replayed
    org.now_us += SECOND
    with pytest.raises(Unauthenticated):
        org.run(make(org, key, key_of(caller=key)))


def test_a_tenant_is_made_once_and_its_key_shown_once(world: World) -> None:
    draft = TenantDraft("Acme", None, "UTC", "live", None, "Dana", "user")

    def calls(key: Key, count: int = 3) -> list[Done[Founded]]:
        results = world.together(*(world.tenancy.create(OPERATOR, draft, world.now_us, key) for _ in range(count)))
        return [result for result in results if isinstance(result, Done)]

    first, *others = calls(key_of())
    assert [first.replayed, *(other.replayed for other in others)] == [False, True, True]
    with world.store.read() as txn:
        (tenant,) = txn.tenants.after(0)
    for other in others:
        assert other.value == Founded(tenant, without_text(first.value.key))
        assert other.value.key.text == ""
    with pytest.raises(IdempotencyConflict):
        world.run(world.tenancy.create(OPERATOR, draft, world.now_us, key_of(b"other")))
    assert world.run(world.tenancy.create(OPERATOR, draft, world.now_us)).value.tenant.number == 2


def test_text_that_was_vetted_is_not_vetted_for_a_retry(org: World) -> None:
    make = CALLS["cedar"]
    org.run(make(org, OPERATOR, key_of()))
    assert len(org.vetted) == 1
    assert org.run(make(org, OPERATOR, key_of())).replayed
    with pytest.raises(IdempotencyConflict):
        org.run(make(org, OPERATOR, key_of(b"other")))
    assert len(org.vetted) == 1


def test_a_duplicate_whose_text_was_still_being_vetted_is_a_replay(org: World) -> None:
    """Its ``@id`` is in use by then: by the policy that it is a repetition of."""
    draft = PolicyDraft("p", None, None, None, PERMIT)

    async def vet_slowly(text: str, file: str) -> None:
        assert (text, file[:13]) == (PERMIT, "/v1/policies/")
        await org.legislator.create(OPERATOR, "t_one", draft, org.now_us, key_of())

    slow = Legislator(org.store, org.snapshots, org.ids, vet_slowly)
    assert org.run(slow.create(OPERATOR, "t_one", draft, org.now_us, key_of())).replayed
    assert org.kinds().count("policy_created") == 2, "with the tenant's own grant"


def test_text_that_was_refused_is_vetted_again(org: World) -> None:
    """A failure is stored nowhere: the next try runs."""
    draft = PolicyDraft("p", None, None, None, "permit (")
    for _ in range(2):
        with pytest.raises(PolicyInvalid):
            org.run(org.legislator.create(OPERATOR, "t_one", draft, org.now_us, key_of()))
    assert len(org.vetted) == 2


def test_a_retry_counts_whom_the_revocation_reached(org: World) -> None:
    done = org.run(org.registry.revoke(OPERATOR, "t_one", "ann", org.now_us, key_of()))
    again = org.run(org.registry.revoke(OPERATOR, "t_one", "ann", org.now_us, key_of()))
    assert (done.value.affected, again.value.affected) == (2, 2)


def test_a_key_is_good_for_one_tenant(org: World) -> None:
    """The operator acts for each tenant apart: the same key in another one is another call."""
    org.found("t_two")
    draft = IdentityDraft("root", "agent", "New", "new")
    for name in ("t_one", "t_two"):
        assert not org.run(org.registry.create(OPERATOR, name, draft, org.now_us, key_of())).replayed
        assert org.run(org.registry.create(OPERATOR, name, draft, org.now_us, key_of())).value.tenant_id == name


def test_no_secret_lies_anywhere_in_the_store(world: World) -> None:
    """Looked for in every row and in every page of the file, freed ones too."""
    draft = TenantDraft("Acme", "t_one", "UTC", "live", "root", "Dana", "user")
    founded = world.run(world.tenancy.create(OPERATOR, draft, world.now_us, key_of(b"tenant"))).value
    world.identity("ann")
    made = world.run(world.desk.create(OPERATOR, "t_one", token_draft(), world.now_us, key_of())).value
    token_id = made.token.token_id
    other = idempotency_key("operator", "rotate", "k", b"")
    turned = world.run(world.desk.rotate(OPERATOR, "t_one", token_id, 60, world.now_us, other)).value
    rows = []
    with world.environment.read() as txn:
        for table in world.environment.tables.values():
            with txn.cursor(db=table) as cursor:
                rows += [bytes(part) for row in cursor for part in row]
    everything = b"\n".join((*rows, world.environment.data_file().read_bytes()))
    for text in (founded.key.text, made.text, turned.text):
        _, _, key_id, secret, check = text.split("_")
        assert key_id.encode() in everything, "the public part is there, so this looks in the right place"
        assert secret.encode() not in everything
        assert check.encode() not in everything


def revision_of(world: World) -> int:
    """How far the tenant has changed."""
    with world.store.read() as txn:
        return txn.tenants.revisions(1).entities

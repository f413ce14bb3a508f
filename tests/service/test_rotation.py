"""A rotated token is the same token: its last secret opens for a grace time, any secret before that never again."""

import msgspec
import pytest

from sidecar.core import token_text
from sidecar.core.access import Caller
from sidecar.core.errors import Conflict, Forbidden, NotFound, Unauthenticated, Unavailable
from sidecar.service.paging import PageRequest
from sidecar.service.tokens import DRAWS_MAX, PRUNED_MAX, Minted, TokenDesk
from tests.service.builders import OPERATOR, OPERATOR_TOKEN, SECOND, World, codes, key_for, payment


@pytest.fixture
def org(world: World) -> World:
    """A tenant with an agent."""
    world.tenant()
    world.identity("ann")
    return world


def rotate(org: World, token_id: str, grace_seconds: int = 0, caller: Caller = OPERATOR) -> Minted:
    """Give a token a new secret."""
    tenant_id = None if caller.token else "t_one"
    return org.run(org.desk.rotate(caller, tenant_id, token_id, grace_seconds, org.now_us)).value


def opens(org: World, minted: Minted) -> bool:
    """Whether a text opens anything, for a new request and for one that is under way."""
    try:
        caller = org.desk.authenticate(minted.text, org.now_us)
    except Unauthenticated:
        return False
    return org.authorize(payment(identity_id="ann"), caller=caller).decision.allowed


def rows(org: World, table: str) -> int:
    """How many rows a table has."""
    with org.environment.read() as txn:
        return int(txn.stat(db=org.environment.tables[table])["entries"])


def test_a_rotation_leaves_everything_of_a_token_but_its_secret(org: World) -> None:
    old = org.minted("ann", may_release=True, life_us=60 * SECOND)
    org.now_us += SECOND
    new = rotate(org, old.token.token_id)
    changed = {"key_id": new.token.key_id, "digest": new.token.digest, "prefix": new.token.prefix}
    assert new.token == msgspec.structs.replace(old.token, **changed, rotated_at_us=org.now_us)
    assert new.text.startswith(new.token.prefix)
    assert new.token.prefix != old.token.prefix
    assert org.desk.authenticate(new.text, org.now_us) == Caller("agent", new.token)
    assert org.desk.listed(OPERATOR, "t_one", "ann", PageRequest())[1].values == (new.token,)
    body = org.bodies()[-1]
    assert {name: body[name] for name in ("type", "token", "grace_seconds", "by")} == {
        "type": "token_rotated",
        "token": old.token.token_id,
        "grace_seconds": 0,
        "by": "operator",
    }
    assert new.text not in str(body)


def test_without_a_grace_time_the_old_secret_ends_at_once(org: World) -> None:
    """Also for a request that was let in with it before."""
    old = org.minted("ann")
    caller = org.desk.authenticate(old.text, org.now_us)
    new = rotate(org, old.token.token_id)
    assert (opens(org, old), opens(org, new)) == (False, True)
    with pytest.raises(Unauthenticated):
        org.authorize(payment(identity_id="ann"), caller=caller)
    assert rows(org, "former_secrets") == 0


def test_the_old_secret_opens_to_the_end_of_its_grace_time_and_not_beyond(org: World) -> None:
    old = org.minted("ann")
    new = rotate(org, old.token.token_id, 60)
    caller = org.desk.authenticate(old.text, org.now_us)
    for passed, is_open in ((0, True), (60 * SECOND - 1, True), (1, False), (3_600 * SECOND, False)):
        org.now_us += passed
        assert opens(org, old) is is_open
        assert opens(org, new)
    with pytest.raises(Unauthenticated):
        org.authorize(payment(identity_id="ann"), caller=caller)


def test_both_secrets_are_one_caller(org: World) -> None:
    """A retry with the new secret is answered as the first try with the old one, and both are named alike."""
    old = org.minted("ann")
    new = rotate(org, old.token.token_id, 60)
    callers = [org.desk.authenticate(minted.text, org.now_us) for minted in (old, new)]
    request = payment(identity_id="ann")
    first, again = (org.authorize(request, key_for(request, caller=caller), caller=caller) for caller in callers)
    assert (first.decision, again.replayed) == (again.decision, True)
    assert callers[0].name == callers[1].name == old.token.token_id


def test_a_second_rotation_ends_the_oldest_secret_at_once(org: World) -> None:
    """There are never more than two: the one that is asked for last, and the one before it."""
    first = org.minted("ann")
    second = rotate(org, first.token.token_id, 3_600)
    third = rotate(org, first.token.token_id, 60)
    assert [opens(org, minted) for minted in (first, second, third)] == [False, True, True]
    fourth = rotate(org, first.token.token_id)
    assert [opens(org, minted) for minted in (first, second, third, fourth)] == [False, False, False, True]
    assert rows(org, "former_secrets") == rows(org, "former_secrets_expiry") == 0


def test_a_grace_time_makes_no_token_live_longer(org: World) -> None:
    old = org.minted("ann", life_us=30 * SECOND)
    new = rotate(org, old.token.token_id, 60)
    org.now_us += 30 * SECOND - 1
    assert opens(org, old)
    org.now_us += 1
    assert not opens(org, old)
    assert not opens(org, new)
    with pytest.raises(Conflict, match="has expired"):
        rotate(org, old.token.token_id)


def test_a_deleted_token_opens_with_neither_secret(org: World) -> None:
    old = org.minted("ann")
    new = rotate(org, old.token.token_id, 60)
    org.run(org.desk.revoke(OPERATOR, "t_one", old.token.token_id, org.now_us))
    assert not opens(org, old)
    assert not opens(org, new)
    assert rows(org, "former_secrets") == rows(org, "former_secrets_expiry") == 0
    with pytest.raises(NotFound):
        rotate(org, old.token.token_id)


def test_what_a_grace_time_kept_is_forgotten_after_it(org: World) -> None:
    old = [org.minted("ann") for _ in range(3)]
    new = [rotate(org, minted.token.token_id, 60 + number) for number, minted in enumerate(old)]
    assert org.run(org.desk.prune_former_secrets(org.now_us + 59 * SECOND)) == 0
    org.now_us += 61 * SECOND
    assert org.run(org.desk.prune_former_secrets(org.now_us)) == 2 < PRUNED_MAX
    assert rows(org, "former_secrets") == rows(org, "former_secrets_expiry") == 1
    assert [opens(org, minted) for minted in old] == [False, False, True]
    assert all(opens(org, minted) for minted in new)
    org.run(org.desk.revoke(OPERATOR, "t_one", old[0].token.token_id, org.now_us))
    assert opens(org, rotate(org, old[1].token.token_id, 60))


def test_a_tenant_key_rotates_itself_and_an_agents_token_does_not(org: World) -> None:
    minted = org.minted(None)
    key = org.desk.authenticate(minted.text, org.now_us)
    turned = rotate(org, minted.token.token_id, caller=key)
    assert org.desk.authenticate(turned.text, org.now_us).kind == "tenant"
    with pytest.raises(Unauthenticated):
        rotate(org, minted.token.token_id, caller=key)
    agent = org.token("ann", may_release=True)
    assert agent.token is not None
    with pytest.raises(Forbidden):
        rotate(org, agent.token.token_id, caller=agent)


def test_a_token_of_another_tenant_is_not_there_to_be_rotated(org: World) -> None:
    org.tenant("t_two")
    token_id = org.minted("ann").token.token_id
    with pytest.raises(NotFound):
        org.run(org.desk.rotate(OPERATOR, "t_two", token_id, 0, org.now_us))


def test_a_tenant_that_deleted_its_last_key_gets_a_new_one_of_the_operator(org: World) -> None:
    _, page = org.desk.listed(OPERATOR, "t_one", None, PageRequest())
    (first,) = page.values
    assert (first.kind, first.name) == ("tenant", "first key")
    assert rotate(org, first.token_id).text.startswith("sk_live_")
    org.run(org.desk.revoke(OPERATOR, "t_one", first.token_id, org.now_us))
    assert opens(org, org.minted(None))


def test_a_token_of_a_revoked_identity_is_known_and_denied(org: World) -> None:
    """It is not the token that is at fault, and the denial that says so is recorded."""
    minted = org.minted("ann")
    org.revoke("ann")
    caller = org.desk.authenticate(minted.text, org.now_us)
    assert codes(org.authorize(payment(identity_id="ann"), caller=caller).decision) == ["identity_revoked"]
    turned = rotate(org, minted.token.token_id, 60)
    caller = org.desk.authenticate(turned.text, org.now_us)
    assert codes(org.authorize(payment(identity_id="ann"), caller=caller).decision) == ["identity_revoked"]


def desk_drawing(org: World, *numbers: int) -> TokenDesk:
    """A desk whose randomness is drawn from these bytes."""
    drawn = iter(numbers)
    return TokenDesk(org.store, org.ids, lambda length: bytes((next(drawn),)) * length, OPERATOR_TOKEN)


def test_a_public_part_that_is_taken_is_drawn_again(org: World) -> None:
    """Or the token that had it first would be locked out."""
    org.desk = desk_drawing(org, 1, 1, 2, 2, 1, 3)
    first, second = org.minted("ann"), org.minted("ann")
    assert len({first.token.key_id, second.token.key_id}) == 2
    third = rotate(org, first.token.token_id, 60)
    assert [opens(org, minted) for minted in (first, second, third)] == [True, True, True]


def test_where_no_public_part_is_free_nothing_is_made(org: World) -> None:
    org.desk = desk_drawing(org, *[1] * (1 + DRAWS_MAX))
    kept = org.minted("ann")
    before = org.bodies()
    with pytest.raises(Unavailable, match="nothing was changed"):
        org.minted("ann")
    assert org.bodies() == before
    assert opens(org, kept)


def test_a_secret_is_compared_in_constant_time_whatever_is_known_of_the_token(
    org: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each text costs two comparisons of whole digests: with the operator's, and with a token's or nobody's."""
    minted = org.minted("ann")
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr("sidecar.service.tokens.hmac.compare_digest", compare)
    org.desk.authenticate(minted.text, org.now_us)
    unknown = token_text.mint("agent", "live", bytes(token_text.KEY_BYTES + token_text.SECRET_BYTES)).text()
    for text in ("", "x", minted.text[:-1], unknown):
        with pytest.raises(Unauthenticated):
            org.desk.authenticate(text, org.now_us)
    assert compared == [(32, 32)] * 10

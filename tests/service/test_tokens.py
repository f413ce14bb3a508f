"""Tokens: made once, recognised by a digest, gone with the next request."""

import msgspec
import pytest

from sidecar.core.errors import Conflict, Forbidden, NotFound, Unauthenticated, ValidationFailed
from sidecar.service import tokens
from sidecar.service.paging import PageRequest
from sidecar.service.tokens import TokenDraft
from tests.service.builders import OPERATOR, OPERATOR_TOKEN, SECOND, World, payment

DRAFT = TokenDraft("agent token", "agent", "ann", may_release=False, expires_at_us=None)


@pytest.fixture
def org(world: World) -> World:
    """A tenant with an agent."""
    world.tenant()
    world.identity("ann")
    return world


def test_the_operators_token_is_the_one_that_was_set(org: World) -> None:
    assert org.desk.authenticate(OPERATOR_TOKEN, org.now_us) == OPERATOR


def test_a_token_is_recognised_by_its_text(org: World) -> None:
    minted = org.minted("ann", may_release=True)
    caller = org.desk.authenticate(minted.text, org.now_us)
    assert (caller.kind, caller.token) == ("agent", minted.token)
    assert minted.token.prefix == minted.text[: len("at_live_") + 10]
    assert minted.tenant_id == "t_one"


def test_whoever_is_revoked_itself_or_above_gets_no_token(org: World) -> None:
    org.identity("below", "ann")
    org.revoke("ann")
    for identity_id in ("ann", "below"):
        with pytest.raises(Conflict, match="`ann` is revoked, it gets no token"):
            org.minted(identity_id)


def test_a_token_is_revoked_as_that_of_its_identity(org: World) -> None:
    """Under another one's name it is unknown."""
    org.identity("bob")
    token = org.minted("ann").token
    with pytest.raises(NotFound, match=token.token_id):
        org.run(org.desk.revoke(OPERATOR, "t_one", token.token_id, org.now_us, of_identity="bob"))
    revoked = org.run(org.desk.revoke(OPERATOR, "t_one", token.token_id, org.now_us, of_identity="ann"))
    assert revoked == token


def test_every_other_text_is_refused_with_one_sentence(org: World) -> None:
    """Whether it is unknown, mistyped, of another secret, deleted or too old: nobody can tell which."""
    first, second = org.minted("ann"), org.minted("ann")
    old, deleted = org.minted("ann", life_us=SECOND), org.minted("ann")
    org.run(org.desk.revoke(OPERATOR, "t_one", deleted.token.token_id, org.now_us))
    txn = org.environment.begin_write()
    other = msgspec.structs.replace(second.token, digest=bytes(32))
    key = second.token.key_id.encode()
    kept = bytes(txn.get(key, db=org.environment.tables["tokens"]) or b"")
    txn.put(key, kept.replace(second.token.digest, other.digest), db=org.environment.tables["tokens"])
    txn.commit()
    texts = ["", "x", OPERATOR_TOKEN[:-1], first.text[:-1], second.text, deleted.text, old.text]
    for text in texts:
        with pytest.raises(Unauthenticated) as refused:
            org.desk.authenticate(text, org.now_us + SECOND)
        assert refused.value.message == "the token is missing, unknown or expired"
    assert org.desk.authenticate(old.text, org.now_us + SECOND - 1).token == old.token
    org.write(lambda txn: txn.tokens.put(second.token))


def test_a_text_is_recognised_again_only_while_its_token_opens(org: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """How it reads is remembered, for so many texts; whether it opens anything is asked each time."""
    monkeypatch.setattr(tokens, "TEXTS_KEPT", 1)
    minted = [org.minted("ann", life_us=SECOND) for _ in range(2)]
    for each in (minted[0], minted[0], minted[1], minted[0], minted[1]):
        assert org.desk.authenticate(each.text, org.now_us).token == each.token
    org.run(org.desk.revoke(OPERATOR, "t_one", minted[0].token.token_id, org.now_us))
    for each, now_us in ((minted[0], org.now_us), (minted[1], org.now_us + SECOND)):
        with pytest.raises(Unauthenticated):
            org.desk.authenticate(each.text, now_us)


def test_no_text_of_a_token_lies_in_the_store(org: World) -> None:
    """Seeded secrets are looked for in every page, records and answers included."""
    minted = org.minted("ann")
    secret = minted.text.split("_")[-2].encode()
    org.authorize(payment(identity_id="ann"), caller=org.desk.authenticate(minted.text, org.now_us))
    content = org.environment.data_file().read_bytes()
    assert minted.token.key_id.encode() in content
    assert secret not in content
    assert OPERATOR_TOKEN.encode() not in content


def test_a_token_is_made_with_a_record_that_names_it_and_not_its_text(org: World) -> None:
    minted = org.minted("ann")
    body = org.bodies()[-1]
    assert (body["type"], body["token"], body["by"]) == ("token_created", minted.token.token_id, "operator")
    assert minted.text not in str(body)


@pytest.mark.parametrize(
    ("changes", "error", "field"),
    [
        ({"identity_id": "nobody"}, NotFound, "identity_id"),
        ({"identity_id": None}, ValidationFailed, "identity_id"),
        ({"kind": "tenant"}, ValidationFailed, "identity_id"),
        ({"expires_at_us": 0}, ValidationFailed, "expires_at"),
    ],
)
def test_a_draft_that_breaks_a_rule_is_refused_naming_the_place(
    org: World, changes: dict[str, object], error: type[Exception], field: str
) -> None:
    draft = msgspec.structs.replace(DRAFT, **changes)
    with pytest.raises(error) as refused:
        org.run(org.desk.create(OPERATOR, "t_one", draft, org.now_us))
    assert getattr(refused.value, "field", None) == field


def test_only_administrators_make_list_and_delete_tokens(org: World) -> None:
    agent = org.token("ann", may_release=True)
    token_id = org.minted("ann").token.token_id
    for call in (
        lambda: org.run(org.desk.create(agent, None, DRAFT, org.now_us)),
        lambda: org.run(org.desk.revoke(agent, None, token_id, org.now_us)),
        lambda: org.desk.listed(agent, None, None, PageRequest()),
    ):
        with pytest.raises(Forbidden):
            call()


def test_a_key_that_ran_out_makes_and_deletes_no_token(org: World) -> None:
    key = org.token(None, life_us=SECOND)
    token_id = org.minted("ann").token.token_id
    org.now_us += SECOND
    for call in (
        org.desk.create(key, None, DRAFT, org.now_us),
        org.desk.revoke(key, None, token_id, org.now_us),
    ):
        with pytest.raises(Unauthenticated):
            org.run(call)


def test_a_deleted_token_opens_nothing_from_the_next_request_on(org: World) -> None:
    minted = org.minted("ann")
    caller = org.desk.authenticate(minted.text, org.now_us)
    org.run(org.desk.revoke(OPERATOR, "t_one", minted.token.token_id, org.now_us))
    assert org.kinds()[-1] == "token_revoked"
    with pytest.raises(Unauthenticated):
        org.desk.authenticate(minted.text, org.now_us)
    with pytest.raises(Unauthenticated):
        org.authorize(payment(identity_id="ann"), caller=caller)
    with pytest.raises(NotFound, match="unknown token"):
        org.run(org.desk.revoke(OPERATOR, "t_one", minted.token.token_id, org.now_us))


def test_a_token_of_another_tenant_does_not_exist(org: World) -> None:
    org.tenant("t_two")
    token_id = org.minted("ann").token.token_id
    with pytest.raises(NotFound):
        org.run(org.desk.revoke(OPERATOR, "t_two", token_id, org.now_us))


def test_tokens_are_listed_of_one_identity_or_of_all_in_order_of_creation(org: World) -> None:
    made = [org.minted(name).token.token_id for name in ("ann", None, "ann")]
    tenant_id, page = org.desk.listed(OPERATOR, "t_one", None, PageRequest())
    assert tenant_id == "t_one"
    assert [token.token_id for token in page.values][1:] == made, "after the tenant's first key"
    _, page = org.desk.listed(OPERATOR, "t_one", "ann", PageRequest(0, 1))
    assert [token.token_id for token in page.values] == made[:1]
    _, page = org.desk.listed(OPERATOR, "t_one", "ann", PageRequest(page.next_after or 0))
    assert [token.token_id for token in page.values] == made[2:]
    with pytest.raises(NotFound):
        org.desk.listed(OPERATOR, "t_one", "nobody", PageRequest())

"""Passkeys: registered with a challenge of ours that is used once, listed, deleted."""

import msgspec
import pytest

from sidecar.core.ceremonies import user_handle
from sidecar.core.errors import Conflict, Forbidden, NotFound
from sidecar.core.idempotency import idempotency_key
from sidecar.core.passkeys import CHALLENGE_LIFE_US, PASSKEYS_MAX
from sidecar.service.paging import PageRequest
from sidecar.service.passkeys import PasskeyDraft, ShownPasskey
from tests.core.authenticator import Authenticator, encoded
from tests.service.builders import NOON, OPERATOR, World
from tests.service.mailroom import Mailroom
from tests.service.wallets import Wallets


@pytest.fixture
def wallets(world: World) -> Wallets:
    """A tenant whose owner has a passkey."""
    world.found()
    return Wallets(world)


def options(wallets: Wallets, identity_id: str = "owner") -> dict[str, object]:
    return wallets.world.run(wallets.desk.options(OPERATOR, "t_one", identity_id, None, wallets.world.now_us)).value


def drafted(wallets: Wallets, number: int, identity_id: str = "owner") -> PasskeyDraft:
    """A new passkey as a browser made it with options of this identity."""
    made = Authenticator(number).create(options(wallets, identity_id))
    return PasskeyDraft(identity_id=identity_id, credential=made)


def register(wallets: Wallets, draft: PasskeyDraft, key: str | None = None) -> ShownPasskey:
    stored = None if key is None else idempotency_key("operator", "passkeys", key, repr(draft).encode())
    return wallets.world.run(wallets.desk.register(OPERATOR, "t_one", draft, stored, wallets.world.now_us)).value


def test_a_passkey_is_kept_with_a_record(wallets: Wallets) -> None:
    shown = register(wallets, drafted(wallets, 2), "k1")
    passkey = shown.passkey
    assert (passkey.identity_id, passkey.name, passkey.sign_count) == ("owner", "passkey", 0)
    assert passkey.credential_id == Authenticator(2).credential_id
    assert wallets.desk.get(OPERATOR, "t_one", passkey.passkey_id) == shown
    record = wallets.world.bodies()[-1]
    assert (record["type"], record["passkey"], record["identity"], record["by"]) == (
        "passkey_created",
        passkey.passkey_id,
        "owner",
        "operator",
    )


def test_the_same_key_is_answered_with_the_same_passkey(wallets: Wallets) -> None:
    draft = drafted(wallets, 2)
    assert register(wallets, draft, "k1") == register(wallets, draft, "k1")


def test_options_name_the_human_and_what_is_there_already(wallets: Wallets) -> None:
    asked = options(wallets)
    assert asked["user"] == {
        "id": encoded(user_handle("t_one", "owner")),
        "name": "Owner",
        "displayName": "Owner",
    }
    assert asked["excludeCredentials"] == [{"id": encoded(wallets.phone.credential_id), "type": "public-key"}]
    assert options(wallets)["challenge"] != asked["challenge"]


def test_a_challenge_is_used_once(wallets: Wallets) -> None:
    """Else an answer that somebody kept could bring a deleted passkey back."""
    draft = drafted(wallets, 2)
    passkey_id = register(wallets, draft).passkey.passkey_id
    wallets.world.run(wallets.desk.delete(OPERATOR, "t_one", passkey_id, NOON))
    with pytest.raises(Forbidden, match="no challenge that waits"):
        register(wallets, draft)


def test_a_challenge_ends_after_five_minutes(wallets: Wallets) -> None:
    draft, late = drafted(wallets, 2), drafted(wallets, 3)
    wallets.world.now_us += CHALLENGE_LIFE_US - 1
    register(wallets, draft)
    wallets.world.now_us += 1
    with pytest.raises(Forbidden, match="no challenge that waits"):
        register(wallets, late)
    assert wallets.world.write(lambda txn: txn.prune_replays(wallets.world.now_us, 100)) >= 3


def test_a_challenge_is_for_one_identity(wallets: Wallets) -> None:
    draft = msgspec.structs.replace(drafted(wallets, 2), identity_id="bot")
    with pytest.raises(Forbidden, match="no challenge that waits"):
        register(wallets, draft)


def test_an_answer_that_does_not_hold_keeps_nothing_and_leaves_the_challenge(wallets: Wallets) -> None:
    asked = options(wallets)
    before = wallets.world.kinds()
    forged = Authenticator(2).create(asked, origin="https://evil.example")
    with pytest.raises(Forbidden, match="origin"):
        register(wallets, PasskeyDraft(identity_id="owner", credential=forged))
    assert wallets.world.kinds() == before
    register(wallets, PasskeyDraft(identity_id="owner", credential=Authenticator(2).create(asked)))


def test_a_credential_is_registered_once(wallets: Wallets) -> None:
    with pytest.raises(Conflict, match="registered already"):
        register(wallets, drafted(wallets, 1, "bot"))


def test_an_identity_has_so_many_passkeys_and_a_revoked_one_gets_none(wallets: Wallets) -> None:
    last = drafted(wallets, PASSKEYS_MAX + 1)
    for number in range(2, PASSKEYS_MAX + 1):
        wallets.enrol(Authenticator(number))
    with pytest.raises(Conflict, match="as many passkeys as it may: 20"):
        register(wallets, last)
    with pytest.raises(Conflict, match="as many passkeys as it may: 20"):
        options(wallets)
    wallets.world.revoke("team")
    with pytest.raises(Conflict, match="identity `team` is revoked"):
        options(wallets, "bot")


def test_passkeys_are_listed_and_deleted(wallets: Wallets) -> None:
    other = register(wallets, drafted(wallets, 2, "bot")).passkey
    desk = wallets.desk

    def found(identity_id: str | None) -> list[str]:
        page = desk.listed(OPERATOR, "t_one", identity_id, PageRequest())
        return [shown.passkey.passkey_id for shown in page.values]

    mine = wallets.passkey.passkey_id
    assert (found(None), found("owner"), found("bot"), found("team")) == (
        [mine, other.passkey_id],
        [mine],
        [other.passkey_id],
        [],
    )
    wallets.world.run(desk.delete(OPERATOR, "t_one", mine, NOON))
    assert found("owner") == []
    for call in (
        lambda: desk.get(OPERATOR, "t_one", mine),
        lambda: wallets.world.run(desk.delete(OPERATOR, "t_one", mine, NOON)),
        lambda: desk.listed(OPERATOR, "t_one", "nobody", PageRequest()),
        lambda: options(wallets, "nobody"),
    ):
        with pytest.raises(NotFound):
            call()


def test_only_administrators_handle_passkeys(wallets: Wallets) -> None:
    caller, desk, world = wallets.world.token("owner"), wallets.desk, wallets.world
    draft = drafted(wallets, 2)
    for call in (
        lambda: world.run(desk.options(caller, None, "owner", None, NOON)),
        lambda: world.run(desk.register(caller, None, draft, None, NOON)),
        lambda: desk.get(caller, None, wallets.passkey.passkey_id),
        lambda: desk.listed(caller, None, None, PageRequest()),
        lambda: world.run(desk.delete(caller, None, wallets.passkey.passkey_id, NOON)),
    ):
        with pytest.raises(Forbidden):
            call()


def test_whoever_asked_is_told_of_a_passkey_that_is_registered_or_deleted(wallets: Wallets) -> None:
    """A passkey that its owner did not make is what an approval could be stolen with."""
    mail = Mailroom(wallets.world)
    webhook = mail.hook("passkey.created", "passkey.deleted")
    passkey_id = register(wallets, drafted(wallets, 2)).passkey.passkey_id
    wallets.world.run(wallets.desk.delete(OPERATOR, "t_one", passkey_id, wallets.world.now_us))
    data = {
        "tenant_id": "t_one",
        "passkey_id": passkey_id,
        "identity_id": "owner",
        "name": "passkey",
        "by": "operator",
    }
    assert mail.told(webhook) == [("passkey.created", data), ("passkey.deleted", data)]


def test_options_that_are_asked_for_again_with_the_same_key_have_the_same_challenge(wallets: Wallets) -> None:
    world = wallets.world
    key = idempotency_key("operator", "options", "k", b"owner")
    first, again = (world.run(wallets.desk.options(OPERATOR, "t_one", "owner", key, world.now_us)) for _ in range(2))
    assert (first.replayed, again.replayed) == (False, True)
    assert again.value["challenge"] == first.value["challenge"]

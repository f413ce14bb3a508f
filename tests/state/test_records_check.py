"""Records, index, tokens and kept answers are broken by hand, and the check names it; whole stores hold."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sidecar.core.access import Former, Token
from sidecar.core.cards import Card, ExternalRef
from sidecar.core.directory import Identity
from sidecar.core.grants import url_safe
from sidecar.core.idempotency import Replay
from sidecar.core.passkeys import CHALLENGE_LIFE_US
from sidecar.service.card_drafts import CardDraft
from sidecar.service.identities import IdentityDraft
from sidecar.service.kill_switch import KillSwitch
from sidecar.service.store import TenantTransaction, Transaction
from sidecar.service.treasury import CardDesk
from sidecar.state.codec import U32, U64, decode, encode, short_hash
from sidecar.state.environment import Table, Txn
from sidecar.state.records import Kind
from sidecar.state.tokens import FormerSecret
from tests.core.authenticator import Authenticator
from tests.service.bank import Till
from tests.service.builders import DAY, OPERATOR, SECOND, World, key_for, limit, payment
from tests.service.wallets import Wallets

TENANT = U32.pack(1)
GRACE = 60

Tables = dict[str, Table]
Break = Callable[[Txn, Tables], None]


class Office:
    """A tenant with records of each kind, each changed, and a second one beside it; ``break_`` writes past it."""

    def __init__(self, world: World) -> None:
        """Make, change and end something of every kind."""
        self.world = world
        world.tenant()
        world.tenant("t_two")
        world.identity("ann", external_id="E1")
        world.identity("old", external_id="E2")
        world.revoke("old")
        self.policy_id = world.grant(identity_id="ann")
        world.run(world.legislator.delete(OPERATOR, "t_one", world.grant(identity_id="ann"), world.now_us))
        self.budget_id = world.budget(limit(100, "ann")).budget.budget_id
        ended = world.budget(limit(100, "ann")).budget.budget_id
        world.run(world.treasurer.delete(OPERATOR, "t_one", ended, world.now_us))
        desk = CardDesk(world.store, world.treasurer, world.ids)
        draft = CardDraft(identity_id="ann", currency="CAD", external_ref=ExternalRef("net", "1"))
        self.card_id = world.run(desk.create(OPERATOR, "t_one", draft, None, world.now_us)).value.card.card_id
        world.run(desk.freeze(OPERATOR, "t_one", self.card_id, None, world.now_us))
        world.run(desk.unfreeze(OPERATOR, "t_one", self.card_id, None, world.now_us))
        Till(world).account("ann")
        self.old = world.minted("ann").token
        self.token = world.run(world.desk.rotate(OPERATOR, "t_one", self.old.token_id, GRACE, world.now_us)).value.token
        wallets = Wallets(world)
        ended_passkey = wallets.enrol(Authenticator(2)).passkey_id
        world.run(wallets.desk.delete(OPERATOR, "t_one", ended_passkey, world.now_us))
        world.write(lambda txn: txn.prune_replays(world.now_us + CHALLENGE_LIFE_US, 100))  # challenges of passkeys
        wallets.revoke(wallets.active())
        wallets.active()
        ended_token = world.minted("ann").token.token_id
        world.run(world.desk.revoke(OPERATOR, "t_one", ended_token, world.now_us))
        request = payment("1.00", "ann")
        self.key = key_for(request)
        world.authorize(request, self.key)
        world.authorize(msgspec.structs.replace(request, card_id=self.card_id))

    def break_(self, work: Break) -> list[str]:
        """Write past the sidecar, and return what the check finds in the whole store."""
        environment = self.world.environment
        txn = environment.begin_write()
        work(txn, environment.tables)
        txn.commit()
        found = self.world.faults()
        assert all(fault.startswith("records: ") for fault in found)
        return [fault.removeprefix("records: ") for fault in found]

    def rewrite(self, work: Callable[[TenantTransaction], None]) -> list[str]:
        """Write through the store of the first tenant, without the log, and return what the check finds."""

        def run(txn: Transaction) -> None:
            tenant = txn.tenants.find("t_one")
            assert tenant is not None
            work(txn.of(tenant))

        self.world.write(run)
        return self.break_(lambda *_: None)

    def rows(self, table: str) -> dict[bytes, bytes]:
        """Every row of a table."""
        environment = self.world.environment
        with environment.read() as txn, txn.cursor(db=environment.tables[table]) as cursor:
            return {bytes(key): bytes(value) for key, value in cursor}

    @property
    def keep_end(self) -> bytes:
        """Where the end of the kept answer lies."""
        return U64.pack(self.world.now_us + DAY) + TENANT + short_hash(self.key.scope)

    @property
    def former_end(self) -> bytes:
        """Where the end of the grace time lies."""
        return U64.pack(self.world.now_us + GRACE * SECOND) + self.old.key_id.encode()


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """A store that holds."""
    with World(tmp_path) as world:
        yield Office(world)


def put(table: str, key: bytes, value: bytes) -> Break:
    """Write one row."""

    def work(txn: Txn, tables: Tables) -> None:
        txn.put(key, value, db=tables[table])

    return work


def drop(table: str, *keys: bytes) -> Break:
    """Delete rows, which must be there."""

    def work(txn: Txn, tables: Tables) -> None:
        assert all(txn.delete(key, db=tables[table]) for key in keys)

    return work


def row_of(kind: Kind, key: str) -> bytes:
    """The key of a record."""
    return TENANT + bytes((kind,)) + key.encode()


def test_what_the_sidecar_wrote_holds(office: Office) -> None:
    assert office.break_(lambda *_: None) == []


# --- Index ------------------------------------------------------------------------------------------------------------


def test_each_row_of_the_index_is_missed(office: Office) -> None:
    rows = office.rows("index")
    assert {key[4] for key in rows} == {1, 2, 3}
    assert {key[5] for key in rows} == set(Kind)
    for key, value in rows.items():
        (fault,) = office.break_(drop("index", key))
        assert f"`{value.decode()}` is missing in the index by" in fault
        assert office.break_(put("index", key, value)) == []


def test_a_row_of_the_index_without_its_record_is_found(office: Office) -> None:
    place = U64.pack(2**40)
    assert office.break_(put("index", TENANT + b"\x01\x04" + place, b"card_x")) == [
        "the index names `card_x` by kind, which is not so"
    ]
    assert office.break_(put("index", TENANT + b"\x09", b"x"))[-1] == "the index names `x` in no list, which is not so"


def test_a_row_of_the_index_that_names_another_record_is_found(office: Office) -> None:
    key = TENANT + b"\x03" + bytes((Kind.CARD,)) + short_hash("net\n1")
    assert office.break_(put("index", key, b"card_x")) == [
        "the index names `card_x` by external id, which is not so",
        f"card `{office.card_id}` is missing in the index by external id",
    ]


def test_a_change_that_the_feed_does_not_tell_of_is_found(office: Office) -> None:
    """The newest one of each record; one that was forgotten because it is old is no fault."""

    def drop(txn: Txn, tables: Tables) -> None:
        with txn.cursor(db=tables["changes"]) as cursor:
            more = cursor.set_range(TENANT)
            while more:
                is_ann = bytes(cursor.key()).startswith(TENANT) and bytes(cursor.value()) == b"ann"
                more = cursor.delete() if is_ann else cursor.next()

    (fault,) = office.break_(drop)
    assert fault.startswith("identity `ann` has changed at revision ")
    assert fault.endswith("and the change feed does not tell so")


def test_changes_that_were_forgotten_are_no_fault(office: Office) -> None:
    def forget(part: TenantTransaction) -> None:
        part.feed.forget(10**6, 10**6)

    assert office.rewrite(forget) == []


def test_a_missing_record_is_found_with_its_places_in_the_index(office: Office) -> None:
    found = office.break_(drop("records", row_of(Kind.BUDGET, office.budget_id)))
    assert found == [
        f"budget `{office.budget_id}` is in the log and not in the store",
        f"the index names `{office.budget_id}` by kind, which is not so",
        f"the index names `{office.budget_id}` by owner, which is not so",
    ]


# --- Records ----------------------------------------------------------------------------------------------------------


def card_of(part: TenantTransaction, card_id: str) -> Card:
    """A card that exists."""
    card = part.cards.get(card_id)
    assert card is not None
    return card


@pytest.mark.parametrize("decides", [False, True])
def test_a_card_that_was_rewritten_behind_the_log_is_found(office: Office, *, decides: bool) -> None:
    """A decision that was made on it does not make it right."""

    def work(part: TenantTransaction) -> None:
        card = msgspec.structs.replace(card_of(part, office.card_id), thawed_revision=10_000)
        part.cards.change(card.card_id, card, card.revision, external_id="net\n1")

    expected = [f"card `{office.card_id}` is not what its newest record in the log tells"]
    assert office.rewrite(work) == expected
    if decides:
        office.world.identity("new")  # so that nothing of before is remembered
        office.world.authorize(msgspec.structs.replace(payment("1.00", "ann"), card_id=office.card_id))
        decided = f"was decided on a card `{office.card_id}` that the log did not tell of"
        found = office.break_(lambda *_: None)
        assert decided in found[0]
        assert found[1:] == expected


def rewritten_identity(part: TenantTransaction) -> str:
    """An identity as it was before it was revoked, found again by its external id."""
    identity = part.identities.get("old")
    assert identity is not None
    changed = msgspec.structs.replace(identity, status="active")
    part.identities.change("old", changed, changed.revision, external_id=changed.external_id)
    return "identity `old`"


def rewritten_policy(part: TenantTransaction) -> str:
    """A policy of another text."""
    policy = next(part.policies.owned("ann")).value
    changed = msgspec.structs.replace(policy, cedar=f"{policy.cedar} ")
    part.policies.change(policy.policy_id, changed, changed.revision)
    return f"policy `{policy.policy_id}`"


def rewritten_budget(part: TenantTransaction) -> str:
    """A budget with a higher limit."""
    budget = next(part.budgets.owned("ann")).value
    changed = msgspec.structs.replace(budget, limit=budget.limit + 1)
    part.budgets.change(budget.budget_id, changed, changed.revision)
    return f"budget `{budget.budget_id}`"


def rewritten_grant(part: TenantTransaction) -> str:
    """A grant with a higher cap."""
    grant = next(each.value for each in part.grants.owned("bot") if each.value.status == "active")
    changed = msgspec.structs.replace(grant, daily_cap=10**9)
    part.grants.change(grant.grant_id, changed, changed.revision, external_id=changed.found_by)
    return f"grant `{grant.grant_id}`"


def rewritten_passkey(part: TenantTransaction) -> str:
    """A passkey that is somebody else's key."""
    passkey = next(part.passkeys.owned("owner")).value
    changed = msgspec.structs.replace(passkey, public_key=b"another")
    external_id = url_safe(passkey.credential_id)
    part.passkeys.change(passkey.passkey_id, changed, changed.revision, external_id=external_id)
    return f"passkey `{passkey.passkey_id}`"


@pytest.mark.parametrize(
    "work", [rewritten_identity, rewritten_policy, rewritten_budget, rewritten_grant, rewritten_passkey]
)
def test_any_other_record_that_was_rewritten_behind_the_log_is_found(
    office: Office, work: Callable[[TenantTransaction], str]
) -> None:
    names: list[str] = []
    found = office.rewrite(lambda part: names.append(work(part)))
    assert found == [f"{names[0]} is not what its newest record in the log tells"]


def test_a_record_that_the_log_does_not_tell_of_is_found(office: Office) -> None:
    identity = Identity(identity_id="eve", parent_id="root", type="agent", name="Eve", created_at_us=0, revision=999)
    found = office.rewrite(lambda part: part.identities.add("eve", identity, 999, owner="root"))
    assert found == ["identity `eve` is in the store and not in the log"]


def test_a_record_that_is_filed_under_another_owner_is_found(office: Office) -> None:
    def work(part: TenantTransaction) -> None:
        card = card_of(part, office.card_id)
        part.cards.change(card.card_id, card, card.revision + 1, external_id="net\n2")

    assert office.rewrite(work) == [
        f"card `{office.card_id}` is filed under another id, owner or external id than its own",
        f"card `{office.card_id}` is filed with revision {revision_of(office) + 1}, its own is {revision_of(office)}",
    ]


def revision_of(office: Office) -> int:
    """The card's revision."""
    with office.world.look() as part:
        return card_of(part, office.card_id).revision


def test_a_record_that_cannot_be_read_is_found(office: Office) -> None:
    """Of another version, of no type that there is, or with a document that does not fit."""
    card = row_of(Kind.CARD, office.card_id)
    assert f"record `{office.card_id}` cannot be read: " in office.break_(put("records", card, b"\x02"))[0]
    fields: dict[str, Any] = {"place": 1, "revision": 1, "owner": None, "external_id": None}
    assert "Object missing required field" in office.break_(put("records", card, encode({"document": {}, **fields})))[0]
    unknown = TENANT + b"\x63thing"
    assert any("99 is not a valid Kind" in fault for fault in office.break_(put("records", unknown, b"")))


# --- Tokens -----------------------------------------------------------------------------------------------------------


def test_a_token_that_lies_in_one_place_alone_is_found(office: Office) -> None:
    key = office.token.key_id.encode()
    missing = f"token `{office.token.token_id}` is another one by its public part, or none"
    former = f"the former secret `{office.old.key_id}` is no token's"
    ends = f"a grace time ends for the former secret `{office.old.key_id}`, which is no token's"
    value = office.rows("tokens")[key]
    assert office.break_(drop("tokens", key)) == [missing, former, ends]
    assert office.break_(put("tokens", key, value)) == []
    assert office.break_(put("tokens", key, changed(value, may_release=True))) == [missing]
    row = row_of(Kind.TOKEN, office.token.token_id)
    office.break_(put("tokens", key, value))
    found = office.break_(drop("records", row))
    assert found[0] == f"token `{office.token.token_id}` is in the log and not in the store"
    assert found[-1] == f"the public part `{office.token.key_id}` opens a token that is not in the tenant"


def changed(row: bytes, **fields: object) -> bytes:
    """A stored token with other fields."""
    return encode(msgspec.structs.replace(decode(row, msgspec.msgpack.Decoder(Token)), **fields))


def test_a_token_under_another_public_part_or_of_no_tenant_is_found(office: Office) -> None:
    value = office.rows("tokens")[office.token.key_id.encode()]
    copy = changed(value, token_id="tok_x", former=None)
    assert office.break_(put("tokens", b"elsewhere", copy)) == [
        "the public part `elsewhere` opens a token that is not in the tenant",
        "token `tok_x` lies under another public part",
    ]
    assert office.break_(put("tokens", b"elsewhere", changed(copy, key_id="elsewhere", tenant=9))) == [
        "token `tok_x` belongs to tenant 9, which does not exist"
    ]
    assert office.break_(put("tokens", b"elsewhere", changed(copy, tenant=9))) == [
        "token `tok_x` belongs to tenant 9, which does not exist",
        "token `tok_x` lies under another public part",
    ]


def test_a_former_secret_has_its_token_and_its_end(office: Office) -> None:
    key = office.old.key_id.encode()
    value = office.rows("former_secrets")[key]
    name = f"the former secret of token `{office.token.token_id}`"
    assert office.break_(drop("former_secrets", key)) == [f"{name} is gone before its grace time ends"]
    assert office.break_(put("former_secrets", key, encode(FormerSecret("x", b"")))) == [f"{name} names another token"]
    assert office.break_(put("former_secrets", key, value)) == []
    assert office.break_(drop("former_secrets_expiry", office.former_end)) == [f"{name} would open for good"]


def test_a_former_secret_that_its_token_does_not_name_is_found(office: Office) -> None:
    """Its token's tenant is blamed, where there is one."""
    former = encode(FormerSecret(office.token.key_id, b""))
    assert office.break_(put("former_secrets", b"other", former)) == ["the former secret `other` is no token's"]
    assert office.break_(put("former_secrets_expiry", U64.pack(1) + b"none", b""))[1:] == [
        "a grace time ends for the former secret `none`, which is no token's"
    ]


def test_a_pruned_former_secret_is_no_fault(office: Office) -> None:
    """The token goes on naming it."""
    office.world.now_us += GRACE * SECOND
    assert office.world.run(office.world.desk.prune_former_secrets(office.world.now_us)) == 1
    assert office.token.former == Former(office.old.key_id, office.world.now_us)
    assert office.break_(lambda *_: None) == []


# --- Kept answers -----------------------------------------------------------------------------------------------------


def test_a_kept_answer_without_its_end_is_found(office: Office) -> None:
    name = short_hash(office.key.scope).hex()
    assert office.break_(drop("idempotency_expiry", office.keep_end)) == [
        f"the kept answer `{name}` would never be forgotten"
    ]


def test_a_kept_answer_under_another_key_is_found(office: Office) -> None:
    key = TENANT + short_hash(office.key.scope)
    replay = decode(office.rows("idempotency")[key], msgspec.msgpack.Decoder(Replay))
    other = msgspec.structs.replace(replay, scope="another")
    name = short_hash(office.key.scope).hex()
    assert office.break_(put("idempotency", key, encode(other))) == [f"the kept answer `{name}` lies under another key"]


def test_a_kept_answer_of_the_deployment_is_looked_at_too(office: Office) -> None:
    replay = Replay(scope="s", fingerprint=b"", expires_at_us=5)
    key = U32.pack(0) + short_hash("s")
    found = office.break_(put("idempotency", key, encode(replay)))
    assert found == [f"the kept answer `{short_hash('s').hex()}` would never be forgotten"]
    assert office.break_(put("idempotency_expiry", U64.pack(5) + key, b"")) == []


def test_an_answer_that_was_kept_again_leaves_its_older_end_which_is_no_fault(office: Office) -> None:
    """Before both are pruned, between, and where the answer went with the first of two ends that were over."""
    world = office.world
    world.now_us += DAY
    world.authorize(payment("2.00", "ann"), key_for(payment("2.00", "ann")))
    assert len(office.rows("idempotency_expiry")) == 2
    assert office.break_(lambda *_: None) == []
    assert world.write(lambda txn: txn.prune_replays(world.now_us + DAY, 1)) == 1
    assert office.rows("idempotency") == {}
    assert office.break_(lambda *_: None) == []


# --- Whole stores -----------------------------------------------------------------------------------------------------


def test_kills_and_identities_of_any_depth_hold(office: Office) -> None:
    world = office.world
    world.run(world.registry.create(OPERATOR, "t_one", IdentityDraft("ann", "agent", "Sub", "sub"), world.now_us))
    for _ in range(2):
        world.run(KillSwitch(world.store).kill(OPERATOR, "t_one", "ann", None, world.now_us))
    assert office.break_(lambda *_: None) == []

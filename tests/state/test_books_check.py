"""Journal, balances and payments are broken by hand, and the check names it (I5); what the sidecar wrote holds."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from sidecar.core.accounts import Entry, Leg, external, move
from sidecar.core.payments import Payment, request_key
from sidecar.service.store import TenantTransaction, Transaction
from sidecar.state.books import BALANCE_ROW
from sidecar.state.codec import U32, U64, encode, short_hash
from sidecar.state.environment import Table, Txn
from sidecar.state.payments import DUE_ROW, LISTS
from tests.service.bank import PENDING, FakeRail, Till, paying
from tests.service.builders import OPERATOR, World

TENANT = U32.pack(1)
OUTSIDE = external("internal", "USDC")

Tables = dict[str, Table]
Break = Callable[[Txn, Tables], None]


class Vault:
    """A tenant with deposits, withdrawals and payments of every state; ``break_`` writes past the sidecar."""

    def __init__(self, world: World) -> None:
        """Let something of every kind happen."""
        self.world = world
        world.tenant()
        for name in ("ann", "bob"):
            world.identity(name)
        till = Till(world, {"solana": FakeRail(PENDING)})
        self.ann, self.bob = till.account("ann", "100"), till.account("bob")
        till.withdraw(self.ann, "1")
        far, away = till.account("ann", "9", network="solana"), till.account("bob", network="solana")
        closed = till.account("ann")
        world.run(till.bank.close(OPERATOR, "t_one", closed, None, world.now_us))
        self.made = till.paid(paying(self.ann, self.bob, "5", request_id="order 7"))
        self.left = till.paid(paying(far, away, "2"))
        till.paid(paying(self.ann, self.bob, "1", debug_mode=True))
        world.cedar('forbid (principal, action == Action::"payment.create", resource);')
        self.failed = till.paid(paying(self.ann, self.bob, "1"))
        self.deposit = next(int(str(body["i"])) for body in world.bodies() if body["type"] == "deposit")

    def break_(self, work: Break) -> list[str]:
        """Write past the sidecar, and return what the check finds of I5."""
        environment = self.world.environment
        txn = environment.begin_write()
        work(txn, environment.tables)
        txn.commit()
        found = self.world.faults()
        assert all(fault.startswith("I5: ") for fault in found), found
        return [fault.removeprefix("I5: ") for fault in found]

    def put(self, table: str, key: bytes, value: bytes) -> list[str]:
        """Write one row of the tenant's."""
        return self.break_(lambda txn, tables: check(txn.put(TENANT + key, value, db=tables[table])))

    def drop(self, table: str, key: bytes) -> list[str]:
        """Delete one row of the tenant's."""
        return self.break_(lambda txn, tables: check(txn.delete(TENANT + key, db=tables[table])))

    def rewrite(self, payment: Payment, **changes: object) -> list[str]:
        """Change a payment without the log."""
        changed = msgspec.structs.replace(payment, **changes)
        return self.through(lambda part: part.payments.change(changed))

    def through(self, work: Callable[[TenantTransaction], None]) -> list[str]:
        """Write through the store, without the log."""

        def run(txn: Transaction) -> None:
            work(txn.of(next(txn.tenants.after(0))))

        self.world.write(run)
        return self.break_(lambda *_: None)

    def ulid(self, payment: Payment) -> bytes:
        """What a payment has in keys."""
        environment = self.world.environment
        with environment.read() as txn, txn.cursor(db=environment.tables["payments"]) as cursor:
            keys = [bytes(key) for key, value in cursor if payment.payment_id.encode() in bytes(value)]
        return keys[0][4:]


def check(done: bool) -> None:  # noqa: FBT001 -- what LMDB says of a write
    """A row was written, or was there to be deleted."""
    assert done


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    """A store that holds."""
    with World(tmp_path) as world:
        vault = Vault(world)
        assert world.faults() == []
        yield vault


def test_a_balance_that_is_not_what_its_entries_add_up_to(vault: Vault) -> None:
    assert vault.put("balances", vault.bob.encode(), BALANCE_ROW.pack(6_000_000, 0)) == [
        f"account `{vault.bob}` holds 6000000, its entries add up to 5000000",
        "the accounts of `USDC` do not sum to zero but to 1000000",
    ]


def test_a_balance_that_is_gone(vault: Vault) -> None:
    assert vault.drop("balances", vault.bob.encode()) == [
        f"account `{vault.bob}` has entries or payments on their way, and no balance",
        "the accounts of `USDC` do not sum to zero but to -5000000",
    ]


def test_an_account_that_awaits_other_payments_than_are_on_their_way(vault: Vault) -> None:
    assert vault.put("balances", vault.bob.encode(), BALANCE_ROW.pack(5_000_000, 3)) == [
        f"account `{vault.bob}` awaits 3 payments, 0 are on their way"
    ]


def test_a_balance_of_nobody(vault: Vault) -> None:
    assert vault.put("balances", b"acct_nobody", BALANCE_ROW.pack(0, 0)) == [
        "account `acct_nobody` has a balance and does not exist"
    ]


def test_a_negative_balance(vault: Vault) -> None:
    """Booked as it should be, but for the rule that nothing leaves that is not there."""
    legs = move(vault.bob, vault.ann, 6_000_000)

    def work(txn: Txn, tables: Tables) -> None:
        for account, minor in ((vault.bob, -1_000_000), (vault.ann, 100_000_000)):
            txn.put(TENANT + account.encode(), BALANCE_ROW.pack(minor, 0), db=tables["balances"])
        txn.put(TENANT + U64.pack(1), encode(Entry("payment", legs, 0)), db=tables["journal"])

    assert vault.break_(work) == [
        "entry 1 is not what its record tells",
        f"account `{vault.bob}` is negative",
    ]


def test_an_entry_that_is_gone(vault: Vault) -> None:
    found = vault.drop("journal", U64.pack(vault.made.place))
    assert found[0] == f"record {vault.made.place} moved something, and the journal has no entry of it"
    assert len(found) == 3


def test_an_entry_that_was_changed(vault: Vault) -> None:
    legs = (Leg(vault.ann, -5_000_000), Leg(vault.bob, 4_000_000))
    found = vault.put("journal", U64.pack(vault.made.place), encode(Entry("payment", legs, 0)))
    assert found == [
        f"the legs of entry {vault.made.place} do not sum to zero",
        f"entry {vault.made.place} is not what its record tells",
        f"account `{vault.bob}` holds 5000000, its entries add up to 4000000",
    ]


def test_an_entry_that_says_another_kind(vault: Vault) -> None:
    legs = move(OUTSIDE, vault.ann, 100_000_000)
    assert vault.put("journal", U64.pack(vault.deposit), encode(Entry("payment", legs, 0))) == [
        f"entry {vault.deposit} is not what its record tells"
    ]


def test_an_entry_that_cannot_be_read(vault: Vault) -> None:
    found = vault.put("journal", U64.pack(vault.made.place), b"\x07")
    assert found[0].startswith(f"entry {vault.made.place} cannot be read")


@pytest.mark.parametrize(
    "changes",
    [
        {"amount_minor": 1},
        {"to_account_id": "acct_other"},
        {"identity_id": "bob"},
        {"place": 3},
        {"transaction_hash": "0xbad"},
        {"debug_mode": True},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_payment_that_is_not_what_the_log_tells(vault: Vault, changes: dict[str, object]) -> None:
    found = vault.rewrite(vault.made, **changes)
    assert f"payment `{vault.made.payment_id}` is not what its newest record in the log tells" in found


def test_a_payment_that_failed_and_is_said_to_have_succeeded(vault: Vault) -> None:
    assert vault.rewrite(vault.failed, status="success") == [
        f"payment `{vault.failed.payment_id}` is not what its newest record in the log tells"
    ]


def test_a_payment_that_is_gone(vault: Vault) -> None:
    found = vault.drop("payments", vault.ulid(vault.failed))
    assert f"payment `{vault.failed.payment_id}` is in the log and not in the store" in found


def test_a_payment_that_the_log_does_not_know(vault: Vault) -> None:
    stranger = msgspec.structs.replace(vault.failed, payment_id="pay_01K9Z3J4M5N6P7Q8R9S0T1V2W3", request_id=None)
    found = vault.through(lambda part: part.payments.add(stranger, ()))
    assert "payment `pay_01K9Z3J4M5N6P7Q8R9S0T1V2W3` is in the store and not in the log" in found


def test_a_payment_under_another_id(vault: Vault) -> None:
    other = vault.ulid(vault.failed)
    found = vault.put("payments", other, encode(vault.made))
    assert f"payment `{vault.failed.payment_id}` is filed under another id than its own" in found


def test_a_payment_that_cannot_be_read(vault: Vault) -> None:
    found = vault.put("payments", vault.ulid(vault.failed), b"\x07")
    assert any(each.startswith(f"payment `{vault.failed.payment_id}` cannot be read") for each in found)


def test_a_payment_of_nobody(vault: Vault) -> None:
    found = vault.rewrite(vault.failed, receiver_id="id_nobody")
    assert any(each.startswith(f"payment `{vault.failed.payment_id}` cannot be read") for each in found)


def test_a_payment_without_its_decision(vault: Vault) -> None:
    found = vault.rewrite(vault.failed, decision_id="dec_01K9Z3J4M5N6P7Q8R9S0T1V2W3")
    assert any("rests on the decision `dec_01K9Z3J4M5N6P7Q8R9S0T1V2W3`, which does not exist" in each for each in found)


@pytest.mark.parametrize("of", LISTS)
def test_a_payment_that_is_missing_in_a_list_or_stands_in_another_ones(vault: Vault, of: str) -> None:
    names = {"within": "root", "actor": "ann", "sender": "ann", "receiver": "bob", "account": vault.ann}
    name, place = names[of], U64.pack(vault.made.place)
    prefix = LISTS[of]  # type: ignore[index]
    assert vault.drop("payment_lists", prefix + short_hash(name) + place) == [
        f"payment `{vault.made.payment_id}` is missing in a list"
    ]
    ulid = vault.ulid(vault.made)
    assert vault.put("payment_lists", prefix + short_hash("id_other") + place, ulid) == [
        f"payment `{vault.made.payment_id}` stands in a list where it does not belong",
        f"payment `{vault.made.payment_id}` is missing in a list",
    ]


def test_a_request_id_that_names_no_payment_any_more_or_another_one(vault: Vault) -> None:
    key = short_hash(request_key(vault.made.identity_id, "order 7"))
    assert vault.drop("payment_requests", key) == [
        f"payment `{vault.made.payment_id}` is missing in the callers' own ids"
    ]
    assert vault.put("payment_requests", key, vault.ulid(vault.failed)) == [
        f"payment `{vault.failed.payment_id}` stands in the callers' own ids where it does not belong",
        f"payment `{vault.made.payment_id}` is missing in the callers' own ids",
    ]


def test_a_payment_on_its_way_that_nobody_looks_after(vault: Vault) -> None:
    due = DUE_ROW.pack(vault.left.retry_at_us, 1, vault.ulid(vault.left))
    expected = f"payment `{vault.left.payment_id}` is `initiated` and is not looked after as it is to be"
    assert vault.break_(lambda txn, tables: check(txn.delete(due, db=tables["payments_due"]))) == [expected]
    assert expected in vault.rewrite(vault.left, retry_at_us=None)


def test_what_is_looked_after_and_does_not_exist(vault: Vault) -> None:
    due = DUE_ROW.pack(1, 1, b"\x01" * 16)
    found = vault.break_(lambda txn, tables: check(txn.put(due, b"", db=tables["payments_due"])))
    assert len(found) == 1
    assert found[0].endswith("is looked after and does not exist")


def test_an_account_that_was_changed_behind_the_log(vault: Vault) -> None:
    """Whose it is, what it holds and where: the log tells that, though it keeps no fact of an account."""

    def work(txn: Transaction) -> None:
        part = txn.of(next(txn.tenants.after(0)))
        account = part.accounts.get(vault.bob)
        assert account is not None
        part.accounts.change(vault.bob, msgspec.structs.replace(account, asset="USDT"), account.revision)

    vault.world.write(work)
    assert f"records: account `{vault.bob}` is not what its newest record in the log tells" in vault.world.faults()

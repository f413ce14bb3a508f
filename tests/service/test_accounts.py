"""Accounts: opened, filled, emptied and closed; nothing leaves that did not come in."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sidecar.core.access import Caller
from sidecar.core.accounts import ACCOUNTS_PER_IDENTITY_MAX, external
from sidecar.core.errors import Conflict, Forbidden, IdempotencyConflict, NotFound, ValidationFailed
from sidecar.core.idempotency import idempotency_key
from sidecar.core.money import Major
from sidecar.service.accounts import AccountDraft, AccountFilter, held_by
from sidecar.service.paging import PageRequest
from tests.service.bank import Till
from tests.service.builders import OPERATOR, World


@pytest.fixture
def till(tmp_path: Path) -> Iterator[Till]:
    """A tenant with two agents, one below the other."""
    with World(tmp_path) as world:
        world.tenant()
        world.identity("ann")
        world.identity("bob", "ann")
        yield Till(world)
        assert world.faults() == []


def opened(till: Till, caller: Caller = OPERATOR, key: str | None = None, **changes: object) -> str:
    """Open an account; returns its id."""
    draft = AccountDraft(**({"identity_id": "ann", "asset": "USDC"} | changes))  # type: ignore[arg-type]
    named = None if key is None else idempotency_key(caller.name, "POST /v1/accounts", key, repr(draft).encode())
    tenant = None if caller.token is not None else "t_one"
    return till.world.run(till.bank.open(caller, tenant, draft, named, till.world.now_us)).value.account.account_id


def test_an_account_is_opened_with_nothing_in_it_and_told_in_the_log(till: Till) -> None:
    account_id = opened(till, network="solana", wallet_address="7xKX", name="Hot wallet")
    held = till.bank.get(OPERATOR, "t_one", account_id)
    assert (held.balance_minor, held.account.status, held.account.wallet_address) == (0, "active", "7xKX")
    assert till.world.kinds()[-1] == "account_created"
    assert opened(till, network="solana", wallet_address="7xKX") != account_id


def test_a_repeated_key_opens_one_account(till: Till) -> None:
    first = opened(till, key="k1")
    assert opened(till, key="k1") == first
    with pytest.raises(IdempotencyConflict):
        opened(till, key="k1", name="other")


def test_an_account_is_opened_by_administrators_for_whoever_may_have_one(till: Till) -> None:
    with pytest.raises(Forbidden):
        opened(till, till.world.token("ann"))
    with pytest.raises(NotFound):
        opened(till, identity_id="id_nobody")
    with pytest.raises(ValidationFailed):
        opened(till, asset="XXZ")
    till.world.revoke("bob")
    with pytest.raises(Conflict, match="is revoked"):
        opened(till, identity_id="bob")


def test_an_identity_has_so_many_accounts_and_no_more(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.service.accounts.ACCOUNTS_PER_IDENTITY_MAX", 2)
    assert ACCOUNTS_PER_IDENTITY_MAX == 100
    closed = opened(till)
    till.world.run(till.bank.close(OPERATOR, "t_one", closed, None, till.world.now_us))
    opened(till)
    with pytest.raises(Conflict, match="as many accounts as it may"):
        opened(till)


# --- In and out -------------------------------------------------------------------------------------------------------


def test_what_comes_in_can_go_out_and_no_more(till: Till) -> None:
    account_id = opened(till)
    assert till.deposit(account_id, "12.5") == 12_500_000
    assert till.withdraw(account_id, "2.5") == 10_000_000
    assert till.balance(external("internal", "USDC")) == -10_000_000
    assert till.world.kinds()[-2:] == ["deposit", "withdrawal"]
    before = till.world.kinds()
    with pytest.raises(Conflict, match="holds too little"):
        till.withdraw(account_id, "10.000001")
    assert (till.balance(account_id), till.world.kinds()) == (10_000_000, before)


def test_a_movement_is_told_with_its_reference(till: Till) -> None:
    account_id = opened(till)
    call = till.bank.deposit(OPERATOR, "t_one", account_id, Major("1"), "wire 7", None, till.world.now_us)
    till.world.run(call)
    assert till.world.bodies()[-1]["reference"] == "wire 7"


def test_a_repeated_key_moves_once_also_after_the_account_was_closed(till: Till) -> None:
    account_id = opened(till)
    key = idempotency_key("operator", "POST deposits", "k1", b"1")

    def deposit() -> tuple[int, bool]:
        call = till.bank.deposit(OPERATOR, "t_one", account_id, Major("1"), None, key, till.world.now_us)
        done = till.world.run(call)
        return done.value.balance_minor, done.replayed

    assert [deposit(), deposit()] == [(1_000_000, False), (1_000_000, True)]
    till.withdraw(account_id, "1")
    till.world.run(till.bank.close(OPERATOR, "t_one", account_id, None, till.world.now_us))
    assert deposit() == (1_000_000, True)


@pytest.mark.parametrize("amount", ["0", "0.0000001", "-1"])
def test_nothing_and_parts_of_minor_units_cannot_be_moved(till: Till, amount: str) -> None:
    account_id = opened(till)
    for move in (till.deposit, till.withdraw):
        with pytest.raises(ValidationFailed):
            move(account_id, amount)


def test_money_of_a_revoked_identity_is_not_locked_in(till: Till) -> None:
    account_id = opened(till)
    till.deposit(account_id, "5")
    till.world.revoke("ann")
    assert till.deposit(account_id, "1") == 6_000_000
    assert till.withdraw(account_id, "6") == 0


def test_an_account_is_closed_when_it_is_empty_and_stays_so(till: Till) -> None:
    account_id = opened(till)
    till.deposit(account_id, "5")

    def close() -> str:
        return till.world.run(
            till.bank.close(OPERATOR, "t_one", account_id, None, till.world.now_us)
        ).value.account.status

    with pytest.raises(Conflict, match="is not empty"):
        close()
    till.withdraw(account_id, "5")
    assert [close(), close()] == ["closed", "closed"]
    assert till.world.kinds().count("account_closed") == 1
    with pytest.raises(Conflict, match="is closed"):
        till.deposit(account_id, "5")


def test_only_administrators_move_and_close(till: Till) -> None:
    account_id, agent, now_us = opened(till), till.world.token("ann"), till.world.now_us
    for call in (
        till.bank.deposit(agent, None, account_id, Major("1"), None, None, now_us),
        till.bank.withdraw(agent, None, account_id, Major("1"), None, None, now_us),
        till.bank.close(agent, None, account_id, None, now_us),
    ):
        with pytest.raises(Forbidden):
            till.world.run(call)


# --- Looking ----------------------------------------------------------------------------------------------------------


def test_an_agent_sees_its_accounts_and_those_below(till: Till) -> None:
    mine, below, above = opened(till), opened(till, identity_id="bob"), opened(till, identity_id="root")
    ann, bob = till.world.token("ann"), till.world.token("bob")

    def seen(caller: Caller, wanted: AccountFilter | None = None) -> list[str]:
        tenant = None if caller.token is not None else "t_one"
        page = till.bank.listed(caller, tenant, wanted or AccountFilter(), PageRequest())
        return [held.account.account_id for held in page.values]

    assert (seen(OPERATOR), seen(ann), seen(bob)) == ([mine, below, above], [mine, below], [below])
    assert seen(ann, AccountFilter(identity_id="bob")) == [below]
    refused: tuple[Callable[[], object], ...] = (
        lambda: seen(bob, AccountFilter(identity_id="ann")),
        lambda: till.bank.get(bob, None, mine),
        lambda: till.bank.get(OPERATOR, "t_one", "acct_nobody"),
        lambda: till.bank.of_identity(bob, None, "ann"),
        lambda: till.bank.of_identity(OPERATOR, "t_one", "id_nobody"),
    )
    for call in refused:
        with pytest.raises(NotFound):
            call()


def test_a_list_shows_what_is_asked_for(till: Till) -> None:
    first = opened(till)
    other = opened(till, asset="SOL", network="solana")
    till.world.run(till.bank.close(OPERATOR, "t_one", other, None, till.world.now_us))

    def seen(**wanted: object) -> list[str]:
        page = till.bank.listed(OPERATOR, "t_one", AccountFilter(**wanted), PageRequest())  # type: ignore[arg-type]
        return [held.account.account_id for held in page.values]

    assert [seen(asset="SOL"), seen(network="internal"), seen(status="active")] == [[other], [first], [first]]
    assert seen(identity_id="ann", status="closed") == [other]


def test_all_accounts_of_an_identity_come_with_what_is_in_them(till: Till) -> None:
    first, second = opened(till), opened(till, asset="SOL")
    till.deposit(second, "0.000000001")
    assert [
        (held.account.account_id, held.balance_minor) for held in till.bank.of_identity(OPERATOR, "t_one", "ann")
    ] == [
        (first, 0),
        (second, 1),
    ]
    with till.world.look() as part:
        assert [(account.account_id, minor) for account, minor in held_by(part, "ann")] == [(first, 0), (second, 1)]

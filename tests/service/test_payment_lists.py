"""Lists of payments: what is asked for, within reach, in order of creation or backwards, and no more work than that."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from sidecar.core.access import Caller
from sidecar.core.errors import NotFound
from sidecar.core.payments import Payment
from sidecar.service import paging
from sidecar.service.paging import PageRequest
from sidecar.service.payment_lists import PaymentFilter
from sidecar.state.payments import LISTS
from tests.service.bank import Till, paying
from tests.service.builders import OPERATOR, World


class Street:
    """Two teams that trade: `ann` and `bob` below `team`, `eve` beside them; six payments."""

    def __init__(self, world: World) -> None:
        """Let them pay one another."""
        world.tenant()
        world.identity("team", type_name="team")
        for name in ("ann", "bob"):
            world.identity(name, "team")
        world.identity("eve")
        self.world = world
        self.till = Till(world)
        self.accounts = {name: self.till.account(name, "100") for name in ("team", "ann", "bob", "eve")}
        pairs = (("ann", "bob"), ("bob", "eve"), ("eve", "ann"), ("ann", "eve"), ("eve", "team"))
        self.made: list[Payment] = [
            self.till.paid(paying(self.accounts[one], self.accounts[two])) for one, two in pairs
        ]
        self.made.append(self.till.paid(paying(self.accounts["team"], self.accounts["eve"], identity_id="bob")))

    def ids(self, *numbers: int) -> list[str]:
        """The ids of payments, by their numbers."""
        return [self.made[number].payment_id for number in numbers]

    def seen(self, token_of: str | None = None, *, newest_first: bool = False, **wanted: str) -> list[str]:
        """What a list shows to somebody."""
        caller = OPERATOR if token_of is None else self.world.token(token_of)
        chosen = msgspec.convert(wanted, PaymentFilter)
        return self.till.listed(chosen, caller=caller, newest_first=newest_first)


def wanted_by(field: str, name: str) -> dict[str, Any]:
    """A filter with one field."""
    return {field: name}


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    """One."""
    with World(tmp_path_factory.mktemp("street")) as world:
        yield Street(world)
        assert world.faults() == []


def test_administrators_see_all_payments_in_order_of_creation_or_backwards(street: Street) -> None:
    assert street.seen() == street.ids(0, 1, 2, 3, 4, 5)
    assert street.seen(newest_first=True) == street.ids(5, 4, 3, 2, 1, 0)


def test_each_filter_shows_what_it_names(street: Street) -> None:
    assert street.seen(identity_id="bob") == street.ids(1, 5)
    assert street.seen(sender_id="team") == street.ids(5)
    assert street.seen(receiver_id="eve") == street.ids(1, 3, 5)
    assert street.seen(sender_id="ann", receiver_id="eve") == street.ids(3)
    assert street.seen(account_id=street.accounts["ann"]) == street.ids(0, 2, 3)
    assert street.seen(account_id=street.accounts["ann"], sender_id="eve") == street.ids(2)
    assert street.seen(status="failed") == []
    assert street.seen(currency="SOL") == []
    assert street.seen(receiver_id="eve", newest_first=True) == street.ids(5, 3, 1)


def test_somebody_sees_what_they_and_those_below_take_part_in(street: Street) -> None:
    assert street.seen("ann") == street.ids(0, 2, 3)
    assert street.seen("eve", newest_first=True) == street.ids(5, 4, 3, 2, 1)
    assert street.seen("team") == street.ids(0, 1, 2, 3, 4, 5)
    assert street.seen("bob") == street.ids(0, 1, 5)


def test_who_is_out_of_reach_is_still_the_other_side_of_what_is_seen(street: Street) -> None:
    assert street.seen("ann", receiver_id="eve") == street.ids(3)
    assert street.seen("ann", account_id=street.accounts["eve"]) == street.ids(2, 3)
    assert street.seen("ann", account_id=street.accounts["ann"]) == street.ids(0, 2, 3)
    assert street.seen("ann", sender_id="id_nobody") == []
    assert street.seen("ann", account_id="acct_nobody") == []


def test_administrators_are_told_of_what_does_not_exist(street: Street) -> None:
    for field, name in (("identity_id", "no"), ("sender_id", "no"), ("receiver_id", "no"), ("account_id", "acct_no")):
        with pytest.raises(NotFound) as raised:
            street.seen(**wanted_by(field, name))
        assert raised.value.field == field


def test_a_payment_that_is_unknown_or_another_tenants_is_not_found(street: Street) -> None:
    for payment_id in ("pay_nobody", "dec_01K9Z3J4M5N6P7Q8R9S0T1V2W3", "pay_01K9Z3J4M5N6P7Q8R9S0T1V2W3"):
        with pytest.raises(NotFound):
            street.till.get(payment_id)


def test_a_page_reads_what_it_shows_however_many_payments_there_are(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter that an index has not is looked through for so many values, and the rest is the next page."""
    monkeypatch.setattr(paging, "SCANNED_MAX", 4)
    page = street.till.paymaster.listed(OPERATOR, "t_one", PaymentFilter(status="failed"), PageRequest())
    assert (page.values, page.next_after) == ((), street.made[3].place)


def test_a_hash_that_two_names_share_shows_neither_the_other(street: Street) -> None:
    """As a collision would: every name has the same hash, and what is found is compared in full."""
    environment = street.world.environment
    with street.world.look() as part:
        for of in LISTS:
            assert list(part.payments.listed(of, "id_nobody")) == []
    txn = environment.begin_write()
    table = environment.tables["payment_lists"]
    rows = [(bytes(key), bytes(value)) for key, value in txn.cursor(db=table)]
    by_list = {key[4]: key[5:21] for key, _ in rows}
    known = {key for key, _ in rows}
    copies = [(key[:5] + by_list[key[4]] + key[21:], value) for key, value in rows]
    added = [(key, value) for key, value in copies if key not in known]
    assert added
    for key, value in added:
        txn.put(key, value, db=table)
    txn.commit()
    try:
        assert street.seen() == street.ids(0, 1, 2, 3, 4, 5)
        for name in ("ann", "bob", "eve", "team"):
            for field in ("identity_id", "sender_id", "receiver_id"):
                expected = [each.payment_id for each in street.made if getattr(each, field) == name]
                assert street.seen(**wanted_by(field, name)) == expected
            mine = [
                each.payment_id
                for each in street.made
                if street.accounts[name] in (each.from_account_id, each.to_account_id)
            ]
            assert street.seen(account_id=street.accounts[name]) == mine
        assert street.seen("ann") == street.ids(0, 2, 3)
    finally:
        txn = environment.begin_write()
        for key, _ in added:
            txn.delete(key, db=table)
        txn.commit()


def test_a_follower_reads_no_payments(street: Street) -> None:
    """Its kind of token reaches no identity."""
    token = street.world.token(None).token
    page = street.till.paymaster.listed(Caller("follower", token), None, PaymentFilter(), PageRequest())
    assert (page.values, page.next_after) == ((), None)

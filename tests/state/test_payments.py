"""Payments and balances in the store, where only a damaged one can be wrong."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sidecar.core.errors import StoreUnusable
from sidecar.core.payments import Payment
from tests.service.bank import Till, paying
from tests.service.builders import World


@pytest.fixture
def till(tmp_path: Path) -> Iterator[Till]:
    """Two identities with accounts."""
    with World(tmp_path) as world:
        world.tenant()
        world.identity("ann")
        world.identity("shop", type_name="service")
        yield Till(world)


@pytest.fixture
def payment(till: Till) -> Payment:
    """A payment between them."""
    return till.paid(paying(till.account("ann", "10"), till.account("shop")))


def test_a_listed_payment_that_is_gone_is_a_damaged_store(till: Till, payment: Payment) -> None:
    environment = till.world.environment
    txn = environment.begin_write()
    for key in [bytes(key) for key, _ in txn.cursor(db=environment.tables["payments"])]:
        txn.delete(key, db=environment.tables["payments"])
    txn.commit()
    with till.world.look() as part, pytest.raises(StoreUnusable, match=payment.payment_id):
        list(part.payments.listed("sender", "ann"))


def test_a_payment_under_no_id_of_ours_is_not_kept(till: Till, payment: Payment) -> None:
    stranger = msgspec.structs.replace(payment, payment_id="pay_no")
    with till.world.look() as part, pytest.raises(StoreUnusable, match="is no id of a payment"):
        part.payments.add(stranger, ())


def test_more_payments_than_are_awaited_cannot_end(till: Till, payment: Payment) -> None:
    with till.world.look() as part, pytest.raises(StoreUnusable, match="awaits 0 payments, 1 have ended"):
        part.books.expect(payment.to_account_id, -1)


def test_the_end_of_what_can_be_counted_is_the_end_of_a_list(till: Till, payment: Payment) -> None:
    with till.world.look() as part:
        for newest_first, after, found in ((False, 2**64 - 1, []), (True, 2**64 - 1, [payment]), (True, 1, [])):
            assert list(part.payments.listed("sender", "ann", after=after, newest_first=newest_first)) == found


def test_an_account_that_no_text_can_name_holds_nothing(till: Till) -> None:
    with till.world.look() as part:
        assert part.books.balance("").minor == 0
        assert part.books.balance("acct_" + "x" * 500).minor == 0

"""What the use cases need of a store for balances, the journal and payments.

None of them is a record of the change feed: a payment leaves the tenant's revision as it is (docs/decisions/0020).
"""

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, Protocol

from sidecar.core.accounts import Balance, Entry
from sidecar.core.payments import Payment

ListOf = Literal["within", "actor", "sender", "receiver", "account"]
"""What a payment is listed under: each identity that it is within the subtree of, who pays, from whom, to whom, and
both accounts."""

Lists = Iterable[tuple[ListOf, str]]


class Books(Protocol):
    """The balances and the journal of one tenant."""

    def balance(self, account: str) -> Balance:
        """Return what is in an account, nothing for one that nothing was booked on."""

    def post(self, place: int, entry: Entry) -> None:
        """Add an entry to the journal, at the place of its audit record, and book its legs.

        Raises Conflict where a balance cannot take it.
        """

    def expect(self, account: str, payments: int) -> None:
        """Note that so many more payments from or to an account are on their way, less for a negative number."""


class Payments(Protocol):
    """The payments of one tenant."""

    def get(self, payment_id: str) -> Payment | None:
        """Return the payment with this id."""

    def by_request(self, identity_id: str, request_id: str) -> Payment | None:
        """Return the payment of an identity that was asked for under this id of its own."""

    def listed(self, of: ListOf, name: str, *, after: int = 0, newest_first: bool = False) -> Iterator[Payment]:
        """Yield the payments under ``name`` in order of creation or backwards, from the one after that place."""

    def add(self, payment: Payment, lists: Lists) -> None:
        """Store a new payment under its place in these lists."""

    def change(self, payment: Payment) -> None:
        """Store a changed payment."""


class DuePayment(NamedTuple):
    """A payment that is on its way and is to be looked after."""

    tenant: int
    payment_id: str

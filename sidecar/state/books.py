"""Balances and the journal: the double entry of one tenant.

An entry lies at the place of the audit record that tells of it, so the journal needs no number of its own and the check
of a store can hold one against the other. Invariant (I5): a balance is the sum of its legs, and all sum to zero.
"""

from struct import Struct
from typing import Final

import msgspec

from sidecar.core.accounts import Balance, Entry, booked
from sidecar.core.errors import StoreUnusable
from sidecar.state.codec import TENANT_U64, U32, decode, encode, key_text
from sidecar.state.environment import Table, Txn

BALANCE_ROW: Final = Struct(">qQ")
"""Minor units, and how many payments are on their way."""

_entry: Final = msgspec.msgpack.Decoder(Entry)


class Books:
    """The balances and the journal of one tenant as one transaction sees them."""

    def __init__(self, txn: Txn, tables: dict[str, Table], tenant: int) -> None:
        """Look through ``txn`` at one tenant."""
        self._txn = txn
        self._balances = tables["balances"]
        self._journal = tables["journal"]
        self._number = tenant
        self._tenant = U32.pack(tenant)

    def balance(self, account: str) -> Balance:
        """Return what is in an account, nothing for one that nothing was booked on."""
        text = key_text(account)
        data = None if text is None else self._txn.get(self._tenant + text, db=self._balances)
        return Balance() if data is None else Balance(*BALANCE_ROW.unpack(data))

    def post(self, place: int, entry: Entry) -> None:
        """Add an entry to the journal, at the place of its audit record, and book its legs.

        Raises Conflict where a balance cannot take it.
        """
        for leg in entry.legs:
            self._keep(leg.account, booked(leg, self.balance(leg.account)))
        self._txn.put(TENANT_U64.pack(self._number, place), encode(entry), db=self._journal)

    def expect(self, account: str, payments: int) -> None:
        """Note that so many more payments from or to an account are on their way, less for a negative number."""
        balance = self.balance(account)
        if balance.awaited + payments < 0:
            raise StoreUnusable(f"account `{account}` awaits {balance.awaited} payments, {-payments} have ended")
        self._keep(account, Balance(balance.minor, balance.awaited + payments))

    def _keep(self, account: str, balance: Balance) -> None:
        row = BALANCE_ROW.pack(balance.minor, balance.awaited)
        self._txn.put(self._tenant + account.encode(), row, db=self._balances)


def read_entry(data: bytes) -> Entry:
    """Return a stored entry. Raises StoreUnusable for bytes that are none."""
    return decode(data, _entry)

"""Payments: by id, by the caller's own id, in lists, and those on their way by when they are looked after.

A payment's place in every list is that of its first audit record: unique and ascending. Lists are found by a hash of
what they are of; what is found is compared in full.
"""

from collections.abc import Iterator
from itertools import islice
from struct import Struct
from typing import Final

import msgspec

from sidecar.core.errors import StoreUnusable
from sidecar.core.ids import PAYMENT, id_of, ulid_bytes
from sidecar.core.payments import Payment, request_key
from sidecar.service.payment_store import DuePayment, ListOf, Lists
from sidecar.state.codec import U32, U64, U64_MAX, decode, encode, short_hash
from sidecar.state.environment import Cursor, Table, Txn

LISTS: Final[dict[ListOf, bytes]] = {
    "within": b"\x01",
    "actor": b"\x02",
    "sender": b"\x03",
    "receiver": b"\x04",
    "account": b"\x05",
}
"""What comes first in the keys of each list; permanent."""

DUE_ROW: Final = Struct(">QI16s")
"""When, tenant number, payment."""

_payment: Final = msgspec.msgpack.Decoder(Payment)


class Payments:
    """The payments of one tenant as one transaction sees them."""

    def __init__(self, txn: Txn, tables: dict[str, Table], tenant: int) -> None:
        """Look through ``txn`` at one tenant."""
        self._txn = txn
        self._payments = tables["payments"]
        self._lists = tables["payment_lists"]
        self._requests = tables["payment_requests"]
        self._due = tables["payments_due"]
        self._number = tenant
        self._tenant = U32.pack(tenant)

    def get(self, payment_id: str) -> Payment | None:
        """Return the payment with this id."""
        ulid = ulid_bytes(payment_id, PAYMENT)
        return None if ulid is None else self._read(ulid)

    def by_request(self, identity_id: str, request_id: str) -> Payment | None:
        """Return the payment of an identity that was asked for under this id of its own."""
        ulid = self._txn.get(self._tenant + short_hash(request_key(identity_id, request_id)), db=self._requests)
        payment = None if ulid is None else self._read(bytes(ulid))
        is_it = payment is not None and (payment.identity_id, payment.request_id) == (identity_id, request_id)
        return payment if is_it else None

    def listed(self, of: ListOf, name: str, *, after: int = 0, newest_first: bool = False) -> Iterator[Payment]:
        """Yield the payments under ``name`` in order of creation or backwards, from the one after that place."""
        prefix = self._tenant + LISTS[of] + short_hash(name)
        with self._txn.cursor(db=self._lists) as cursor:
            found = _seek_back(cursor, prefix, after) if newest_first else _seek(cursor, prefix, after)
            while found and bytes(cursor.key()).startswith(prefix):
                payment = self._read(bytes(cursor.value()))
                if payment is None:
                    raise StoreUnusable(f"payment `{id_of(PAYMENT, bytes(cursor.value()))}` is listed and not there")
                if _is_of(payment, of, name):
                    yield payment
                found = cursor.prev() if newest_first else cursor.next()

    def add(self, payment: Payment, lists: Lists) -> None:
        """Store a new payment under its place in these lists."""
        ulid = _ulid(payment)
        for of, name in lists:
            key = self._tenant + LISTS[of] + short_hash(name) + U64.pack(payment.place)
            self._txn.put(key, ulid, db=self._lists)
        if payment.request_id is not None:
            asked = request_key(payment.identity_id, payment.request_id)
            self._txn.put(self._tenant + short_hash(asked), ulid, db=self._requests)
        self._keep(payment)

    def change(self, payment: Payment) -> None:
        """Store a changed payment."""
        old = self.get(payment.payment_id)
        if old is not None and old.retry_at_us is not None:
            self._txn.delete(DUE_ROW.pack(old.retry_at_us, self._number, _ulid(old)), db=self._due)
        self._keep(payment)

    def _keep(self, payment: Payment) -> None:
        ulid = _ulid(payment)
        self._txn.put(self._tenant + ulid, encode(payment), db=self._payments)
        if payment.retry_at_us is not None:
            self._txn.put(DUE_ROW.pack(payment.retry_at_us, self._number, ulid), b"", db=self._due)

    def _read(self, ulid: bytes) -> Payment | None:
        data = self._txn.get(self._tenant + ulid, db=self._payments)
        return None if data is None else read_payment(bytes(data))


def read_payment(data: bytes) -> Payment:
    """Return a stored payment. Raises StoreUnusable for bytes that are none."""
    return decode(data, _payment)


def due_payments(txn: Txn, tables: dict[str, Table], now_us: int, most: int) -> list[DuePayment]:
    """Return up to ``most`` payments of any tenant that are to be looked after by ``now_us``, the earliest first."""
    found: list[DuePayment] = []
    with txn.cursor(db=tables["payments_due"]) as cursor:
        for key in islice(cursor.iternext(values=False), most) if cursor.first() else ():
            due_us, number, ulid = DUE_ROW.unpack(bytes(key))
            if due_us > now_us:
                break
            found.append(DuePayment(number, id_of(PAYMENT, ulid)))
    return found


def _seek(cursor: Cursor, prefix: bytes, after: int) -> bool:
    return after < U64_MAX and bool(cursor.set_range(prefix + U64.pack(after + 1)))


def _seek_back(cursor: Cursor, prefix: bytes, after: int) -> bool:
    """Go to the newest one, or to the one before the place ``after``."""
    beyond = cursor.set_range(prefix + U64.pack(min(after, U64_MAX) or U64_MAX))
    return bool(cursor.prev() if beyond else cursor.last())


def _is_of(payment: Payment, of: ListOf, name: str) -> bool:
    """Whether a payment is what its list is of; whose subtree it is within is left to who asks."""
    match of:
        case "within":
            return True
        case "actor":
            return payment.identity_id == name
        case "sender":
            return payment.sender_id == name
        case "receiver":
            return payment.receiver_id == name
        case _:
            return name in {payment.from_account_id, payment.to_account_id}


def _ulid(payment: Payment) -> bytes:
    ulid = ulid_bytes(payment.payment_id, PAYMENT)
    if ulid is None:
        raise StoreUnusable(f"`{payment.payment_id}` is no id of a payment")
    return ulid

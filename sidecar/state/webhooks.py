"""Webhook endpoints of one tenant, their secrets and delivery logs.

Secrets lie in a table of their own, so that no list and no copy of an endpoint can show one. ``interests`` is a summary
of the active endpoints in one row, since every change and every denial looks there first: a tenant without an endpoint
pays for one look-up. It is written with each endpoint, in the same transaction.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final

import msgspec

from sidecar.core.errors import StoreUnusable
from sidecar.core.webhooks import DELIVERIES_KEPT, Delivery, Interest, Secrets, Webhook
from sidecar.state.codec import TENANT_U64, U32, U64, U64_MAX, decode, encode, reading
from sidecar.state.environment import Table, Txn

_webhook: Final = msgspec.msgpack.Decoder(Webhook)
_secrets: Final = msgspec.msgpack.Decoder(Secrets)
_interests: Final = reading(msgspec.msgpack.Decoder(tuple[Interest, ...]))
_delivery: Final = msgspec.msgpack.Decoder(Delivery)

PRUNED_AT_ONCE: Final = 8
"""Log entries that one new entry removes at most: more than one, so that a log over its bound shrinks."""


class Webhooks:
    """The endpoints of one tenant as one transaction sees them."""

    def __init__(self, txn: Txn, tables: dict[str, Table], tenant: int) -> None:
        """Look through ``txn`` at one tenant."""
        self._txn = txn
        self._webhooks = tables["webhooks"]
        self._secrets = tables["webhook_secrets"]
        self._expiry = tables["webhook_secrets_expiry"]
        self._interests = tables["webhook_interests"]
        self._deliveries = tables["webhook_deliveries"]
        self._number = tenant
        self._tenant = U32.pack(tenant)

    def interests(self) -> tuple[Interest, ...]:
        """Return what the active endpoints asked for."""
        data = self._txn.get(self._tenant, db=self._interests)
        return () if data is None else _interests(bytes(data))

    def get(self, webhook_id: str) -> Webhook | None:
        """Return the endpoint with this id; a tenant has few enough to look at each."""
        return next((each for each in self.all() if each.webhook_id == webhook_id), None)

    def at(self, number: int) -> Webhook:
        """Return the endpoint with this number, which must exist."""
        return decode(self._row(self._webhooks, number), _webhook)

    def all(self, *, after: int = 0) -> Iterator[Webhook]:
        """Yield the endpoints in order of creation, from the one after that number."""
        with self._txn.cursor(db=self._webhooks) as cursor:
            found = after < U64_MAX and cursor.set_range(TENANT_U64.pack(self._number, after + 1))
            while found and bytes(cursor.key()).startswith(self._tenant):
                yield decode(bytes(cursor.value()), _webhook)
                found = cursor.next()

    def keep(self, webhook: Webhook) -> None:
        """Store an endpoint, new or changed."""
        self._txn.put(TENANT_U64.pack(self._number, webhook.number), encode(webhook), db=self._webhooks)
        self._summarise()

    def forget(self, webhook: Webhook) -> None:
        """Remove an endpoint with its secrets and its delivery log."""
        key = TENANT_U64.pack(self._number, webhook.number)
        self._txn.delete(key, db=self._webhooks)
        self._txn.delete(key, db=self._secrets)
        for place, _ in list(self.deliveries(webhook.number)):
            self._txn.delete(key + U64.pack(place), db=self._deliveries)
        self._summarise()

    def _summarise(self) -> None:
        active = [each for each in self.all() if each.status == "active"]
        interests = tuple(Interest(each.number, each.lane, each.events, each.format) for each in active)
        if interests:
            self._txn.put(self._tenant, encode(interests), db=self._interests)
        else:
            self._txn.delete(self._tenant, db=self._interests)

    def secrets(self, number: int) -> Secrets:
        """Return what an endpoint's deliveries are signed with."""
        return decode(self._row(self._secrets, number), _secrets)

    def keep_secrets(self, number: int, secrets: Secrets) -> None:
        """Store what an endpoint's deliveries are signed with from now on, and when a replaced secret is forgotten."""
        key = TENANT_U64.pack(self._number, number)
        self._txn.put(key, encode(secrets), db=self._secrets)
        if secrets.previous is not None:
            self._txn.put(U64.pack(secrets.previous_until_us) + key, b"", db=self._expiry)

    def deliveries(self, number: int, *, after: int = 0) -> Iterator[tuple[int, Delivery]]:
        """Yield an endpoint's attempts with their places, the oldest first, from the one after that place."""
        prefix = TENANT_U64.pack(self._number, number)
        with self._txn.cursor(db=self._deliveries) as cursor:
            found = after < U64_MAX and cursor.set_range(prefix + U64.pack(after + 1))
            while found and bytes(cursor.key()).startswith(prefix):
                yield U64.unpack(bytes(cursor.key())[-8:])[0], decode(bytes(cursor.value()), _delivery)
                found = cursor.next()

    def log(self, number: int, delivery: Delivery) -> None:
        """Add an attempt to an endpoint's log, which keeps the newest ``DELIVERIES_KEPT``."""
        prefix = TENANT_U64.pack(self._number, number)
        place = self._newest(prefix) + 1
        self._txn.put(prefix + U64.pack(place), encode(delivery), db=self._deliveries)
        with self._txn.cursor(db=self._deliveries) as cursor:
            for _ in range(PRUNED_AT_ONCE):
                oldest = U64.unpack(bytes(cursor.key())[-8:])[0] if cursor.set_range(prefix) else place
                if oldest > place - DELIVERIES_KEPT:
                    break
                cursor.delete()

    def _newest(self, prefix: bytes) -> int:
        with self._txn.cursor(db=self._deliveries) as cursor:
            found = cursor.prev() if cursor.set_range(prefix + U64.pack(U64_MAX)) else cursor.last()
            key = bytes(cursor.key()) if found else b""
        return U64.unpack(key[-8:])[0] if key.startswith(prefix) else 0

    def _row(self, table: Table, number: int) -> bytes:
        data = self._txn.get(TENANT_U64.pack(self._number, number), db=table)
        if data is None:
            raise StoreUnusable(f"webhook {number} of tenant {self._number} is not whole")
        return bytes(data)


def forget_replaced(txn: Txn, tables: dict[str, Table], now_us: int, most: int) -> int:
    """Forget up to ``most`` replaced secrets that sign no more; returns how many were looked at."""
    over = list(islice(_over(txn, tables, now_us), most))
    for row in over:
        key = row[U64.size :]
        data = txn.get(key, db=tables["webhook_secrets"])
        secrets = None if data is None else decode(bytes(data), _secrets)
        # The endpoint may be gone, or its secret replaced once more: then a later row tells when that one is over.
        if secrets is not None and now_us >= secrets.previous_until_us:
            txn.put(key, encode(Secrets(secrets.current)), db=tables["webhook_secrets"])
        txn.delete(row, db=tables["webhook_secrets_expiry"])
    return len(over)


def _over(txn: Txn, tables: dict[str, Table], now_us: int) -> Iterator[bytes]:
    with txn.cursor(db=tables["webhook_secrets_expiry"]) as cursor:
        for row in cursor.iternext(values=False) if cursor.first() else ():
            if U64.unpack(row[: U64.size])[0] > now_us:
                return
            yield bytes(row)

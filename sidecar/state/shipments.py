"""Audit logs that followers have shipped: what is known of each follower, its logs record by record, and their facts.

Rows about followers lie under their tenant. A shipped log has a number of its own, which never names another: its
records, head and facts lie under it in the same form as a tenant's own log (``sidecar.state.audit_log``), in tables of
their own.
"""

from collections.abc import Iterable, Iterator, Mapping
from struct import Struct
from typing import Final

import msgspec

from sidecar.core.audit import Head, fact_hash, log_id_of
from sidecar.core.directory import Tenant
from sidecar.core.errors import StoreUnusable
from sidecar.core.ids import ulid_bytes
from sidecar.service.shipment_store import Follower, ReportedUsage, ShippedLog
from sidecar.service.store import Listed
from sidecar.state.audit_log import HEAD, LASTING, TILE, AuditLog, fact_key
from sidecar.state.codec import TENANT_U64, U32, U64, encode, key_text, reading, short_hash
from sidecar.state.environment import Table, Txn

FOLLOWER: Final = b"\x01"
PLACE: Final = b"\x02"
LOG: Final = b"\x03"
ORIGIN: Final = b"\x04"
BOUND: Final = b"\x05"
"""Kinds of rows of ``followers``, behind the tenant: by place, the place by token, logs by token and number, the number
by token and origin, and tokens to which budgets are assigned, without a content."""

LOG_NUMBER: Final = Struct(">I")

_follower: Final = reading(msgspec.msgpack.Decoder(Follower))
_log: Final = reading(msgspec.msgpack.Decoder(ShippedLog))
_usage: Final = reading(msgspec.msgpack.Decoder(ReportedUsage))


class ShippedAudit:
    """One shipped log, to read; implements ``sidecar.service.log_store.LogReader``.

    A fact that was not shipped is looked for among those of the tenant: a follower has its records from here.
    """

    def __init__(self, log: AuditLog, own: AuditLog) -> None:
        """Read ``log``, and the facts of ``own``, the tenant's log in this store."""
        self._log = log
        self._own = own
        self.origin = log.origin
        self.head = log.head
        self.read = log.read

    def fact(self, digest: bytes, index: int) -> bytes | None:
        """Return the bytes that record ``index`` refers to by ``digest``."""
        content = self._log.fact(digest, index)
        return self._own.fact(digest, index) if content is None else content


class Shipments:
    """The shipped logs of one tenant; implements ``sidecar.service.shipment_store.Shipments``."""

    def __init__(self, txn: Txn, tables: Mapping[str, Table], tenant: Tenant, own: AuditLog) -> None:
        """Look through ``txn`` at the logs shipped to ``tenant``, whose own log is ``own``."""
        self._txn = txn
        self._rows = tables["followers"]
        self._usages = tables["shipped_usage"]
        self._tables = shipped_tables(tables)
        self._tenant = tenant
        self._own = own
        self._prefix = U32.pack(tenant.number)

    def follower(self, token_id: str) -> Follower | None:
        """Return what is known of a follower."""
        place = self._place_of(token_id)
        data = None if place is None else self._txn.get(self._prefix + FOLLOWER + place, db=self._rows)
        return None if data is None else _follower(bytes(data))

    def keep_follower(self, follower: Follower) -> None:
        """Store what is known of a follower, new or not."""
        place = self._place_of(follower.token_id)
        if place is None:
            place = self._next_place()
            self._txn.put(self._prefix + PLACE + token_key(follower.token_id), place, db=self._rows)
        self._txn.put(self._prefix + FOLLOWER + place, encode(follower), db=self._rows)

    def _place_of(self, token_id: str) -> bytes | None:
        token = ulid_bytes(token_id, "tok")
        data = None if token is None else self._txn.get(self._prefix + PLACE + token, db=self._rows)
        return None if data is None else bytes(data)

    def _next_place(self) -> bytes:
        last = next(self._backwards(self._prefix + FOLLOWER), None)
        return U64.pack(1 if last is None else U64.unpack(last[0])[0] + 1)

    def followers(self, *, after: int = 0) -> Iterator[Listed[Follower]]:
        """Yield the followers in the order in which they were first heard of, from the one after that place."""
        prefix = self._prefix + FOLLOWER
        with self._txn.cursor(db=self._rows) as cursor:
            found = cursor.set_range(prefix + U64.pack(after + 1))
            while found and bytes(cursor.key()).startswith(prefix):
                yield Listed(U64.unpack(bytes(cursor.key())[len(prefix) :])[0], _follower(bytes(cursor.value())))
                found = cursor.next()

    def bind(self, token_id: str) -> None:
        """Note that budgets are assigned to a follower, which has one log at most from now on."""
        self._txn.put(self._prefix + BOUND + token_key(token_id), b"", db=self._rows)

    def is_bound(self, token_id: str) -> bool:
        """Whether budgets are assigned to a follower, or were."""
        token = ulid_bytes(token_id, "tok")
        return token is not None and self._txn.get(self._prefix + BOUND + token, db=self._rows) is not None

    def log(self, token_id: str, origin: str) -> ShippedLog | None:
        """Return a log of a follower."""
        token = ulid_bytes(token_id, "tok")
        if token is None:
            return None
        number = self._txn.get(self._prefix + ORIGIN + token + short_hash(origin), db=self._rows)
        data = None if number is None else self._txn.get(self._prefix + LOG + token + bytes(number), db=self._rows)
        log = None if data is None else _log(bytes(data))
        return None if log is None or log.origin != origin else log

    def logs(self, token_id: str, most: int) -> list[ShippedLog]:
        """Return up to ``most`` logs of a follower, the newest first."""
        token = ulid_bytes(token_id, "tok")
        found: list[ShippedLog] = []
        rows = iter(()) if token is None else self._backwards(self._prefix + LOG + token)
        while len(found) < most and (row := next(rows, None)) is not None:
            found.append(_log(row[1]))
        return found

    def all_logs(self) -> Iterator[ShippedLog]:
        """Yield the logs of every follower of the tenant."""
        prefix = self._prefix + LOG
        with self._txn.cursor(db=self._rows) as cursor:
            found = cursor.set_range(prefix)
            while found and bytes(cursor.key()).startswith(prefix):
                yield _log(bytes(cursor.value()))
                found = cursor.next()

    def _backwards(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield rows from the last one that begins with ``prefix``, keys without it; it must not be all ones."""
        beyond = (int.from_bytes(prefix) + 1).to_bytes(len(prefix))
        with self._txn.cursor(db=self._rows) as cursor:
            found = cursor.prev() if cursor.set_range(beyond) else cursor.last()
            while found and bytes(cursor.key()).startswith(prefix):
                yield bytes(cursor.key())[len(prefix) :], bytes(cursor.value())
                found = cursor.prev()

    def open_log(self, token_id: str, origin: str, now_us: int) -> ShippedLog:
        """Make room for a log that nothing is known of."""
        with self._txn.cursor(db=self._tables["heads"]) as cursor:
            number = LOG_NUMBER.unpack(cursor.key())[0] + 1 if cursor.last() else 1
        log = ShippedLog(token_id=token_id, origin=origin, number=number, since_us=now_us, seen_at_us=now_us)
        self._put_head(log, self.reader(log).head())
        key = self._prefix + ORIGIN + token_key(token_id) + short_hash(origin)
        self._txn.put(key, LOG_NUMBER.pack(number), db=self._rows)
        self.keep_log(log)
        return log

    def keep_log(self, log: ShippedLog) -> None:
        """Store what is known of a log beside its records."""
        key = self._prefix + LOG + token_key(log.token_id) + LOG_NUMBER.pack(log.number)
        self._txn.put(key, encode(log), db=self._rows)

    def reader(self, log: ShippedLog) -> ShippedAudit:
        """Return a log to read."""
        return ShippedAudit(AuditLog(self._txn, self._tables, self._as_tenant(log), {}, []), self._own)

    def _as_tenant(self, log: ShippedLog) -> Tenant:
        """Return what a reader of the log takes for its tenant: the same one, with the number of the log."""
        log_id = log_id_of(log.origin)
        if log_id is None:
            raise StoreUnusable(f"a shipped log is named `{log.origin}`, which is no name of a log")
        return msgspec.structs.replace(self._tenant, number=log.number, log_id=log_id)

    def append(self, log: ShippedLog, bodies: Iterable[bytes], head: Head) -> None:
        """Store records behind those that are there, up to ``head``, as they came: they were checked."""
        for index, body in enumerate(bodies, self.reader(log).head().next_index):
            self._txn.put(TENANT_U64.pack(log.number, index), body, db=self._tables["audit"], overwrite=False)
        self._put_head(log, head)

    def _put_head(self, log: ShippedLog, head: Head) -> None:
        packed = HEAD.pack(head.next_index, head.link, head.last_us, head.clock_epoch)
        self._txn.put(LOG_NUMBER.pack(log.number), packed, db=self._tables["heads"])

    def keep_fact(self, log: ShippedLog, content: bytes, index: int | None) -> None:
        """Store what record ``index`` alone refers to, or with None what many may refer to."""
        tile = LASTING if index is None else index // TILE
        self._txn.put(
            fact_key(log.number, tile, fact_hash(content)), content, db=self._tables["facts"], overwrite=False
        )

    def usage(self, budget_id: str) -> ReportedUsage | None:
        """Return what a follower last told of a budget's usage."""
        text = key_text(budget_id)
        data = None if text is None else self._txn.get(self._prefix + text, db=self._usages)
        return None if data is None else _usage(bytes(data))

    def keep_usage(self, budget_id: str, usage: ReportedUsage) -> None:
        """Store that."""
        self._txn.put(self._prefix + budget_id.encode(), encode(usage), db=self._usages)


def shipped_tables(tables: Mapping[str, Table]) -> dict[str, Table]:
    """Return the tables of shipped logs under the names that those of a tenant's own have."""
    return {
        "audit": tables["shipped_audit"],
        "heads": tables["shipped_heads"],
        "facts": tables["shipped_facts"],
        "meta": tables["meta"],
    }


def token_key(token_id: str) -> bytes:
    """Return the id of a stored token as a part of a key. Raises StoreUnusable for what is none."""
    token = ulid_bytes(token_id, "tok")
    if token is None:
        raise StoreUnusable(f"`{token_id}` is no id of a token")
    return token

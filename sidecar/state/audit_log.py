"""The audit log of each tenant, and the facts that its records refer to by hash.

Records lie under (tenant, index) and are only ever appended. Facts lie once each under their SHA-256: the long-lived
ones (identities, budgets, policies of the API) together, a request's beside those of its 256 neighbours in the log, so
that a commit touches neighbouring pages and not one random page per decision (docs/decisions/0005). The texts of files
lie once for all tenants, under the number of the deployment.
"""

from collections.abc import Iterator
from struct import Struct
from typing import Final

import msgspec

from sidecar.core.audit import Body, Head, Sealed, encode_hash, fact_hash, genesis, origin, seal
from sidecar.core.directory import Tenant
from sidecar.core.errors import StoreUnusable
from sidecar.core.model import AuditMark
from sidecar.state.codec import TENANT_U64, U32, U64_MAX
from sidecar.state.environment import Table, Txn
from sidecar.state.notices import Notice, notices
from sidecar.state.tenants import DEPLOYMENT

HEAD: Final = Struct(">Q32sQI")
"""A head as it lies: the next index, the link, the newest time, the clock epoch."""

LASTING: Final = U64_MAX
"""In place of a tile: facts that many records share."""

TILE: Final = 256
"""Neighbouring records whose requests are kept together."""


def keep_shared_fact(txn: Txn, facts: Table, content: bytes) -> None:
    """Store what records of any tenant may refer to, once."""
    txn.put(fact_key(DEPLOYMENT, LASTING, fact_hash(content)), content, db=facts, overwrite=False)


def fact_key(number: int, tile: int, digest: bytes) -> bytes:
    """Return where a fact lies: under whose number, beside which others."""
    return TENANT_U64.pack(number, tile) + digest


class AuditLog:
    """One tenant's log as one transaction sees it."""

    def __init__(
        self, txn: Txn, tables: dict[str, Table], tenant: Tenant, seen: dict[int, Head], appended: list[str]
    ) -> None:
        """Look through ``txn`` at the log of ``tenant``.

        ``seen`` are the heads that ``txn`` has read or changed, by tenant; the type of each new record is added to
        ``appended``.
        """
        self._appended = appended
        self._txn = txn
        self._audit = tables["audit"]
        self._heads = tables["heads"]
        self._meta = tables["meta"]
        self._facts = tables["facts"]
        self._tenant = tenant
        self._seen = seen
        self.origin = origin(tenant.log_id)

    def head(self) -> Head:
        """Return the end of the log; that of an empty log follows the genesis link and owes no old notice."""
        number = self._tenant.number
        head = self._seen.get(number)
        if head is None:
            data = self._txn.get(U32.pack(number), db=self._heads)
            head = self._seen[number] = self._empty() if data is None else Head(*HEAD.unpack(data))
        return head

    def _empty(self) -> Head:
        return Head(0, genesis(self.origin), 0, notices(self._txn, self._meta).newest)

    def append(self, kind: str, now_us: int, fields: Body) -> AuditMark:
        """Seal one record onto the head and return where it stands.

        What happened to the deployment and this log has not told of yet is recorded in front of it.
        """
        self.tell_notices(now_us)
        sealed = self._store(self.head(), kind, now_us, fields)
        return AuditMark(sealed.index, encode_hash(sealed.head.link))

    def tell_notices(self, now_us: int) -> None:
        """Record what happened to the deployment and this log has not told of yet."""
        for notice in self._untold():
            head = msgspec.structs.replace(self.head(), clock_epoch=notice.number)
            self._store(head, notice.kind, now_us, notice.fields)

    def _untold(self) -> list[Notice]:
        return notices(self._txn, self._meta).after(self.head().clock_epoch)

    def _store(self, head: Head, kind: str, now_us: int, fields: Body) -> Sealed:
        sealed = seal(head, self.origin, kind, now_us, fields)
        key = TENANT_U64.pack(self._tenant.number, sealed.index)
        if not self._txn.put(key, sealed.body, db=self._audit, overwrite=False):
            raise StoreUnusable(f"record {sealed.index} of tenant `{self._tenant.tenant_id}` exists already")
        after = self._seen[self._tenant.number] = sealed.head
        packed = HEAD.pack(after.next_index, after.link, after.last_us, after.clock_epoch)
        self._txn.put(U32.pack(self._tenant.number), packed, db=self._heads)
        self._appended.append(kind)
        return sealed

    def read(self, start: int, most: int) -> Iterator[tuple[int, bytes]]:
        """Yield up to ``most`` stored records from index ``start`` on, as (index, body)."""
        prefix = U32.pack(self._tenant.number)
        with self._txn.cursor(db=self._audit) as cursor:
            found = cursor.set_range(TENANT_U64.pack(self._tenant.number, start))
            while found and most > 0 and bytes(cursor.key()).startswith(prefix):
                yield TENANT_U64.unpack(cursor.key())[1], bytes(cursor.value())
                most -= 1
                found = cursor.next()

    def requests(self, start: int, end: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield the kept requests of the records from ``start`` to before ``end``, with those of their neighbours."""
        key = TENANT_U64.pack(self._tenant.number, start // TILE)
        last = TENANT_U64.pack(self._tenant.number, (end - 1) // TILE)
        with self._txn.cursor(db=self._facts) as cursor:
            found = cursor.set_range(key)
            while found and bytes(cursor.key())[: TENANT_U64.size] <= last:
                yield bytes(cursor.key())[TENANT_U64.size :], bytes(cursor.value())
                found = cursor.next()

    def keep_request(self, content: bytes) -> bytes:
        """Store the canonical request of the record that is appended next; returns its hash."""
        index = self.head().next_index + len(self._untold())
        return self._keep(content, index // TILE)

    def keep_fact(self, content: bytes) -> bytes:
        """Store what many records refer to, once; returns its hash."""
        return self._keep(content, LASTING)

    def _keep(self, content: bytes, tile: int) -> bytes:
        digest = fact_hash(content)
        self._txn.put(fact_key(self._tenant.number, tile, digest), content, db=self._facts, overwrite=False)
        return digest

    def has_fact(self, digest: bytes) -> bool:
        """Whether a lasting fact of this tenant is kept."""
        return self._txn.get(fact_key(self._tenant.number, LASTING, digest), db=self._facts) is not None

    def fact(self, digest: bytes, index: int) -> bytes | None:
        """Return the bytes that record ``index`` refers to by ``digest``; None when they were erased."""
        number = self._tenant.number
        for owner, tile in ((number, LASTING), (number, index // TILE), (DEPLOYMENT, LASTING)):
            data = self._txn.get(fact_key(owner, tile, digest), db=self._facts)
            if data is not None:
                return bytes(data)
        return None

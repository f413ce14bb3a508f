"""Tenants, and the revision each of them is at.

A revision grows with every change to anything that a decision could depend on; ``policies_revision`` is the revision of
the newest change to policies, so that what is compiled from them outlives other changes. Tenant number 0 is the
deployment itself: its revision is that of the policy files, which hold for every tenant.
"""

from collections.abc import Iterator
from typing import Final, get_args

import msgspec

from sidecar.core.directory import Mode, Tenant
from sidecar.service.store import Revisions
from sidecar.state.codec import U32, U32_MAX, U64_PAIR, encode, key_text, reading, short_hash
from sidecar.state.environment import Table, Txn

DEPLOYMENT: Final = 0

_tenant: Final = reading(msgspec.msgpack.Decoder(Tenant))


class Tenants:
    """The tenants as one transaction sees them."""

    def __init__(self, txn: Txn, tables: dict[str, Table]) -> None:
        """Look through ``txn``, in which nobody else may change revisions: they are read once."""
        self._txn = txn
        self._tenants = tables["tenants"]
        self._ids = tables["tenant_ids"]
        self._externals = tables["tenant_externals"]
        self._revisions = tables["revisions"]
        self._known: dict[int, Revisions] = {}

    def find(self, tenant_id: str) -> Tenant | None:
        """Return the tenant with this id."""
        text = key_text(tenant_id)
        number = None if text is None else self._txn.get(text, db=self._ids)
        return None if number is None else self.get(U32.unpack(number)[0])

    def get(self, number: int) -> Tenant | None:
        """Return the tenant with this number."""
        data = self._txn.get(U32.pack(number), db=self._tenants)
        return None if data is None else _tenant(bytes(data))

    def by_external_id(self, external_id: str) -> tuple[Tenant, ...]:
        """Return the tenants with this external id, one of each mode at most, in order of creation.

        A hit of the index is compared in full.
        """
        rows = (self._txn.get(external_key(external_id, mode), db=self._externals) for mode in get_args(Mode))
        found = [self.get(U32.unpack(row)[0]) for row in rows if row is not None]
        named = [tenant for tenant in found if tenant is not None and tenant.external_id == external_id]
        return tuple(sorted(named, key=lambda tenant: tenant.number))

    def next_number(self) -> int:
        """Return the number that the next tenant gets; numbers are never used again."""
        with self._txn.cursor(db=self._tenants) as cursor:
            return U32.unpack(cursor.key())[0] + 1 if cursor.last() else DEPLOYMENT + 1

    def add(self, tenant: Tenant) -> None:
        """Store a new tenant, which must have the next number, an unused id, and in its mode an unused external id."""
        self._txn.put(U32.pack(tenant.number), encode(tenant), db=self._tenants, overwrite=False)
        self._txn.put(tenant.tenant_id.encode(), U32.pack(tenant.number), db=self._ids, overwrite=False)
        if tenant.external_id is not None:
            self._txn.put(external_key(tenant.external_id, tenant.mode), U32.pack(tenant.number), db=self._externals)

    def change(self, tenant: Tenant) -> None:
        """Store a changed tenant; its id, number, mode and external id stay."""
        self._txn.put(U32.pack(tenant.number), encode(tenant), db=self._tenants)

    def after(self, number: int) -> Iterator[Tenant]:
        """Yield the tenants in order of creation, from the one after ``number``."""
        with self._txn.cursor(db=self._tenants) as cursor:
            if number < U32_MAX and cursor.set_range(U32.pack(number + 1)):
                for value in cursor.iternext(keys=False):
                    yield _tenant(bytes(value))

    def revisions(self, number: int) -> Revisions:
        """Return how far a tenant has changed; 0 and 0 before the first change."""
        known = self._known.get(number)
        if known is None:
            data = self._txn.get(U32.pack(number), db=self._revisions)
            known = self._known[number] = Revisions(0, 0) if data is None else Revisions(*U64_PAIR.unpack(data))
        return known

    def advance(self, number: int, *, policies: bool = False) -> int:
        """Raise a tenant's revision by one and return it; every change calls this in its own transaction."""
        old = self.revisions(number)
        entities = old.entities + 1
        new = self._known[number] = Revisions(entities, entities if policies else old.policies)
        self._txn.put(U32.pack(number), U64_PAIR.pack(*new), db=self._revisions)
        return entities

    def reach(self, number: int, revision: int, *, policies: bool) -> None:
        """Bring a tenant to a revision that another store is at; ``policies`` says that its policies are others now.

        That of the policies is then another one even where the revision is the same: what is kept by it is dropped.
        """
        old = self.revisions(number)
        new = self._known[number] = Revisions(revision, max(revision, old.policies + 1) if policies else old.policies)
        self._txn.put(U32.pack(number), U64_PAIR.pack(*new), db=self._revisions)


def external_key(external_id: str, mode: Mode) -> bytes:
    """Return where the index names the tenant of this mode that its maker calls so."""
    return short_hash(external_id) + mode.encode()

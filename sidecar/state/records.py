"""Stored resources: one document per identity, policy or budget, with its revision, in lists and in the change feed.

A record is found by id, listed by kind or by owner in order of creation, and looked up by external id. Each change is
also an entry of the change feed at the tenant's new revision, which followers will read; a deletion is a change too.
"""

from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from sidecar.core.errors import StoreUnusable
from sidecar.service.store import Listed
from sidecar.state.changes import CHANGE_KIND, OWNER, changes_floor
from sidecar.state.codec import TENANT_U64, U32, U64, U64_MAX, decode, encode, fitting, key_text, remembered, short_hash
from sidecar.state.environment import Table, Txn


class Kind(IntEnum):
    """What a record is; the number is part of its key and permanent."""

    IDENTITY = 1
    POLICY = 2
    BUDGET = 3
    CARD = 4
    TOKEN = 5
    ACCOUNT = 6
    GRANT = 7
    PASSKEY = 8


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A document with what the store needs to know of it.

    ``place`` is its created revision, its order in every list.
    """

    document: msgspec.Raw
    place: int
    revision: int
    owner: str | None
    external_id: str | None


T = TypeVar("T")


class Stored(NamedTuple, Generic[T]):
    """A record and the value that its document is."""

    record: Record
    value: T


BY_KIND: Final = b"\x01"
_BY_OWNER: Final = b"\x02"
_BY_EXTERNAL_ID: Final = b"\x03"

_record: Final = msgspec.msgpack.Decoder(Record)


def stored(decoder: msgspec.msgpack.Decoder[T]) -> Callable[[bytes], Stored[T]]:
    """Return what reads a record whose document is one of ``decoder``."""

    def read(data: bytes) -> Stored[T]:
        record = decode(data, _record)
        return Stored(record, fitting(record.document, decoder))

    return remembered(read)


class Collection(Generic[T]):
    """The records of one kind in one tenant as one transaction sees them."""

    def __init__(
        self, txn: Txn, tables: dict[str, Table], tenant: int, kind: Kind, read: Callable[[bytes], Stored[T]]
    ) -> None:
        """Look through ``txn``; ``read`` is what ``stored`` returned for this kind."""
        self._txn = txn
        self._records = tables["records"]
        self._index = tables["index"]
        self._changes = tables["changes"]
        self._floors = tables["changes_floors"]
        self._tenant = U32.pack(tenant)
        self._number = tenant
        self._kind = bytes((kind,))
        self._read = read

    def get(self, key: str) -> T | None:
        """Return the value with this id."""
        found = self._find(key)
        return None if found is None else found.value

    def place_of(self, key: str) -> int:
        """Return the place of an existing value in every list of its kind."""
        return self.known(key).record.place

    def by_external_id(self, external_id: str) -> T | None:
        """Return the value with this external id; a hit of the index is compared in full."""
        key = self._txn.get(self._external(external_id), db=self._index)
        found = None if key is None else self._find(bytes(key).decode())
        return found.value if found and found.record.external_id == external_id else None

    def all(self, *, after: int = 0) -> Iterator[Listed[T]]:
        """Yield every value in order of creation, from the one after that place."""
        return self._listed(self._tenant + BY_KIND + self._kind, after, lambda _: True)

    def owned(self, owner: str, *, after: int = 0) -> Iterator[Listed[T]]:
        """Yield the values that belong to ``owner`` in order of creation."""
        return self._listed(self._owned(owner), after, lambda record: record.owner == owner)

    def changed(self, after: int, most: int) -> list[str] | None:
        """Return the ids of the values that changed after a revision, in the order of their changes.

        None where more than ``most`` changes of any kind would have to be looked through, and where those after that
        revision are not all kept any more.
        """
        keys: dict[str, None] = {}
        if after < changes_floor(self._txn, self._floors, self._number):
            return None
        with self._txn.cursor(db=self._changes) as cursor:
            found = cursor.set_range(TENANT_U64.pack(self._number, after + 1))
            looked = 0
            while found and bytes(cursor.key()).startswith(self._tenant):
                looked += 1
                if looked > most:
                    return None
                if bytes(cursor.key())[CHANGE_KIND : CHANGE_KIND + 1] == self._kind:
                    keys[bytes(cursor.value()).partition(OWNER)[0].decode()] = None
                found = cursor.next()
        return list(keys)

    def add(
        self,
        key: str,
        value: T,
        revision: int,
        *,
        owner: str | None,
        external_id: str | None = None,
        place: int | None = None,
    ) -> None:
        """Store a new value; ``revision`` is its place in the change feed, and in lists where ``place`` is None."""
        number = revision if place is None else place
        record = Record(document=_raw(value), place=number, revision=revision, owner=owner, external_id=external_id)
        place_key = U64.pack(number)
        self._put(key, record)
        self._txn.put(self._tenant + BY_KIND + self._kind + place_key, key.encode(), db=self._index)
        if owner is not None:
            self._txn.put(self._owned(owner) + place_key, key.encode(), db=self._index)

    def change(self, key: str, value: T, revision: int, *, external_id: str | None = None) -> None:
        """Store a changed value; ``external_id`` is the one it is found by from now on."""
        old = self.known(key).record
        if old.external_id != external_id:
            self._lose_name(key, old.external_id)
        record = Record(
            document=_raw(value), place=old.place, revision=revision, owner=old.owner, external_id=external_id
        )
        self._put(key, record)

    def remove(self, key: str, revision: int) -> None:
        """Forget a value and tell the change feed so."""
        old = self.known(key).record
        place = U64.pack(old.place)
        self._txn.delete(self._tenant + self._kind + key.encode(), db=self._records)
        self._txn.delete(self._tenant + BY_KIND + self._kind + place, db=self._index)
        if old.owner is not None:
            self._txn.delete(self._owned(old.owner) + place, db=self._index)
        self._lose_name(key, old.external_id)
        self._tell(key, revision, OWNER + (old.owner or "").encode())

    def _lose_name(self, key: str, external_id: str | None) -> None:
        """Find a value by its external id no more, unless another one has taken that over already."""
        if external_id is not None and self._txn.get(self._external(external_id), db=self._index) == key.encode():
            self._txn.delete(self._external(external_id), db=self._index)

    def record(self, key: str) -> Stored[T] | None:
        """Return the value with this id and what is known of it."""
        return self._find(key)

    def records(self, *, after: int = 0) -> Iterator[tuple[str, Stored[T]]]:
        """Yield every value with its id and what the store knows of it, as ``all`` does."""
        return self._entries(self._tenant + BY_KIND + self._kind, after, lambda _: True)

    def records_owned(self, owner: str, *, after: int = 0) -> Iterator[tuple[str, Stored[T]]]:
        """Yield what belongs to ``owner`` with its id and what the store knows of it, as ``owned`` does."""
        return self._entries(self._owned(owner), after, lambda record: record.owner == owner)

    def adopt(self, key: str, value: T, record: Record, at: int) -> None:
        """Store a value as another store has it, here as a change of ``at``; ``record.document`` is not looked at."""
        old, revision, name = self._find(key), record.revision, record.external_id
        if old is not None and (old.record.place, old.record.owner) != (record.place, record.owner):
            self.remove(key, at)
            old = None
        if old is None:
            self.add(key, value, revision, owner=record.owner, external_id=name, place=record.place)
        else:
            self.change(key, value, revision, external_id=name)
        self._tell(key, at)

    def _put(self, key: str, record: Record) -> None:
        self._txn.put(self._tenant + self._kind + key.encode(), encode(record), db=self._records)
        if record.external_id is not None:
            self._txn.put(self._external(record.external_id), key.encode(), db=self._index)
        self._tell(key, record.revision)

    def _tell(self, key: str, revision: int, removed: bytes = b"") -> None:
        change = TENANT_U64.pack(self._number, revision) + self._kind + short_hash(key)
        self._txn.put(change, key.encode() + removed, db=self._changes)

    def _find(self, key: str) -> Stored[T] | None:
        text = key_text(key)
        data = None if text is None else self._txn.get(self._tenant + self._kind + text, db=self._records)
        return None if data is None else self._read(bytes(data))

    def known(self, key: str) -> Stored[T]:
        """Return what exists with this id. Raises StoreUnusable where it does not."""
        found = self._find(key)
        if found is None:
            raise StoreUnusable(f"record `{key}` does not exist")
        return found

    def _listed(self, prefix: bytes, after: int, wanted: Callable[[Record], bool]) -> Iterator[Listed[T]]:
        for _, (record, value) in self._entries(prefix, after, wanted):
            yield Listed(record.place, value)

    def _entries(self, prefix: bytes, after: int, wanted: Callable[[Record], bool]) -> Iterator[tuple[str, Stored[T]]]:
        with self._txn.cursor(db=self._index) as cursor:
            found = after < U64_MAX and cursor.set_range(prefix + U64.pack(after + 1))
            while found and bytes(cursor.key()).startswith(prefix):
                key = bytes(cursor.value()).decode()
                stored = self.known(key)
                if wanted(stored.record):
                    yield key, stored
                found = cursor.next()

    def _owned(self, owner: str) -> bytes:
        return self._tenant + _BY_OWNER + self._kind + short_hash(owner)

    def _external(self, external_id: str) -> bytes:
        return self._tenant + _BY_EXTERNAL_ID + self._kind + short_hash(external_id)


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(value))

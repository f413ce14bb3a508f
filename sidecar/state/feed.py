"""The records of one tenant as the change feed tells of them, read on a control plane and written on a follower."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from sidecar.core.feed import Change, FollowedToken, RecordKind
from sidecar.service.feed_store import Entry
from sidecar.state.changes import changes_after, changes_floor, forget_changes
from sidecar.state.codec import U32, U64, decode
from sidecar.state.environment import Table, Txn
from sidecar.state.records import BY_KIND, Collection, Kind, Record
from sidecar.state.tokens import Tokens

_NAMES: Final[Mapping[int, RecordKind]] = {
    Kind.IDENTITY: "identity",
    Kind.POLICY: "policy",
    Kind.BUDGET: "budget",
    Kind.CARD: "card",
    Kind.TOKEN: "token",
}

_KINDS: Final[Mapping[RecordKind, int]] = {name: kind for kind, name in _NAMES.items()}


class _Owned(msgspec.Struct, frozen=True):
    """Of a record, whose it is."""

    owner: str | None


_owner: Final = msgspec.msgpack.Decoder(_Owned)


class Feed:
    """Implements ``sidecar.service.feed_store.Feed``."""

    def __init__(
        self, txn: Txn, tables: dict[str, Table], tenant: int, collections: Mapping[RecordKind, Collection[Any]]
    ) -> None:
        """Look through ``txn`` at one tenant, whose records are in ``collections``."""
        self._txn = txn
        self._tables = tables
        self._number = tenant
        self._collections = collections
        self._tokens = Tokens(txn, tables)

    def floor(self) -> int:
        """Return the revision up to which changes are not all kept any more."""
        return changes_floor(self._txn, self._tables["changes_floors"], self._number)

    def told(self, after: int, most: int) -> list[Entry]:
        """Return up to ``most`` entries of the change feed after a revision, in their order."""
        found = changes_after(self._txn, self._tables["changes"], self._number, after, most)
        return [Entry(each.revision, _NAMES.get(each.kind), *each[2:]) for each in found]

    def find(self, kind: RecordKind, key: str) -> Change | None:
        """Return a record as it is now."""
        found = self._collections[kind].record(key)
        return None if found is None else self._change(kind, key, found.record, found.value)

    def owned(self, kind: RecordKind, owner: str, *, after: int = 0) -> Iterator[Change]:
        """Yield the records that belong to ``owner`` in order of creation, from the one after that place."""
        for key, found in self._collections[kind].records_owned(owner, after=after):
            yield self._change(kind, key, found.record, found.value)

    def all(self, kind: RecordKind, *, after: int = 0) -> Iterator[Change]:
        """Yield every record of a kind in order of creation, from the one after that place."""
        for key, found in self._collections[kind].records(after=after):
            yield self._change(kind, key, found.record, found.value)

    def of_nobody(self, kind: RecordKind, *, after: int = 0) -> Iterator[tuple[int, Change | None]]:
        """Yield the records of a kind that belong to nobody, each with its place, and None in place of all others.

        No index lists them, so all are passed, which of the others reads nothing but whose they are.
        """
        number, collection = bytes((_KINDS[kind],)), self._collections[kind]
        tenant = U32.pack(self._number)
        prefix = tenant + BY_KIND + number
        with self._txn.cursor(db=self._tables["index"]) as cursor:
            found = cursor.set_range(prefix + U64.pack(after + 1))
            while found and bytes(cursor.key()).startswith(prefix):
                name = bytes(cursor.value())
                data = self._txn.get(tenant + number + name, db=self._tables["records"])
                is_owned = data is not None and decode(bytes(data), _owner).owner is not None
                place = U64.unpack(bytes(cursor.key())[len(prefix) :])[0]
                yield place, None if is_owned else self._change(kind, name.decode(), *collection.known(name.decode()))
                found = cursor.next()

    def _change(self, kind: RecordKind, key: str, record: Record, value: Any) -> Change:  # noqa: ANN401 -- of any kind
        if kind == "token":
            former = self._tokens.former_digest(value)
            value = FollowedToken(token=msgspec.structs.replace(value, tenant=0), former_digest=former)
        return Change(
            kind=kind,
            id=key,
            revision=record.revision,
            place=record.place,
            owner=record.owner,
            external_id=record.external_id,
            value=value,
        )

    def adopt(self, change: Change, at: int) -> None:
        """Store a record as the control plane has it, or forget one that is gone there; an unknown one is let pass.

        ``at`` is the revision that this store comes to with it.
        """
        collection = self._collections[change.kind]
        known = collection.get(change.id)
        if change.value is None:
            if known is not None:
                if change.kind == "token":
                    self._tokens.delete(known)
                collection.remove(change.id, at)
            return
        value: object = change.value
        if isinstance(change.value, FollowedToken):
            value = token = msgspec.structs.replace(change.value.token, tenant=self._number)
            self._tokens.adopt(known, token, change.value.former_digest)
        record = Record(
            document=msgspec.Raw(),
            place=change.place,
            revision=change.revision,
            owner=change.owner,
            external_id=change.external_id,
        )
        collection.adopt(change.id, value, record, at)

    def forget(self, up_to: int, most: int) -> int:
        """Forget up to ``most`` entries of the change feed up to a revision; returns how many."""
        return forget_changes(self._txn, self._tables, self._number, up_to, most)

"""The change feed of a tenant: one row for each change of a record, found by revision; old ones can be forgotten."""

from typing import Final, NamedTuple

from sidecar.state.codec import TENANT_U64, U32, U64
from sidecar.state.environment import Table, Txn

CHANGE_KIND: Final = TENANT_U64.size
"""Where the kind of what changed stands in the key of a change."""

OWNER: Final = b"\x00"
"""In a change, this and the owner follow the id of what is gone; no id has this character."""


class Changed(NamedTuple):
    """One entry of the change feed; of a removal, ``owner`` is whom the record belonged to."""

    revision: int
    kind: int
    key: str
    owner: str | None
    is_removal: bool


def changes_floor(txn: Txn, floors: Table, number: int) -> int:
    """Return the revision of a tenant up to which changes are not all kept any more; 0 while none was forgotten."""
    data = txn.get(U32.pack(number), db=floors)
    return 0 if data is None else int(U64.unpack(bytes(data))[0])


def changes_after(txn: Txn, changes: Table, number: int, after: int, most: int) -> list[Changed]:
    """Return up to ``most`` changes of a tenant after a revision, in their order."""
    prefix = U32.pack(number)
    found: list[Changed] = []
    with txn.cursor(db=changes) as cursor:
        more = cursor.set_range(TENANT_U64.pack(number, after + 1))
        while more and len(found) < most and bytes(cursor.key()).startswith(prefix):
            key = bytes(cursor.key())
            name, removed, owner = bytes(cursor.value()).partition(OWNER)
            _, revision = TENANT_U64.unpack(key[:CHANGE_KIND])
            found.append(Changed(revision, key[CHANGE_KIND], name.decode(), owner.decode() or None, bool(removed)))
            more = cursor.next()
    return found


def forget_changes(txn: Txn, tables: dict[str, Table], number: int, up_to: int, most: int) -> int:
    """Forget up to ``most`` changes of a tenant up to a revision, and note how far; returns how many."""
    prefix, forgotten, last = U32.pack(number), 0, 0
    with txn.cursor(db=tables["changes"]) as cursor:
        more = cursor.set_range(prefix)
        while more and forgotten < most and bytes(cursor.key()).startswith(prefix):
            revision = TENANT_U64.unpack(bytes(cursor.key())[:CHANGE_KIND])[1]
            if revision > up_to:
                break
            last = revision
            more = cursor.delete()
            forgotten += 1
    if forgotten:
        floor = max(last, changes_floor(txn, tables["changes_floors"], number))
        txn.put(prefix, U64.pack(floor), db=tables["changes_floors"])
    return forgotten

"""What happened to the whole deployment and is told by every audit log: jumps of the clock, and policy files replaced.

One row holds the newest of each kind. Both are counted by the same number, of which each log's head carries the newest
that it has told: so a log tells in front of its next record what it has not told yet, and nothing has to be written to
every log in the transaction in which it happened. Of several of a kind that happened between two records of a log, the
newest is told. A store of before there were loads has a row that names none.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from sidecar.core.audit import Body
from sidecar.service.policy_store import PoliciesLoaded
from sidecar.state.codec import U32, encode, reading
from sidecar.state.environment import Table, Txn
from sidecar.state.rows import every_row

_ROW: Final = b"clock"


class Notice(NamedTuple):
    """One thing to tell: its number, and the type and the fields of its audit record."""

    number: int
    kind: str
    fields: Body


class Notices(msgspec.Struct, frozen=True):
    """The newest jump of the clock (``number`` 0 for none: ``seen_us`` where ``expected_us`` was due), and load."""

    number: int = 0
    expected_us: int = 0
    seen_us: int = 0
    loaded: PoliciesLoaded | None = None

    @property
    def newest(self) -> int:
        """The number of the newest of all, 0 for none."""
        return self.number if self.loaded is None else max(self.number, self.loaded.number)

    def after(self, number: int) -> list[Notice]:
        """Return what a log that has told of all up to ``number`` has not told yet, in order."""
        if number >= self.newest:
            return []
        found = []
        if self.number > number:
            found.append(Notice(self.number, "clock_event", {"expected": self.expected_us, "seen": self.seen_us}))
        load = self.loaded
        if load is not None and load.number > number:
            fields: Body = {"digest": load.revision, "files": load.files, "by": load.by, "at": load.at_us}
            found.append(Notice(load.number, "policies_loaded", fields))
        return sorted(found, key=lambda notice: notice.number)


NONE: Final = Notices()
_notices: Final = reading(msgspec.msgpack.Decoder(Notices))


def notices(txn: Txn, meta: Table) -> Notices:
    """Return what there is to tell in this deployment."""
    data = txn.get(_ROW, db=meta)
    return NONE if data is None else _notices(bytes(data))


def check_notices(txn: Txn, tables: dict[str, Table]) -> Iterator[str]:
    """Yield a sentence for each log that tells of what never happened."""
    seen = notices(txn, tables["meta"])
    for key, head in every_row(txn, tables["heads"]):
        told = U32.unpack(head[-4:])[0]
        if told > seen.newest:
            yield f"the log of tenant {U32.unpack(key)[0]} has told of notice {told}, the newest is {seen.newest}"


def keep_clock_event(txn: Txn, meta: Table, expected_us: int, seen_us: int) -> None:
    """Note a jump of the clock; each log tells of it in front of its next record."""
    old = notices(txn, meta)
    new = msgspec.structs.replace(old, number=old.newest + 1, expected_us=expected_us, seen_us=seen_us)
    txn.put(_ROW, encode(new), db=meta)


def keep_policies_loaded(txn: Txn, meta: Table, loaded: PoliciesLoaded) -> None:
    """Note that policy files were replaced, under the next number; told as a jump of the clock is."""
    old = notices(txn, meta)
    numbered = msgspec.structs.replace(loaded, number=old.newest + 1)
    txn.put(_ROW, encode(msgspec.structs.replace(old, loaded=numbered)), db=meta)

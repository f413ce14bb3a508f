"""Shadow files, and what comparing with them found: two tables that are emptied together when other files come.

The files lie beside the live ones, so that every worker compares with the same. Places of differences ascend and are
not given twice while the same files hold, so a cursor never shows a difference again.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from sidecar.core.shadow import DIFFERENCES_MAX, Difference, Flips, Tally
from sidecar.core.snapshot import PolicyFiles
from sidecar.state.codec import TENANT_U64, U32, U64_MAX, decode, encode
from sidecar.state.environment import Table, Txn

_FILES: Final = b"shadow_files"
_DIGEST: Final = b"shadow_files_digest"
_CHECKS: Final = b"shadow_files_checks"

_files: Final = msgspec.msgpack.Decoder(PolicyFiles)
_difference: Final = msgspec.msgpack.Decoder(Difference)


class FlipsRow(msgspec.Struct, frozen=True):
    """Flips as they are stored: sums as decimal text, since they can pass 64 bits."""

    count: int
    amounts: dict[str, str]


class TallyRow(msgspec.Struct, frozen=True):
    """A tally as it is stored."""

    same: int
    allow_to_deny: FlipsRow
    deny_to_allow: FlipsRow
    errors: int
    dropped: int


_tally: Final = msgspec.msgpack.Decoder(TallyRow)


class ShadowFiles:
    """The shadow files as one transaction sees them."""

    def __init__(self, txn: Txn, tables: dict[str, Table]) -> None:
        """Look through ``txn``."""
        self._txn = txn
        self._meta = tables["meta"]
        self._found = (tables["shadow_differences"], tables["shadow_tallies"])

    def get(self) -> PolicyFiles | None:
        """Return the shadow files, None where none are loaded."""
        data = self._txn.get(_FILES, db=self._meta)
        return None if data is None else decode(bytes(data), _files)

    def digest(self) -> bytes | None:
        """Return what stands for exactly the shadow files, None where none are loaded."""
        data = self._txn.get(_DIGEST, db=self._meta)
        return None if data is None else bytes(data)

    def checks(self) -> str | None:
        """Return which checks the shadow files have passed, None where none are loaded."""
        data = self._txn.get(_CHECKS, db=self._meta)
        return None if data is None else bytes(data).decode()

    def keep(self, files: PolicyFiles, checks: str) -> None:
        """Store files that have passed ``checks``; where they are others, what was found with the former is dropped."""
        if self.digest() != files.digest():
            self.forget()
        self._txn.put(_FILES, encode(files), db=self._meta)
        self._txn.put(_DIGEST, files.digest(), db=self._meta)
        self._txn.put(_CHECKS, checks.encode(), db=self._meta)

    def forget(self) -> None:
        """Forget the shadow files and all that was found with them."""
        for key in (_FILES, _DIGEST, _CHECKS):
            self._txn.delete(key, db=self._meta)
        for table in self._found:
            self._txn.drop(table, delete=False)


class Shadows:
    """The differences and the tally of one tenant as one transaction sees them."""

    def __init__(self, txn: Txn, tables: dict[str, Table], tenant: int) -> None:
        """Look through ``txn``."""
        self._txn = txn
        self._differences = tables["shadow_differences"]
        self._tallies = tables["shadow_tallies"]
        self._number = tenant
        self._tenant = U32.pack(tenant)

    def tally(self) -> Tally:
        """Return what was counted since the shadow files were loaded."""
        data = self._txn.get(self._tenant, db=self._tallies)
        return Tally() if data is None else read_tally(bytes(data))

    def keep_tally(self, tally: Tally) -> None:
        """Store what was counted."""
        there, back = (
            FlipsRow(each.count, {currency: str(minor) for currency, minor in each.amounts.items()})
            for each in (tally.allow_to_deny, tally.deny_to_allow)
        )
        row = TallyRow(tally.same, there, back, tally.errors, tally.dropped)
        self._txn.put(self._tenant, encode(row), db=self._tallies)

    def add(self, difference: Difference) -> None:
        """Store a difference behind the others and forget the oldest one where they are too many."""
        place = self._last() + 1
        self._txn.put(TENANT_U64.pack(self._number, place), encode(difference), db=self._differences)
        if place > DIFFERENCES_MAX:
            self._txn.delete(TENANT_U64.pack(self._number, place - DIFFERENCES_MAX), db=self._differences)

    def all(self, *, after: int = 0) -> Iterator[tuple[int, Difference]]:
        """Yield the differences with their places, the oldest first, from the one after that place."""
        with self._txn.cursor(db=self._differences) as cursor:
            found = after < U64_MAX and cursor.set_range(TENANT_U64.pack(self._number, after + 1))
            while found and bytes(cursor.key()).startswith(self._tenant):
                yield TENANT_U64.unpack(bytes(cursor.key()))[1], read_difference(bytes(cursor.value()))
                found = cursor.next()

    def _last(self) -> int:
        """Return the newest place, 0 before the first."""
        with self._txn.cursor(db=self._differences) as cursor:
            beyond = cursor.set_range(TENANT_U64.pack(self._number, U64_MAX))
            found = cursor.prev() if beyond else cursor.last()
            key = bytes(cursor.key()) if found else b""
        return int(TENANT_U64.unpack(key)[1]) if key.startswith(self._tenant) else 0


def read_difference(data: bytes) -> Difference:
    """Return a stored difference. Raises StoreUnusable for bytes that are none."""
    return decode(data, _difference)


def read_tally(data: bytes) -> Tally:
    """Return a stored tally. Raises StoreUnusable for bytes that are none."""
    row = decode(data, _tally)
    there, back = (
        Flips(each.count, {currency: int(text) for currency, text in each.amounts.items()})
        for each in (row.allow_to_deny, row.deny_to_allow)
    )
    return Tally(row.same, there, back, row.errors, row.dropped)

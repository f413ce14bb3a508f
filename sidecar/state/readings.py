"""What was read out of policies, kept by path and text, so that a worker parses none of them again.

Each row opens with the hash of the code that read it: a row of other code counts for nothing, and nobody has to
remember to raise a number. A row that is missing costs time and changes nothing, so none is part of any check.
"""

import hashlib
from functools import cache
from types import ModuleType
from typing import Any, Final, cast

import msgspec

from sidecar.core import (
    policy,
    policy_compilation,
    policy_ids,
    policy_scope,
    policy_text,
    policy_tree,
    policy_unit,
)
from sidecar.core.policy import engine
from sidecar.core.policy_unit import PolicyUnit
from sidecar.core.snapshot import SourceFile
from sidecar.state.codec import decode, encode
from sidecar.state.environment import Table, Txn

READERS: Final[tuple[ModuleType, ...]] = (
    policy,
    policy_compilation,
    policy_ids,
    policy_scope,
    policy_text,
    policy_tree,
    policy_unit,
)
"""All code that has a say in what is read out of a text, beside the engine."""

_READ_BY: Final = b"readings_by"
_units: Final = msgspec.msgpack.Decoder(tuple[PolicyUnit, ...])


@cache
def read_by() -> bytes:
    """Return what stands for exactly the code that reads policies in this process."""
    whole = hashlib.sha256(engine().encode())
    for module in READERS:
        loader = cast("Any", module.__loader__)  # whatever loaded it can return its bytes: source, cache or archive
        whole.update(loader.get_data(module.__file__))
    return whole.digest()


class Readings:
    """What was read out of policies, as one transaction sees it."""

    def __init__(self, txn: Txn, tables: dict[str, Table]) -> None:
        """Look through ``txn``."""
        self._txn = txn
        self._table = tables["readings"]
        self._meta = tables["meta"]

    def are_complete(self) -> bool:
        """Whether this version has read every policy that holds."""
        return self._txn.get(_READ_BY, db=self._meta) == read_by()

    def complete(self) -> None:
        """Note that this version has read every policy that holds."""
        self._txn.put(_READ_BY, read_by(), db=self._meta)

    def of(self, file: SourceFile) -> tuple[PolicyUnit, ...] | None:
        """Return what was read out of a text by this version, None where nobody did."""
        data = self._txn.get(_key(file), db=self._table)
        version = read_by()
        if data is None or data[: len(version)] != version:
            return None
        return decode(bytes(data[len(version) :]), _units)

    def keep(self, file: SourceFile, units: tuple[PolicyUnit, ...]) -> None:
        """Keep what this version has read out of a text that has passed all checks."""
        self._txn.put(_key(file), read_by() + encode(units), db=self._table)

    def forget(self, file: SourceFile) -> None:
        """Forget what was read out of a text."""
        self._txn.delete(_key(file), db=self._table)


def _key(file: SourceFile) -> bytes:
    # No path holds a zero, so no other path and text make the same bytes.
    return hashlib.sha256(f"{file.path}\0{file.text}".encode()).digest()

"""What a follower may hold at its control plane, and what a control plane decided for its followers."""

from collections.abc import Iterator
from typing import Final

import msgspec

from sidecar.core.errors import StoreUnusable
from sidecar.core.ids import ulid_bytes
from sidecar.service.delegation_store import Delegated, Intent
from sidecar.state.codec import U32, decode, encode
from sidecar.state.environment import Table, Txn

_intent: Final = msgspec.msgpack.Decoder(Intent)
_delegated: Final = msgspec.msgpack.Decoder(Delegated)


class Intents:
    """Implements ``sidecar.service.delegation_store.Intents``; a follower follows one tenant."""

    def __init__(self, txn: Txn, tables: dict[str, Table]) -> None:
        """Look through ``txn``."""
        self._txn = txn
        self._table = tables["intents"]

    def find(self, decision_id: str) -> Intent | None:
        """Return the intent of a decision."""
        data = self._txn.get(_ulid(decision_id), db=self._table)
        return None if data is None else decode(bytes(data), _intent)

    def keep(self, intent: Intent) -> None:
        """Store an intent."""
        self._txn.put(_ulid(intent.decision_id), encode(intent), db=self._table)

    def forget(self, decision_id: str) -> None:
        """Forget the intent of a decision; nothing happens where there is none."""
        self._txn.delete(_ulid(decision_id), db=self._table)

    def all(self) -> Iterator[Intent]:
        """Yield the intents, the oldest decision first."""
        with self._txn.cursor(db=self._table) as cursor:
            for data in cursor.iternext(keys=False) if cursor.first() else ():
                yield decode(bytes(data), _intent)


class Delegations:
    """Implements ``sidecar.service.delegation_store.Delegations``."""

    def __init__(self, txn: Txn, tables: dict[str, Table], tenant: int) -> None:
        """Look through ``txn`` at one tenant."""
        self._txn = txn
        self._table = tables["delegated"]
        self._tenant = U32.pack(tenant)

    def find(self, decision_id: str) -> Delegated | None:
        """Return what was decided under an id."""
        data = self._txn.get(self._tenant + _ulid(decision_id), db=self._table)
        return None if data is None else decode(bytes(data), _delegated)

    def keep(self, delegated: Delegated) -> None:
        """Store what was decided."""
        self._txn.put(self._tenant + _ulid(delegated.decision_id), encode(delegated), db=self._table)


def _ulid(decision_id: str) -> bytes:
    ulid = ulid_bytes(decision_id, "dec")
    if ulid is None:
        raise StoreUnusable(f"`{decision_id}` is no id of a decision")
    return ulid

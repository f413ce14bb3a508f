"""Answers that were given: every decision by its id, and the answer behind each idempotency key for a day."""

from collections.abc import Iterator
from itertools import islice
from typing import Final

import msgspec

from sidecar.core.errors import StoreUnusable
from sidecar.core.idempotency import Replay
from sidecar.core.ids import ulid_bytes
from sidecar.core.model import Decision
from sidecar.state.codec import U32, U64, decode, encode, short_hash
from sidecar.state.environment import Table, Txn

_decision: Final = msgspec.msgpack.Decoder(Decision)
_replay: Final = msgspec.msgpack.Decoder(Replay)


class Answers:
    """The given answers of one tenant as one transaction sees them."""

    def __init__(self, txn: Txn, tables: dict[str, Table], tenant: int) -> None:
        """Look through ``txn`` at one tenant."""
        self._txn = txn
        self._decisions = tables["decisions"]
        self._idempotency = tables["idempotency"]
        self._expiry = tables["idempotency_expiry"]
        self._tenant = U32.pack(tenant)

    def decision(self, decision_id: str) -> Decision | None:
        """Return a decision as it was answered."""
        ulid = ulid_bytes(decision_id, "dec")
        data = None if ulid is None else self._txn.get(self._tenant + ulid, db=self._decisions)
        return None if data is None else decode(bytes(data), _decision)

    def keep_decision(self, decision: Decision) -> None:
        """Store a decision under its id."""
        self._txn.put(self._key(decision.decision_id or ""), encode(decision), db=self._decisions)

    def _key(self, decision_id: str) -> bytes:
        ulid = ulid_bytes(decision_id, "dec")
        if ulid is None:
            raise StoreUnusable(f"`{decision_id}` is no id of a decision")
        return self._tenant + ulid

    def replay(self, scope: str, now_us: int) -> Replay | None:
        """Return the stored outcome of ``scope``, unless its day is over."""
        data = self._txn.get(self._tenant + short_hash(scope), db=self._idempotency)
        replay = None if data is None else decode(bytes(data), _replay)
        return replay if replay is not None and replay.scope == scope and now_us < replay.expires_at_us else None

    def keep_replay(self, replay: Replay) -> None:
        """Store an outcome until its day is over."""
        key = self._tenant + short_hash(replay.scope)
        self._txn.put(key, encode(replay), db=self._idempotency)
        self._txn.put(U64.pack(replay.expires_at_us) + key, b"", db=self._expiry)


def prune_replays(txn: Txn, tables: dict[str, Table], now_us: int, most: int) -> int:
    """Forget up to ``most`` outcomes whose day is over; returns how many."""
    pruned = 0
    for key in list(islice(_over(txn, tables, now_us), most)):
        data = txn.get(key[8:], db=tables["idempotency"])
        if data is not None and decode(bytes(data), _replay).expires_at_us <= now_us:
            txn.delete(key[8:], db=tables["idempotency"])
        txn.delete(key, db=tables["idempotency_expiry"])
        pruned += 1
    return pruned


def _over(txn: Txn, tables: dict[str, Table], now_us: int) -> Iterator[bytes]:
    with txn.cursor(db=tables["idempotency_expiry"]) as cursor:
        for key in cursor.iternext(values=False) if cursor.first() else ():
            if U64.unpack(key[:8])[0] > now_us:
                return
            yield bytes(key)

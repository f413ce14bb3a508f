"""What a follower keeps beside the records: how far it has come, and what it was told and has not applied yet."""

from collections.abc import Iterable
from typing import Final, TypeVar

import msgspec

from sidecar.core.feed import KINDS, Change, RecordKind, read_change, write_change
from sidecar.core.staleness import Contact
from sidecar.service.feed_store import Link, ReplicaState, Staging
from sidecar.state.codec import U64, decode, encode
from sidecar.state.environment import Table, Txn

_STATE: Final = b"state"
_CONTACT: Final = b"contact"
_LINK: Final = b"link"
_FAULT: Final = b"fault"
_STAGING: Final = b"staging"
_SHIPPED: Final = b"shipped"
_ACKNOWLEDGED: Final = b"acknowledged"
_OUTSIDE: Final = b"outside"

_state: Final = msgspec.msgpack.Decoder(ReplicaState)
_contact: Final = msgspec.msgpack.Decoder(Contact)
_link: Final = msgspec.msgpack.Decoder(Link)
_staging: Final = msgspec.msgpack.Decoder(Staging)
_outside: Final = msgspec.msgpack.Decoder(tuple[str, ...])

T = TypeVar("T")


class Replica:
    """Implements ``sidecar.service.feed_store.Replica``."""

    def __init__(self, txn: Txn, tables: dict[str, Table]) -> None:
        """Look through ``txn``."""
        self._txn = txn
        self._rows = tables["replica"]
        self._staged = tables["staged"]

    def state(self) -> ReplicaState | None:
        """Return what is followed, None before the first time that anything was applied."""
        return self._get(_STATE, _state)

    def keep_state(self, state: ReplicaState) -> None:
        """Note what is followed and how far."""
        self._put(_STATE, state)

    def contact(self) -> Contact | None:
        """Return the last contact with the control plane."""
        return self._get(_CONTACT, _contact)

    def keep_contact(self, contact: Contact) -> None:
        """Note a contact."""
        self._put(_CONTACT, contact)

    def link(self) -> Link | None:
        """Return how it stands between follower and control plane, None where nothing was asked yet."""
        return self._get(_LINK, _link)

    def keep_link(self, link: Link) -> None:
        """Note how it stands."""
        self._put(_LINK, link)

    def outside(self) -> tuple[str, ...]:
        """Return the identities that are here although they are outside of what is followed."""
        return self._get(_OUTSIDE, _outside) or ()

    def keep_outside(self, identity_ids: tuple[str, ...]) -> None:
        """Note these."""
        self._put(_OUTSIDE, identity_ids)

    def fault(self) -> str | None:
        """Return why nothing more may be decided here until someone looks, None where all is well."""
        data = self._txn.get(_FAULT, db=self._rows)
        return None if data is None else bytes(data).decode()

    def keep_fault(self, fault: str | None) -> None:
        """Note such a reason, or that there is none any more."""
        if fault is None:
            self._txn.delete(_FAULT, db=self._rows)
        else:
            self._txn.put(_FAULT, fault.encode(), db=self._rows)

    def staging(self) -> Staging | None:
        """Return how far a state has come that is not applied yet."""
        return self._get(_STAGING, _staging)

    def keep_staging(self, staging: Staging | None) -> None:
        """Note that; None ends it."""
        if staging is None:
            self._txn.delete(_STAGING, db=self._rows)
        else:
            self._put(_STAGING, staging)

    def stage(self, changes: Iterable[Change]) -> None:
        """Add changes to what is staged; the newer of two of one record stays."""
        for change in changes:
            known = self.staged_one(change.kind, change.id)
            if known is None or known.revision <= change.revision:
                self._txn.put(_key(change.kind, change.id), write_change(change), db=self._staged)

    def staged(self, after: bytes, most: int) -> tuple[list[Change], bytes]:
        """Return up to ``most`` staged changes behind a position, and the position behind them."""
        found: list[Change] = []
        with self._txn.cursor(db=self._staged) as cursor:
            more = cursor.set_range(after + b"\x00") if after else cursor.first()
            while more and len(found) < most:
                after = bytes(cursor.key())
                found.append(read_change(bytes(cursor.value())))
                more = cursor.next()
        return found, after

    def staged_one(self, kind: RecordKind, key: str) -> Change | None:
        """Return the staged change of one record."""
        data = self._txn.get(_key(kind, key), db=self._staged)
        return None if data is None else read_change(bytes(data))

    def clear_staged(self, most: int) -> int:
        """Forget up to ``most`` staged changes; returns how many."""
        cleared = 0
        with self._txn.cursor(db=self._staged) as cursor:
            while cleared < most and cursor.first():
                cursor.delete()
                cleared += 1
        return cleared

    def shipped(self) -> int:
        """Return the index of the first audit record that the control plane is not known to have."""
        data = self._txn.get(_SHIPPED, db=self._rows)
        return 0 if data is None else int(U64.unpack(bytes(data))[0])

    def keep_shipped(self, index: int) -> None:
        """Note that index."""
        self._txn.put(_SHIPPED, U64.pack(index), db=self._rows)

    def acknowledged(self) -> str | None:
        """Return the token under which the control plane has taken records of this log, None where it never did."""
        data = self._txn.get(_ACKNOWLEDGED, db=self._rows)
        return None if data is None else bytes(data).decode()

    def acknowledge(self, token_id: str) -> None:
        """Note that token."""
        self._txn.put(_ACKNOWLEDGED, token_id.encode(), db=self._rows)

    def _get(self, key: bytes, decoder: msgspec.msgpack.Decoder[T]) -> T | None:
        data = self._txn.get(key, db=self._rows)
        return None if data is None else decode(bytes(data), decoder)

    def _put(self, key: bytes, value: object) -> None:
        self._txn.put(key, encode(value), db=self._rows)


def _key(kind: RecordKind, key: str) -> bytes:
    return bytes((KINDS.index(kind) + 1,)) + key.encode()

"""Dossiers of card authorizations, and what their networks have said already, by the networks' own ids.

Keys have a hash of those ids, which are compared in full after the read.
"""

from typing import Final

import msgspec

from sidecar.core.card_authorization import CardAuthorization, Seen, SeenOf
from sidecar.core.card_events import Network
from sidecar.state.codec import U32, decode, encode, short_hash
from sidecar.state.environment import Table, Txn

SEEN: Final[dict[SeenOf, bytes]] = {"request": b"\x01", "event": b"\x02", "movement": b"\x03"}
"""What comes first in the keys of what was taken in; permanent."""

_authorization: Final = msgspec.msgpack.Decoder(CardAuthorization)
_seen: Final = msgspec.msgpack.Decoder(Seen)


class CardAuthorizations:
    """Implements ``sidecar.service.card_store.CardAuthorizations``."""

    def __init__(self, txn: Txn, tables: dict[str, Table], tenant: int) -> None:
        """Look through ``txn`` at one tenant."""
        self._txn = txn
        self._authorizations = tables["card_authorizations"]
        self._seen = tables["card_seen"]
        self._tenant = U32.pack(tenant)

    def find(self, network: Network, authorization_id: str, currency: str) -> CardAuthorization | None:
        """Return the dossier of an authorization in a currency."""
        key = self._tenant + authorization_key(network, authorization_id, currency)
        data = self._txn.get(key, db=self._authorizations)
        found = None if data is None else read_authorization(bytes(data))
        is_it = found is not None and (found.network, found.authorization_id, found.currency) == (
            network,
            authorization_id,
            currency,
        )
        return found if is_it else None

    def keep(self, authorization: CardAuthorization) -> None:
        """Store a dossier."""
        key = authorization_key(authorization.network, authorization.authorization_id, authorization.currency)
        self._txn.put(self._tenant + key, encode(authorization), db=self._authorizations)

    def seen(self, of: SeenOf, network: Network, name: str) -> Seen | None:
        """Return what was taken in under an id of the network's own."""
        data = self._txn.get(self._tenant + seen_key(of, network, name), db=self._seen)
        found = None if data is None else read_seen(bytes(data))
        return found if found is not None and (found.of, found.network, found.id) == (of, network, name) else None

    def keep_seen(self, seen: Seen) -> None:
        """Store that something was taken in."""
        self._txn.put(self._tenant + seen_key(seen.of, seen.network, seen.id), encode(seen), db=self._seen)


def authorization_key(network: Network, authorization_id: str, currency: str) -> bytes:
    """Return what the key of a dossier has behind its tenant; no id has a line break."""
    return short_hash(f"{network}\n{authorization_id}\n{currency}")


def seen_key(of: SeenOf, network: Network, name: str) -> bytes:
    """Return what the key of something that was taken in has behind its tenant."""
    return SEEN[of] + short_hash(f"{network}\n{name}")


def read_authorization(data: bytes) -> CardAuthorization:
    """Return a stored dossier. Raises StoreUnusable for bytes that are none."""
    return decode(data, _authorization)


def read_seen(data: bytes) -> Seen:
    """Return what was taken in. Raises StoreUnusable for bytes that are none."""
    return decode(data, _seen)

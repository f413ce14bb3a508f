"""Tokens by the public part of their text, so that one look-up finds the digest that the secret is compared with."""

from typing import Final

import msgspec

from sidecar.core.access import Token
from sidecar.state.codec import decode, encode
from sidecar.state.environment import Table, Txn

_token: Final = msgspec.msgpack.Decoder(Token)


class Tokens:
    """The tokens of every tenant as one transaction sees them."""

    def __init__(self, txn: Txn, tables: dict[str, Table]) -> None:
        """Look through ``txn``."""
        self._txn = txn
        self._tokens = tables["tokens"]

    def find(self, key_id: str) -> Token | None:
        """Return the token with this public part."""
        data = self._txn.get(key_id.encode(), db=self._tokens)
        return None if data is None else decode(bytes(data), _token)

    def put(self, token: Token) -> None:
        """Store a token."""
        self._txn.put(token.key_id.encode(), encode(token), db=self._tokens)

    def delete(self, token: Token) -> None:
        """Forget a token; the next request of every process is refused."""
        self._txn.delete(token.key_id.encode(), db=self._tokens)

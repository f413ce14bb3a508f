"""Tokens by the public part of their text, so that one look-up finds the digest that the secret is compared with.

A token lies under its present public part. The secret that a rotation replaced lies in a table of its own, as a
pointer to the token with the old digest, and opens only while the token itself names it as its former one: a second
rotation or a deletion ends it by what the token says, not by a row that would have to be found.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final

import msgspec

from sidecar.core.access import Former, Token
from sidecar.core.errors import StoreUnusable
from sidecar.state.codec import U64, encode, reading
from sidecar.state.environment import Table, Txn

_token: Final = reading(msgspec.msgpack.Decoder(Token))


class FormerSecret(msgspec.Struct, frozen=True):
    """What is kept of a replaced secret: the public part of its token, and its digest."""

    present_key_id: str
    digest: bytes


_former: Final = reading(msgspec.msgpack.Decoder(FormerSecret))


class Tokens:
    """The tokens of every tenant as one transaction sees them."""

    def __init__(self, txn: Txn, tables: dict[str, Table]) -> None:
        """Look through ``txn``."""
        self._txn = txn
        self._tokens = tables["tokens"]
        self._former = tables["former_secrets"]
        self._expiry = tables["former_secrets_expiry"]

    def find(self, key_id: str) -> Token | None:
        """Return the token with this public part.

        Found by its former one, it has that one's digest and ends with the grace time.
        """
        token = self._present(key_id)
        return self._by_former(key_id) if token is None else token

    def _present(self, key_id: str) -> Token | None:
        data = self._txn.get(key_id.encode(), db=self._tokens)
        return None if data is None else _token(bytes(data))

    def _by_former(self, key_id: str) -> Token | None:
        data = self._txn.get(key_id.encode(), db=self._former)
        secret = None if data is None else _former(bytes(data))
        token = None if secret is None else self._present(secret.present_key_id)
        if secret is None or token is None or token.former is None or token.former.key_id != key_id:
            return None
        until_us = token.former.until_us
        return msgspec.structs.replace(
            token,
            key_id=key_id,
            digest=secret.digest,
            expires_at_us=until_us if token.expires_at_us is None else min(until_us, token.expires_at_us),
        )

    def put(self, token: Token) -> None:
        """Store a token. Raises StoreUnusable where another one has its public part: it would be locked out."""
        present = self.find(token.key_id)
        if present is not None and present.token_id != token.token_id:
            raise StoreUnusable(f"the public part of token `{token.token_id}` belongs to `{present.token_id}`")
        self._txn.put(token.key_id.encode(), encode(token), db=self._tokens)

    def replace(self, old: Token, new: Token) -> None:
        """Store ``new`` in place of ``old``; the secret of ``old`` opens on where ``new`` calls it its former one."""
        self.delete(old)
        self.put(new)
        if new.former is not None:
            self._keep_former(new, new.former, old.digest)

    def former_digest(self, token: Token) -> bytes | None:
        """Return the digest of the secret that a rotation of ``token`` replaced, None where none was left."""
        data = None if token.former is None else self._txn.get(token.former.key_id.encode(), db=self._former)
        return None if data is None else _former(bytes(data)).digest

    def adopt(self, old: Token | None, new: Token, former_digest: bytes | None) -> None:
        """Store a token as another store has it, in place of ``old``."""
        if old is not None:
            self.delete(old)
        self.put(new)
        if new.former is not None and former_digest is not None:
            self._keep_former(new, new.former, former_digest)

    def _keep_former(self, token: Token, former: Former, digest: bytes) -> None:
        key = former.key_id.encode()
        self._txn.put(key, encode(FormerSecret(token.key_id, digest)), db=self._former)
        self._txn.put(U64.pack(former.until_us) + key, b"", db=self._expiry)

    def delete(self, token: Token) -> None:
        """Forget a token and its former secret; the next request of every process is refused."""
        self._txn.delete(token.key_id.encode(), db=self._tokens)
        if token.former is not None:
            key = token.former.key_id.encode()
            self._txn.delete(key, db=self._former)
            self._txn.delete(U64.pack(token.former.until_us) + key, db=self._expiry)


def prune_former_secrets(txn: Txn, tables: dict[str, Table], now_us: int, most: int) -> int:
    """Forget up to ``most`` secrets whose grace time is over; returns how many."""
    over = list(islice(_over(txn, tables, now_us), most))
    for key in over:
        txn.delete(key[8:], db=tables["former_secrets"])
        txn.delete(key, db=tables["former_secrets_expiry"])
    return len(over)


def _over(txn: Txn, tables: dict[str, Table], now_us: int) -> Iterator[bytes]:
    with txn.cursor(db=tables["former_secrets_expiry"]) as cursor:
        for key in cursor.iternext(values=False) if cursor.first() else ():
            if U64.unpack(key[:8])[0] > now_us:
                return
            yield bytes(key)

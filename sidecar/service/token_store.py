"""What the use cases need of a store for finding tokens by what their callers show."""

from typing import Protocol

from sidecar.core.access import Token


class Tokens(Protocol):
    """Tokens by their public part, whatever their tenant."""

    def find(self, key_id: str) -> Token | None:
        """Return the token with this public part."""

    def put(self, token: Token) -> None:
        """Store a token under its public part, which no other token may have."""

    def replace(self, old: Token, new: Token) -> None:
        """Store ``new`` in place of ``old``; the secret of ``old`` opens on where ``new`` calls it its former one."""

    def delete(self, token: Token) -> None:
        """Forget a token and its former secret."""

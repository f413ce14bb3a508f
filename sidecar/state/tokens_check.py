"""Whether the tokens by their public parts hold together: the part of the check that concerns what opens the store.

These tables lie across tenants, so they are read once, before the tenants are looked at. Whether each token is the one
that lies by its id is for ``sidecar.state.records_check``.
"""

from collections import defaultdict

import msgspec

from sidecar.core.access import Token
from sidecar.state.codec import U64, decode
from sidecar.state.environment import Table, Txn
from sidecar.state.rows import every_row
from sidecar.state.tenants import DEPLOYMENT
from sidecar.state.tokens import FormerSecret

_token = msgspec.msgpack.Decoder(Token)
_former = msgspec.msgpack.Decoder(FormerSecret)


class KeyRing:
    """The tokens of each tenant by their public parts, and what does not hold among them.

    ``faults`` are sentences under the number of a tenant, or of the deployment where no token says whose it is.
    """

    def __init__(self, txn: Txn, tables: dict[str, Table]) -> None:
        """Read every token, former secret and end of a grace time."""
        self.tokens: dict[int, dict[str, Token]] = defaultdict(dict)
        self.faults: dict[int, list[str]] = defaultdict(list)
        self._present = {key.decode(): decode(row, _token) for key, row in every_row(txn, tables["tokens"])}
        self._former = {key.decode(): decode(row, _former) for key, row in every_row(txn, tables["former_secrets"])}
        self._ends = {
            (key[8:].decode(), U64.unpack(key[:8])[0]) for key, _ in every_row(txn, tables["former_secrets_expiry"])
        }
        for key_id, token in self._present.items():
            self.tokens[token.tenant][key_id] = token
            if token.key_id != key_id:
                self._blame(token, f"token `{token.token_id}` lies under another public part")
            self._check_former(key_id, token)
        self._check_left()

    def _check_former(self, key_id: str, token: Token) -> None:
        """A former secret and the end of its grace time are both there, or both were pruned; the token keeps both."""
        if token.former is None:
            return
        end = (token.former.key_id, token.former.until_us)
        former = self._former.pop(token.former.key_id, None)
        if (former is None) != (end not in self._ends):
            what = "would open for good" if former else "is gone before its grace time ends"
            self._blame(token, f"the former secret of token `{token.token_id}` {what}")
        if former is not None and former.present_key_id != key_id:
            self._blame(token, f"the former secret of token `{token.token_id}` names another token")
        self._ends.discard(end)

    def _check_left(self) -> None:
        owners = {key_id: self._present.get(former.present_key_id) for key_id, former in self._former.items()}
        for key_id, token in owners.items():
            self._blame(token, f"the former secret `{key_id}` is no token's")
        for key_id, _ in sorted(self._ends):
            self._blame(owners.get(key_id), f"a grace time ends for the former secret `{key_id}`, which is no token's")

    def _blame(self, token: Token | None, message: str) -> None:
        self.faults[DEPLOYMENT if token is None else token.tenant].append(message)

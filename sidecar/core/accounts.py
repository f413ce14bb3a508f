"""Accounts: what an identity holds of one asset within one network, kept in the ledger of the sidecar.

An account says whose it is and what it holds; how much is in it, and the double entry that every movement is, are
the books'. Several accounts may share one wallet address within a network.
"""

from typing import Final, Literal

import msgspec

AccountStatus = Literal["active", "closed"]

BUILT_IN: Final = "internal"
"""The network of accounts that are on no chain: the ledger of the sidecar alone."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account of one identity. ``asset`` is a currency code; the wallet address is the network's, None for none."""

    account_id: str
    identity_id: str
    asset: str
    network: str = BUILT_IN
    wallet_address: str | None = None
    name: str | None = None
    status: AccountStatus = "active"
    created_at_us: int
    revision: int

"""Accounts: what an identity holds of one asset within one network, kept in the ledger of the sidecar.

An account says whose it is and what it holds. How much is in it is what the journal adds up to: every movement is an
entry whose legs sum to zero (I5). Per asset and network there are two accounts of the sidecar's own: ``external`` is
the other side of deposits and withdrawals and may be negative, as it is what the world outside has given; ``transit``
holds what was taken from a sender and has not arrived. No other balance may be negative. Several accounts may share one
wallet address within a network.
"""

from typing import Final, Literal

import msgspec

from sidecar.core.errors import Conflict

AccountStatus = Literal["active", "closed"]

BUILT_IN: Final = "internal"
"""The network of accounts that are on no chain: the ledger of the sidecar alone."""

BALANCE_MINOR_MAX: Final = 2**62
"""How far a balance can go in either direction: a signed 64-bit integer holds the sum of two."""

ACCOUNTS_PER_IDENTITY_MAX: Final = 100
"""Accounts that an identity may have, closed ones too: a payment to it looks through them for the one to use."""


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


class Balance(msgspec.Struct, frozen=True):
    """What is in an account, and how many payments from or to it are on their way; such an account stays open."""

    minor: int = 0
    awaited: int = 0


class Leg(msgspec.Struct, frozen=True, array_like=True):
    """One side of an entry: an account, or one of the sidecar's own by its name, and what is added to it."""

    account: str
    minor: int


class Entry(msgspec.Struct, frozen=True):
    """One movement in the journal, which lies at the place of the audit record that tells of it."""

    kind: Literal["deposit", "withdrawal", "payment"]
    legs: tuple[Leg, ...]
    at_us: int


def external(network: str, asset: str) -> str:
    """Return the name of the account that is the world outside."""
    return f"external:{network}:{asset}"


def transit(network: str, asset: str) -> str:
    """Return the name of the account that holds what is on its way."""
    return f"transit:{network}:{asset}"


def may_be_negative(account: str) -> bool:
    """Whether the balance of ``account`` may be below zero."""
    return account.startswith("external:")


def is_own(account: str) -> bool:
    """Whether it is one of the sidecar's own accounts."""
    return account.startswith(("external:", "transit:"))


def asset_of(account: str) -> str:
    """Return the asset of one of the sidecar's own accounts."""
    return account.rpartition(":")[2]


def move(source: str, target: str, minor: int) -> tuple[Leg, Leg]:
    """Return the legs of an entry that moves ``minor`` units from one account to another."""
    return Leg(source, -minor), Leg(target, minor)


def booked(leg: Leg, balance: Balance) -> Balance:
    """Return a balance after a leg was added to it.

    Raises Conflict where too little is in the account, and where it would hold more than can be counted.
    """
    minor = balance.minor + leg.minor
    if minor < 0 and leg.minor < 0 and not may_be_negative(leg.account):
        raise Conflict(f"account `{leg.account}` holds too little for this", field="amount")
    if abs(minor) > BALANCE_MINOR_MAX:
        raise Conflict(f"account `{leg.account}` holds as much as can be counted", field="amount")
    return Balance(minor, balance.awaited)

"""The bytes behind the hashes in audit records: one canonical JSON text per version of an identity, budget or card.

With them, the policies and the request, a decision can be computed again from its record alone (DESIGN rule 12).
"""

from collections.abc import Mapping
from typing import Final

import msgspec
import orjson

from sidecar.core.budget import Budget
from sidecar.core.cards import Card
from sidecar.core.directory import Identity
from sidecar.core.grants import Grant
from sidecar.core.passkeys import Passkey

_LATER: Final[Mapping[str, object]] = {
    "killed_revision": 0,
    "description": None,
    "card_defaults": None,
    "updated_at_us": None,
    "revoked_at_us": None,
}
"""Fields of identities that came later, and what they are while they are unset."""

_LATER_OF_BUDGETS: Final = ("account_id", "updated_at_us", "follower_id")
"""Fields of budgets that came later, unset while they are None."""


def identity_fact(identity: Identity) -> bytes:
    """Return one version of an identity as a fact.

    A field that came later is left out while it is unset, so that versions from before are still found by their bytes.
    """
    fields = msgspec.to_builtins(identity)
    for name, unset in _LATER.items():
        if fields[name] == unset:
            del fields[name]
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)


def budget_fact(budget: Budget) -> bytes:
    """Return one version of a budget as a fact; what came later is left out as in ``identity_fact``."""
    fields = msgspec.to_builtins(budget)
    for name in _LATER_OF_BUDGETS:
        if fields[name] is None:
            del fields[name]
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)


def card_fact(card: Card) -> bytes:
    """Return one version of a card as a fact."""
    return orjson.dumps(msgspec.to_builtins(card), option=orjson.OPT_SORT_KEYS)


def grant_fact(grant: Grant) -> bytes:
    """Return one version of a permission grant as a fact."""
    return orjson.dumps(msgspec.to_builtins(grant), option=orjson.OPT_SORT_KEYS)


def passkey_fact(passkey: Passkey) -> bytes:
    """Return one version of a passkey as a fact."""
    return orjson.dumps(msgspec.to_builtins(passkey), option=orjson.OPT_SORT_KEYS)

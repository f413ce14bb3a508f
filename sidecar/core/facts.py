"""The bytes behind the hashes in audit records: one canonical JSON text per version of an identity, budget or card.

With them, the policies and the request, a decision can be computed again from its record alone (DESIGN rule 12).
"""

import msgspec
import orjson

from sidecar.core.budget import Budget
from sidecar.core.cards import Card
from sidecar.core.directory import Identity


def identity_fact(identity: Identity) -> bytes:
    """Return one version of an identity as a fact.

    A field that came later is left out while it is unset, so that versions from before are still found by their bytes.
    """
    fields = msgspec.to_builtins(identity)
    if not identity.killed_revision:
        del fields["killed_revision"]
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)


def budget_fact(budget: Budget) -> bytes:
    """Return one version of a budget as a fact."""
    return _canonical(budget)


def card_fact(card: Card) -> bytes:
    """Return one version of a card as a fact."""
    return _canonical(card)


def _canonical(value: msgspec.Struct) -> bytes:
    return orjson.dumps(msgspec.to_builtins(value), option=orjson.OPT_SORT_KEYS)

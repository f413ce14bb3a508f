"""The bytes behind the hashes in audit records: one canonical JSON text per version of an identity or a budget.

With them, the policies and the request, a decision can be computed again from its record alone (DESIGN rule 12).
"""

import msgspec
import orjson

from sidecar.core.budget import Budget
from sidecar.core.directory import Identity


def identity_fact(identity: Identity) -> bytes:
    """Return one version of an identity as a fact."""
    return _canonical(identity)


def budget_fact(budget: Budget) -> bytes:
    """Return one version of a budget as a fact."""
    return _canonical(budget)


def _canonical(value: msgspec.Struct) -> bytes:
    return orjson.dumps(msgspec.to_builtins(value), option=orjson.OPT_SORT_KEYS)

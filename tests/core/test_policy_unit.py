"""A policy as everything but the engine sees it."""

import msgspec

from sidecar.core.policy_scope import Constraint, Scope
from sidecar.core.policy_unit import PolicyUnit


def test_a_unit_survives_being_kept() -> None:
    """Every field comes back from the bytes that readings keep; fields that came later may be missing there."""
    unit = PolicyUnit(
        id="spend/cards",
        effect="forbid",
        source="policies/spend.cedar:12",
        text="forbid (principal, action, resource);",
        scope=Scope(principal=Constraint(equal=("Agent", "id_1"))),
        advice="ask a human",
        slots=("?principal",),
        reaches=(("Tool", "shell"),),
        context_read=frozenset({"amount"}),
        looks_into_resource=False,
    )
    kept = msgspec.msgpack.encode(unit)
    assert msgspec.msgpack.decode(kept, type=PolicyUnit) == unit
    first_four = msgspec.msgpack.encode(list(msgspec.msgpack.decode(kept))[:4])
    assert msgspec.msgpack.decode(first_four, type=PolicyUnit) == PolicyUnit(
        id=unit.id, effect=unit.effect, source=unit.source, text=unit.text
    )

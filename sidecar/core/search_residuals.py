"""What a policy can still come to, read off what is left of it where one part of a request is unknown.

Invariant: a verdict that a policy could give of some entity is always among those returned; whatever is not understood
here can come to anything. What is left of policies comes from ``sidecar.core.policy.ask_partially``.
"""

from collections.abc import Callable
from typing import Final, Literal, cast

import msgspec

from sidecar.core.policy import Unknown
from sidecar.core.policy_scope import EntityUid
from sidecar.core.policy_tree import Node, Tree

Outcome = Literal["true", "false", "error"]

ANYTHING: Final = frozenset[Outcome]({"true", "false", "error"})
_TRUE: Final = frozenset[Outcome]({"true"})
_FALSE: Final = frozenset[Outcome]({"false"})
_ERROR: Final = frozenset[Outcome]({"error"})

_VALUES: Final = {True: _TRUE, False: _FALSE}
_OPERANDS: Final = {
    "&&": ("left", "right"),
    "||": ("left", "right"),
    "!": ("arg",),
    "if-then-else": ("if", "then", "else"),
}

DEPTH_MAX: Final = 100
"""Expressions within each other that are looked into; what lies deeper can come to anything."""


class Known(msgspec.Struct, frozen=True):
    """What is known of the ``unknown`` part of a request: its type, and entities that it is surely ``in``."""

    unknown: Unknown
    type_name: str
    above: frozenset[EntityUid] = frozenset()


def outcomes(residual: Tree, known: Known) -> frozenset[Outcome]:
    """Return what the conditions of a policy can come to for any entity of which no more than that is known."""
    found = _TRUE
    for condition in cast("list[Tree]", residual.get("conditions", [])):
        body = _of(condition["body"], known, 0)
        found = _both(found, body if condition["kind"] == "when" else _negated(body))
    return found


def _of(node: Node, known: Known, depth: int) -> frozenset[Outcome]:
    if not isinstance(node, dict) or depth == DEPTH_MAX:
        return ANYTHING
    ((kind, inner),) = node.items()
    if kind == "Value":
        return _VALUES.get(inner, ANYTHING) if isinstance(inner, bool) else ANYTHING
    operands = inner if isinstance(inner, dict) else {}
    match kind:
        case "&&" | "||" | "!" | "if-then-else":
            return _COMBINED[kind](*(_of(operands[name], known, depth + 1) for name in _OPERANDS[kind]))
        case "is" if operands.keys() == {"left", "entity_type"} and _is_unknown(operands["left"], known):
            return _VALUES[operands["entity_type"] == known.type_name]
        case "in" if _is_unknown(operands["left"], known) and _entity(operands["right"]) in known.above:
            return _TRUE
        case _:
            return ANYTHING


def _both(left: frozenset[Outcome], right: frozenset[Outcome]) -> frozenset[Outcome]:
    """Return what ``left && right`` can come to: the right side is looked at where the left one is true."""
    return (left - _TRUE) | right if "true" in left else left


def _negated(found: frozenset[Outcome]) -> frozenset[Outcome]:
    swapped = (_FALSE if "true" in found else frozenset()) | (_TRUE if "false" in found else frozenset())
    return swapped | (found & _ERROR)


def _either(left: frozenset[Outcome], right: frozenset[Outcome]) -> frozenset[Outcome]:
    return _negated(_both(_negated(left), _negated(right)))


def _chosen(test: frozenset[Outcome], then: frozenset[Outcome], otherwise: frozenset[Outcome]) -> frozenset[Outcome]:
    return (test & _ERROR) | (then if "true" in test else frozenset()) | (otherwise if "false" in test else frozenset())


_COMBINED: Final[dict[str, Callable[..., frozenset[Outcome]]]] = {
    "&&": _both,
    "||": _either,
    "!": _negated,
    "if-then-else": _chosen,
}


def _is_unknown(node: Node, known: Known) -> bool:
    return node == {"unknown": [{"Value": known.unknown}]}


def _entity(node: Node) -> EntityUid | None:
    """Return the one entity that an operand is, None for any other operand."""
    value = node.get("Value") if isinstance(node, dict) else None
    entity = value.get("__entity") if isinstance(value, dict) else None
    return (str(entity["type"]), str(entity["id"])) if isinstance(entity, dict) else None

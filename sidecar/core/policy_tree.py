"""Reads single facts out of a parsed policy, in the JSON form that Cedar documents for policies.

The trees come from ``sidecar.core.policy`` and are as deep as ``sidecar.core.policy_text`` allows, which is deeper than
Python likes to recurse: every walk keeps its own stack.
Source: https://docs.cedarpolicy.com/policies/json-format.html
"""

from collections.abc import Iterator
from typing import Final, cast

Tree = dict[str, "Node"]
Node = None | bool | int | str | list["Node"] | Tree

_BOTH: Final = frozenset({"left", "right"})
_COMPARED: Final = {
    "==": _BOTH,
    "!=": _BOTH,
    "contains": _BOTH,
    "containsAny": _BOTH,
    "containsAll": _BOTH,
    "in": frozenset({"right"}),
    "is": frozenset({"in"}),
}
"""Operands in which a literal entity stands for itself alone, by kind of expression."""

_ACCESSES: Final = frozenset({".", "has", "getTag", "hasTag"})

_NAMED: Final = {**_COMPARED, "in": frozenset({"left", "right"}), "is": frozenset({"left", "in"})}
"""Operands in which an entity without parents stands for itself alone: also where it is asked what it is in."""


def annotations(policy: Tree) -> dict[str, str]:
    """Return the annotations; one without a value, ``@id``, is the empty text."""
    written = cast("dict[str, str | None]", policy.get("annotations", {}))
    return {name: value or "" for name, value in written.items()}


def slots(policy: Tree) -> tuple[str, ...]:
    """Return the slots of a template, sorted; none for a plain policy."""
    found = set[str]()
    for variable in ("principal", "resource"):
        scope = cast("Tree", policy[variable])
        for constraint in (scope, cast("Tree", scope.get("in", {}))):
            if "slot" in constraint:
                found.add(str(constraint["slot"]))
    return tuple(sorted(found))


def literal_access(policy: Tree) -> str | None:
    """Return an entity, ``User::"ann"``, that the conditions name and whose attributes or tags they read; or None.

    What can be reached through ``if`` and through records written in the policy counts as well.
    """
    for condition in cast("list[Tree]", policy["conditions"]):
        for kind, inner in _expressions(cast("Tree", condition["body"])):
            if kind in _ACCESSES:
                for entity in _entities_read(cast("Tree", cast("Tree", inner)["left"])):
                    return entity
    return None


def entities_reached(policy: Tree) -> frozenset[tuple[str, str]]:
    """Return type and id of the entities that the conditions name and look into: their parents, attributes or tags.

    One that is only compared with, such as the right side of ``==`` and ``in``, tells nothing that is stored.
    """
    found = set[tuple[str, str]]()
    waiting: list[Node] = [condition["body"] for condition in cast("list[Tree]", policy["conditions"])]
    while waiting:
        node = waiting.pop()
        for kind, inner in node.items() if isinstance(node, dict) else ():
            if kind == "Value":
                entity = inner.get("__entity") if isinstance(inner, dict) else None
                if isinstance(entity, dict):
                    found.add((str(entity["type"]), str(entity["id"])))
            else:
                waiting += _looked_into(kind, inner)
    return frozenset(found)


def context_read(policy: Tree) -> frozenset[str] | None:
    """Return the attributes of the context that the conditions can read; None where they could read any."""
    names, reads, uses = set[str](), 0, 0
    for kind, inner in _conditions(policy):
        if kind == "Var":
            uses += inner == "context"
        elif kind in {".", "has"} and cast("Tree", inner)["left"] == {"Var": "context"}:
            names.add(str(cast("Tree", inner)["attr"]))
            reads += 1
    return frozenset(names) if reads == uses else None


def looks_into_resource(policy: Tree) -> bool:
    """Whether the conditions could read attributes or tags of the resource.

    They cannot where it is only compared: an operand of ``==``, ``in`` or ``contains``, itself or within a set.
    """
    named, uses = 0, 0
    for kind, inner in _conditions(policy):
        if kind == "Var":
            uses += inner == "resource"
        elif kind in _NAMED:
            operands = cast("Tree", inner)
            named += sum(_names_resource(operands[operand]) for operand in _NAMED[kind] if operand in operands)
    return named != uses


def _names_resource(operand: Node) -> int:
    """Return how often an operand is the resource, or is a set that has it as a member."""
    expression = cast("Tree", operand)
    members = expression.get("Set", [operand])
    return sum(member == {"Var": "resource"} for member in cast("list[Node]", members))


def _conditions(policy: Tree) -> Iterator[tuple[str, Node]]:
    """Yield kind and content of every expression of the conditions."""
    for condition in cast("list[Tree]", policy["conditions"]):
        yield from _expressions(condition["body"])


def _looked_into(kind: str, inner: Node) -> list[Node]:
    """Return the operands of an expression without the literals that it only compares with."""
    if isinstance(inner, list):
        return inner
    operands = inner if isinstance(inner, dict) else {}
    compared = _COMPARED.get(kind, frozenset())
    return [operand for name, operand in operands.items() if name not in compared or not _is_literal(operand)]


def _is_literal(node: Node) -> bool:
    """Whether an operand is a literal, or a set of literals."""
    expression = cast("Tree", node)
    members = expression.get("Set")
    return "Value" in expression or (isinstance(members, list) and all(_is_literal(member) for member in members))


def _entities_read(base: Tree) -> Iterator[str]:
    """Yield the literal entities that ``base`` can evaluate to."""
    waiting = [(base, False)]  # with whether an attribute is taken of what the node evaluates to
    while waiting:
        node, into_record = waiting.pop()
        for kind, inner in node.items():
            match kind:
                case "Value" if isinstance(inner, dict) and "__entity" in inner:
                    entity = cast("Tree", inner["__entity"])
                    yield f'{entity["type"]}::"{entity["id"]}"'
                case "if-then-else":
                    branches = cast("dict[str, Tree]", inner)
                    waiting += [(branches["then"], into_record), (branches["else"], into_record)]
                case ".":
                    waiting.append((cast("dict[str, Tree]", inner)["left"], True))
                case "Record" if into_record:
                    waiting += [(value, True) for value in cast("dict[str, Tree]", inner).values()]


def _expressions(root: Node) -> Iterator[tuple[str, Node]]:
    """Yield kind and content of every expression at or below ``root``; a node is an object with one key, its kind."""
    waiting: list[Node] = [root]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, dict):
            continue  # an attribute's name, a pattern's wildcard
        for kind, inner in node.items():
            yield kind, inner
            if kind != "Value":
                # The fields of a record are no kinds, which is why its object is unpacked here and not visited.
                waiting += inner.values() if isinstance(inner, dict) else inner if isinstance(inner, list) else []

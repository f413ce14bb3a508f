"""What one policy says, apart from how it is written, and whether a change lets it apply to more or to fewer requests.

Two policies mean the same when effect, scope and conditions are the same in the JSON form that Cedar documents:
comments, spaces, the order of a set's members, brackets around ``&&``, and whether a condition stands in ``when`` or,
negated, in ``unless`` say nothing. Conditions are cut into pieces that must all hold; where pieces were added, removed,
or differ in a bound or in the members of a set, the direction is known. Invariant: a direction other than ``both`` is
true for every request for which no condition fails to evaluate; one that fails denies, whatever the direction says.
The trees are deeper than Python likes to recurse: every walk keeps its own stack.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, cast

import msgspec
import orjson

from sidecar.core.policy_scope import ANY, Constraint, EntityUid, Scope, scope_of
from sidecar.core.policy_tree import Node, Tree
from sidecar.core.policy_unit import Effect

Direction = Literal["same", "wider", "narrower", "both"]
"""To which requests a policy applies after a change: the same, those of before and more, fewer of them, or unknown."""

_LESS: Final = frozenset({"<", "<="})
_MIRRORED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_OPPOSITE: Final = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_REVERSED: Final[dict[Direction, Direction]] = {
    "same": "same",
    "wider": "narrower",
    "narrower": "wider",
    "both": "both",
}


class Piece(msgspec.Struct, frozen=True):
    """A condition that must hold, or, ``negated``, must not; ``digest`` stands for what ``tree`` means."""

    negated: bool
    digest: bytes
    tree: Tree

    @property
    def key(self) -> tuple[bool, bytes]:
        """What is equal for pieces that mean the same."""
        return self.negated, self.digest


class Meaning(msgspec.Struct, frozen=True):
    """What a policy says: it applies to a request that matches the scope and for which all pieces hold."""

    effect: Effect
    scope: Scope
    pieces: tuple[Piece, ...]

    @property
    def key(self) -> tuple[object, ...]:
        """What is equal for policies that mean the same."""
        return self.effect, self.scope, self.conditions

    @property
    def conditions(self) -> tuple[tuple[bool, bytes], ...]:
        """What is equal for conditions that mean the same."""
        return tuple(piece.key for piece in self.pieces)


class _Measure(msgspec.Struct, frozen=True):
    """How much a piece lets through, compared with another of the same ``subject``.

    ``size`` is a bound, or the members of a set; more lets more through.
    """

    subject: tuple[str, bytes]
    size: int | frozenset[bytes]


def meaning_of(policy: Tree) -> Meaning:
    """Return what a parsed policy or template says."""
    scope = scope_of(policy)
    ordered = Scope(_ordered(scope.principal), _ordered(scope.action), _ordered(scope.resource))
    clauses = cast("list[Tree]", policy["conditions"])
    pieces = (
        piece for clause in clauses for piece in _pieces(cast("Tree", clause["body"]), negated=clause["kind"] != "when")
    )
    return Meaning(cast("Effect", policy["effect"]), ordered, tuple(pieces))


def _ordered(constraint: Constraint) -> Constraint:
    if constraint.within is None:
        return constraint
    return msgspec.structs.replace(constraint, within=tuple(sorted(set(constraint.within))))


def _pieces(body: Tree, *, negated: bool) -> Iterator[Piece]:
    """Yield what must hold for ``body`` to hold, or not to hold, in the order in which Cedar looks at it."""
    waiting = [(body, negated)]
    while waiting:
        node, negated = waiting.pop()
        ((kind, inner),) = node.items()
        operands = cast("dict[str, Tree]", inner)
        if kind == "!":
            waiting.append((operands["arg"], not negated))
        elif kind == "!=":
            waiting.append(({"==": inner}, not negated))
        elif negated and kind in _OPPOSITE:
            waiting.append(({_OPPOSITE[kind]: inner}, False))
        elif kind == ("||" if negated else "&&"):
            waiting += [(operands["right"], negated), (operands["left"], negated)]
        else:
            yield Piece(negated, fingerprint(node), node)


def fingerprint(root: Node) -> bytes:
    """Return a hash that is equal for expressions which mean the same: the order of a set's members says nothing."""
    found: list[Node] = []
    waiting = [root]
    while waiting:
        node = waiting.pop()
        found.append(node)
        waiting += _below(node)
    done: dict[int, bytes] = {}
    for node in reversed(found):  # what is below comes before
        done[id(node)] = hashlib.sha256(_written(node, done)).digest()
    return done[id(root)]


def _below(node: Node) -> Iterable[Node]:
    if isinstance(node, dict):
        return node.values()
    return node if isinstance(node, list) else ()


def _written(node: Node, done: dict[int, bytes]) -> bytes:
    if isinstance(node, dict):
        if isinstance(members := node.get("Set"), list):
            return b"set" + b"".join(sorted({done[id(member)] for member in members}))
        return b"{" + b"".join(orjson.dumps(name) + b":" + done[id(node[name])] for name in sorted(node))
    if isinstance(node, list):
        return b"[" + b"".join(done[id(each)] for each in node)
    return orjson.dumps(node)


def joined(directions: Iterable[Direction]) -> Direction:
    """Return the direction of several changes together."""
    found = set(directions) - {"same"}
    if len(found) > 1:
        return "both"
    return found.pop() if found else "same"


def direction(old: Meaning, new: Meaning) -> Direction:
    """Return to which requests ``new`` applies, compared with ``old``; the effect is not looked at."""
    return joined(
        [
            constraint_direction(old.scope.principal, new.scope.principal),
            constraint_direction(old.scope.action, new.scope.action),
            constraint_direction(old.scope.resource, new.scope.resource),
            pieces_direction(old.pieces, new.pieces),
        ]
    )


def constraint_direction(old: Constraint, new: Constraint) -> Direction:
    """Return the direction of one part of a scope."""
    if old == new:
        return "same"
    if ANY in {old, new}:
        return "wider" if new == ANY else "narrower"
    return joined([_type_direction(_type(old), _type(new)), _entities_direction(old, new)])


def _type(constraint: Constraint) -> str | None:
    return constraint.type_name if constraint.equal is None else constraint.equal[0]


def _type_direction(old: str | None, new: str | None) -> Direction:
    if old == new:
        return "same"
    if new is None:
        return "wider"
    return "narrower" if old is None else "both"


def _entities_direction(old: Constraint, new: Constraint) -> Direction:
    before, after = _entities(old), _entities(new)
    if before is None or after is None:
        return "same" if before == after else "narrower" if before is None else "wider"
    # `in` reaches an entity and everything below, `==` the entity alone: only the step to or from `in` is known.
    if before == after and (old.equal is None) == (new.equal is None):
        return "same"
    if before <= after and new.equal is None:
        return "wider"
    return "narrower" if after <= before and old.equal is None else "both"


def _entities(constraint: Constraint) -> frozenset[EntityUid] | None:
    if constraint.equal is None and constraint.within is None:
        return None
    return frozenset(constraint.named)


def pieces_direction(old: Sequence[Piece], new: Sequence[Piece]) -> Direction:
    """Return the direction of conditions: fewer pieces let more requests through."""
    before, after = {piece.key: piece for piece in old}, {piece.key: piece for piece in new}
    gone = [piece for key, piece in before.items() if key not in after]
    come = [piece for key, piece in after.items() if key not in before]
    found: list[Direction] = []
    for piece in gone:
        pairs = ((other, _piece_direction(piece, other)) for other in come)
        match = next(((other, told) for other, told in pairs if told != "both"), None)
        if match is None:
            found.append("wider")
        else:
            come.remove(match[0])
            found.append(match[1])
    return joined([*found, "narrower"] if come else found)


def _piece_direction(old: Piece, new: Piece) -> Direction:
    if old.negated != new.negated:
        return "both"
    # One more alternative lets more through, as does one more of the conditions that must not all hold.
    chain = "&&" if old.negated else "||"
    told = _size_direction(_operands(old.tree, chain), _operands(new.tree, chain))
    if told != "both":
        return told
    before, after = _measure(old.tree), _measure(new.tree)
    if before is None or after is None or before.subject != after.subject:
        return "both"
    told = _size_direction(before.size, after.size)
    return _REVERSED[told] if old.negated else told


def _size_direction(old: int | frozenset[bytes], new: int | frozenset[bytes]) -> Direction:
    if isinstance(old, int) and isinstance(new, int):
        return "wider" if new > old else "narrower" if new < old else "same"
    before, after = cast("frozenset[bytes]", old), cast("frozenset[bytes]", new)
    if before == after:
        return "same"
    return "wider" if after > before else "narrower" if after < before else "both"


def _operands(tree: Tree, kind: str) -> frozenset[bytes]:
    """Return what stands for the expressions that a chain of one operator joins."""
    found: set[bytes] = set()
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if kind in node:
            waiting += cast("dict[str, Tree]", node[kind]).values()
        else:
            found.add(fingerprint(node))
    return frozenset(found)


def _measure(tree: Tree) -> _Measure | None:
    """Return how much an expression lets through; None for one that cannot be compared."""
    ((kind, inner),) = tree.items()
    if kind not in {*_MIRRORED, "contains", "in"}:
        return None
    operands = cast("dict[str, Tree]", inner)
    left, right = operands["left"], operands["right"]
    if kind in _MIRRORED:
        return _bound(kind, left, right) or _bound(_MIRRORED[kind], right, left)
    listed, subject = (left, right) if kind == "contains" else (right, left)
    members = listed.get("Set")
    if not isinstance(members, list):
        return None
    return _Measure((kind, fingerprint(subject)), frozenset(map(fingerprint, members)))


def _bound(kind: str, subject: Tree, bound: Tree) -> _Measure | None:
    """Return the measure of ``subject <= 5``: among whole numbers, ``< 6`` is the same."""
    value = bound.get("Value")
    if type(value) is not int:
        return None
    if kind in _LESS:
        return _Measure(("at most", fingerprint(subject)), value - (kind == "<"))
    return _Measure(("at least", fingerprint(subject)), -value - (kind == ">"))

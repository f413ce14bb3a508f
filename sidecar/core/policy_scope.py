"""What a policy is scoped to: which principals, actions and resources it can speak of at all.

Read once when a policy is compiled, from the JSON form that Cedar documents; matching then needs no engine. A policy
whose scope does not match says nothing of a request, whatever its conditions are (DESIGN rules 1 and 19).
Source: https://docs.cedarpolicy.com/policies/json-format.html
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

import msgspec

EntityUid = tuple[str, str]
"""A Cedar type, such as ``Agent``, and an id."""


class Constraint(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One of the three parts of a scope. What is None does not constrain.

    ``type_name`` is the type asked for, ``equal`` the one entity, ``within`` the entities of which one must be the
    asked one or above it; ``slot`` says that a template's ``?principal`` stands in the place of an entity.
    """

    type_name: str | None = None
    equal: EntityUid | None = None
    within: tuple[EntityUid, ...] | None = None
    slot: str | None = None

    def matches(self, uid: EntityUid, above: frozenset[EntityUid]) -> bool:
        """Whether an entity is meant; ``above`` are itself and everything that it is ``in``."""
        return (
            (self.type_name is None or self.type_name == uid[0])
            and (self.equal is None or self.equal == uid)
            and (self.within is None or not above.isdisjoint(self.within))
        )

    def filled(self, uid: EntityUid) -> "Constraint":
        """Return it with ``uid`` in the place of its slot."""
        if self.slot == "==":
            return Constraint(self.type_name, uid)
        return Constraint(self.type_name, None, (uid,)) if self.slot == "in" else self

    @property
    def named(self) -> tuple[EntityUid, ...]:
        """The entities that it names."""
        return (self.within or ()) if self.equal is None else (self.equal,)


ANY: Final = Constraint()


class Scope(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The head of a policy."""

    principal: Constraint = ANY
    action: Constraint = ANY
    resource: Constraint = ANY

    def filled(self, principal: EntityUid | None) -> "Scope":
        """Return the scope of a filled template; that of a plain policy for None."""
        return self if principal is None else Scope(self.principal.filled(principal), self.action, self.resource)


class Asking(msgspec.Struct, frozen=True):
    """Who asks to do what with what, each with itself and everything that it is ``in``."""

    principal: EntityUid
    action: EntityUid
    resource: EntityUid
    above_principal: frozenset[EntityUid]
    above_action: frozenset[EntityUid]
    above_resource: frozenset[EntityUid]

    def principal_matches(self, scope: Scope) -> bool:
        """Whether ``scope`` means the principal."""
        return scope.principal.matches(self.principal, self.above_principal)

    def action_matches(self, scope: Scope) -> bool:
        """Whether ``scope`` means the action."""
        return scope.action.matches(self.action, self.above_action)

    def resource_matches(self, scope: Scope) -> bool:
        """Whether ``scope`` means the resource."""
        return scope.resource.matches(self.resource, self.above_resource)

    def matches(self, scope: Scope) -> bool:
        """Whether a policy of that scope is a candidate."""
        return self.principal_matches(scope) and self.action_matches(scope) and self.resource_matches(scope)


def scope_of(policy: Mapping[str, object]) -> Scope:
    """Return the scope of a parsed policy or template."""
    return Scope(*(_constraint(cast("dict[str, Any]", policy[part])) for part in ("principal", "action", "resource")))


def _constraint(written: dict[str, Any]) -> Constraint:
    match written["op"]:
        case "==":
            return Constraint(slot="==") if "slot" in written else Constraint(equal=_uid(written["entity"]))
        case "in":
            return _within(written, None)
        case "is":
            return _within(written.get("in", {}), written["entity_type"])
        case _:
            return ANY


def _within(written: dict[str, Any], type_name: str | None) -> Constraint:
    if "slot" in written:
        return Constraint(type_name, slot="in")
    if not written:
        return Constraint(type_name)
    entities = written["entities"] if "entities" in written else [written["entity"]]
    return Constraint(type_name, None, tuple(_uid(entity) for entity in entities))


def _uid(entity: dict[str, str]) -> EntityUid:
    return entity["type"], entity["id"]


def above(uid: EntityUid, parents: Mapping[EntityUid, Iterable[EntityUid]]) -> frozenset[EntityUid]:
    """Return an entity and everything that it is ``in``, given the parents of each entity."""
    found = {uid}
    waiting = [uid]
    while waiting:
        for parent in parents.get(waiting.pop(), ()):
            if parent not in found:
                found.add(parent)
                waiting.append(parent)
    return frozenset(found)

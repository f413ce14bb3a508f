"""Which policies' scopes match a request, found without looking at the others (DESIGN rules 18 and 19).

A scope is filed under what it demands of each of its three parts, and a request looks where a scope that means it must
lie: under its entity, its type, each entity above it, and under no demand. How long that takes depends on how deep the
hierarchies are and on how many scopes match, never on how many there are.
"""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import TypeAlias

import msgspec

from sidecar.core.policy_scope import Asking, Constraint, EntityUid, Scope

Key: TypeAlias = tuple[str | None, EntityUid | None, EntityUid | None]
"""A type, an entity that is ``==``, and one that is ``in``; None for what is not demanded."""

Bucket: TypeAlias = dict[Key, list[int]]
"""Positions of scopes that agree in principal and action, by what they demand of the resource."""


def keys_of(constraint: Constraint) -> tuple[Key, ...]:
    """Return under which keys a part of a scope is filed: one for each entity that it names, none for ``in []``."""
    if constraint.equal is not None:
        return ((None, constraint.equal, None),)
    if constraint.within is None:
        return ((constraint.type_name, None, None),)
    return tuple((constraint.type_name, None, entity) for entity in dict.fromkeys(constraint.within))


def keys_for(uid: EntityUid, above: Iterable[EntityUid]) -> tuple[Key, ...]:
    """Return every key under which a part that means an entity can be filed; ``above`` is all that it is ``in``."""
    inside = [(kind, None, entity) for entity in above for kind in (None, uid[0])]
    return ((None, None, None), (uid[0], None, None), (None, uid, None), *inside)


class Narrowed(msgspec.Struct, frozen=True):
    """The scopes that match a principal and an action: those for any resource of one type, and buckets of others."""

    positions: tuple[int, ...]
    buckets: tuple[Bucket, ...]

    def on(self, resource: EntityUid, above: Iterable[EntityUid]) -> tuple[int, ...]:
        """Return the positions of those that match a resource of that type as well, in order."""
        if not self.buckets:
            return self.positions
        found = set(self.positions)
        for key in keys_for(resource, above):
            for bucket in self.buckets:
                found.update(bucket.get(key, ()))
        return tuple(sorted(found))


class ScopeIndex:
    """The scopes of one policy set by what they demand."""

    def __init__(self, scopes: Iterable[tuple[Scope, Sequence[EntityUid]]]) -> None:
        """File scopes, each with the entities that its policy looks into; they are known by their positions."""
        self._buckets: dict[tuple[Key, Key], Bucket] = {}
        self._reaches: dict[Key, set[EntityUid]] = {}
        for position, (scope, reaches) in enumerate(scopes):
            for who in keys_of(scope.principal) if reaches else ():
                self._reaches.setdefault(who, set()).update(reaches)
            for who, what, on_what in product(*map(keys_of, (scope.principal, scope.action, scope.resource))):
                self._buckets.setdefault((who, what), {}).setdefault(on_what, []).append(position)

    def narrow(self, principal: Sequence[Key], action: Sequence[Key], resource_type: str) -> Narrowed:
        """Return the scopes that match by these keys, ready to be narrowed down to a resource of that type."""
        met = [self._buckets[pair] for pair in product(principal, action) if pair in self._buckets]
        whole: tuple[Key, ...] = ((None, None, None), (resource_type, None, None))
        positions = {position for bucket in met for key in whole for position in bucket.get(key, ())}
        narrower = tuple(bucket for bucket in met if any(key[1] or key[2] for key in bucket))
        return Narrowed(tuple(sorted(positions)), narrower)

    def reaches(self, principal: Iterable[Key]) -> tuple[EntityUid, ...]:
        """Return what is looked into by policies whose scope matches a principal, whatever it asks; sorted."""
        return tuple(sorted({entity for key in principal for entity in self._reaches.get(key, ())}))

    def candidates(self, asking: Asking) -> tuple[int, ...]:
        """Return the positions of the scopes that match a request, in order."""
        principal = keys_for(asking.principal, asking.above_principal)
        narrowed = self.narrow(principal, keys_for(asking.action, asking.above_action), asking.resource[0])
        return narrowed.on(asking.resource, asking.above_resource)

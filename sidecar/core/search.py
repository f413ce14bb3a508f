"""Which entities of one type a policy could permit at all, found without looking at any of them.

A search asks of each identity, or of each resource, whether a request would be permitted. Here whole types and whole
branches of the hierarchy are ruled out first: by the scopes of the policies, and by Cedar's partial evaluation of them
with that one part of the request unknown. Invariant: whatever would be permitted lies within what is returned. That
something lies within it means nothing; every result is decided in full.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from sidecar.core.policy import EntitySlice, Unknown
from sidecar.core.policy_scope import Asking, Constraint, EntityUid
from sidecar.core.policy_set import Entry, PolicySet
from sidecar.core.policy_tree import Tree
from sidecar.core.ruling import CedarRequest
from sidecar.core.search_residuals import Known, outcomes

ANALYSED_MAX: Final = 200
"""Policies that are evaluated partially for one page: some ten milliseconds. Others are taken to say anything."""


class Forbidding(msgspec.Struct, frozen=True):
    """What is left of a policy that forbids, and the entities that its scope names; None where it names none."""

    named: frozenset[EntityUid] | None
    residual: Tree


class Prospect(msgspec.Struct, frozen=True):
    """Where entities of a type can be permitted: anywhere, or only at and below some.

    ``forbidding`` are policies that can forbid all of them at once.
    """

    known: Known
    is_anywhere: bool
    at: frozenset[EntityUid]
    below: frozenset[EntityUid]
    forbidding: tuple[Forbidding, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing can be permitted."""
        return not (self.is_anywhere or self.at or self.below)

    def is_forbidden(self, above: frozenset[EntityUid]) -> bool:
        """Whether all entities of the type are forbidden that are ``in`` all of these."""
        known = msgspec.structs.replace(self.known, above=above)
        return any(
            "false" not in outcomes(each.residual, known)
            for each in self.forbidding
            if each.named is None or not each.named.isdisjoint(above)
        )


def prospect(
    policies: PolicySet, request: CedarRequest, asking: Asking, known: Known, entities: EntitySlice | None
) -> Prospect:
    """Return where entities of the type that is ``known`` of can stand in the place of the unknown part of a request.

    ``request`` and ``asking`` say the rest, ``entities`` are what is known of it. Without them nothing is evaluated:
    scopes alone rule out.
    """
    index = policies.index_of_all_principals if known.unknown == "principal" else policies.index_of_all_resources
    entries = [(position, policies.entries[position]) for position in index.candidates(asking)]
    met = [(position, entry) for position, entry in entries if _can_mean(_part(entry, known.unknown), known.type_name)]
    permits = [(position, entry) for position, entry in met if entry.unit.effect == "permit"]
    if not permits:
        return Prospect(known, is_anywhere=False, at=frozenset(), below=frozenset())
    forbids = [(position, entry) for position, entry in met if entry.unit.effect == "forbid"]
    wide = [each for each in forbids if not _part(each[1], known.unknown).named]
    narrow = [each for each in forbids if _part(each[1], known.unknown).named]
    analysed = [*wide, *permits, *narrow][:ANALYSED_MAX]
    positions = tuple(sorted(position for position, _ in analysed))
    left = {} if entities is None else policies.preview(positions, request, known.unknown, entities)
    open_permits = [entry for _, entry in permits if entry.id not in left or "true" in outcomes(left[entry.id], known)]
    return _within(
        known,
        [_part(entry, known.unknown) for entry in open_permits],
        tuple(
            Forbidding(frozenset(named) if (named := _part(entry, known.unknown).named) else None, left[entry.id])
            for _, entry in forbids
            if entry.id in left
        ),
    )


def _within(known: Known, constraints: Iterable[Constraint], forbidding: tuple[Forbidding, ...]) -> Prospect:
    is_anywhere = False
    at, below = set[EntityUid](), set[EntityUid]()
    for constraint in constraints:
        if constraint.equal is not None:
            at.add(constraint.equal)
        elif constraint.within is None:
            is_anywhere = True
        else:
            below.update(constraint.within)
    return Prospect(known, is_anywhere, frozenset(at), frozenset(below), forbidding)


def _part(entry: Entry, unknown: Unknown) -> Constraint:
    return entry.scope.principal if unknown == "principal" else entry.scope.resource


def _can_mean(constraint: Constraint, type_name: str) -> bool:
    """Whether a part of a scope could mean an entity of a type."""
    if constraint.equal is not None:
        return constraint.equal[0] == type_name
    return constraint.type_name in {None, type_name} and constraint.within != ()

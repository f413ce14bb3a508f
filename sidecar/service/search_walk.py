"""The candidates of a search in an order that a page can start within, found without a look at the rest of the tenant.

Identities come branch by branch, each branch depth first; resources that are not stored and actions come by name. What
comes is a candidate and no more: whether it is a result is decided for each.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import msgspec

from sidecar.core.access import Caller
from sidecar.core.directory import IdentityChain, block_on, walk
from sidecar.core.ids import pascal_case
from sidecar.core.policy_scope import EntityUid
from sidecar.core.search import Prospect
from sidecar.core.search_mark import Mark
from sidecar.service.store import TenantTransaction
from sidecar.service.subtrees import subtree


class Step(NamedTuple):
    """One thing that was looked at: where the walk goes on after it, and what it is if it can be a result."""

    mark: Mark
    candidate: str | None


class Walk(Protocol):
    """What a search looks through."""

    def steps(self, part: TenantTransaction, mark: Mark) -> Iterator[Step]:
        """Yield what comes after ``mark``."""


class Names(msgspec.Struct, frozen=True):
    """Names that are known from the start; ``names`` are sorted."""

    names: tuple[str, ...] = ()

    def steps(self, _part: TenantTransaction, mark: Mark) -> Iterator[Step]:
        """Yield the names after that of ``mark``."""
        for name in self.names[bisect_right(self.names, mark.branch) :]:
            yield Step(Mark(name), name)


class Branches(msgspec.Struct, frozen=True):
    """Identities of one type within reach, where a policy could permit something: the ``tops``, sorted by their ids.

    Of those that are among ``below``, it is everybody below them too. Nobody comes twice: what lies below another top
    is left to that one.
    """

    base_id: str
    prospect: Prospect
    tops: tuple[EntityUid, ...]
    below: frozenset[EntityUid]

    def steps(self, part: TenantTransaction, mark: Mark) -> Iterator[Step]:
        """Yield the identities after the one at the place of ``mark`` in its branch, those of other types as well."""
        for top in self.tops[bisect_left(self.tops, mark.branch, key=_id_of) :]:
            top_id = top[1]
            after = mark.place if top_id == mark.branch else 0
            if not self._is_open(part, top):
                yield Step(Mark(top_id), None)
            elif top in self.below:
                for place, identity in subtree(part.identities, top_id, after=after):
                    is_one = pascal_case(identity.type) == self.prospect.known.type_name
                    yield Step(Mark(top_id, place), identity.identity_id if is_one else None)
            elif after == 0:
                yield Step(Mark(top_id, part.identities.place_of(top_id)), top_id)

    def _is_open(self, part: TenantTransaction, top: EntityUid) -> bool:
        """Whether a branch is within reach, in no other one, and could hold anybody who is permitted anything."""
        identity = part.identities.get(top[1])
        if identity is None or pascal_case(identity.type) != top[0]:
            return False
        chain = walk(identity.identity_id, part.identities.get)
        above = uids_of(chain)
        return (
            self.base_id in {each.identity_id for each in chain}
            and self.below.isdisjoint(above[1:])
            and block_on(chain) is None
            and not self.prospect.is_forbidden(frozenset(above))
        )


def branches(part: TenantTransaction, caller: Caller, prospect: Prospect) -> Branches | None:
    """Return the identities within the caller's reach that a search has to look through.

    None for a caller who reaches nobody.
    """
    base_id = part.tenant.root_identity_id if caller.may_administer else caller.top
    if base_id is None:
        return None
    above = uids_of(walk(base_id, part.identities.get))
    if prospect.is_anywhere or not prospect.below.isdisjoint(above):
        return Branches(base_id, prospect, (above[0],), frozenset(above[:1]))
    tops = sorted(prospect.at | prospect.below, key=_id_of)
    return Branches(base_id, prospect, tuple(tops), prospect.below)


def uids_of(chain: IdentityChain) -> list[EntityUid]:
    """Return how policies call the identities of a chain."""
    return [(pascal_case(identity.type), identity.identity_id) for identity in chain]


def _id_of(uid: EntityUid) -> str:
    return uid[1]

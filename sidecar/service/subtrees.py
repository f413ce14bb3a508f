"""Subtrees of a tenant's hierarchy: an identity and everybody below, read in an order that a page can start within.

The order is depth first: an identity, then what is below it, children in order of creation. So the next page begins at
the last identity of the one before, without a look at the rest of the tenant, and a list costs what it shows.
"""

from collections.abc import Iterator
from itertools import chain, pairwise
from typing import Final

import msgspec

from sidecar.core.access import Caller
from sidecar.core.budget import Budget
from sidecar.core.directory import Identity, Status, walk
from sidecar.core.errors import ValidationFailed
from sidecar.service import paging
from sidecar.service.paging import Page, PageRequest, page_of
from sidecar.service.store import Collection, Listed, TenantTransaction

_PLACE_BITS: Final = 64
_LAST: Final = 2**63 - 1
"""In place of a budget's place: all budgets of the identity were seen."""


class IdentityFilter(msgspec.Struct, frozen=True):
    """Which identities a list shows; ``status`` is their own one."""

    parent_id: str | None = None
    type: str | None = None
    external_id: str | None = None
    status: Status | None = None

    def fits(self, identity: Identity) -> bool:
        """Whether ``identity`` is asked for."""
        return (
            self.parent_id in {None, identity.parent_id}
            and self.type in {None, identity.type}
            and self.external_id in {None, identity.external_id}
            and self.status in {None, identity.status}
        )


def identities_within(
    part: TenantTransaction, caller: Caller, wanted: IdentityFilter, after: int
) -> Iterator[Listed[Identity]]:
    """Yield the identities within reach that an index finds for ``wanted``, from the one after that place.

    Its parent, where it names one, must be within reach. The other fields are left to ``wanted.fits``, and so are the
    external ids of the revoked, who have given them back.
    """
    identities = part.identities
    if wanted.external_id is not None and wanted.status != "revoked":
        return _by_external_id(part, caller, wanted.external_id, after)
    if wanted.parent_id is not None:
        return identities.owned(wanted.parent_id, after=after)
    if caller.may_administer:
        return identities.all(after=after)
    return iter(()) if caller.top is None else subtree(identities, caller.top, after=after)


def _by_external_id(
    part: TenantTransaction, caller: Caller, external_id: str, after: int
) -> Iterator[Listed[Identity]]:
    identity = part.identities.by_external_id(external_id)
    if identity is not None and caller.reaches(walk(identity.identity_id, part.identities.get)):
        place = part.identities.place_of(identity.identity_id)
        if place > after:
            yield Listed(place, identity)


def subtree(identities: Collection[Identity], top: str, *, after: int = 0) -> Iterator[Listed[Identity]]:
    """Yield the identity ``top`` and everybody below it, from the one after the identity at place ``after``.

    Raises ValidationFailed, naming the cursor, when no identity of the subtree is there.
    """
    if after:
        path = _at(identities, top, after)[1]
    else:
        path = (top,)
        yield Listed(identities.place_of(top), walk(top, identities.get)[0])
    # One open list per level, the deepest last: what follows each identity of the path among its siblings.
    below = [identities.owned(path[0])]
    levels = [identities.owned(parent, after=identities.place_of(child)) for child, parent in pairwise(path)]
    open_lists = [*reversed(levels), *below]
    while open_lists:
        found = next(open_lists[-1], None)
        if found is None:
            open_lists.pop()
        else:
            yield found
            open_lists.append(identities.owned(found.value.identity_id))


def _at(identities: Collection[Identity], top: str, place: int) -> tuple[Listed[Identity], tuple[str, ...]]:
    """Return the identity at ``place``, and the ids from it up to ``top``. Raises ValidationFailed."""
    found = next(identities.all(after=place - 1), None)
    if found is not None and found.place == place:
        ids = [identity.identity_id for identity in walk(found.value.identity_id, identities.get)]
        if top in ids:
            return found, tuple(ids[: ids.index(top) + 1])
    raise ValidationFailed("the cursor is not one of this list's", field="cursor")


def budgets_within(part: TenantTransaction, caller: Caller, request: PageRequest) -> Page[Budget]:
    """Return a page of the budgets within reach: all in order of creation, or those of a subtree's identities.

    The budgets of a subtree's cards are found by their cards.
    A place in the list of a subtree is that of an identity and, below it, that of one of its budgets.
    """
    if caller.may_administer:
        return page_of(part.budgets.all(after=request.after), request)
    return Page((), None) if caller.top is None else _budgets_below(part, caller.top, request)


def _budgets_below(part: TenantTransaction, top: str, request: PageRequest) -> Page[Budget]:
    at, after = divmod(request.after, 1 << _PLACE_BITS)
    begun: tuple[Listed[Identity], ...] = ()
    if request.after:
        # Before anything is shown: whoever makes up a cursor must not see an identity's budgets that is elsewhere.
        begun = (_at(part.identities, top, at)[0],)
    values: list[Budget] = []
    place = request.after
    for looked, identity in enumerate(chain(begun, subtree(part.identities, top, after=at))):
        if looked == paging.SCANNED_MAX:
            return Page(tuple(values), place)
        seen = after if identity.place == at else 0
        for budget in part.budgets.owned(identity.value.identity_id, after=seen):
            if len(values) == request.limit:
                return Page(tuple(values), place)
            values.append(budget.value)
            place = (identity.place << _PLACE_BITS) | budget.place
        place = (identity.place << _PLACE_BITS) | _LAST
    return Page(tuple(values), None)

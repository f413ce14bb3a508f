"""Subtrees of a tenant's hierarchy: an identity and everybody below, read in an order that a page can start within.

The order is depth first: an identity, then what is below it, children in order of creation. So the next page begins at
the last identity of the one before, without a look at the rest of the tenant, and a list costs what it shows.
"""

from collections.abc import Callable, Iterator
from itertools import chain, pairwise
from typing import Final, TypeVar

import msgspec

from sidecar.core.access import Caller
from sidecar.core.accounts import Account
from sidecar.core.budget import Budget
from sidecar.core.cards import Card
from sidecar.core.directory import Identity, Status, walk
from sidecar.core.errors import ValidationFailed
from sidecar.core.grants import Grant
from sidecar.service import paging
from sidecar.service.paging import Page, PageRequest, page_of
from sidecar.service.store import Collection, Listed, TenantTransaction

T = TypeVar("T")

_PLACE_BITS: Final = 64
_LAST: Final = 2**63 - 1
"""In place of a value's place: all values of the identity were seen."""


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
    """
    return _owned_within(part, caller, part.budgets, request, lambda _: True)


def cards_within(
    part: TenantTransaction, caller: Caller, request: PageRequest, wanted: Callable[[Card], bool]
) -> Page[Card]:
    """Return a page of the cards within reach that are ``wanted``, in the same order."""
    return _owned_within(part, caller, part.cards, request, wanted)


def grants_within(
    part: TenantTransaction, caller: Caller, request: PageRequest, wanted: Callable[[Grant], bool]
) -> Page[Grant]:
    """Return a page of the grants within reach that are ``wanted``, in the same order."""
    return _owned_within(part, caller, part.grants, request, wanted)


def accounts_within(
    part: TenantTransaction, caller: Caller, request: PageRequest, wanted: Callable[[Account], bool]
) -> Page[Account]:
    """Return a page of the accounts within reach that are ``wanted``, in the same order."""
    return _owned_within(part, caller, part.accounts, request, wanted)


def _owned_within(
    part: TenantTransaction,
    caller: Caller,
    values: Collection[T],
    request: PageRequest,
    wanted: Callable[[T], bool],
) -> Page[T]:
    if caller.may_administer:
        return page_of(values.all(after=request.after), request, wanted)
    return Page((), None) if caller.top is None else _owned_below(part, caller.top, values, request, wanted)


def _owned_below(
    part: TenantTransaction, top: str, values: Collection[T], request: PageRequest, wanted: Callable[[T], bool]
) -> Page[T]:
    """Return a page of what the identities of a subtree own, identity by identity.

    A place in such a list is that of an identity and, below it, that of one of its values.
    """
    at, after = divmod(request.after, 1 << _PLACE_BITS)
    begun: tuple[Listed[Identity], ...] = ()
    if request.after:
        # Before anything is shown: whoever makes up a cursor must not see what is an identity's that is elsewhere.
        begun = (_at(part.identities, top, at)[0],)
    found: list[T] = []
    place, looked = request.after, 0
    for identity in chain(begun, subtree(part.identities, top, after=at)):
        if looked >= paging.SCANNED_MAX:
            return Page(tuple(found), place)
        seen = after if identity.place == at else 0
        for value in values.owned(identity.value.identity_id, after=seen):
            if len(found) == request.limit or looked >= paging.SCANNED_MAX:
                return Page(tuple(found), place)
            looked += 1
            found += [value.value] if wanted(value.value) else []
            place = (identity.place << _PLACE_BITS) | value.place
        place = (identity.place << _PLACE_BITS) | _LAST
        looked += 1
    return Page(tuple(found), None)

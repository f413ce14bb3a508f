"""The records that a follower is told, one after the other, in an order that can be taken up at any place.

From the root down: the identities above the subtree, then those of the subtree depth first, each with what belongs to
it; then the policies and keys that belong to nobody; then the identities outside that policies look into.
"""

from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Annotated, Final, TypeAlias

import msgspec

from sidecar.core.budget import card_owner
from sidecar.core.errors import ValidationFailed
from sidecar.core.feed import Change, RecordKind
from sidecar.service.scope import Scope
from sidecar.service.store import TenantTransaction
from sidecar.service.subtrees import subtree

_Place: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Stage(IntEnum):
    """The parts of the walk, in their order."""

    ABOVE = 0
    BELOW = 1
    NOBODYS = 2
    OUTSIDE = 3


class Step(IntEnum):
    """What is told of one identity, or of nobody, in its order."""

    POLICIES = 0
    BUDGETS = 1
    CARDS = 2
    TOKENS = 3


_OWNED: Final[tuple[RecordKind, ...]] = ("policy", "budget", "card", "token")
"""The kinds of records by the steps that tell them."""


class Place(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How far the walk has come: ``identity`` is the place of the identity that it is at, 0 for none yet.

    In the ``step``, all ``after`` which it goes on were told; among cards, that is the newest one that was told, and
    of its budgets those up to ``within``.
    """

    stage: Stage
    identity: _Place = 0
    step: Step = Step.POLICIES
    after: _Place = 0
    within: _Place = 0


START: Final = Place(Stage.ABOVE)

Found: TypeAlias = tuple[Change | None, Place]
"""A record, None where one was passed over, and the place behind it."""


def walk_from(part: TenantTransaction, scope: Scope, place: Place) -> Iterator[Found]:
    """Yield the records behind a place. Raises ValidationFailed, before the first one, for no place of this walk."""
    for stage in Stage:
        if stage >= place.stage:
            begun = place if stage == place.stage else Place(stage)
            yield from _STAGES[stage](part, scope, begun)


def _above(part: TenantTransaction, scope: Scope, place: Place) -> Iterator[Found]:
    chain = [each.identity_id for each in scope.above]
    if place.identity:
        at = _identity_at(part, place)
        if at not in chain:
            raise _strange()
        yield from _belongings(part, scope, at, place)
        del chain[: chain.index(at) + 1]
    for identity_id in chain:
        yield from _whole(part, scope, Stage.ABOVE, identity_id)


def _below(part: TenantTransaction, scope: Scope, place: Place) -> Iterator[Found]:
    if place.identity:
        at = _identity_at(part, place)
        if not scope.is_below(at):
            raise _strange()
        yield from _belongings(part, scope, at, place)
    for listed in subtree(part.identities, scope.top or part.tenant.root_identity_id, after=place.identity):
        yield from _whole(part, scope, Stage.BELOW, listed.value.identity_id)


def _nobodys(part: TenantTransaction, scope: Scope, place: Place) -> Iterator[Found]:
    """Yield the policies and keys of the whole tenant.

    All records of both kinds are passed: nothing lists those that belong to nobody.
    """
    for step in (Step.POLICIES, Step.TOKENS):
        after = place.after if step == place.step else 0
        for change in part.feed.all(_OWNED[step], after=after) if step >= place.step else ():
            told = change if change.owner is None and scope.sees(change) else None
            yield told, Place(Stage.NOBODYS, 0, step, change.place)


def _outside(part: TenantTransaction, scope: Scope, place: Place) -> Iterator[Found]:
    found = [part.feed.find("identity", identity_id) for identity_id in scope.outside]
    for change in sorted((each for each in found if each is not None), key=lambda each: each.place):
        if change.place > place.identity:
            yield change, Place(Stage.OUTSIDE, change.place)


_STAGES: Final[tuple[Callable[[TenantTransaction, Scope, Place], Iterator[Found]], ...]] = (
    _above,
    _below,
    _nobodys,
    _outside,
)


def _whole(part: TenantTransaction, scope: Scope, stage: Stage, identity_id: str) -> Iterator[Found]:
    """Yield an identity and what belongs to it."""
    change = part.feed.find("identity", identity_id)
    if change is not None:  # always: no identity is ever removed
        place = Place(stage, change.place)
        yield change, place
        yield from _belongings(part, scope, identity_id, place)


def _belongings(part: TenantTransaction, scope: Scope, identity_id: str, place: Place) -> Iterator[Found]:
    """Yield what belongs to an identity, behind a place that is at it."""
    for step in Step:
        if step < place.step:
            continue
        begun = place if step == place.step else Place(place.stage, place.identity, step)
        if step == Step.CARDS:
            yield from _cards(part, identity_id, begun)
            continue
        for change in part.feed.owned(_OWNED[step], identity_id, after=begun.after):
            at = Place(place.stage, place.identity, step, change.place)
            yield (change if scope.sees(change) else None), at


def _cards(part: TenantTransaction, identity_id: str, place: Place) -> Iterator[Found]:
    """Yield the cards of an identity, each with its budgets."""
    begun = next(part.feed.all("card", after=place.after - 1), None) if place.after else None
    if begun is not None and begun.place == place.after and begun.owner == identity_id:
        yield from _limits(part, begun.id, place)
    for card in part.feed.owned("card", identity_id, after=place.after):
        at = Place(place.stage, place.identity, Step.CARDS, card.place)
        yield card, at
        yield from _limits(part, card.id, at)


def _limits(part: TenantTransaction, card_id: str, place: Place) -> Iterator[Found]:
    for budget in part.feed.owned("budget", card_owner(card_id), after=place.within):
        yield budget, msgspec.structs.replace(place, within=budget.place)


def _identity_at(part: TenantTransaction, place: Place) -> str:
    """Return the id of the identity that a place is at. Raises ValidationFailed where there is none."""
    found = next(part.identities.all(after=place.identity - 1), None)
    if found is None or found.place != place.identity:
        raise _strange()
    return found.value.identity_id


def _strange() -> ValidationFailed:
    return ValidationFailed("the cursor is not one of this snapshot's", field="cursor")

"""What one follower is told of its tenant: everything, or what decisions about one identity's subtree can rest on.

Of a subtree: its identities and those above it, with what belongs to them; what belongs to the whole tenant; and the
identities, with all above them, that followed policies name and look into, since a policy that looks into nothing says
nothing. Parents never change, so what is inside stays inside. All is found from the records in question upwards or from
the subtree downwards, so nothing costs more for what lies outside.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cached_property
from typing import Final, NamedTuple, TypeAlias

from sidecar.core.budget import owning_card
from sidecar.core.directory import Identity, walk
from sidecar.core.errors import NotFound
from sidecar.core.feed import Change, FollowedToken
from sidecar.core.limits import CHAIN_DEPTH_MAX
from sidecar.core.policy_scope import EntityUid
from sidecar.core.recent import Recent
from sidecar.core.snapshot import TenantPolicies
from sidecar.service.store import TenantTransaction

TENANTS_MAX: Final = 512
"""Tenants, and subtrees, of which it is kept what their policies look into."""


class Looker(NamedTuple):
    """A policy that looks into entities which it names; ``policy_id`` is None for one from a file.

    ``principals`` are the entities that its scope demands the asker to be or to be ``in``, none for any asker.
    """

    policy_id: str | None
    principals: tuple[EntityUid, ...]
    reaches: tuple[EntityUid, ...]


class Lookers:
    """What this process knows of policies that look into entities, kept for as long as the policies stay."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._kept: Recent[int, tuple[TenantPolicies, tuple[Looker, ...]]] = Recent(TENANTS_MAX)
        self._named: Recent[tuple[int, str], tuple[tuple[Looker, ...], frozenset[str]]] = Recent(TENANTS_MAX)

    def of(self, number: int, policies: TenantPolicies) -> tuple[Looker, ...]:
        """Return those among the ``policies`` of the tenant with that number."""
        kept = self._kept.get(number)
        if kept is None or kept[0] is not policies:
            kept = policies, tuple(_lookers(policies))
            self._kept.keep(number, kept)
        return kept[1]

    def named(
        self, key: tuple[int, str], among: tuple[Looker, ...], work_out: Callable[[], tuple[frozenset[str], bool]]
    ) -> frozenset[str]:
        """Return the ids that lookers of the subtree ``key`` name, worked out anew only where they are others now.

        ``work_out`` returns them, and whether they stay for as long as the lookers do.
        """
        kept = self._named.get(key)
        if kept is not None and kept[0] is among:
            return kept[1]
        named, is_lasting = work_out()
        if is_lasting:
            self._named.keep(key, (among, named))
        return named


def _lookers(policies: TenantPolicies) -> Iterator[Looker]:
    for entry in policies.policies.entries:
        if entry.unit.reaches:
            yield Looker(entry.unit.policy_id, entry.scope.principal.named, tuple(entry.unit.reaches))


Find: TypeAlias = Callable[[str], Identity | None]


class Bounds:
    """Which identities are in a subtree or above it, remembered: parents never change."""

    def __init__(self, top: str, above: Iterable[str]) -> None:
        """Be about the subtree of ``top``, with those ``above`` it."""
        self._above = frozenset(above)
        self._below = dict.fromkeys(self._above, False) | {top: True}

    def is_inside(self, identity_id: str, find: Find) -> bool:
        """Whether an identity is in the subtree or above it. One that ``find`` does not find may become so."""
        return identity_id in self._above or self.is_below(identity_id, find)

    def is_below(self, identity_id: str, find: Find) -> bool:
        """Whether an identity is in the subtree. One without an end to its chain may be so like one not found."""
        passed: list[str] = []
        at: str | None = identity_id
        while at is not None and at not in self._below:
            identity = find(at)
            if identity is None or len(passed) == CHAIN_DEPTH_MAX:
                return True
            passed.append(at)
            at = identity.parent_id
        found = at is not None and self._below[at]
        self._below.update(dict.fromkeys(passed, found))
        return found


class Scope:
    """What a follower is told, as one read transaction sees it."""

    def __init__(
        self, part: TenantTransaction, top: str | None, policies: Callable[[], TenantPolicies], lookers: Lookers
    ) -> None:
        """Be about the subtree of ``top``, None for the whole tenant; ``policies`` returns those of the tenant."""
        self._part = part
        self.top = top
        self._policies = policies
        self._known = lookers
        self.above: tuple[Identity, ...] = () if top is None else tuple(reversed(walk(top, part.identities.get)[1:]))
        """The identities above the subtree, the root first."""
        self._bounds = None if top is None else Bounds(top, (identity.identity_id for identity in self.above))

    def sees(self, change: Change) -> bool:
        """Whether a record that exists is told."""
        if isinstance(change.value, FollowedToken) and change.value.token.kind == "follower":
            return False
        if self.top is None:
            return True
        if change.kind == "identity":
            return self.is_inside(change.id) or change.id in self.outside
        return self._is_of(change.owner)

    def sees_gone(self, owner: str | None) -> bool:
        """Whether it is told that a record is gone, which belonged to ``owner``."""
        return self.top is None or self._is_of(owner)

    def _is_of(self, owner: str | None) -> bool:
        """Whether what belongs to ``owner`` is told; it is where nobody knows whose a card was."""
        card_id = None if owner is None else owning_card(owner)
        if card_id is not None:
            card = self._part.cards.get(card_id)
            owner = None if card is None else card.identity_id
        return owner is None or self.is_inside(owner)

    def is_inside(self, identity_id: str) -> bool:
        """Whether an identity is in the subtree or above it. One that does not exist may become so."""
        return self._bounds is None or self._bounds.is_inside(identity_id, self._part.identities.get)

    def is_below(self, identity_id: str) -> bool:
        """Whether an identity is in the subtree."""
        return self._bounds is None or self._bounds.is_below(identity_id, self._part.identities.get)

    @cached_property
    def outside(self) -> frozenset[str]:
        """The identities outside that followed policies look into, with all above these."""
        if self.top is None:
            return frozenset()
        key = (self._part.tenant.number, self.top)
        return self._chains(self._known.named(key, self._lookers, self._named_now))

    def looked_into(self, policy_ids: Collection[str]) -> frozenset[str]:
        """Return those that some of the policies look into, with all above these."""
        if self.top is None or not policy_ids:
            return frozenset()
        return self._chains(self._named_by(each for each in self._lookers if each.policy_id in policy_ids))

    @cached_property
    def _lookers(self) -> tuple[Looker, ...]:
        return self._known.of(self._part.tenant.number, self._policies())

    def _named_now(self) -> tuple[frozenset[str], bool]:
        """Return the ids that lookers name, and whether that lasts: who does not exist yet may come to be outside."""
        principals = {identity_id for looker in self._lookers for _, identity_id in looker.principals}
        return self._named_by(self._lookers), all(map(self._part.identities.get, principals))

    def _named_by(self, lookers: Iterable[Looker]) -> frozenset[str]:
        """Return the ids that lookers name, of those that can mean somebody inside."""
        return frozenset(name for looker in lookers if self._may_mean(looker) for _, name in looker.reaches)

    def _may_mean(self, looker: Looker) -> bool:
        return not looker.principals or any(self.is_inside(identity_id) for _, identity_id in looker.principals)

    def _chains(self, names: Iterable[str]) -> frozenset[str]:
        return frozenset(each.identity_id for name in names for each in self.chain_of(name))

    def chain_of(self, identity_id: str) -> list[Identity]:
        """Return an identity and those above it that are outside, nothing for one that does not exist."""
        try:
            chain = walk(identity_id, self._part.identities.get)
        except NotFound:
            return []
        return [identity for identity in chain if not self.is_inside(identity.identity_id)]

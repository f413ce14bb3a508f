"""Whether what a control plane tells fits together with all else that would hold then.

That is a tree of identities that each have their parent, and an owner for whatever is owned.

Invariant: whoever applies changes that passed keeps a store in which no look-up of a decision ends in nothing. What is
there already was found good, so only what changes is looked at.
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import msgspec

from sidecar.core.budget import card_owner, owning_card
from sidecar.core.directory import Identity
from sidecar.core.feed import KINDS, Change, FeedRefused, Followed, FollowedToken, RecordKind
from sidecar.core.limits import CHAIN_DEPTH_MAX
from sidecar.service.store import TenantTransaction, Transaction

Key: TypeAlias = tuple[RecordKind, str]


def key_of(change: Change) -> Key:
    """Return what a change is about."""
    return change.kind, change.id


def differs(part: TenantTransaction, change: Change) -> bool:
    """Whether a change would change what is stored."""
    present = part.feed.find(change.kind, change.id)
    return present is not None if change.value is None else present != change


def require_distinct(changes: Iterable[Change]) -> None:
    """Raise FeedRefused where two changes claim one name, public part or place for themselves."""
    taken: dict[tuple[str, object], str] = {}
    for change in changes:
        for claimed in _claimed(change):
            other = taken.setdefault((f"{change.kind} {claimed[0]}", claimed[1]), change.id)
            if other != change.id:
                raise FeedRefused(f"{change.kind} `{other}` and `{change.id}` have one {claimed[0]}")


def _claimed(change: Change) -> list[tuple[str, object]]:
    """Return what no other record of the kind may have."""
    if change.value is None:
        return []
    found: list[tuple[str, object]] = [("place", change.place)]
    if change.external_id is not None:
        found.append(("external id", change.external_id))
    if isinstance(change.value, FollowedToken):
        found.append(("public part", change.value.token.key_id))
    return found


class Prospect:
    """One tenant as it would be with some changes applied."""

    def __init__(self, txn: Transaction, part: TenantTransaction, changes: Mapping[Key, Change]) -> None:
        """Look at ``part`` through ``changes``, which are all that there are."""
        self._txn = txn
        self._part = part
        self._changes = changes

    def find(self, kind: RecordKind, key: str) -> Followed | None:
        """Return what a record would be."""
        change = self._changes.get((kind, key)) or self._part.feed.find(kind, key)
        return None if change is None else change.value

    def require_whole(self, change: Change) -> None:
        """Raise FeedRefused, naming what is missing, where ``change`` leaves something without its parent or owner.

        Also for a record that moved to another place, and for one that takes what belongs to another that stays.
        """
        if change.value is None:
            self._require_unowned(change)
            return
        if isinstance(change.value, Identity):
            self._require_chain(change.value)
        elif change.owner is not None:
            card_id = owning_card(change.owner)
            kind: RecordKind = "identity" if card_id is None else "card"
            owner = change.owner if card_id is None else card_id
            if self.find(kind, owner) is None:
                raise FeedRefused(f"{change.kind} `{change.id}` belongs to {kind} `{owner}`, which is not there")
        self._require_free(change)

    def _require_chain(self, identity: Identity) -> None:
        root = self._part.tenant.root_identity_id
        if (identity.parent_id is None) != (identity.identity_id == root):
            raise FeedRefused(f"identity `{identity.identity_id}` has no parent, or is the root `{root}` and has one")
        above, length = identity, 1
        while above.parent_id is not None:
            found = self.find("identity", above.parent_id)
            if not isinstance(found, Identity):
                raise FeedRefused(
                    f"identity `{above.identity_id}` has the parent `{above.parent_id}`, which is not there"
                )
            above, length = found, length + 1
            if length > CHAIN_DEPTH_MAX:
                raise FeedRefused(f"the chain of identity `{identity.identity_id}` has more than {CHAIN_DEPTH_MAX}")

    def _require_unowned(self, gone: Change) -> None:
        """Nothing that stays may belong to what goes."""
        if gone.kind not in {"identity", "card"}:
            return
        owner = card_owner(gone.id) if gone.kind == "card" else gone.id
        for kind in KINDS:
            for owned in self._part.feed.owned(kind, owner):
                change = self._changes.get(key_of(owned), owned)
                if change.value is not None and change.owner == owner:
                    raise FeedRefused(f"{gone.kind} `{gone.id}` is gone, and {kind} `{owned.id}` belongs to it")

    def _require_free(self, change: Change) -> None:
        """What ``change`` claims for its record belongs to no other one that stays."""
        feed = self._part.feed
        known = feed.find(change.kind, change.id)
        if known is not None and known.place != change.place:
            raise FeedRefused(f"{change.kind} `{change.id}` has the place {change.place}, it had {known.place}")
        at = next(feed.all(change.kind, after=change.place - 1), None) if known is None else None
        if at is not None and at.place == change.place:
            self._require_going(change, at.id, "place")
        if change.kind in {"identity", "card"} and change.external_id is not None:
            collection = self._part.identities if change.kind == "identity" else self._part.cards
            named = collection.by_external_id(change.external_id)
            if named is not None:
                self._require_going(change, named.identity_id if isinstance(named, Identity) else named.card_id, "name")
        if isinstance(change.value, FollowedToken):
            token = self._txn.tokens.find(change.value.token.key_id)
            if token is not None:
                self._require_going(change, token.token_id, "public part")

    def _require_going(self, change: Change, other_id: str, what: str) -> None:
        """Raise FeedRefused unless the other record changes too: then ``require_distinct`` has compared the two."""
        if other_id != change.id and (change.kind, other_id) not in self._changes:
            raise FeedRefused(f"{change.kind} `{change.id}` has the {what} of `{other_id}`")


class Plan(msgspec.Struct, frozen=True):
    """All that changes at once: of each record its newest version, in no order."""

    changes: dict[Key, Change]

    @property
    def policies(self) -> tuple[Change, ...]:
        """The changes of policies."""
        return tuple(change for change in self.changes.values() if change.kind == "policy")

    @property
    def in_order(self) -> list[Change]:
        """What goes first, then what comes, each in the order of creation."""
        return sorted(self.changes.values(), key=lambda change: (change.value is not None, change.place, change.id))

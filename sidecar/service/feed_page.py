"""The changes of one page, gathered in several read transactions, each of which goes on where the last one ended."""

from collections.abc import Iterable
from typing import Final

from sidecar.core.feed import PAGE_RECORDS_MAX, Change, RecordKind
from sidecar.service.feed_store import Entry, Feed
from sidecar.service.scope import Scope

ROUND_ENTRIES: Final = 200
"""Entries of the feed that one read transaction looks at, in some milliseconds."""


class Gathered:
    """What changed after a revision, each record once and as it is now.

    Only the newest entry of a record counts: of an older one the record is told where its newest one is met, in this
    page or in a later one. Of what is gone, it is the entry of its removal.
    """

    def __init__(self, since: int) -> None:
        """Begin after a revision."""
        self.since = self.to = since
        self.is_compacted = False
        self._told: dict[tuple[RecordKind, str], Change] = {}
        self._beside: dict[tuple[RecordKind, str], Change] = {}

    @property
    def is_full(self) -> bool:
        """Whether another round could bring more records than a page has."""
        return len(self._told) > PAGE_RECORDS_MAX - ROUND_ENTRIES

    def changes(self) -> tuple[Change, ...]:
        """Return what was gathered: what is looked into by others first, then in the order of the changes."""
        beside = [change for key, change in self._beside.items() if key not in self._told]
        return (*beside, *self._told.values())

    def look(self, feed: Feed, scope: Scope, head: int) -> None:
        """Go on by some entries, or find that they are not all kept; ``head`` is the tenant's revision."""
        if self.to < feed.floor():
            self.is_compacted = True
            return
        entries, are_all = _whole(feed, self.to)
        policy_ids: set[str] = set()
        for entry in entries:
            change = _newest(feed, scope, entry)
            if change is None:
                continue
            self._told.pop((change.kind, change.id), None)
            self._told[change.kind, change.id] = change
            if change.kind == "policy" and change.value is not None:
                policy_ids.add(change.id)
            if change.kind == "identity" and change.place > self.since and not scope.is_inside(change.id):
                self.add_beside(feed, (each.identity_id for each in scope.chain_of(change.id)))
        self.add_beside(feed, scope.looked_into(policy_ids))
        self.to = head if are_all else entries[-1].revision

    def add_beside(self, feed: Feed, identity_ids: Iterable[str]) -> None:
        """Tell identities that did not change, for what told policies look into."""
        for identity_id in identity_ids:
            change = feed.find("identity", identity_id)
            if change is not None:
                self._beside["identity", identity_id] = change


def _whole(feed: Feed, after: int) -> tuple[list[Entry], bool]:
    """Return the next entries of whole revisions, and whether these are all that there are."""
    most = ROUND_ENTRIES
    while True:
        entries = feed.told(after, most)
        if len(entries) < most:
            return entries, True
        whole = [entry for entry in entries if entry.revision < entries[-1].revision]
        if whole:
            return whole, False
        most *= 2


def _newest(feed: Feed, scope: Scope, entry: Entry) -> Change | None:
    """Return what an entry tells, None where a later one tells more or where it is not told."""
    if entry.kind is None:
        return None
    change = feed.find(entry.kind, entry.id)
    if change is not None:
        return change if change.revision == entry.revision and scope.sees(change) else None
    if not entry.is_removal or not scope.sees_gone(entry.owner):
        return None
    return Change(kind=entry.kind, id=entry.id, revision=entry.revision)

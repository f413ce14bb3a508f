"""Whether what a control plane tells can be stored at all: each record by itself, and a page as a whole.

A follower stores what it is told under the ids, owners and revisions that it is told, so each of them must be what the
record says of itself, or its own store would not hold together. Whether the records fit what is there already is
``sidecar.service.following_plan``'s.
"""

from collections.abc import Iterable
from typing import NamedTuple

from sidecar.core.budget import AMOUNT, Budget
from sidecar.core.cards import Card
from sidecar.core.currencies import places
from sidecar.core.directory import Identity
from sidecar.core.errors import ValidationFailed
from sidecar.core.feed import Change, FeedRefused, Followed, FollowedToken, Page, mark_of_text, mark_text
from sidecar.core.ids import check_caller_id
from sidecar.core.model import AuditMark
from sidecar.core.snapshot import PolicyRecord
from sidecar.core.windows import zone


class _Said(NamedTuple):
    """What a record says of itself; a token has no revision."""

    kind: str
    id: str
    owner: str | None
    external_id: str | None
    revision: int | None


def review_page(page: Page) -> None:
    """Raise FeedRefused, naming what and why, for a page that cannot be stored."""
    if page.follower_id is None:
        raise FeedRefused("the token that the control plane was asked with is none of a follower")
    if page.mark is not None:
        review_mark(page.mark)
    if page.is_compacted:
        return
    if not page.from_revision <= page.to_revision <= page.head:
        told = f"from `{page.from_revision}` to `{page.to_revision}` of `{page.head}`"
        raise FeedRefused(f"the page goes {told}, which is no order")
    if page.files is not None and not page.files.by_tenant.keys() <= {page.tenant.tenant_id}:
        raise FeedRefused("the page has policy files of another tenant")
    if page.outside is not None and page.scope is None:
        raise FeedRefused("the page tells what is outside of the whole tenant")
    try:
        zone(page.tenant.time_zone)
    except ValidationFailed as error:
        raise FeedRefused(f"the tenant: {error.message}") from error
    review_changes(page.changes, page.to_revision)


def review_mark(mark: AuditMark) -> None:
    """Raise FeedRefused for a mark that cannot be asked for."""
    try:
        mark_of_text(mark_text(mark))
    except ValidationFailed as error:
        raise FeedRefused("the end of the log that is told is none") from error


def review_changes(changes: Iterable[Change], up_to: int) -> None:
    """Raise FeedRefused for a change that cannot be stored, is of a revision after ``up_to``, or comes twice."""
    seen: set[tuple[str, str]] = set()
    for change in changes:
        if (change.kind, change.id) in seen:
            raise FeedRefused(f"{change.kind} `{change.id}` comes twice")
        seen.add((change.kind, change.id))
        review_change(change, up_to)


def review_change(change: Change, up_to: int) -> None:
    """Raise FeedRefused for a change that cannot be stored, or is of a revision after ``up_to``."""
    what = f"{change.kind} `{change.id}`"
    if not 0 < change.revision <= up_to:
        raise FeedRefused(f"{what} has revision {change.revision}, expected 1 to {up_to}")
    try:
        check_caller_id(change.id, "id")
        if change.value is None:
            return
        _review_value(change.value)
    except ValidationFailed as error:
        raise FeedRefused(f"{what}: {error.message}") from error
    said = _said(change.value)
    if said[:4] != (change.kind, change.id, change.owner, change.external_id):
        raise FeedRefused(f"{what} is told under another id, owner or external id than its own")
    if said.revision not in {None, change.revision}:
        raise FeedRefused(f"{what} is told with revision {change.revision}, its own is {said.revision}")
    if not 0 < change.place <= change.revision:
        raise FeedRefused(f"{what} has the place {change.place}, expected 1 to {change.revision}")


def _said(value: Followed) -> _Said:
    match value:
        case Identity():
            found_by = None if value.status == "revoked" else value.external_id
            return _Said("identity", value.identity_id, value.parent_id, found_by, value.revision)
        case PolicyRecord():
            return _Said("policy", value.policy_id, value.identity_id, None, value.revision)
        case Budget():
            return _Said("budget", value.budget_id, value.owner, None, value.revision)
        case Card():
            reference = None if value.external_ref is None else value.external_ref.key
            return _Said("card", value.card_id, value.identity_id, reference, value.revision)
        case _:
            return _Said("token", value.token.token_id, value.token.identity_id, None, None)


def _review_value(value: Followed) -> None:
    """Raise ValidationFailed for what no service of this version would have made."""
    match value:
        case Budget():
            if (value.identity_id is None) == (value.card_id is None):
                raise ValidationFailed("it limits neither an identity nor a card, or both")
            if (value.dimension == AMOUNT) == (value.currency is None):
                raise ValidationFailed("dimension and currency do not go together")
            if value.currency is not None:
                places(value.currency, "currency")
            if value.follower_id is not None and value.on_exceeded == "suspend":
                raise ValidationFailed("a follower decides on it, and so nobody can be suspended by it")
        case Card():
            places(value.currency, "currency")
        case FollowedToken():
            if value.token.kind == "follower" or value.token.tenant:
                raise ValidationFailed("it is the token of a follower, or of a store of its own")
        case _:
            return

"""The answers of the change feed as types, for the description of the API; ``core.feed`` writes and reads them."""

from typing import Annotated, TypedDict

from msgspec import Meta

from sidecar.core.feed import RecordKind
from sidecar.doors.native.answers import Revision

Digest = Annotated[str, Meta(description="SHA-256 in lower-case hexadecimal", pattern="^[0-9a-f]{64}$")]
Microseconds = Annotated[int, Meta(description="since 1970 in UTC")]


class FeedChange(TypedDict):
    """One record as it is now, or that it is gone: then `value` is null."""

    kind: RecordKind
    id: str
    revision: Revision
    place: Annotated[int, Meta(description="its order among all of its kind")]
    owner: str | None
    external_id: str | None
    value: dict[str, object] | None


class FollowedTenant(TypedDict):
    """The tenant that is followed."""

    tenant_id: str
    name: str
    mode: str
    time_zone: str
    root_identity_id: str
    created_at_us: Microseconds
    rate_limit: dict[str, object] | None
    authzen: dict[str, object]


class PolicyFile(TypedDict):
    """A file by its path."""

    path: str
    text: str


class HeldFiles(TypedDict):
    """The schema and policy files that hold for the tenant."""

    schemas: list[PolicyFile]
    shared: list[PolicyFile]
    by_tenant: dict[str, list[PolicyFile]]


class LogMark(TypedDict):
    """A record of the log by its number, and its hash."""

    seq: int
    hash: str


class FeedPage(TypedDict):
    """What changed after `from_revision` up to `to_revision`; more pages follow while that is below `head`.

    `origin` names the log of the tenant, and so the store. Where `is_compacted` is true, a snapshot is to be taken.
    `files` come with the last page, and only where the asker has others. `mark` is the newest record of the log, which
    the next question names. `outside` are all identities beyond a subtree that its follower has reason to know; it
    comes with a last page that tells anything. `digest` is that of all other fields, as JSON
    without spaces and with its keys in order.
    """

    format: int
    origin: str
    follower_id: str | None
    scope: str | None
    from_revision: Revision
    to_revision: Revision
    head: Revision
    time_us: Microseconds
    tenant: FollowedTenant
    files_digest: Digest
    files: HeldFiles | None
    is_compacted: bool
    mark: LogMark | None
    outside: list[str] | None
    changes: list[FeedChange]
    digest: Digest

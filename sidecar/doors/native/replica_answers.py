"""What answers tell of a server that follows a control plane, as types."""

from typing import Annotated, Literal, NotRequired, TypedDict

from msgspec import Meta

from sidecar.core.grammar import IdentityId, TenantId, TokenId
from sidecar.doors.native.answers import Alive, FilesRevision, HoldingPolicies

Seconds = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=0)]


class Following(TypedDict):
    """How a server stands with its control plane.

    ``age_seconds`` is how old its data is, ``skew_seconds`` how far the control plane's clock is ahead, null where
    nobody can say.
    """

    revision: Count | None
    head: Count
    lag_revisions: Count
    age_seconds: Seconds | None
    skew_seconds: float | None
    connected: bool
    last_error: str | None


class Ready(Alive):
    """Decisions can be made and recorded; ``replica`` stands there where a control plane is followed."""

    policies: HoldingPolicies
    replica: NotRequired[Following]


class Shipped(TypedDict):
    """The audit log of this server: its records, how many of them the control plane has, and how many wait."""

    records: Count
    shipped: Count
    backlog: Count


class Replica(TypedDict):
    """Whether a server follows a control plane, and how it stands with it; without one there is ``role`` alone."""

    role: Literal["standalone", "follower"]
    control_plane: NotRequired[str]
    tenant_id: NotRequired[TenantId | None]
    scope: NotRequired[IdentityId | None]
    follower_id: NotRequired[TokenId | None]
    revision: NotRequired[Count | None]
    head: NotRequired[Count]
    lag_revisions: NotRequired[Count]
    age_seconds: NotRequired[Seconds | None]
    skew_seconds: NotRequired[float | None]
    connected: NotRequired[bool]
    last_error: NotRequired[str | None]
    fault: NotRequired[str | None]
    staged_records: NotRequired[Count | None]
    files_revision: NotRequired[FilesRevision | None]
    policy_revision: NotRequired[str | None]
    audit: NotRequired[Shipped]

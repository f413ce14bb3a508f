"""The answers of the native API as types: ``render`` is checked against them, and the API description generated.

Typed dictionaries, so that an answer stays a dictionary where it is made. More fields may be added to an answer; none
goes. A field of the type ``Exact`` is a number of any length, which a reader should not put through a binary float.
Answers about decisions and the audit log are in ``verdicts``.
"""

from typing import Annotated, Generic, Literal, NotRequired, TypeAlias, TypedDict, TypeVar

from msgspec import Meta

from sidecar.core.access import TokenKind
from sidecar.core.budget import OnExceeded, OnExpiry
from sidecar.core.directory import Mode, Status
from sidecar.core.grammar import Instant, RateLimitText
from sidecar.core.windows import Period

T = TypeVar("T")

Exact: TypeAlias = Annotated[
    object,
    Meta(description="an exact number: major units of an amount, or a count", extra_json_schema={"type": "number"}),
]
Revision: TypeAlias = Annotated[int, Meta(description="grows with each change", extra_json_schema={"minimum": 0})]
Changed: TypeAlias = Annotated[Instant | None, Meta(description="null while it is as it was made")]
Secret: TypeAlias = Annotated[str, Meta(description="shown in this answer only; null where the answer is a replay")]


class Page(TypedDict, Generic[T]):
    """One page of a list, the newest last; ``next_cursor`` asks for the next one."""

    data: list[T]
    next_cursor: str | None


class Authzen(TypedDict):
    """The properties by which the callers of AuthZEN may change what is decided, and how much each answer says."""

    subject_properties: list[str]
    resource_properties: list[str]
    item_context: bool


class Tenant(TypedDict):
    """An isolated organisation. Its root identity stands for the human who is accountable for it."""

    tenant_id: str
    root_identity_id: str
    name: str
    mode: Mode
    time_zone: str
    rate_limit: RateLimitText | None
    external_id: str | None
    authzen: Authzen
    created_at: Instant


class FoundedTenant(Tenant):
    """A new tenant with its first key."""

    api_key: Secret | None


class CardDefaults(TypedDict):
    """The limit of cards that come without one."""

    limit: Exact
    currency: str
    period: Period


class Identity(TypedDict):
    """A node of the tenant's hierarchy.

    ``effective_status`` is what holds for it, with its ancestors counted, and ``blocked_by`` whose status that is.
    """

    identity_id: str
    tenant_id: str
    parent_id: str | None
    type: str
    name: str
    status: Status
    effective_status: Status
    blocked_by: str | None
    external_id: str | None
    metadata: object
    max_cards: int | None
    description: str | None
    card_defaults: CardDefaults | None
    revoked_at: Instant | None
    created_at: Instant
    updated_at: Changed
    revision: Revision


class RevokedIdentity(Identity):
    """A revoked identity; ``affected`` counts it and everybody below."""

    affected: int


class Link(TypedDict):
    """One identity on the way to the root."""

    identity_id: str
    type: str
    name: str
    status: Status


class IdentityChain(TypedDict):
    """An identity and its ancestors, the root last."""

    identity_id: str
    chain: list[Link]


class Policy(TypedDict):
    """A policy with the Cedar text that is evaluated; ``rules`` as they were written, null for plain Cedar."""

    policy_id: str
    tenant_id: str
    identity_id: str | None
    name: str
    rules: object
    cedar: str
    warnings: Annotated[tuple[str, ...], Meta(description="what is allowed and probably not meant")]
    created_at: Instant
    revision: Revision


class Usage(TypedDict):
    """What the present window of a budget has used; a limit per transaction has none.

    ``reported_at`` stands with a budget that a follower decides on: when it told this, null where it told nothing yet.
    """

    window_start: Instant | None
    window_end: Instant | None
    settled: Exact
    reserved: Exact
    remaining: Exact
    reported_at: NotRequired[Instant | None]


class Budget(TypedDict):
    """A limit of an identity, or of a card, and what is used of it."""

    budget_id: str
    tenant_id: str
    identity_id: str | None
    card_id: str | None
    name: str
    dimension: str
    period: Period
    limit: Exact
    currency: str | None
    actions: Annotated[tuple[str, ...], Meta(description="none are all")]
    on_exceeded: OnExceeded
    on_expiry: OnExpiry
    account_id: str | None
    follower_id: Annotated[str | None, Meta(description="the follower's token that alone decides on it")]
    notify_at: Exact
    usage: Annotated[Usage | None, Meta(description="null at a follower that does not decide on it")]
    warnings: tuple[str, ...]
    created_at: Instant
    updated_at: Changed
    revision: Revision


class Token(TypedDict):
    """A token without its text; ``prefix`` is enough to recognise it by."""

    token_id: str
    tenant_id: str
    prefix: str
    kind: TokenKind
    name: str
    identity_id: str | None
    may_release: bool
    rate_limit: RateLimitText | None
    created_at: Instant
    expires_at: Instant | None
    rotated_at: Instant | None
    former_expires_at: Annotated[Instant | None, Meta(description="until when the secret before opens as well")]


class MintedToken(Token):
    """A new token with its text."""

    token: Secret | None


class Health(TypedDict):
    """The process answers."""

    status: Literal["ok"]
    service: str
    timestamp: Instant


class Alive(TypedDict):
    """The process is alive, or ready."""

    status: Literal["ok"]
    timestamp: Instant


FilesRevision: TypeAlias = Annotated[
    str | None,
    Meta(description="`sha256:` of the policy and schema files of all tenants; a decision's names those of its tenant"),
]


class ReloadedPolicies(TypedDict):
    """What became of the policy files; ``policy_revision`` is of those that hold now.

    ``reason`` says why the shadow files among them were not loaded, null where they were or where there are none.
    """

    outcome: Literal["loaded", "unchanged"]
    policy_revision: FilesRevision
    previous_revision: FilesRevision
    files: int
    seconds: Exact
    reason: str | None


class LastReload(TypedDict):
    """How the newest reload since the start ended.

    ``reason`` says why files were refused, or the shadow files among those that were loaded.
    """

    at: Instant
    outcome: Literal["loaded", "unchanged", "refused"]
    by: str
    reason: str | None


class HoldingPolicies(TypedDict):
    """The policy files that decide, also while others are refused."""

    revision: FilesRevision
    loaded_at: Instant | None
    last_reload: LastReload | None


class NotReady(TypedDict):
    """The process cannot decide, and why."""

    status: Literal["unavailable"]
    reason: str

"""The answers about shadow policies as types; see ``answers``."""

from typing import Annotated, TypedDict

from msgspec import Meta

from sidecar.core.grammar import Instant
from sidecar.core.shadow import Direction
from sidecar.doors.native.answers import Exact
from sidecar.doors.native.verdicts import Code, Resource, Sequence

PolicyRevision = Annotated[str, Meta(extra_json_schema={"pattern": "^sha256:"})]


class NamedPolicy(TypedDict):
    """A policy that decided; ``source`` is its file and line, or the path of one made by the API."""

    policy_id: str
    source: str | None


class Side(TypedDict):
    """A verdict, its codes and the policies behind it, the most important first."""

    allowed: bool
    codes: tuple[Code, ...]
    policies: list[NamedPolicy]


class Difference(TypedDict):
    """A decision that the shadow policies would have made otherwise; ``seq`` is that of its audit record."""

    decision_id: str
    seq: Sequence
    direction: Direction
    evaluated_at: Instant
    identity_id: str
    action: str
    resource: Resource
    amount: Exact | None
    currency: str | None
    live: Side
    shadow: Side
    policy_revision: PolicyRevision
    shadow_revision: PolicyRevision


class CurrencySum(TypedDict):
    """The amounts of one currency."""

    currency: str
    amount: Exact


class Flips(TypedDict):
    """How many verdicts differ, and the amounts that these decisions are about, by currency."""

    count: int
    amounts: list[CurrencySum]


class Summary(TypedDict):
    """What became of the tenant's decisions since the shadow files were loaded, over all workers.

    ``evaluated`` are those with a second verdict; ``errors`` could not be compared, ``dropped`` waited behind too many.
    ``shadow_revision`` is null where no shadow files are loaded.
    """

    shadow_revision: PolicyRevision | None
    evaluated: int
    same: int
    allow_to_deny: Flips
    deny_to_allow: Flips
    errors: int
    dropped: int


class Comparison(TypedDict):
    """One page of differences, the newest last, with the summary of all; the 1,000 newest differences are kept."""

    data: list[Difference]
    next_cursor: str | None
    summary: Summary

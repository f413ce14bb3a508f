"""The request that is decided and the decision that answers it, as every door and every store sees them.

Money is already in minor units here and every text has passed its grammar: doors parse, this module only holds. What a
value *means* (budgets, reservations, policies) belongs to the module of that name.
"""

from typing import Literal, TypeAlias

import msgspec

from sidecar.core.errors import ValidationFailed
from sidecar.core.money import NumberText

Json: TypeAlias = bool | int | float | str | list[object] | dict[str, object] | None
"""Plain data as ``check_plain`` lets it pass; it nests, which msgspec cannot be told of an alias.

A ``float`` is in metadata only, which policies see as texts.
"""

LONG_MAX = 2**63 - 1
"""Cedar's Long is a signed 64-bit integer."""

_sorted = msgspec.json.Encoder(order="sorted")

CEDAR_ESCAPES = frozenset({"__entity", "__extn", "__expr"})
"""Keys that make Cedar read a text as an entity or an extension call: from a caller they are an attack."""


class ResourceRef(msgspec.Struct, frozen=True):
    """What is acted on: ``type`` in snake_case as on the wire, ``id`` as the caller wrote it."""

    type: str
    id: str


class ClaimedTags(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tags of identities as the caller claims them; for this request they take the place of stored ones.

    ``principal`` are those of the acting identity, ``resource`` those of the resource where that is an identity too.
    """

    principal: dict[str, str] = {}
    resource: dict[str, str] = {}


class AuthorizeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One question to decide. ``amount_minor`` is in minor units of ``currency``; both or neither are given.

    ``tags`` are in few requests only, and only there in the bytes that stand for one: most of those bytes are older
    than the field.
    """

    identity_id: str
    action: str
    resource: ResourceRef
    amount_minor: int | None = None
    currency: str | None = None
    merchant_category: str | None = None
    quantities: dict[str, int] = {}
    attributes: dict[str, Json] = {}
    context: dict[str, Json] = {}
    card_id: str | None = None
    ttl_seconds: int
    tags: ClaimedTags | msgspec.UnsetType = msgspec.UNSET

    def canonical(self) -> bytes:
        """The bytes that stand for this request wherever two requests are compared or one is kept as a fact."""
        return _sorted.encode(self)


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """One cause of a verdict. The ``None`` fields are those that a code has no use for."""

    verdict: Literal["permit", "deny"]
    code: str
    message: str
    policy_id: str | None = None
    matched_rule: str | None = None
    source: str | None = None
    advice: str | None = None
    identity_id: str | None = None
    card_id: str | None = None
    budget_id: str | None = None
    requested: int | None = None
    remaining: int | None = None
    currency: str | None = None
    retry_at_us: int | None = None


class BudgetCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What one budget said: its figures before this request, what was asked, and whether that fits.

    ``limit``, ``settled``, ``reserved``, ``requested`` and ``remaining`` are minor units for the dimension ``amount``
    and plain integers otherwise; ``remaining`` is never negative.
    """

    budget_id: str
    identity_id: str | None
    card_id: str | None
    name: str
    dimension: str
    period: str
    currency: str | None
    limit: int
    settled: int
    reserved: int
    requested: int
    remaining: int
    allowed: bool
    resets_at_us: int | None


class AuditMark(msgspec.Struct, frozen=True):
    """Where the record of a decision stands in its tenant's log; ``hash`` is its link, base64url without padding."""

    seq: int
    hash: str


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one request. A ``dry_run`` has neither id nor reservation nor audit mark.

    ``data_age_us`` is how old the data was that a follower decided on, None where nobody could say and on any other
    server.
    """

    decision_id: str | None
    identity_id: str
    action: str
    allowed: bool
    reasons: tuple[Reason, ...]
    budget_checks: tuple[BudgetCheck, ...]
    reserved_minor: int | None
    currency: str | None
    reserved_quantities: dict[str, int]
    expires_at_us: int | None
    evaluated_at_us: int
    policy_revision: str
    entity_revision: int
    audit: AuditMark | None
    dry_run: bool = False
    data_age_us: int | None = None


def check_plain(value: object, field: str) -> Json:
    """Return ``value`` as plain data that Cedar can take.

    Raises ValidationFailed, naming the place, for a number with a fraction (Cedar has no floating point), an integer
    beyond 64 bits, and a key from ``CEDAR_ESCAPES`` at any depth.
    """
    match value:
        case NumberText():
            message = f"a number with a fraction or exponent cannot be compared in a policy, got `{value.text[:40]}`"
            raise ValidationFailed(message, field=field)
        case bool() | str() | None:
            return value
        case int():
            if -LONG_MAX - 1 <= value <= LONG_MAX:
                return value
            raise ValidationFailed("an integer must fit 64 bits", field=field)
        case list():
            return [check_plain(item, f"{field}[{index}]") for index, item in enumerate(value)]
        case dict():
            return {key: check_plain(item, f"{field}.{check_key(key, field)}") for key, item in value.items()}
        case _:
            raise ValidationFailed(f"unsupported value of type `{type(value).__name__}`", field=field)


def check_key(key: str, field: str) -> str:
    """Return ``key`` unless it is one that Cedar's JSON would not read as data."""
    if key in CEDAR_ESCAPES:
        raise ValidationFailed(f"the key `{key}` is not allowed", field=f"{field}.{key}")
    return key

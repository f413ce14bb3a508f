"""From a request to what Cedar is asked: principal, action, resource, context, and the entities they reach.

A request that does not fit the schema is refused, naming the place, with three exceptions that are answers and not
mistakes of form: an unknown action, an unknown resource type, and a principal type that the action does not apply to
are ``Unanswerable`` and end as recorded denials (DESIGN rule 1).
"""

from collections.abc import Iterator
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from sidecar.core.conformity import conform
from sidecar.core.directory import Identity, IdentityChain, Mode, entities_of
from sidecar.core.errors import ValidationFailed
from sidecar.core.ids import pascal_case
from sidecar.core.instants import utc_text
from sidecar.core.model import AuthorizeRequest
from sidecar.core.policy import CedarRequest, EntityUid, check_extension
from sidecar.core.schema import Action, EntityType, RecordType, SchemaModel
from sidecar.core.windows import local_hour_and_weekday

OURS: Final = {
    "amount": "resource.amount",
    "currency": "resource.currency",
    "merchant_category": "resource.merchant_category",
    "quantities": "resource.quantities",
    "now": "now",
    "hour": "now",
    "weekday": "now",
    "mode": "mode",
}
"""Context keys that the sidecar fills, and the place in the request to blame when one is missing."""


class Unanswerable(msgspec.Struct, frozen=True):
    """Why no policy could ever speak of the request."""

    message: str


class Question(msgspec.Struct, frozen=True):
    """What Cedar is asked, with the context as plain values for saying what was seen.

    ``references`` are the entities that the caller's context and attributes name.
    """

    request: CedarRequest
    entities: list[dict[str, object]]
    seen: dict[str, object]
    references: frozenset[EntityUid] = frozenset()


class Circumstances(msgspec.Struct, frozen=True):
    """What the sidecar itself knows of a request."""

    now_us: int
    zone: ZoneInfo
    mode: Mode


def pose(
    request: AuthorizeRequest,
    chain: IdentityChain,
    target: IdentityChain | None,
    schema: SchemaModel,
    circumstances: Circumstances,
) -> Question | Unanswerable:
    """Return the question, or why there is none.

    ``target`` is the identity chain of the resource when its type is an identity type. Raises ValidationFailed for
    context and attributes that do not fit the schema.
    """
    action = schema.actions.get(request.action)
    if action is None:
        return Unanswerable(f"the schema knows no action `{request.action}`")
    resource_type = schema.entity_types.get(pascal_case(request.resource.type))
    if resource_type is None:
        return Unanswerable(f"the schema knows no resource type `{request.resource.type}`")
    principal_type = pascal_case(chain[0].type)
    if principal_type not in action.principals:
        return Unanswerable(f"`{request.action}` does not apply to identities of type `{chain[0].type}`")
    if resource_type.name not in action.resources:
        message = f"`{request.action}` does not apply to resources of type `{request.resource.type}`"
        raise ValidationFailed(message, field="resource.type")
    if resource_type.choices is not None and request.resource.id not in resource_type.choices:
        raise ValidationFailed(f"the schema declares no such `{request.resource.type}`", field="resource.id")
    seen = _context(request, action, circumstances)
    resource = _resource(request, resource_type) if target is None else None
    cedar = CedarRequest(
        principal=(principal_type, chain[0].identity_id),
        action=request.action,
        resource=(resource_type.name, request.resource.id),
        context=seen,
    )
    return Question(cedar, _entities(chain, target, resource), seen, frozenset(_references([seen, resource])))


def _context(request: AuthorizeRequest, action: Action, circumstances: Circumstances) -> dict[str, object]:
    hour, weekday = local_hour_and_weekday(circumstances.now_us, circumstances.zone)
    ours: dict[str, object] = {
        "amount": request.amount_minor,
        "currency": request.currency,
        "merchant_category": request.merchant_category,
        "quantities": _declared_quantities(request, action.context),
        "now": {"__extn": {"fn": "datetime", "arg": utc_milliseconds(circumstances.now_us)}},
        "hour": hour,
        "weekday": weekday,
        "mode": circumstances.mode,
    }
    for key in request.context:
        if key in ours:
            raise ValidationFailed(f"the context key `{key}` is set by the sidecar", field=f"context.{key}")
    context = {key: value for key, value in ours.items() if value is not None and key in action.context.fields}
    for key, field in action.context.fields.items():
        if key in ours and field.required and key not in context:
            raise ValidationFailed(f"`{action.name}` requires `{key}`", field=OURS[key])
    own_fields = {key: field for key, field in action.context.fields.items() if key not in ours}
    own = conform(request.context, RecordType(own_fields), "context", check_extension)
    return context | own if isinstance(own, dict) else context


def utc_milliseconds(now_us: int) -> str:
    """Return a time as Cedar's ``datetime`` takes it: no finer than milliseconds."""
    text = utc_text(now_us // 1000 * 1000)
    return text if len(text) == len("2026-11-22T00:00:00Z") else f"{text[:-4]}Z"


def _declared_quantities(request: AuthorizeRequest, context: RecordType) -> object:
    """Return those of the quantities that the context declares, None for none of them."""
    field = context.fields.get("quantities")
    if field is None or not isinstance(field.type, RecordType):
        return None
    declared = {name: value for name, value in request.quantities.items() if name in field.type.fields}
    return conform(declared, field.type, "resource.quantities", check_extension) if declared else None


def _resource(request: AuthorizeRequest, entity_type: EntityType) -> dict[str, object]:
    attributes = dict(request.attributes)
    if "merchant_category" in attributes:
        message = "the merchant category is given as `resource.merchant_category`"
        raise ValidationFailed(message, field="resource.attributes.merchant_category")
    field = entity_type.attributes.fields.get("merchant_category")
    if field is not None and request.merchant_category is not None:
        attributes["merchant_category"] = request.merchant_category
    elif field is not None and field.required:
        message = f"a `{request.resource.type}` requires `merchant_category`"
        raise ValidationFailed(message, field="resource.merchant_category")
    conformed = conform(attributes, entity_type.attributes, "resource.attributes", check_extension)
    uid = {"type": entity_type.name, "id": request.resource.id}
    return {"uid": uid, "attrs": conformed, "parents": []}


def _entities(
    chain: IdentityChain, target: IdentityChain | None, resource: dict[str, object] | None
) -> list[dict[str, object]]:
    if target is None:
        return [*entities_of(chain), *([resource] if resource is not None else [])]
    known = {identity.identity_id for identity in chain}
    entities = entities_of(chain)
    entities += [entity for entity, identity in zip(entities_of(target), target, strict=True) if _new(identity, known)]
    return entities


def _new(identity: Identity, known: set[str]) -> bool:
    return identity.identity_id not in known


def _references(value: object) -> Iterator[EntityUid]:
    """Yield every entity that conformed values name."""
    if isinstance(value, dict):
        entity = value.get("__entity")
        if isinstance(entity, dict):
            yield str(entity["type"]), str(entity["id"])
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for member in members:
        yield from _references(member)

"""From a request to what Cedar is asked: principal, action, resource, context, and the entities they reach.

A request that does not fit the schema is refused, naming the place, with three exceptions that are answers and not
mistakes of form: an unknown action, an unknown resource type, and a principal type that the action does not apply to
are ``Unanswerable`` and end as recorded denials (DESIGN rule 1).
"""

from collections.abc import Iterator
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

from sidecar.core.conformity import conform
from sidecar.core.directory import Identity, IdentityChain, Mode, entities_of
from sidecar.core.errors import ValidationFailed
from sidecar.core.forms import OURS, Form, Forms
from sidecar.core.ids import pascal_case
from sidecar.core.instants import utc_text
from sidecar.core.model import AuthorizeRequest
from sidecar.core.policy import CedarRequest, EntityUid, check_extension
from sidecar.core.windows import SECOND_US, local_hour_and_weekday


class Unanswerable(msgspec.Struct, frozen=True):
    """Why no policy could ever speak of the request."""

    message: str


class Question(msgspec.Struct, frozen=True):
    """What Cedar is asked; the request's context are all values that policies can see.

    ``resource`` is the resource as an entity, None where that is an identity, whose identity chain is ``target``.
    ``references`` are the entities that the caller's context and attributes name.
    """

    request: CedarRequest
    form: Form
    chain: IdentityChain
    target: IdentityChain | None
    resource: dict[str, object] | None
    references: frozenset[EntityUid] = frozenset()

    @property
    def seen(self) -> dict[str, object]:
        """The context, for saying what was seen."""
        return self.request.context

    @property
    def entities(self) -> list[dict[str, object]]:
        """The identity chain and the resource as entities."""
        return _entities(self.chain, self.target, self.resource)


class Circumstances(msgspec.Struct, frozen=True):
    """What the sidecar itself knows of a request."""

    now_us: int
    zone: ZoneInfo
    mode: Mode


def pose(
    request: AuthorizeRequest,
    chain: IdentityChain,
    target: IdentityChain | None,
    forms: Forms,
    circumstances: Circumstances,
) -> Question | Unanswerable:
    """Return the question, or why there is none.

    ``target`` is the identity chain of the resource when its type is an identity type. Raises ValidationFailed for
    context and attributes that do not fit the schema.
    """
    form = forms.find(request.action, request.resource.type)
    if isinstance(form, str):
        return Unanswerable(form)
    principal_type = pascal_case(chain[0].type)
    if principal_type not in form.action.principals:
        return Unanswerable(f"`{request.action}` does not apply to identities of type `{chain[0].type}`")
    if form.resource.name not in form.action.resources:
        message = f"`{request.action}` does not apply to resources of type `{request.resource.type}`"
        raise ValidationFailed(message, field="resource.type")
    if form.resource.choices is not None and request.resource.id not in form.resource.choices:
        raise ValidationFailed(f"the schema declares no such `{request.resource.type}`", field="resource.id")
    seen = _context(request, form, circumstances)
    resource = _resource(request, form) if target is None else None
    cedar = CedarRequest(
        principal=(principal_type, chain[0].identity_id),
        action=request.action,
        resource=(form.resource.name, request.resource.id),
        context=seen,
    )
    references = frozenset(_references([seen, resource])) if form.names_entities else frozenset()
    return Question(cedar, form, chain, target, resource, references)


def _context(request: AuthorizeRequest, form: Form, circumstances: Circumstances) -> dict[str, object]:
    for key in request.context:
        if key in OURS:
            raise ValidationFailed(f"the context key `{key}` is set by the sidecar", field=f"context.{key}")
    hour, weekday = _hour_and_weekday(circumstances.now_us // SECOND_US, circumstances.zone)
    ours: dict[str, object] = {
        "amount": request.amount_minor,
        "currency": request.currency,
        "merchant_category": request.merchant_category,
        "quantities": _declared_quantities(request, form) if request.quantities else None,
        "now": {"__extn": {"fn": "datetime", "arg": utc_milliseconds(circumstances.now_us)}},
        "hour": hour,
        "weekday": weekday,
        "mode": circumstances.mode,
    }
    context = {key: value for key, value in ours.items() if value is not None and key in form.declared}
    for key in form.required:
        if key not in context:
            raise ValidationFailed(f"`{request.action}` requires `{key}`", field=OURS[key])
    if form.is_context_optional and not request.context:
        return context
    own = conform(request.context, form.own, "context", check_extension)
    return context | own if isinstance(own, dict) else context


@lru_cache(maxsize=1024)  # Clocks show whole hours and change on whole seconds only.
def _hour_and_weekday(second: int, zone: ZoneInfo) -> tuple[int, int]:
    return local_hour_and_weekday(second * SECOND_US, zone)


def utc_milliseconds(now_us: int) -> str:
    """Return a time as Cedar's ``datetime`` takes it: no finer than milliseconds."""
    second, fraction = divmod(now_us, SECOND_US)
    milliseconds = fraction // 1000
    text = _second_text(second)
    return f"{text[:-1]}.{milliseconds:03}Z" if milliseconds else text


@lru_cache(maxsize=16)
def _second_text(second: int) -> str:
    return utc_text(second * SECOND_US)


def _declared_quantities(request: AuthorizeRequest, form: Form) -> object:
    """Return those of the quantities that the context declares, None for none of them."""
    if form.quantities is None:
        return None
    declared = {name: value for name, value in request.quantities.items() if name in form.quantities.fields}
    return conform(declared, form.quantities, "resource.quantities", check_extension) if declared else None


def _resource(request: AuthorizeRequest, form: Form) -> dict[str, object]:
    attributes = dict(request.attributes)
    if "merchant_category" in attributes:
        message = "the merchant category is given as `resource.merchant_category`"
        raise ValidationFailed(message, field="resource.attributes.merchant_category")
    if form.category and request.merchant_category is not None:
        attributes["merchant_category"] = request.merchant_category
    elif form.needs_category:
        message = f"a `{request.resource.type}` requires `merchant_category`"
        raise ValidationFailed(message, field="resource.merchant_category")
    conformed: object = attributes
    if request.attributes or not form.is_bare_resource_fit:
        conformed = conform(attributes, form.resource.attributes, "resource.attributes", check_extension)
    uid = {"type": form.resource.name, "id": request.resource.id}
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

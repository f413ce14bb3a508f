"""From a request to what Cedar is asked: principal, action, resource, context, and the entities they reach.

A request that does not fit the schema is refused, naming the place, with three exceptions that are answers and not
mistakes of form: an unknown action, an unknown resource type, and a principal type that the action does not apply to
are ``Unanswerable`` and end as recorded denials (DESIGN rule 1).
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from sidecar.core.conformity import conform, conform_record
from sidecar.core.directory import IdentityChain, Mode, entities_of, with_tags
from sidecar.core.errors import ValidationFailed
from sidecar.core.forms import OURS, Form, Forms
from sidecar.core.instants import utc_text
from sidecar.core.model import AuthorizeRequest, ClaimedTags, Json
from sidecar.core.policy import check_extension
from sidecar.core.policy_scope import EntityUid
from sidecar.core.ruling import CedarRequest
from sidecar.core.windows import SECOND_US, local_hour_and_weekday

NONE: Final = frozenset[EntityUid]()


class Unanswerable(msgspec.Struct, frozen=True):
    """Why no policy could ever speak of the request."""

    message: str


class Circumstances(msgspec.Struct, frozen=True, gc=False):
    """What the sidecar itself knows of a request."""

    now_us: int
    zone: ZoneInfo
    mode: Mode

    def tell(self, names: Iterable[str]) -> dict[str, object]:
        """Return those that are named, of ``sidecar.core.forms.CIRCUMSTANCES``, in Cedar's JSON."""
        hour, weekday = _hour_and_weekday(self.now_us // SECOND_US, self.zone)
        told: dict[str, object] = {
            "now": {"__extn": {"fn": "datetime", "arg": utc_milliseconds(self.now_us)}},
            "hour": hour,
            "weekday": weekday,
            "mode": self.mode,
        }
        return {name: told[name] for name in names}


class Question(msgspec.Struct, frozen=True, gc=False):
    """What Cedar is asked. What few policies read is worked out when it is asked for, always of the same moment.

    ``given`` is the part of the context that comes from the request. ``attributes`` are those of the resource, None
    where that is an identity, whose identity chain is ``target``. ``references`` are the entities that the caller's
    context and attributes name. With ``is_claimed`` the identities are not as they are stored: some of their
    tags are the caller's.
    """

    principal: EntityUid
    resource: EntityUid
    form: Form
    chain: IdentityChain
    target: IdentityChain | None
    given: dict[str, object]
    circumstances: Circumstances
    attributes: dict[str, object] | None
    references: frozenset[EntityUid] = NONE
    is_claimed: bool = False

    @property
    def seen(self) -> dict[str, object]:
        """The context: all values that policies can see."""
        return self.given | self.circumstances.tell(self.form.circumstances)

    @property
    def request(self) -> CedarRequest:
        """The request with its whole context."""
        return CedarRequest(self.principal, self.form.action.name, self.resource, self.seen)

    def asking(self, names: tuple[str, ...] | None) -> CedarRequest:
        """Return the request with those parts of its context that are named; all for None."""
        if names is None:
            return self.request
        form, given = self.form, self.given
        context: dict[str, object] = {}
        for name in names:
            if name in given:
                context[name] = given[name]
        if not form.circumstances.isdisjoint(names):
            context |= self.circumstances.tell(form.circumstances.intersection(names))
        return CedarRequest(self.principal, form.action.name, self.resource, context)

    @property
    def resource_entity(self) -> dict[str, object]:
        """The resource as an entity, where it is no identity."""
        kind, resource_id = self.resource
        return {"uid": {"type": kind, "id": resource_id}, "attrs": self.attributes, "parents": []}

    @property
    def entities(self) -> list[dict[str, object]]:
        """The identity chain and the resource as entities."""
        entities = entities_of(self.chain)
        if self.target is None:
            return [*entities, self.resource_entity]
        known = {identity.identity_id for identity in self.chain}
        pairs = zip(entities_of(self.target), self.target, strict=True)
        return entities + [entity for entity, identity in pairs if identity.identity_id not in known]


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
    principal_type = form.principals.get(chain[0].type)
    if principal_type is None:
        return Unanswerable(f"`{request.action}` does not apply to identities of type `{chain[0].type}`")
    if not form.is_met:
        message = f"`{request.action}` does not apply to resources of type `{request.resource.type}`"
        raise ValidationFailed(message, field="resource.type")
    if form.resource.choices is not None and request.resource.id not in form.resource.choices:
        raise ValidationFailed(f"the schema declares no such `{request.resource.type}`", field="resource.id")
    given = _given(request, form)
    attributes = _attributes(request, form) if target is None else None
    references = frozenset(_references([given, attributes])) if form.names_entities else NONE
    principal, resource = (principal_type, chain[0].identity_id), (form.resource.name, request.resource.id)
    tags = request.tags
    if isinstance(tags, ClaimedTags):
        claimed = _claimed(tags, chain[0].identity_id, request.resource.id if target is not None else None)
        chain = with_tags(chain, claimed)
        target = None if target is None else with_tags(target, claimed)
    is_claimed = tags is not msgspec.UNSET
    return Question(principal, resource, form, chain, target, given, circumstances, attributes, references, is_claimed)


def _claimed(tags: ClaimedTags, identity_id: str, target_id: str | None) -> dict[str, dict[str, str]]:
    """Return the tags that are claimed, by identity. Raises ValidationFailed where they contradict each other.

    An identity that acts on itself is one entity: of it only those count that are claimed in both places, since a
    tenant that believes callers about resources need not believe them about who acts.
    """
    if target_id is None:
        return {identity_id: tags.principal}
    if target_id != identity_id:
        return {identity_id: tags.principal, target_id: tags.resource}
    both = {name: text for name, text in tags.principal.items() if name in tags.resource}
    for name, text in both.items():
        if tags.resource[name] != text:
            raise ValidationFailed(f"the tag `{name[:64]}` of one identity is claimed with two values")
    return {identity_id: both}


def _given(request: AuthorizeRequest, form: Form) -> dict[str, object]:
    if request.context:
        _require_none_of_ours(request.context)
    given: dict[str, object] = {}
    declared = form.declared
    if request.amount_minor is not None and "amount" in declared:
        given["amount"] = request.amount_minor
    if request.currency is not None and "currency" in declared:
        given["currency"] = request.currency
    if request.merchant_category is not None and "merchant_category" in declared:
        given["merchant_category"] = request.merchant_category
    if request.quantities:
        quantities = _declared_quantities(request, form)
        if quantities is not None:
            given["quantities"] = quantities
    for key in form.required:
        if key not in given:
            raise ValidationFailed(f"`{request.action}` requires `{key}`", field=OURS[key])
    if form.is_context_optional and not request.context:
        return given
    return given | conform_record(request.context, form.own, "context", check_extension)


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


def _require_none_of_ours(context: dict[str, Json]) -> None:
    for key in context:
        if key in OURS:
            raise ValidationFailed(f"the context key `{key}` is set by the sidecar", field=f"context.{key}")


def _declared_quantities(request: AuthorizeRequest, form: Form) -> object:
    """Return those of the quantities that the context declares, None for none of them."""
    if form.quantities is None:
        return None
    declared = {name: value for name, value in request.quantities.items() if name in form.quantities.fields}
    return conform(declared, form.quantities, "resource.quantities", check_extension) if declared else None


def _attributes(request: AuthorizeRequest, form: Form) -> dict[str, object]:
    attributes: dict[str, object] = {**request.attributes}
    if "merchant_category" in attributes:
        message = "the merchant category is given as `resource.merchant_category`"
        raise ValidationFailed(message, field="resource.attributes.merchant_category")
    if form.category and request.merchant_category is not None:
        attributes["merchant_category"] = request.merchant_category
    elif form.needs_category:
        message = f"a `{request.resource.type}` requires `merchant_category`"
        raise ValidationFailed(message, field="resource.merchant_category")
    if request.attributes or not form.is_bare_resource_fit:
        return conform_record(attributes, form.resource.attributes, "resource.attributes", check_extension)
    return attributes


def _references(value: object) -> Iterator[EntityUid]:
    """Yield every entity that conformed values name."""
    if isinstance(value, dict):
        entity = value.get("__entity")
        if isinstance(entity, dict):
            yield str(entity["type"]), str(entity["id"])
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for member in members:
        yield from _references(member)

"""What is the same for all requests for one action on one type of resource, worked out once.

Which context keys the sidecar fills and which the caller may, what is required, and whether the sidecar's own checks of
such a request say all that Cedar's check against the schema would say.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from sidecar.core.ids import pascal_case, snake_case
from sidecar.core.schema import (
    LONG,
    STRING,
    Action,
    CedarType,
    EntityReference,
    EntityType,
    Extension,
    RecordType,
    SchemaModel,
    SetType,
)

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

CIRCUMSTANCES: Final = frozenset({"now", "hour", "weekday", "mode"})
"""Those of them that no request is asked for: they are always there."""

_FILLED_WITH: Final[dict[str, CedarType]] = {
    "amount": LONG,
    "currency": STRING,
    "merchant_category": STRING,
    "now": Extension("datetime"),
    "hour": LONG,
    "weekday": LONG,
    "mode": STRING,
}
"""The types of what the sidecar fills; quantities are held against the declared type with each request."""


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """Requests for one action on one type of resource.

    ``is_met`` says whether the action applies to such resources, ``principals`` are the types of the wire that it
    applies to, each with its Cedar type.

    ``declared`` are the keys of ``OURS`` that the action's context has and a request can give, ``required`` those of
    them that it must have; ``circumstances`` are the keys that it has whatever the request;
    ``own`` is the rest of the context, the caller's. ``category`` says whether the resource has a merchant category,
    ``needs_category`` whether it must. ``is_context_optional`` and ``is_bare_resource_fit`` say that a request without
    context and attributes of the caller's fits. ``names_entities`` says that a request could name entities, and
    ``is_sound`` that what the sidecar fills has the types that the schema wants.
    """

    action: Action
    resource: EntityType
    is_met: bool
    principals: dict[str, str]
    declared: frozenset[str]
    required: tuple[str, ...]
    circumstances: frozenset[str]
    own: RecordType
    quantities: RecordType | None
    is_context_optional: bool
    category: bool
    needs_category: bool
    is_bare_resource_fit: bool
    names_entities: bool
    is_sound: bool


class Forms:
    """The forms of one schema, each made when it is first asked for; there are as many as it has pairs.

    ``identity_types`` are the types of the wire that identities have.
    """

    def __init__(self, model: SchemaModel) -> None:
        """Make the forms of ``model``."""
        self._model = model
        self.identity_types = frozenset(_wire_types(model.identity_types))
        self._made: dict[tuple[str, str], Form] = {}

    def find(self, action: str, resource_type: str) -> Form | str:
        """Return the form of an action and a type of the wire, or a sentence about which of them is unknown."""
        form = self._made.get((action, resource_type))
        if form is not None:
            return form
        known = self._model.actions.get(action)
        if known is None:
            return f"the schema knows no action `{action}`"
        kind = self._model.entity_types.get(pascal_case(resource_type))
        if kind is None:
            return f"the schema knows no resource type `{resource_type}`"
        form = self._made[action, resource_type] = _form(known, kind)
        return form


def _form(action: Action, resource: EntityType) -> Form:
    fields = action.context.fields
    own = RecordType({key: field for key, field in fields.items() if key not in OURS})
    quantities = fields["quantities"].type if "quantities" in fields else None
    category = resource.attributes.fields.get("merchant_category")
    needed = {name for name, field in resource.attributes.fields.items() if field.required}
    return Form(
        action=action,
        resource=resource,
        is_met=resource.name in action.resources,
        principals=_wire_types(action.principals),
        declared=frozenset(fields.keys() & OURS.keys()) - CIRCUMSTANCES,
        required=tuple(key for key, field in fields.items() if field.required and key in OURS.keys() - CIRCUMSTANCES),
        circumstances=frozenset(fields.keys() & CIRCUMSTANCES),
        own=own,
        quantities=quantities if isinstance(quantities, RecordType) else None,
        is_context_optional=not any(field.required for field in own.fields.values()),
        category=category is not None,
        needs_category=category is not None and category.required,
        is_bare_resource_fit=needed <= {"merchant_category"} and (category is None or category.type == STRING),
        names_entities=_names_entities(action.context) or _names_entities(resource.attributes),
        is_sound=all(fields[key].type == kind for key, kind in _FILLED_WITH.items() if key in fields),
    )


def _wire_types(kinds: Iterable[str]) -> dict[str, str]:
    """Return Cedar types by what they are called on the wire, those that are called anything there."""
    return {name: kind for kind in kinds if (name := snake_case(kind)) is not None}


def _names_entities(kind: CedarType) -> bool:
    """Whether a value of that type could name an entity."""
    match kind:
        case EntityReference():
            return True
        case SetType(element):
            return _names_entities(element)
        case RecordType(fields):
            return any(_names_entities(field.type) for field in fields.values())
        case _:
            return False

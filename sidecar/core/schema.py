"""What the Cedar schema declares, as values: identity and resource types, actions and their groups, contexts.

Invariant: every name is looked up, so a ``SchemaModel`` refers to nothing that it does not hold. Types and actions are
called as in Cedar (``VirtualCard``, ``card.authorize``); mapping ``snake_case`` types belongs to ``sidecar.core.ids``.
Cedar itself parses and checks a schema (``sidecar.core.policy``); here stands what the sidecar must know of it, and
what it demands beyond Cedar so that every identity can be described. Values are held against it in
``sidecar.core.conformity``.
"""

from typing import Final, Literal

import msgspec

from sidecar.core import schema_grammar
from sidecar.core.ids import snake_case
from sidecar.core.schema_grammar import (
    WrittenAction,
    WrittenCommon,
    WrittenEntity,
    WrittenRecord,
    WrittenSet,
    WrittenType,
)

PrimitiveName = Literal["Bool", "Long", "String"]
ExtensionName = Literal["datetime", "decimal", "duration", "ipaddr"]

EXTENSION_FUNCTIONS: Final[dict[ExtensionName, str]] = {
    "datetime": "datetime",
    "decimal": "decimal",
    "duration": "duration",
    "ipaddr": "ip",
}
"""The function that makes a value of each extension type from its text."""

_BUILT_IN: Final = "__cedar::"
"""In front of a name, it means Cedar's own type even where the schema declares one of that name."""


class Primitive(msgspec.Struct, frozen=True):
    """Text, a signed 64-bit integer, or a truth value."""

    name: PrimitiveName


class Extension(msgspec.Struct, frozen=True):
    """A type that Cedar makes from a text."""

    name: ExtensionName


class EntityReference(msgspec.Struct, frozen=True):
    """An entity of one type; the type itself is looked up by ``name``."""

    name: str


class SetType(msgspec.Struct, frozen=True):
    """A set whose members all have one type."""

    element: "CedarType"


class Field(msgspec.Struct, frozen=True):
    """One attribute of a record."""

    type: "CedarType"
    required: bool


class RecordType(msgspec.Struct, frozen=True):
    """A record; an attribute that is not among ``fields`` may not be there."""

    fields: dict[str, Field]


CedarType = Primitive | Extension | EntityReference | SetType | RecordType

STRING: Final = Primitive("String")
LONG: Final = Primitive("Long")
BOOL: Final = Primitive("Bool")

_BUILT_IN_TYPES: Final[dict[str, CedarType]] = {
    **{primitive.name: primitive for primitive in (STRING, LONG, BOOL)},
    **{name: Extension(name) for name in EXTENSION_FUNCTIONS},
}

IDENTITY_FIELDS: Final = {
    "name": Field(STRING, required=True),
    "status": Field(STRING, required=True),
    "external_id": Field(STRING, required=False),
}
"""What the sidecar says of every identity; its metadata are tags."""


class EntityType(msgspec.Struct, frozen=True):
    """A type of identities or resources. ``parents`` are the types it may be ``in``; ``choices`` the ids of an enum."""

    name: str
    attributes: RecordType
    parents: frozenset[str]
    tags: CedarType | None
    choices: tuple[str, ...] | None


class Action(msgspec.Struct, frozen=True):
    """An action or a group of actions. ``groups`` are all that it is in, over any number of steps, without itself."""

    name: str
    groups: frozenset[str]
    principals: frozenset[str]
    resources: frozenset[str]
    context: RecordType

    @property
    def can_be_asked(self) -> bool:
        """Whether a request can name it; a mere group applies to nobody."""
        return bool(self.principals)


class SchemaModel(msgspec.Struct, frozen=True):
    """A whole schema. ``identity_types`` are the principals of any action and whatever those may be ``in``.

    ``digest`` is ``sha256:`` and the hash of the source text.
    """

    entity_types: dict[str, EntityType]
    actions: dict[str, Action]
    identity_types: frozenset[str]
    digest: str

    def members(self, name: str) -> tuple[str, ...]:
        """Return the actions that can be asked and are ``name`` or in that group, sorted; none for an unknown name."""
        return tuple(
            sorted(
                action.name
                for action in self.actions.values()
                if action.can_be_asked and (action.name == name or name in action.groups)
            )
        )


def describe(canonical: str, digest: str) -> SchemaModel:
    """Return the model of a schema in Cedar's own rendering; raises ValidationFailed for a namespace."""
    declarations = schema_grammar.read(canonical)
    names = _Names(
        {common.name: common.type for common in declarations if isinstance(common, WrittenCommon)},
        frozenset(entity.name for entity in declarations if isinstance(entity, WrittenEntity)),
    )
    entities = {e.name: _entity_type(e, names) for e in declarations if isinstance(e, WrittenEntity)}
    written = {action.name: action for action in declarations if isinstance(action, WrittenAction)}
    actions = {name: _action(action, written, names) for name, action in written.items()}
    principals = {principal for action in actions.values() for principal in action.principals}
    return SchemaModel(entities, actions, _with_ancestors(principals, entities), digest)


def first_fault(model: SchemaModel) -> str | None:
    """Return why the sidecar cannot work with a schema that Cedar accepts, naming the first type at fault; or None."""
    if not model.identity_types:
        return "the schema has no action that applies to anybody, so no identity could exist"
    for name in sorted(model.identity_types):
        fault = _fault(model.entity_types[name], model.identity_types)
        if fault is not None:
            return f"identity type `{name}` {fault}"
    return None


def _fault(entity: EntityType, identity_types: frozenset[str]) -> str | None:
    fields = entity.attributes.fields
    if snake_case(entity.name) is None:
        return "must be words in PascalCase, letters and digits only, so that it has a `snake_case` name"
    for name, field in IDENTITY_FIELDS.items():
        if fields.get(name) != field:
            return f"must declare `{name}{'' if field.required else '?'}: String`"
    unknown = sorted(name for name, field in fields.items() if field.required and name not in IDENTITY_FIELDS)
    if unknown:
        return f"requires the attribute `{unknown[0]}`, which no identity has; metadata are tags"
    if entity.tags != STRING:
        return "must declare `tags String`"
    missing = sorted(identity_types - entity.parents)
    return f"must be allowed `in` `{missing[0]}`, as in every identity type" if missing else None


def _with_ancestors(names: set[str], entities: dict[str, EntityType]) -> frozenset[str]:
    reached, waiting = set[str](), list(names)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(entities[name].parents)
    return frozenset(reached)


def _entity_type(entity: WrittenEntity, names: "_Names") -> EntityType:
    return EntityType(
        entity.name,
        names.record(entity.attributes),
        frozenset(entity.parents),
        None if entity.tags is None else names.type(entity.tags),
        entity.choices,
    )


def _action(action: WrittenAction, written: dict[str, WrittenAction], names: "_Names") -> Action:
    groups, waiting = set[str](), list(action.groups)
    while waiting:
        group = waiting.pop()
        groups.add(group)
        waiting.extend(written[group].groups)
    context = names.type(action.context)
    # Cedar accepts no other type as a context.
    record = context if isinstance(context, RecordType) else RecordType({})
    return Action(action.name, frozenset(groups), frozenset(action.principals), frozenset(action.resources), record)


class _Names(msgspec.Struct, frozen=True):
    """Looks up what a name in a type stands for: first a common type, then an entity type, then one of Cedar's own."""

    commons: dict[str, WrittenType]
    entities: frozenset[str]

    def type(self, written: WrittenType) -> CedarType:
        """Return the type that is meant; Cedar refused cycles and unknown names before."""
        match written:
            case WrittenSet(element):
                return SetType(self.type(element))
            case WrittenRecord():
                return self.record(written)
            case _ if written in self.commons:
                return self.type(self.commons[written])
            case _ if written in self.entities:
                return EntityReference(written)
            case _:
                return _BUILT_IN_TYPES[written.removeprefix(_BUILT_IN)]

    def record(self, written: WrittenRecord) -> RecordType:
        """Return the record with its fields looked up."""
        return RecordType({field.name: Field(self.type(field.type), field.required) for field in written.fields})

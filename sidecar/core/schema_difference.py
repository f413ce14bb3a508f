"""How two schemas differ: actions, entity types and attributes that were added, removed or changed.

Both are given as what they declare (``sidecar.core.schema``), so names of common types, comments and order say nothing.
A change says what it does to decisions where policies stay as they are: an action that is gone is denied, one that is
new can be permitted; what changes the meaning of policies or the form of requests may do either.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

from sidecar.core.literals import quote
from sidecar.core.policy_difference import Allowance
from sidecar.core.schema import (
    Action,
    CedarType,
    EntityType,
    Field,
    RecordType,
    SchemaModel,
    SetType,
)

SchemaPart = Literal["action", "entity_type"]


class SchemaChange(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that differs in the action or entity type ``name``.

    ``aspect`` is None for the whole, else such as ``principals``, ``context.amount`` or ``attributes.country``; an
    attribute inside a record is named by its path. ``old`` and ``new`` are as written in a schema, None for what is not
    there.
    """

    part: SchemaPart
    name: str
    aspect: str | None
    old: str | None
    new: str | None
    may_allow: Allowance

    @property
    def kind(self) -> Literal["added", "removed", "changed"]:
        """What happened."""
        if self.old is None:
            return "added"
        return "removed" if self.new is None else "changed"


def compare_schemas(old: SchemaModel, new: SchemaModel) -> tuple[SchemaChange, ...]:
    """Return how ``new`` differs from ``old``: actions first, each kind in the order of names."""
    return (*_actions(old.actions, new.actions), *_entity_types(old.entity_types, new.entity_types))


def _actions(old: Mapping[str, Action], new: Mapping[str, Action]) -> Iterator[SchemaChange]:
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            yield _change("action", name, None, ("action", None), "less")
        elif name not in old:
            yield _change("action", name, None, (None, "action"), "more")
        elif old[name] != new[name]:
            before, after = old[name], new[name]
            yield from _names("action", name, "groups", (before.groups, after.groups))
            yield from _names("action", name, "principals", (before.principals, after.principals))
            yield from _names("action", name, "resources", (before.resources, after.resources))
            yield from _fields("action", name, "context", (before.context, after.context))


def _entity_types(old: Mapping[str, EntityType], new: Mapping[str, EntityType]) -> Iterator[SchemaChange]:
    for name in sorted(old.keys() | new.keys()):
        # By itself it changes nothing: what can be asked is said by the actions that apply to it.
        if name not in new:
            yield _change("entity_type", name, None, ("entity", None), "same")
        elif name not in old:
            yield _change("entity_type", name, None, (None, "entity"), "same")
        elif old[name] != new[name]:
            before, after = old[name], new[name]
            yield from _names("entity_type", name, "parents", (before.parents, after.parents))
            yield from _fields("entity_type", name, "attributes", (before.attributes, after.attributes))
            yield from _one("entity_type", name, "tags", (_tags(before), _tags(after)))
            yield from _one("entity_type", name, "enum", (_choices(before), _choices(after)))


def _names(
    part: SchemaPart, name: str, said: str, sets: tuple[frozenset[str], frozenset[str]]
) -> Iterator[SchemaChange]:
    """Yield one change for each name that only one of two sets has."""
    before, after = sets
    is_reach = said in {"principals", "resources"}
    for each in sorted(before - after):
        yield _change(part, name, said, (each, None), "less" if is_reach else "both")
    for each in sorted(after - before):
        yield _change(part, name, said, (None, each), "more" if is_reach else "both")


def _fields(part: SchemaPart, name: str, path: str, records: tuple[RecordType, RecordType]) -> Iterator[SchemaChange]:
    before, after = records[0].fields, records[1].fields
    for each in sorted(before.keys() | after.keys()):
        below = f"{path}.{each}"
        old, new = before.get(each), after.get(each)
        if old is None or new is None or old.required != new.required:
            yield from _one(part, name, below, (_field_text(old), _field_text(new)))
        elif isinstance(old.type, RecordType) and isinstance(new.type, RecordType):
            yield from _fields(part, name, below, (old.type, new.type))
        else:
            yield from _one(part, name, below, (_field_text(old), _field_text(new)))


def _one(part: SchemaPart, name: str, said: str, texts: tuple[str | None, str | None]) -> Iterator[SchemaChange]:
    if texts[0] != texts[1]:
        yield _change(part, name, said, texts, "both")


def _change(
    part: SchemaPart, name: str, said: str | None, texts: tuple[str | None, str | None], may_allow: Allowance
) -> SchemaChange:
    return SchemaChange(part=part, name=name, aspect=said, old=texts[0], new=texts[1], may_allow=may_allow)


def _tags(entity: EntityType) -> str | None:
    return None if entity.tags is None else type_text(entity.tags)


def _choices(entity: EntityType) -> str | None:
    return None if entity.choices is None else f"[{', '.join(map(quote, sorted(entity.choices)))}]"


def _field_text(field: Field | None) -> str | None:
    if field is None:
        return None
    return type_text(field.type) if field.required else f"optional {type_text(field.type)}"


def type_text(written: CedarType) -> str:
    """Return a type as a schema writes it."""
    if isinstance(written, SetType):
        return f"Set<{type_text(written.element)}>"
    if isinstance(written, RecordType):
        fields = sorted(written.fields.items())
        inside = ", ".join(f"{_declared(name, field)}: {type_text(field.type)}" for name, field in fields)
        return f"{{ {inside} }}" if fields else "{}"
    return written.name


def _declared(name: str, field: Field) -> str:
    return f"{name if name.isidentifier() else quote(name)}{'' if field.required else '?'}"

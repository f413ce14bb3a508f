"""Reads the schema text that Cedar renders, as written: declarations whose names are not looked up yet.

Cedar's Python binding describes a schema only by rendering it in one canonical form, so a grammar of that form
suffices, and what Cedar has not accepted never comes here. What the names stand for belongs to
``sidecar.core.schema``.
"""

import re
from functools import cache
from typing import Final

import msgspec
from lark import Lark, Token, Tree

from sidecar.core.errors import ValidationFailed
from sidecar.core.literals import unquote

_GRAMMAR: Final = r"""
    start: (entity | enumeration | common | action)*

    entity: annotation* "entity" NAME parents? record? tags? ";"
    parents: "in" "[" _paths? "]"
    tags: "tags" _type
    enumeration: annotation* "entity" NAME "enum" "[" STRING ("," STRING)* "]" ";"
    common: annotation* "type" NAME "=" _type ";"
    action: annotation* "action" STRING groups? applies? ";"
    groups: "in" "[" [_uid ("," _uid)*] "]"
    _uid: "Action" "::" STRING
    applies: "appliesTo" "{" principals "," resources "," context "}"
    principals: "principal" ":" "[" _paths "]"
    resources: "resource" ":" "[" _paths "]"
    context: "context" ":" _type
    annotation: "@" NAME ["(" STRING ")"]

    _type: path | set | record
    path: PATH
    set: "Set" "<" _type ">"
    record: "="? "{" [field ("," field)*] "}"
    field: annotation* (NAME | STRING) OPTIONAL? ":" _type
    _paths: PATH ("," PATH)*

    OPTIONAL: "?"
    NAME: /[_A-Za-z][_A-Za-z0-9]*/
    PATH: /[_A-Za-z][_A-Za-z0-9]*(::[_A-Za-z][_A-Za-z0-9]*)*/
    STRING: /"[^"\\]*(\\.[^"\\]*)*"/
    %ignore /\s+/
"""

_NAMESPACE: Final = re.compile(r"^namespace ", re.MULTILINE)


class WrittenSet(msgspec.Struct, frozen=True):
    """``Set<element>``."""

    element: "WrittenType"


class WrittenField(msgspec.Struct, frozen=True):
    """One attribute of a record."""

    name: str
    type: "WrittenType"
    required: bool


class WrittenRecord(msgspec.Struct, frozen=True):
    """``{ … }``."""

    fields: tuple[WrittenField, ...] = ()


WrittenType = str | WrittenSet | WrittenRecord
"""A type as written; a text is a name such as ``Long``, ``Agent`` or ``__cedar::String``."""


class WrittenEntity(msgspec.Struct, frozen=True, kw_only=True):
    """``entity Name in [parents] = { … } tags type``; ``choices`` are the ids of an ``enum``."""

    name: str
    parents: tuple[str, ...] = ()
    attributes: WrittenRecord = WrittenRecord()
    tags: WrittenType | None = None
    choices: tuple[str, ...] | None = None


class WrittenCommon(msgspec.Struct, frozen=True):
    """``type Name = …``."""

    name: str
    type: WrittenType


class WrittenAction(msgspec.Struct, frozen=True, kw_only=True):
    """``action "name" in [groups] appliesTo { … }``; what applies to nothing has no principals and no resources."""

    name: str
    groups: tuple[str, ...] = ()
    principals: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    context: WrittenType = WrittenRecord()


Declaration = WrittenEntity | WrittenCommon | WrittenAction


def read(canonical: str) -> tuple[Declaration, ...]:
    """Return the declarations of a schema in Cedar's own rendering; raises ValidationFailed for a namespace."""
    if _NAMESPACE.search(canonical) is not None:
        raise ValidationFailed(
            "a namespace in the schema, expected none: every type is named by `snake_case` words alone"
        )
    return tuple(_declaration(tree) for tree in _trees(_parser().parse(canonical)))


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", maybe_placeholders=False)


def _declaration(tree: Tree[Token]) -> Declaration:
    match tree.data:
        case "entity":
            return _entity(tree)
        case "enumeration":
            return WrittenEntity(name=_names(tree)[0], choices=_strings(tree))
        case "common":
            return WrittenCommon(_names(tree)[0], _type(_trees(tree)[-1]))
        case _:
            return _action(tree)


def _entity(tree: Tree[Token]) -> WrittenEntity:
    records = _trees(tree, "record")
    tags = _trees(tree, "tags")
    return WrittenEntity(
        name=_names(tree)[0],
        parents=tuple(parent for parents in _trees(tree, "parents") for parent in _names(parents)),
        attributes=_record(records[0]) if records else WrittenRecord(),
        tags=_type(_trees(tags[0])[0]) if tags else None,
    )


def _action(tree: Tree[Token]) -> WrittenAction:
    name = _strings(tree)[0]
    groups = tuple(group for groups in _trees(tree, "groups") for group in _strings(groups))
    for applies in _trees(tree, "applies"):
        principals, resources, context = _trees(applies)
        return WrittenAction(
            name=name,
            groups=groups,
            principals=_names(principals),
            resources=_names(resources),
            context=_type(_trees(context)[0]),
        )
    return WrittenAction(name=name, groups=groups)


def _type(tree: Tree[Token]) -> WrittenType:
    match tree.data:
        case "path":
            return _names(tree)[0]
        case "set":
            return WrittenSet(_type(_trees(tree)[0]))
        case _:
            return _record(tree)


def _record(tree: Tree[Token]) -> WrittenRecord:
    return WrittenRecord(tuple(_field(field) for field in _trees(tree)))


def _field(tree: Tree[Token]) -> WrittenField:
    name = (*_names(tree), *_strings(tree))[0]
    return WrittenField(name, _type(_trees(tree)[-1]), "OPTIONAL" not in _kinds(tree))


def _trees(tree: Tree[Token], rule: str | None = None) -> list[Tree[Token]]:
    return [child for child in tree.children if isinstance(child, Tree) and rule in {None, child.data}]


def _kinds(tree: Tree[Token]) -> set[str]:
    return {child.type for child in tree.children if isinstance(child, Token)}


def _names(tree: Tree[Token]) -> tuple[str, ...]:
    return tuple(str(child) for child in tree.children if isinstance(child, Token) and child.type in {"NAME", "PATH"})


def _strings(tree: Tree[Token]) -> tuple[str, ...]:
    return tuple(unquote(child) for child in tree.children if isinstance(child, Token) and child.type == "STRING")

"""Whether a caller's JSON value has the type that the schema declares, and the same value as Cedar reads it.

Cedar checks this too, but without naming the place. Invariants: what is returned holds no key that Cedar would take for
an entity or an extension call unless the schema asked for one, and no number that is not an integer of 64 bits.
"""

from collections.abc import Callable
from typing import Final, NoReturn

from sidecar.core.errors import ValidationFailed
from sidecar.core.ids import check_name
from sidecar.core.model import LONG_MAX, check_key
from sidecar.core.money import NumberText
from sidecar.core.schema import (
    EXTENSION_FUNCTIONS,
    CedarType,
    EntityReference,
    Extension,
    ExtensionName,
    Primitive,
    PrimitiveName,
    RecordType,
    SetType,
)

CheckExtension = Callable[[ExtensionName, str], bool]
"""Says whether a text makes a value of an extension type; Cedar's answer is ``sidecar.core.policy.check_extension``."""

_PRIMITIVES: Final[dict[PrimitiveName, str]] = {
    "Bool": "`true` or `false`",
    "Long": "an integer of at most 64 bits",
    "String": "a text",
}

_SHOWN_MAX: Final = 64
"""Characters of a caller's key that a message repeats."""


def conform(value: object, cedar_type: CedarType, field: str, check_extension: CheckExtension) -> object:
    """Return ``value`` in Cedar's JSON when it has the type; ``field`` is its place in the request.

    Texts, integers, truth values, lists and objects stand for what they are; an extension value is given as its text
    (``"10.0.0.1"``), an entity as ``{"type": "Agent", "id": "…"}`` with the type as the schema writes it. Raises
    ValidationFailed, naming the place down to the attribute, for another type, an attribute that is not declared, one
    that is required and missing, a number with a fraction, and a key that Cedar would not read as data.
    """
    if isinstance(value, NumberText | float):
        _refuse("no floating point in policies, expected an integer or a text", field)
    if isinstance(value, str) and not _has_utf8(value):
        _refuse("a lone surrogate is no character", field)
    match cedar_type:
        case Primitive(name):
            return _primitive(value, name, field)
        case Extension(name):
            if not isinstance(value, str) or not check_extension(name, value):
                _refuse(f"expected the text of a `{name}`", field)
            return {"__extn": {"fn": EXTENSION_FUNCTIONS[name], "arg": value}}
        case EntityReference(name):
            return _reference(value, name, field)
        case SetType(element):
            if not isinstance(value, list):
                _refuse("expected a list", field)
            return [conform(item, element, f"{field}[{index}]", check_extension) for index, item in enumerate(value)]
        case _:
            return conform_record(value, cedar_type, field, check_extension)


def _primitive(value: object, name: PrimitiveName, field: str) -> object:
    if not _is_primitive(value, name):
        _refuse(f"expected {_PRIMITIVES[name]}", field)
    return value


def _is_primitive(value: object, name: PrimitiveName) -> bool:
    match name:
        case "String":
            return isinstance(value, str)
        case "Bool":
            return isinstance(value, bool)
        case _:
            return type(value) is int and -LONG_MAX - 1 <= value <= LONG_MAX


def _reference(value: object, name: str, field: str) -> object:
    if not isinstance(value, dict) or value.keys() != {"type", "id"}:
        _refuse(f'expected an entity, `{{"type": "{name}", "id": "…"}}`', field)
    if value["type"] != name:
        _refuse(f"expected the entity type `{name}`", f"{field}.type")
    if not isinstance(value["id"], str):
        _refuse("expected a text", f"{field}.id")
    return {"__entity": {"type": name, "id": check_name(value["id"], f"{field}.id")}}


def conform_record(value: object, record: RecordType, field: str, check_extension: CheckExtension) -> dict[str, object]:
    """Return what ``conform`` does, of a record."""
    if not isinstance(value, dict):
        _refuse("expected an object", field)
    for key in value:
        check_key(key, field)
        if key not in record.fields:
            shown = key[:_SHOWN_MAX].encode("unicode_escape").decode()
            _refuse(f"the schema does not declare `{shown}` here", f"{field}.{key}")
    for name, declared in record.fields.items():
        if declared.required and name not in value:
            _refuse(f"`{name}` is required by the schema and missing", f"{field}.{name}")
    return {
        key: conform(item, record.fields[key].type, f"{field}.{key}", check_extension) for key, item in value.items()
    }


def _has_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse(message: str, field: str) -> NoReturn:
    raise ValidationFailed(message, field=field)

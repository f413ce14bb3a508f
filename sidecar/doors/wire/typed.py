"""From a decoded body to the request type of a call, with every mistake named by its place.

The request types are msgspec structs; they are also what the API description is generated from.
"""

import re
from collections.abc import Iterable
from typing import Any, Final, TypeVar

import msgspec

from sidecar.core.errors import ValidationFailed
from sidecar.core.grammar import MAJOR_SCHEMA
from sidecar.core.money import Major, NumberText

T = TypeVar("T")

_PLACE: Final = re.compile(r" - at `(?:key in )?\$(?P<path>[^`]*)`$")
_MISSING: Final = re.compile(r"missing required field `(?P<name>[^`]*)`")
_UNKNOWN: Final = re.compile(r"contains unknown field `(?P<name>.*)`", re.DOTALL)
_SHOWN_MAX: Final = 200


def convert(value: object, request_type: type[T]) -> T:
    """Return ``value`` as ``request_type``. Raises ValidationFailed with the place, such as ``resource.amount``."""
    try:
        return msgspec.convert(value, request_type, strict=True, dec_hook=decode_hook)
    except msgspec.ValidationError as error:
        # What a fraction is read into is no word for a caller.
        raise _explained(str(error).replace(f"`{NumberText.__name__}`", "`float`")) from None


def decode_hook(wanted: type, value: object) -> object:
    """Return ``value`` as a type that is none of msgspec's. Raises ValueError with a sentence for the caller."""
    if issubclass(wanted, Major):
        return wanted.parse(value)
    if wanted is object:
        return value  # what a caller may choose freely is checked where it becomes a draft
    raise NotImplementedError(f"no way to read `{wanted.__name__}`")


def schemas_of(types: Iterable[object]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return a JSON Schema (2020-12) for each of ``types``, and the named components that they refer to."""
    template = "#/components/schemas/{name}"
    schemas, components = msgspec.json.schema_components(types, schema_hook=_schema, ref_template=template)
    return list(schemas), components


def _schema(custom: type) -> dict[str, Any]:
    if custom is Major:
        return dict(MAJOR_SCHEMA)
    if custom is object:
        return {"description": "any JSON value"}
    raise NotImplementedError(f"no schema for `{custom.__name__}`")


def _explained(text: str) -> ValidationFailed:
    place = _PLACE.search(text)
    path = "" if place is None else place["path"].removeprefix(".")
    sentence = text if place is None else text[: place.start()]
    for pattern in (_MISSING, _UNKNOWN):
        named = pattern.search(sentence)
        if named is not None:
            path = f"{path}.{named['name']}" if path else named["name"]
    sentence = sentence[:1].lower() + sentence[1:]
    return ValidationFailed(sentence[:_SHOWN_MAX], field=path[:_SHOWN_MAX] or None)

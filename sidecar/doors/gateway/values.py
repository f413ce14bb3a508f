"""Values of attributes and context in a mapping: constants, or texts from a request that are read as what they say.

A header that a value needs and that is missing is a refusal, unless the value is declared ``optional``: a policy that
forbids by an attribute must not be got around by leaving a header out.
"""

import re
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from sidecar.core.errors import ValidationFailed
from sidecar.core.model import Json, check_key, check_plain
from sidecar.doors.gateway.templates import Template, parse

Kind: TypeAlias = Literal["string", "integer", "boolean"]

_is_integer: Final = re.compile(r"-?(0|[1-9][0-9]{0,18})").fullmatch
_BOOLEANS: Final[Mapping[str, bool]] = {"true": True, "false": False}


class ValueTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value as a table of a mapping: ``{value = "{header:x-size}", type = "integer"}``."""

    value: str
    type: Kind = "string"
    optional: bool = False


class Value(msgspec.Struct, frozen=True):
    """A constant, or what ``template`` shows, read as ``kind``."""

    constant: Json = None
    template: Template | None = None
    kind: Kind = "string"
    optional: bool = False

    @property
    def headers(self) -> frozenset[str]:
        """The names of the headers that it shows."""
        return frozenset() if self.template is None else self.template.headers

    @property
    def places(self) -> frozenset[str]:
        """The names of its places."""
        return frozenset() if self.template is None else self.template.places

    def read(self, values: Mapping[str, str], field: str) -> Json | msgspec.UnsetType:
        """Return the value, UNSET where an optional one is not given. Raises ValidationFailed naming ``field``."""
        if self.template is None:
            return self.constant
        text = self.template.fill(values)
        if text is None:
            if self.optional:
                return msgspec.UNSET
            raise ValidationFailed("a header that it is read from is missing", field=field)
        return _typed(text, self.kind, field)


def value_of(written: object, captures: frozenset[str]) -> Value:
    """Return the value that a mapping writes. Raises ValueError, with a sentence."""
    if isinstance(written, str):
        return Value(template=parse(written, captures))
    if isinstance(written, dict):
        try:
            table = msgspec.convert(written, ValueTable)
        except msgspec.ValidationError as error:
            raise ValueError(f"expected a constant, a text or a table with `value`: {error}") from None
        return Value(None, parse(table.value, captures), table.type, table.optional)
    try:
        return Value(check_plain(written, "value"))
    except ValidationFailed as error:
        raise ValueError(error.message) from None


def values_of(written: Mapping[str, Value], values: Mapping[str, str], field: str) -> dict[str, Json]:
    """Return what a request says of each of ``written``. Raises ValidationFailed naming the place below ``field``."""
    found: dict[str, Json] = {}
    for name, value in written.items():
        read = value.read(values, f"{field}.{name}")
        if read is not msgspec.UNSET:
            found[name] = read
    return found


def check_names(written: Mapping[str, object]) -> None:
    """Raise ValueError for a name that no attribute can have."""
    for name in written:
        try:
            check_key(name, "name")
        except ValidationFailed as error:
            raise ValueError(error.message) from None


def _typed(text: str, kind: Kind, field: str) -> Json:
    match kind:
        case "string":
            return text
        case "boolean":
            if text not in _BOOLEANS:
                raise ValidationFailed("expected `true` or `false`", field=field)
            return _BOOLEANS[text]
        case "integer":
            if _is_integer(text) is None:
                raise ValidationFailed("expected a whole number of at most 19 digits", field=field)
            return check_plain(int(text), field)

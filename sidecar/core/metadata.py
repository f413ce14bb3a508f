"""Metadata of identities: what a caller notes there, given back as it was, and seen by policies as texts.

Unlike the context of a request it may hold fractions, since Cedar gets it as tags. A number is kept in the 64 bits that
every JSON reader has for it, and one that would be another number there is refused, so nothing comes back changed.
"""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import msgspec

from sidecar.core.errors import ValidationFailed
from sidecar.core.limits import METADATA_BYTES_MAX
from sidecar.core.model import Json, check_key, check_plain
from sidecar.core.money import NumberText

_SHOWN_MAX: Final = 40


def check_metadata(values: Mapping[str, object], field: str = "metadata") -> dict[str, Json]:
    """Return ``values`` as metadata of an identity.

    Raises ValidationFailed, naming the place, for a number that 64 bits do not hold exactly as it is written, a key
    that Cedar would read as a call, and more than ``METADATA_BYTES_MAX``.
    """
    plain = {check_key(key, field): check_noted(value, f"{field}.{key}") for key, value in values.items()}
    if len(msgspec.json.encode(plain)) > METADATA_BYTES_MAX:
        raise ValidationFailed(f"metadata has at most {METADATA_BYTES_MAX} bytes as JSON", field=field)
    return plain


def check_noted(value: object, field: str) -> Json:
    """Return one value of metadata, whatever its length; raises as ``check_metadata``."""
    match value:
        case NumberText():
            return _number(value, field)
        case list():
            return [check_noted(item, f"{field}[{index}]") for index, item in enumerate(value)]
        case dict():
            return {key: check_noted(item, f"{field}.{check_key(key, field)}") for key, item in value.items()}
        case _:
            return check_plain(value, field)


def _number(value: NumberText, field: str) -> float:
    number = float(value.text)
    if not math.isfinite(number) or Decimal(repr(number)) != value:
        message = (
            f"a number must be one that 64 bits of floating point hold as written, got `{value.text[:_SHOWN_MAX]}`"
        )
        raise ValidationFailed(message, field=field)
    return number

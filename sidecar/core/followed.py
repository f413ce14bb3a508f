"""The list of what a follower took over at once, as a fact of its audit log: each record's version, by its address."""

from collections.abc import Sequence
from typing import Final

import msgspec
import orjson

from sidecar.core.errors import ValidationFailed
from sidecar.core.feed import RecordKind


class FollowedRecord(msgspec.Struct, frozen=True, array_like=True):
    """One record of the list; ``fact`` is the address of its version, empty for a token, None where it is gone."""

    kind: RecordKind
    id: str
    revision: int
    fact: str | None
    place: int
    owner: str | None


RECORDS_MAX: Final = 1_000
"""Records of one list; what came at once may take several."""

_followed: Final = msgspec.json.Decoder(tuple[FollowedRecord, ...])


def write_followed(records: Sequence[FollowedRecord]) -> bytes:
    """Return a list of what was followed as a fact."""
    return orjson.dumps([msgspec.to_builtins(record) for record in records])


def read_followed(content: bytes) -> tuple[FollowedRecord, ...]:
    """Return what was followed. Raises ValidationFailed for anything but such a list."""
    try:
        return _followed.decode(content)
    except msgspec.DecodeError as error:
        raise ValidationFailed(f"the fact is no list of what was followed: {error}") from error

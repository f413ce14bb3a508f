"""How values become bytes in the store: fixed-width keys, and documents with a version in front.

Integers in keys are big-endian, so that their order is the order of the keys. A tenant's number comes first in every
key that belongs to a tenant and has a fixed width, so no key of one tenant can be a prefix of another's.
"""

import hashlib
from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from typing import Final, TypeVar

import msgspec

from sidecar.core.errors import StoreUnusable

U32: Final = Struct(">I")
U64: Final = Struct(">Q")
U64_PAIR: Final = Struct(">QQ")
TENANT_U64: Final = Struct(">IQ")
"""Tenant number and a sequence number, revision or time."""

U32_MAX: Final = 2**32 - 1
U64_MAX: Final = 2**64 - 1
DOCUMENT_VERSION: Final = b"\x01"
HASH_BYTES: Final = 16
"""Enough of a SHA-256 to stand for a long value in an index key; what it finds is compared in full."""

REMEMBERED_MAX: Final = 4_096
"""Documents of one kind that stay decoded."""

REMEMBERED_BYTES_MAX: Final = 1_024
"""Longer documents are decoded each time: so what stays is some megabytes at most."""

T = TypeVar("T")

KEY_TEXT_BYTES_MAX: Final = 400
"""Bytes of a text in a key: LMDB's keys end at 511, and no id that can exist comes near."""

_encoder = msgspec.msgpack.Encoder()


def encode(document: object) -> bytes:
    """Return a document's bytes."""
    return DOCUMENT_VERSION + _encoder.encode(document)


def decode(data: bytes, decoder: msgspec.msgpack.Decoder[T]) -> T:
    """Return the document in ``data``. Raises StoreUnusable for another version or for bytes that do not fit."""
    if data[:1] != DOCUMENT_VERSION:
        raise StoreUnusable(f"a stored document has version `{data[:1].hex()}`, this version reads `01`")
    return fitting(memoryview(data)[1:], decoder)


def fitting(content: bytes | memoryview | msgspec.Raw, decoder: msgspec.msgpack.Decoder[T]) -> T:
    """Return what ``content``, a document without its version, is. Raises StoreUnusable for bytes that do not fit."""
    try:
        return decoder.decode(content)
    except msgspec.DecodeError as error:
        raise StoreUnusable(f"a stored document cannot be read: {error}") from error


def reading(decoder: msgspec.msgpack.Decoder[T]) -> Callable[[bytes], T]:
    """Return ``decode`` for the documents of ``decoder``, with the small ones remembered."""
    return remembered(lambda data: decode(data, decoder))


def remembered(read: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """Return ``read`` for what is read again and again, such as tokens; small values need not be decoded twice.

    They are remembered by all of their bytes, so there is no question of what is new: equal bytes are an equal value,
    and every value is frozen.
    """
    small = lru_cache(maxsize=REMEMBERED_MAX)(read)
    return lambda data: small(data) if len(data) <= REMEMBERED_BYTES_MAX else read(data)


def key_text(text: str) -> bytes | None:
    """Return a caller's text as a part of a key, None for one that no stored thing can have: empty or too long."""
    encoded = text.encode()
    return encoded if 0 < len(encoded) <= KEY_TEXT_BYTES_MAX else None


def short_hash(value: str) -> bytes:
    """Return a fixed-width stand-in for ``value`` in an index key."""
    return hashlib.sha256(value.encode()).digest()[:HASH_BYTES]

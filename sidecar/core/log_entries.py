"""How an entry of the audit log is spelled and hashed, as the reader has it: written down a second time, on purpose.

Sources: RFC 6962 section 2.1 (links) and RFC 8785 (bodies, restricted to keys of ``[a-z0-9_]``, no fractions, integers
within 2^53 - 1), on the standard library's JSON instead of the writer's. The writer (``sidecar.core.audit``) must not
use this module, so that a mistake there cannot hide here.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from json import JSONDecoder, JSONEncoder
from typing import Final, NoReturn, TypeAlias

from sidecar.core.errors import InvalidJson

ENTRY_BYTES_MAX: Final = 65_535
"""A C2SP entry bundle counts an entry's bytes in 16 bits."""

INTEGER_MAX: Final = 2**53 - 1
"""RFC 8785 takes numbers as IEEE 754 doubles; beyond this they are not exact."""

Fields: TypeAlias = Mapping[str, object]


def genesis(origin: str) -> bytes:
    """Return the link that record 0 of the log ``origin`` must carry."""
    return sha256(f"sidecar/genesis/v1\n{origin}\n".encode()).digest()


def link(body: bytes) -> bytes:
    """Return the link that the record after ``body`` must carry: the leaf hash of RFC 6962 section 2.1."""
    return sha256(b"\x00" + body).digest()


def text_of(digest: bytes) -> str:
    """Return a digest as records carry it: base64url (RFC 4648 section 5) without padding."""
    return urlsafe_b64encode(digest).decode().rstrip("=")


def digest_of(text: object) -> bytes | None:
    """Return the SHA-256 digest that ``text`` writes; None for anything but its one right spelling."""
    is_digest = isinstance(text, str) and DIGEST_SPELLING.fullmatch(text)
    return urlsafe_b64decode(f"{text}=") if is_digest else None


def read_canonical(body: bytes) -> Fields:
    """Return the fields of a body in canonical form.

    Raises InvalidJson, saying why, for one that is too long, is no JSON object, or is not spelled in the one way that
    its value has: so no two bodies say the same with different bytes, and none says two things to two readers.
    """
    if len(body) > ENTRY_BYTES_MAX:
        raise InvalidJson(f"the body of {len(body)} bytes is over the limit of {ENTRY_BYTES_MAX}")
    try:
        text = body.decode()
        fields = DECODER.decode(text)
    except (ValueError, RecursionError):
        raise InvalidJson("the body is not JSON in UTF-8") from None
    if not isinstance(fields, dict):
        raise InvalidJson("the body is not a JSON object")
    # Unsorted and repeated keys, spaces, needless escapes, lone surrogates and `-0` all show here.
    if ENCODER.encode(fields) != text:
        raise InvalidJson("the body is not in canonical form")
    return fields


def plain_keys(fields: dict[str, object]) -> dict[str, object]:
    """Return an object whose keys any two readers sort alike. Raises InvalidJson for another."""
    if "" in fields or not KEY_CHARACTERS.fullmatch("".join(fields)):
        raise InvalidJson("the body has a key that is not of `a-z`, `0-9` and `_`")
    return fields


def exact_integer(text: str) -> int:
    """Return the integer that ``text`` writes. Raises InvalidJson beyond ``INTEGER_MAX``."""
    if len(text) > 17 or abs(value := int(text)) > INTEGER_MAX:  # noqa: PLR2004 -- a long text would cost its length squared
        raise InvalidJson(f"the body has an integer beyond {INTEGER_MAX}")
    return value


def refuse_number(_text: str) -> NoReturn:
    """Raise InvalidJson for a number that is no integer."""
    raise InvalidJson("the body has a number that is not an integer")


KEY_CHARACTERS: Final = re.compile("[a-z0-9_]*")
DIGEST_SPELLING: Final = re.compile("[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")  # the last character has but four bits
DECODER: Final = JSONDecoder(
    object_hook=plain_keys, parse_int=exact_integer, parse_float=refuse_number, parse_constant=refuse_number
)
ENCODER: Final = JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, check_circular=False)

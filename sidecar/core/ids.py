"""The texts that name things: own ids, ids chosen by callers, actions, types and names.

Own ids are ``<prefix>_<ULID>``, so they sort by the millisecond they were made in. Invariant: nothing is normalised;
two spellings are two ids, and a text that is not canonical is no id of ours. Time and randomness are arguments. Whether
an id exists, and who may see it, belongs to the directory and to the services.
"""

import re
from functools import lru_cache
from typing import Final

from sidecar.core.errors import ValidationFailed

TENANT: Final = "t"
IDENTITY: Final = "id"
POLICY: Final = "pol"
BUDGET: Final = "bud"
DECISION: Final = "dec"
CARD: Final = "card"
TOKEN: Final = "tok"  # noqa: S105 (a prefix, no secret)
WEBHOOK: Final = "wh"
EVENT: Final = "evt"
ACCOUNT: Final = "acct"
PAYMENT: Final = "pay"
GRANT: Final = "grt"
PASSKEY: Final = "pk"
CARD_PROGRAM: Final = "cprg"

PREFIXES: Final = (
    *(TENANT, IDENTITY, POLICY, BUDGET, DECISION, CARD, TOKEN, WEBHOOK, EVENT, ACCOUNT, PAYMENT),
    *(GRANT, PASSKEY, CARD_PROGRAM),
)
"""Every prefix an own id can have; permanent once released."""

RANDOMNESS_BYTES: Final = 10
"""The random part of a ULID."""

TYPE_LENGTH_MAX: Final = 64
"""Characters of a type: it becomes a Cedar type name that policies spell out."""

# The checks below never repeat a text that they refuse, as it may hold anything.
# 128 characters for ids and actions: index keys hold them, and LMDB's keys end at 511 bytes.
_is_caller_id: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}").fullmatch
_is_action: Final = re.compile(r"[A-Za-z0-9._:/-]{1,128}").fullmatch
_is_type: Final = re.compile(rf"(?=.{{1,{TYPE_LENGTH_MAX}}}\Z)[a-z][a-z0-9]*(_[a-z][a-z0-9]*)*").fullmatch

# Names and resource ids stand in one-line messages and logs and are kept as UTF-8. So no control characters (Cc), no
# line and paragraph separators (Zl, Zp: many readers break a line there), and no lone surrogates (Cs: they have no
# UTF-8). Format characters (Cf) stay: joiners are part of how Persian, Hindi and emoji are written. The four categories
# are closed in Unicode, hence written out instead of asked of the interpreter's own tables.
_is_name: Final = re.compile("[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,512}").fullmatch

# A description stands in JSON only, so it may have lines and tabs, and be empty. Other control characters are no text.
_is_description: Final = re.compile("[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]{0,2048}").fullmatch

ULID_BYTES: Final = 16
ULID_DIGITS: Final = 26
"""Crockford digits of a ULID: 130 bits for 128, so the first one is at most 7."""

_DIGITS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = tuple(first + second for first in _DIGITS for second in _DIGITS)
"""Every two digits by their ten bits."""

_BASE_32: Final = bytes(
    ord("0123456789abcdefghijklmnopqrstuv"[_DIGITS.index(chr(code))]) if chr(code) in _DIGITS else ord("!")
    for code in range(256)
)
"""From Crockford's digits to those of ``int(…, 32)``; whatever is none of them becomes a sign that no number has."""

_30_BITS: Final = (1 << 30) - 1

_PASCAL: Final = re.compile(r"([A-Z][a-z0-9]*)+")
_PASCAL_WORD: Final = re.compile(r"[A-Z][a-z0-9]*")


def new_id(prefix: str, now_us: int, randomness: bytes) -> str:
    """Return the id for a thing made at ``now_us`` with ``RANDOMNESS_BYTES`` of ``randomness``.

    Two ids of one millisecond sort by their randomness. Raises ValueError for another number of bytes and OverflowError
    for a time before 1970 or after 10889: both are mistakes of the calling code.
    """
    return id_of(prefix, (now_us // 1000).to_bytes(6, "big") + randomness)


def ulid_bytes(text: str, prefix: str) -> bytes | None:
    """Return the 16 bytes of an own id, for use as a key; None when ``text`` is not a canonical id of ``prefix``.

    Canonical is 26 upper-case Crockford digits that fit 128 bits, so that bytes and text name each other one to one.
    """
    head, _, digits = text.partition("_")
    if head != prefix or len(digits) != ULID_DIGITS or digits[0] > "7":
        return None
    try:
        return int(digits.encode().translate(_BASE_32), 32).to_bytes(ULID_BYTES, "big")
    except ValueError:
        return None


def id_of(prefix: str, ulid: bytes) -> str:
    """Return the id whose 16 bytes ``ulid_bytes`` gave; the inverse of it. Raises ValueError for another length.

    Written out and not looped, in the four numbers of 30 bits that Python's own arithmetic is fastest with: each
    decision makes two ids (``ulid.ULID`` takes twice as long to write one, and twenty times as long to read one).
    """
    if len(ulid) != ULID_BYTES:
        raise ValueError(f"a ULID has {ULID_BYTES} bytes, not {len(ulid)}")
    number, pairs = int.from_bytes(ulid, "big"), _PAIRS
    a, b, c, d = number >> 100, number >> 70 & _30_BITS, number >> 40 & _30_BITS, number >> 10 & _30_BITS
    return (
        f"{prefix}_{pairs[a >> 20]}{pairs[a >> 10 & 1023]}{pairs[a & 1023]}"
        f"{pairs[b >> 20]}{pairs[b >> 10 & 1023]}{pairs[b & 1023]}"
        f"{pairs[c >> 20]}{pairs[c >> 10 & 1023]}{pairs[c & 1023]}"
        f"{pairs[d >> 20]}{pairs[d >> 10 & 1023]}{pairs[d & 1023]}{pairs[number & 1023]}"
    )


def check_caller_id(value: str, field: str) -> str:
    """Return ``value`` when a caller may choose it as an id; raise ValidationFailed, naming ``field``, otherwise."""
    if _is_caller_id(value) is None:
        raise ValidationFailed("not an id, expected 1 to 128 of `A-Za-z0-9._:@-`, first a letter or digit", field=field)
    return value


def check_action(value: str, field: str) -> str:
    """Return ``value`` when it can be an action's name; raise ValidationFailed, naming ``field``, otherwise."""
    if _is_action(value) is None:
        raise ValidationFailed("not an action, expected 1 to 128 of `A-Za-z0-9._:/-`", field=field)
    return value


def check_type(value: str, field: str) -> str:
    """Return ``value`` when it can be the type of an identity or resource; raise ValidationFailed otherwise."""
    if _is_type(value) is None:
        expected = f"not a type, expected lower-case words such as `virtual_card`, at most {TYPE_LENGTH_MAX} characters"
        raise ValidationFailed(expected, field=field)
    return value


def check_name(value: str, field: str) -> str:
    """Return ``value`` when it can be a name or a resource's id; raise ValidationFailed, naming ``field``, otherwise.

    Control characters, line and paragraph separators and lone surrogates are refused.
    """
    if _is_name(value) is None:
        raise ValidationFailed("not a name, expected 1 to 512 characters without control characters", field=field)
    return value


def check_description(value: str, field: str) -> str:
    """Return ``value`` when it can describe something; raise ValidationFailed, naming ``field``, otherwise.

    It may be empty and have lines; other control characters than tabs and line breaks are refused, and lone surrogates.
    """
    if _is_description(value) is None:
        message = "not a description, expected at most 2048 characters without control characters"
        raise ValidationFailed(message, field=field)
    return value


@lru_cache(maxsize=1024)
def pascal_case(type_name: str) -> str:
    """Return the Cedar type of a wire type that passed ``check_type``: ``virtual_card`` is ``VirtualCard``.

    No two types share one, since each word of a type begins with a letter.
    """
    return "".join(word.capitalize() for word in type_name.split("_"))


def snake_case(pascal: str) -> str | None:
    """Return the wire type whose Cedar type is ``pascal``; None when no type maps to it (``agent``, ``Ns::Agent``)."""
    if _PASCAL.fullmatch(pascal) is None:
        return None
    type_name = "_".join(word.lower() for word in _PASCAL_WORD.findall(pascal))
    return type_name if len(type_name) <= TYPE_LENGTH_MAX else None

"""Where a search goes on: the place that its last page ended at, as a text that fits one search only.

The text is no permission and needs no secret: every result of every page is decided anew, within the reach of whoever
asks. What it carries of the search is there so that the text of another search is refused, and a damaged one too.
"""

import base64
import binascii
import hashlib
from typing import Annotated, Final, NoReturn

import msgspec

from sidecar.core.errors import ValidationFailed

_CHECK_BYTES: Final = 12
"""A damaged text is taken for whole once in 2^96."""

TOKEN_LENGTH_MAX: Final = 4096
"""The id of a resource has 512 characters of up to four bytes, and a third comes on top; more is none of ours."""


PLACE_MAX: Final = 2**63 - 1
"""Places are counted from one; the store has none behind this one."""


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """What a page ended at: a ``branch`` of what is walked through, in order, and a ``place`` within it."""

    branch: str = ""
    place: Annotated[int, msgspec.Meta(ge=0, le=PLACE_MAX)] = 0


START: Final = Mark()


def token_of(mark: Mark, search: bytes) -> str:
    """Return the text that leads on from ``mark`` in a search that those bytes stand for."""
    body = msgspec.msgpack.encode(mark)
    return base64.urlsafe_b64encode(_check(body, search) + body).rstrip(b"=").decode()


def mark_of(token: str, search: bytes) -> Mark:
    """Return the mark that a text of ``token_of`` leads on from. Raises ValidationFailed for any other text."""
    if len(token) > TOKEN_LENGTH_MAX:
        _refuse()
    try:
        given = base64.b64decode(token.encode() + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        _refuse()
    check, body = given[:_CHECK_BYTES], given[_CHECK_BYTES:]
    if check != _check(body, search):
        _refuse()
    try:
        return msgspec.msgpack.decode(body, type=Mark)
    except (msgspec.MsgspecError, UnicodeDecodeError):  # made up by somebody who knows how the check is made
        _refuse()


def _check(body: bytes, search: bytes) -> bytes:
    return hashlib.sha256(msgspec.msgpack.encode((search, body))).digest()[:_CHECK_BYTES]


def _refuse() -> NoReturn:
    raise ValidationFailed("the token of the page is not one of this search", field="page.token")

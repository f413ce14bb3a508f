"""How the AuthZEN door speaks: the key with or without ``Bearer`` before it, and every error as one plain sentence.

Source: OpenID AuthZEN Authorization API 1.0, sections 10 and 11. What is malformed is a 400, whatever is wrong with it:
an undeclared content type too. A denial is no error: it is a 200.
"""

import re
from typing import Final

from sidecar.core.errors import SidecarError, Unauthenticated
from sidecar.doors.wire.http import Answer, Incoming, status_of
from sidecar.doors.wire.manner import Credentials, Manner, error_headers
from sidecar.doors.wire.rates import rate_headers

TEXT: Final = "text/plain; charset=utf-8"

MALFORMED: Final = 400

_BEARER: Final = "bearer"
_REQUEST_ID: Final = re.compile(rb"[!-~](?:[ -~]{0,254}[!-~])?")


def key_or_bearer(incoming: Incoming) -> Credentials:
    """Return the value of ``Authorization``, less a ``Bearer`` before it. Raises Unauthenticated without one."""
    value = (incoming.header(b"authorization") or "").strip()
    scheme, _, rest = value.partition(" ")
    token = rest.strip() if scheme.lower() == _BEARER else value
    if not token:
        raise Unauthenticated("the header `Authorization: Bearer <token>` is missing")
    return Credentials(token)


def request_id(incoming: Incoming) -> str | None:
    """Return the caller's request id, which is an arbitrary text here; None where it is long or no printable ASCII."""
    given = incoming.every(b"x-request-id")
    return given[0].decode() if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]) else None


def sentence(error: SidecarError) -> str:
    """Return what is wrong and where, in one line."""
    return error.message if error.field is None else f"{error.message}, at `{error.field}`"


def status(error: SidecarError) -> int:
    """Return the status of an error: as everywhere, but for a content type, which makes a request malformed here."""
    return MALFORMED if error.code == "unsupported_media_type" else status_of(error)


def error_answer(error: SidecarError, _request_id: str, methods: tuple[str, ...]) -> Answer:
    """Return the answer that tells of ``error``."""
    return Answer(status(error), sentence(error).encode(), error_headers(error, methods), content_type=TEXT)


AUTHZEN: Final = Manner(
    credentials=key_or_bearer, error_answer=error_answer, limit_headers=rate_headers, request_id=request_id
)
"""The manner of the AuthZEN door."""

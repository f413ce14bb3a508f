"""How the doors of card networks tell of errors: to whom nobody is known, and nothing of what is here."""

from typing import Final

import orjson

from sidecar.core.errors import SidecarError, Unauthenticated
from sidecar.doors.wire.http import Answer, Header, Incoming, status_of
from sidecar.doors.wire.manner import Credentials, Manner
from sidecar.doors.wire.rates import rate_headers


def error_answer(error: SidecarError, request_id: str, methods: tuple[str, ...]) -> Answer:
    """Return the answer that tells of ``error``."""
    status = status_of(error)
    document = {"error": error.message, "type": error.code, "request_id": request_id}
    return Answer(status, orjson.dumps(document), _headers(status, methods))


def _headers(status: int, methods: tuple[str, ...]) -> tuple[Header, ...]:
    match status:
        case 401:
            return (("WWW-Authenticate", "Signature"),)
        case 405:
            return (("Allow", ", ".join(sorted(methods))),)
        case 503:
            return (("Retry-After", "1"),)
        case _:
            return ()


def _credentials(_incoming: Incoming) -> Credentials:
    raise Unauthenticated("messages of card networks are signed")


MANNER: Final = Manner(
    credentials=_credentials, error_answer=error_answer, limit_headers=rate_headers, requires_json=False
)
"""The manner of the doors of card networks."""

"""How Tally's API speaks beside what its calls say: its key, its errors, and how a caller stands with its rate limit.

Tally has seven types of errors; what the sidecar tells apart beyond them stands in ``code``.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import orjson

from sidecar.core.admission import Admission
from sidecar.core.errors import RateLimited, SidecarError
from sidecar.core.rates import DoorLimit, RateLimit
from sidecar.doors.wire.http import Answer, Header, Incoming, status_of
from sidecar.doors.wire.manner import Credentials, Manner

PREFIX: Final = "/tally"
"""The path below which everything speaks this way."""

LIMIT: Final = DoorLimit("tally key", RateLimit(60, 60))
"""Tally's default bucket: 60 requests in 60 seconds for each key."""

TYPES: Final[Mapping[int, str]] = MappingProxyType(
    {
        401: "unauthenticated",
        403: "forbidden",
        404: "not_found",
        409: "conflict",
        429: "rate_limited",
        500: "internal",
        503: "internal",
    }
)
"""Tally's types by status; whatever else is refused is the caller's mistake."""

MISTAKE: Final = "validation_failed"
CODES: Final[Mapping[str, str]] = MappingProxyType(
    {"rate_limited": "rate_limit_exceeded", "store_unusable": "unavailable"}
)
"""Codes that do not have the sidecar's own name."""

_MS_PER_SECOND: Final = 1_000
_US_PER_MS: Final = 1_000


def error_answer(error: SidecarError, _request_id: str, methods: tuple[str, ...]) -> Answer:
    """Return the answer that tells of ``error``; ``details`` names the field at fault, where there is one."""
    status = status_of(error)
    kind = TYPES.get(status, MISTAKE)
    told: dict[str, object] = {"type": kind, "message": error.message}
    code = CODES.get(error.code, error.code)
    if code != kind:
        told["code"] = code
    if error.field is not None:
        told["details"] = {"field": error.field}
    return Answer(status, orjson.dumps({"error": told}), _headers(error, methods))


def _headers(error: SidecarError, methods: tuple[str, ...]) -> tuple[Header, ...]:
    if isinstance(error, RateLimited):
        return (("Retry-After", str(error.retry_after_seconds)),)
    match error.code:
        case "unauthenticated":
            return (("WWW-Authenticate", "Bearer"),)
        case "method_not_allowed":
            return (("Allow", ", ".join(sorted(methods))),)
        case "unavailable" | "store_unusable":
            return (("Retry-After", "1"),)
    return ()


def limit_headers(admission: Admission) -> tuple[Header, ...]:
    """Return how a caller stands with Tally's own limit; ``Reset`` is the Unix time in milliseconds.

    At that time the whole limit is there again, or one more request where none is left.
    """
    quota = next(each for each in admission.quotas if each.policy == LIMIT.policy)
    reset_ms = admission.at_us // _US_PER_MS + quota.reset_seconds * _MS_PER_SECOND
    return (
        ("X-RateLimit-Limit", str(quota.limit.count)),
        ("X-RateLimit-Remaining", str(quota.remaining)),
        ("X-RateLimit-Reset", str(reset_ms)),
    )


def _bearer(incoming: Incoming) -> Credentials:
    return Credentials(incoming.bearer())


TALLY: Final = Manner(
    credentials=_bearer, error_answer=error_answer, limit_headers=limit_headers, limit=LIMIT, requires_json=False
)
"""The manner of every call below ``PREFIX``."""

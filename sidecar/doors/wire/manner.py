"""How a door speaks beside what its calls say: where its credentials are, how an error reads, what each answer carries.

The native API has one manner, each dialect another; ``Endpoint`` knows what to do, a manner in which words.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

import msgspec
import orjson

from sidecar.core.admission import Admission
from sidecar.core.errors import RateLimited, SidecarError
from sidecar.core.rates import DoorLimit
from sidecar.doors.wire.http import Answer, Header, Incoming, status_of
from sidecar.doors.wire.rates import rate_headers


class Credentials(NamedTuple):
    """The text of a token, and the id that this token must have, None for any."""

    text: str
    token_id: str | None = None


ErrorAnswer: TypeAlias = Callable[[SidecarError, str, tuple[str, ...]], Answer]
"""Tells of an error, given the request's id and the methods that the path takes."""


class Manner(msgspec.Struct, frozen=True, kw_only=True):
    """The manner of one door.

    ``credentials`` raises Unauthenticated where a request has none, and returns None for one that needs none. ``limit``
    holds for each token at this door, beside those that hold everywhere. Without ``requires_json`` a body is read as
    JSON whatever it is declared as. ``request_id`` returns a caller's own id of its request, None for one that is
    replaced.
    """

    credentials: Callable[[Incoming], Credentials | None]
    error_answer: ErrorAnswer
    limit_headers: Callable[[Admission], tuple[Header, ...]]
    limit: DoorLimit | None = None
    requires_json: bool = True
    request_id: Callable[[Incoming], str | None] = Incoming.request_id


def error_answer(error: SidecarError, request_id: str, methods: tuple[str, ...]) -> Answer:
    """Return the answer that tells of ``error``."""
    return Answer(status_of(error), error_body(error, request_id), error_headers(error, methods))


def code_of(error: SidecarError) -> str:
    """Return the code of an error as callers see it."""
    return "unavailable" if error.code == "store_unusable" else error.code


def error_body(error: SidecarError, request_id: str) -> bytes:
    """Return the body that tells of ``error``."""
    document = {"error": error.message, "type": code_of(error), "request_id": request_id}
    if error.field is not None:
        document["field"] = error.field
    return orjson.dumps(document)


def error_headers(error: SidecarError, methods: tuple[str, ...] = ()) -> tuple[Header, ...]:
    """Return the headers of HTTP that belong to ``error``, for doors whose callers show a bearer token."""
    if isinstance(error, RateLimited):
        return (("Retry-After", str(error.retry_after_seconds)),)
    match error.code:
        case "unauthenticated":
            return (("WWW-Authenticate", "Bearer"),)
        case "method_not_allowed":
            return (("Allow", ", ".join(sorted(methods))),)
        case "unavailable" | "store_unusable":
            return (("Retry-After", "1"),)
        case _:
            return ()


def _bearer(incoming: Incoming) -> Credentials:
    return Credentials(incoming.bearer())


NATIVE: Final = Manner(credentials=_bearer, error_answer=error_answer, limit_headers=rate_headers)
"""The manner of the native API."""

"""How the tLedger dialect speaks: a pair of headers as the credentials, and every error as a list of details.

The shape of an error is that of the framework behind tLedger: ``{"detail":[{"loc":[…],"msg":…,"type":…}]}``, where
``loc`` begins with ``body``, ``query``, ``path`` or ``header``. What is malformed, missing or too much is a 422.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final

import msgspec
import orjson

from sidecar.core.errors import RateLimited, SidecarError, Unauthenticated
from sidecar.doors.wire.http import Answer, Incoming, status_of
from sidecar.doors.wire.manner import Credentials, Manner
from sidecar.doors.wire.rates import rate_headers

IDEMPOTENCY_KEY: Final = "Idempotency-Key"

UNPROCESSABLE: Final = 422
"""What this vendor answers where the native API answers 400."""

_PLACES: Final = frozenset({"body", "query", "path", "header"})
_STEP: Final = re.compile(r"[^.\[\]]+")

_PLACE_OF: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "invalid_json": ("body",),
        "unauthenticated": ("header", "X-API-Key"),
        "forbidden": ("header", "X-API-Key"),
        "not_found": ("path",),
        "method_not_allowed": ("path",),
        "idempotency_conflict": ("header", IDEMPOTENCY_KEY),
    }
)
"""What is at fault where an error names no field."""

_PLACE_OF_FIELD: Final[Mapping[str, str]] = MappingProxyType({"tenant_id": "query", IDEMPOTENCY_KEY: "header"})
"""Where the fields are that are in no body of this vendor."""

_MISSING: Final = ("object missing required field", "missing")
_UNKNOWN: Final = ("object contains unknown field", "extra_forbidden")
_UNKNOWN_IN_QUERY: Final = ("unknown query field", "extra_forbidden")
_TYPES: Final = (_MISSING, _UNKNOWN, _UNKNOWN_IN_QUERY)
"""How the sentence of a mistake begins, and what this vendor calls such a mistake."""

_NO_OBJECT: Final = "expected `object`"
"""How the sentence on a body begins that is none."""


def pair(incoming: Incoming) -> Credentials:
    """Return the token in ``X-API-Secret``, whose id is in ``X-API-Key``. Raises Unauthenticated without them."""
    key, secret = incoming.header(b"x-api-key"), incoming.header(b"x-api-secret")
    if not key or not secret:
        raise Unauthenticated("the headers `X-API-Key` and `X-API-Secret` are missing", field="header.X-API-Key")
    return Credentials(secret, key)


def pair_or_bearer(incoming: Incoming) -> Credentials:
    """Return the pair where a part of it is there, else the bearer token. Raises Unauthenticated without either."""
    if incoming.header(b"x-api-key") is None and incoming.header(b"x-api-secret") is None:
        return Credentials(incoming.bearer())
    return pair(incoming)


def error_answer(error: SidecarError, _request_id: str, methods: tuple[str, ...]) -> Answer:
    """Return the answer that tells of ``error``."""
    detail = {"loc": _place(error), "msg": error.message, "type": _type(error)}
    headers: tuple[tuple[str, str], ...] = ()
    if isinstance(error, RateLimited):
        headers = (("Retry-After", str(error.retry_after_seconds)),)
    status = status_of(error)
    match error.code:
        case "invalid_json" | "validation_failed":
            status = UNPROCESSABLE
        case "unauthenticated":
            headers = (("WWW-Authenticate", "ApiKey"),)
        case "method_not_allowed":
            headers = (("Allow", ", ".join(sorted(methods))),)
        case "unavailable" | "store_unusable":
            headers = (("Retry-After", "1"),)
    return Answer(status, orjson.dumps({"detail": [detail]}), headers)


def _place(error: SidecarError) -> list[str | int]:
    """Return the way to the place that is at fault; a field of no other part of the request is one of the body."""
    field, sentence = error.field, error.message
    if field is None:
        return ["body"] if sentence.startswith(_NO_OBJECT) else [*_PLACE_OF.get(error.code, ())]
    if sentence.startswith(_UNKNOWN[0]):
        return ["body", field]  # the caller's word: a dot in it leads nowhere, and it may be called `query`
    if sentence.startswith(_UNKNOWN_IN_QUERY[0]):
        return ["query", field]
    steps = [int(step) if step.isdecimal() else step for step in _STEP.findall(field)]
    return steps if steps and steps[0] in _PLACES else [_PLACE_OF_FIELD.get(field, "body"), *steps]


def _type(error: SidecarError) -> str:
    if error.code == "validation_failed":
        return next((name for start, name in _TYPES if error.message.startswith(start)), "value_error")
    return {"invalid_json": "json_invalid", "store_unusable": "unavailable"}.get(error.code, error.code)


@contextmanager
def called(**names: str) -> Iterator[None]:
    """Name the place of a mistake as this vendor's users know it: by what ``names`` has for the native field."""
    try:
        yield
    except SidecarError as error:
        error.field = names.get((error.field or "").replace(".", "_"), error.field)
        raise


TLEDGER: Final = Manner(credentials=pair, error_answer=error_answer, limit_headers=rate_headers, requires_json=False)
"""The manner of the tLedger dialect."""

TLEDGER_KEYS: Final = msgspec.structs.replace(TLEDGER, credentials=pair_or_bearer)
"""The same where a first pair is made with a tenant's key."""

"""What the doors of proxies answer: the decision in headers, and a body of reasons for whoever made the request.

Proxies pass headers on one by one, so what matters is in them: the decision's id, the code of its first reason, its
sentence. Envoy, Traefik and Caddy give the whole answer to their client; nginx shows the headers to its configuration.
"""

from collections.abc import Mapping
from typing import Final

import orjson

from sidecar.core.errors import RateLimited, SidecarError
from sidecar.core.model import Decision
from sidecar.doors.native import render
from sidecar.doors.wire.http import Header

ID: Final = "X-Decision-Id"
REASON: Final = "X-Decision-Reason"
MESSAGE: Final = "X-Decision-Message"
ERROR: Final = "X-Decision-Error"

MESSAGE_LENGTH_MAX: Final = 512
"""Proxies refuse answers whose headers are long, some above 4 KiB in all."""


def decision_headers(decision: Decision) -> tuple[Header, ...]:
    """Return the headers that tell of a decision; the sentence is there for denials."""
    reason = decision.reasons[0]
    headers = ((ID, decision.decision_id or ""), (REASON, reason.code))
    return headers if decision.allowed else (*headers, (MESSAGE, _header_text(reason.message)))


def denial_body(decision: Decision) -> bytes:
    """Return the body of a denial: the shape of errors, with the decision and all of its reasons."""
    reason = decision.reasons[0]
    return orjson.dumps(
        {
            "error": reason.message,
            "type": reason.code,
            "decision_id": decision.decision_id,
            "reasons": [render.reason(each) for each in decision.reasons],
        }
    )


def error_headers(error: SidecarError) -> tuple[Header, ...]:
    """Return the headers that tell why there is no decision."""
    headers: tuple[Header, ...] = ((ERROR, code_of(error)), (MESSAGE, _header_text(error.message)))
    match error.code:
        case "unauthenticated":
            headers += (("WWW-Authenticate", "Bearer"),)
        case "unavailable" | "store_unusable":
            headers += (("Retry-After", "1"),)
    if isinstance(error, RateLimited):
        headers += (("Retry-After", str(error.retry_after_seconds)),)
    return headers


def error_body(error: SidecarError, request_id: str) -> bytes:
    """Return the body that tells why there is no decision."""
    document: Mapping[str, str | None] = {
        "error": error.message,
        "type": code_of(error),
        "field": error.field,
        "request_id": request_id,
    }
    return orjson.dumps({name: value for name, value in document.items() if value is not None})


def code_of(error: SidecarError) -> str:
    """Return the code of an error as callers see it."""
    return "unavailable" if error.code == "store_unusable" else error.code


def _header_text(text: str) -> str:
    """Return a sentence as the value of a header: plain ASCII in one line."""
    shown = text.encode("ascii", "backslashreplace").decode()
    return "".join([each if each.isprintable() else " " for each in shown])[:MESSAGE_LENGTH_MAX].strip()

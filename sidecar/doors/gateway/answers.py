"""What the doors of proxies answer: the decision in headers, and a body of reasons for whoever made the request.

Proxies pass headers on one by one, so what matters is in them: the decision's id, the code of its first reason, its
sentence. Envoy, Traefik and Caddy give the whole answer to their client; nginx shows the headers to its configuration.
"""

from typing import Final

import orjson

from sidecar.core.errors import SidecarError
from sidecar.core.model import Decision
from sidecar.doors.native import render
from sidecar.doors.wire import manner
from sidecar.doors.wire.http import Answer, Header

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


def answer(decision: Decision, status: int, on_permit: tuple[Header, ...] = ()) -> Answer:
    """Return what a proxy is answered: ``status`` and further headers for a permit, 403 with the reasons otherwise."""
    headers = decision_headers(decision)
    if decision.allowed:
        return Answer(status, headers=headers + on_permit)
    return Answer(403, denial_body(decision), headers)


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
    """Return the headers that tell why there is no decision, and those of HTTP that belong to the error."""
    return ((ERROR, manner.code_of(error)), (MESSAGE, _header_text(error.message)), *manner.error_headers(error))


def _header_text(text: str) -> str:
    """Return a sentence as the value of a header: plain ASCII in one line."""
    shown = text.encode("ascii", "backslashreplace").decode()
    return "".join([each if each.isprintable() else " " for each in shown])[:MESSAGE_LENGTH_MAX].strip()

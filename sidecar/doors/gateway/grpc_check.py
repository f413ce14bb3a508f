"""Envoy's external authorization over gRPC, as questions to the HTTP door's own call.

One ``Check`` becomes one HTTP request of that call, so who may ask, what is asked, the rate limits, the counts and the
errors are those of the HTTP door, and so are its answers: what it tells a client stands in the message. The proxy's own
token comes in gRPC's metadata only, where no client of the proxy can put it.
"""

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias
from urllib.parse import unquote

import msgspec
from starlette.types import Message, Scope

from sidecar.core.errors import Unavailable, ValidationFailed
from sidecar.doors.gateway import grpc_messages
from sidecar.doors.gateway.grpc_messages import Checked
from sidecar.doors.gateway.mapping import HttpMapping
from sidecar.doors.wire.context import Context, Served
from sidecar.doors.wire.endpoint import ANY_METHOD, Call, Endpoint
from sidecar.doors.wire.manner import NATIVE

SERVICE: Final = "envoy.service.auth.v3.Authorization"
METHOD: Final = "Check"
ROUTE: Final = f"/{SERVICE}/{METHOD}"
"""How gRPC names the call, and how it is counted."""

DECISION_ID: Final = "x-decision-id"
DECISION_REASON: Final = "x-decision-reason"
REMOVED: Final = "x-envoy-auth-headers-to-remove"
"""The header in which the HTTP door names those that the upstream must not see."""

MARKS: Final[Mapping[str, str]] = {DECISION_ID: "decision_id", DECISION_REASON: "reason", "x-request-id": "request_id"}
"""What Envoy's later filters and its access log are told, by the header of the HTTP door that says it."""

UNTOLD: Final = frozenset({"content-length", REMOVED})
"""Headers of the HTTP door's answer that are not for the proxy's client; Envoy counts bodies itself."""

FAULTS: Final = 500
"""From this status on an answer says that there is none."""

PERMITTED: Final = 200

Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]


class Terms(msgspec.Struct, frozen=True):
    """What this door needs to know of the mapping.

    ``credential_header`` is the metadata in which the proxy shows its own token, None where the client's token decides
    who asks; ``single`` are headers that may come once, of which Envoy may have joined several with commas.
    """

    credential_header: str | None
    single: frozenset[bytes]


def terms_of(mapping: HttpMapping) -> Terms:
    """Return the terms of a mapping."""
    source = mapping.identity
    own = None if source.is_token else mapping.credential_header
    return Terms(own, frozenset(name.encode() for name in mapping.headers | {source.header}))


class CheckDoor:
    """Answers messages."""

    def __init__(self, context: Context, call: Call, prefix: str, terms: Terms) -> None:
        """Ask ``call``, a raw one for every method, as if at and below the path ``prefix``."""
        self._endpoint = Endpoint(context, {ANY_METHOD: msgspec.structs.replace(call, path=ROUTE)})
        self._context = context
        self._manner = call.manner or NATIVE
        self._prefix = prefix
        self._terms = terms

    async def check(self, message: bytes, metadata: Metadata) -> bytes:
        """Return the answer to a ``CheckRequest``; a message that is none, or tells of no request, is a denial.

        Raises Unavailable where there is no answer, which a proxy takes as its own settings say.
        """
        try:
            checked = grpc_messages.read(message)
        except ValidationFailed as error:
            return self._unreadable(error)
        given = _Given()
        await self._endpoint(self._scope(checked, metadata), _nothing, given.send)
        return given.message()

    def _unreadable(self, error: ValidationFailed) -> bytes:
        """Deny what cannot be read: an error would let it pass where ``failure_mode_allow`` is set."""
        context = self._context
        request_id = context.new_request_id(context.clock())
        answer = self._manner.error_answer(error, request_id, ())
        context.count(Served(ANY_METHOD, ROUTE, answer.status))
        return grpc_messages.denial(answer.status, answer.headers, answer.body, {"request_id": request_id})

    def _scope(self, checked: Checked, metadata: Metadata) -> Scope:
        """Return what a proxy would have sent over HTTP."""
        own, single = self._terms.credential_header, self._terms.single
        headers = [(b"host", checked.host.encode())]
        kept = {"host", own}  # from clients: Envoy tells the host by itself, and itself by its metadata
        for name, value in checked.joined:
            if name not in kept:
                written = name.encode()
                headers += [(written, each) for each in (value.split(b",") if written in single else (value,))]
        headers += [(name.encode(), value) for name, value in checked.raw if name not in kept]
        for key, text in metadata:
            if key == own:
                headers.append((key.encode(), text if isinstance(text, bytes) else text.encode()))
        path, _, query = checked.target.partition("?")
        return {
            "type": "http",
            "method": checked.method,
            "path": self._prefix + unquote(path),
            "raw_path": (self._prefix + path).encode(),
            "query_string": query.encode(),
            "headers": headers,
            "path_params": {"path": unquote(path).removeprefix("/")},
        }


class _Given:
    """Takes what an endpoint sends."""

    def __init__(self) -> None:
        self._status = FAULTS
        self._headers: list[tuple[str, str]] = []
        self._body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = [(name.decode().lower(), value.decode()) for name, value in message["headers"]]
        else:
            self._body += message["body"]

    def message(self) -> bytes:
        """Return the answer as a ``CheckResponse``. Raises Unavailable where the door had none."""
        by_name = dict(self._headers)
        marks = {mark: by_name[name] for name, mark in MARKS.items() if name in by_name}
        if self._status >= FAULTS:
            raise Unavailable("the request cannot be decided now")
        if self._status == PERMITTED:
            removed = [name.strip() for name in by_name.get(REMOVED, "").split(",") if name.strip()]
            told = [(name, value) for name, value in self._headers if name == DECISION_ID]
            return grpc_messages.permit(told, removed, marks)
        told = [(name, value) for name, value in self._headers if name not in UNTOLD]
        return grpc_messages.denial(self._status, told, self._body, marks)


async def _nothing() -> Message:
    """Receive no body: what a client sends is the upstream's."""
    return {"type": "http.request", "body": b"", "more_body": False}

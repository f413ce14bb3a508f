"""One path of a door as an ASGI application: authenticate, read, call, answer; and every error in the door's shape.

Time is read here, once per request. A plain ASGI callable is a Starlette route's endpoint, so the framework routes and
its request and response classes stay off the decision's way.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

import msgspec
import orjson
import structlog
from starlette.types import Receive, Scope, Send

from sidecar.core.access import Caller
from sidecar.core.errors import MethodNotAllowed, SidecarError, Unavailable, ValidationFailed
from sidecar.core.idempotency import IdempotencyKey, idempotency_key
from sidecar.core.limits import BODY_BYTES_MAX, IDEMPOTENCY_KEY_LENGTH_MAX
from sidecar.doors.wire import strict_json, typed
from sidecar.doors.wire.http import Answer, ClientGone, Incoming, send_answer, status_of

log: Final = structlog.get_logger("sidecar.http")


class Ask(msgspec.Struct, frozen=True):
    """One authenticated request as a call's function gets it. ``body`` has the call's request type."""

    caller: Caller
    now_us: int
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: object
    document: object
    key_text: str | None
    name: str

    def tenant_id(self, in_body: str | None = None) -> str | None:
        """Return the tenant that the call names in its body or query. Raises ValidationFailed when they differ."""
        in_query = self.query.get("tenant_id")
        if in_body is not None and in_query is not None and in_body != in_query:
            raise ValidationFailed("the body and the query name different tenants", field="tenant_id")
        return in_body or in_query

    def idempotency_key(self) -> IdempotencyKey | None:
        """Return the call's idempotency key, None without one."""
        if self.key_text is None:
            return None
        return idempotency_key(self.caller.name, self.name, self.key_text, strict_json.canonical(self.document))


Function: TypeAlias = Callable[[Ask], Awaitable[Answer]]


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One documented call. ``query`` names the fields that it takes beside ``tenant_id``.

    ``aliases`` are further paths of the same call. ``is_idempotent`` says that it takes an ``Idempotency-Key``;
    ``is_open`` that it needs no token. What follows ``body_bytes_max`` is for the description only: the type of its
    ``answer`` (None for none) and the ``status`` that it comes with, types of ``further`` answers by status, its
    ``operation`` (the function's name unless said) and ``tag`` (from the path unless said); ``names_tenant`` says that
    the query may name one, and without ``is_documented`` the call is left out.
    """

    method: str
    path: str
    run: Function
    aliases: tuple[str, ...] = ()
    request: type | None = None
    query: frozenset[str] = frozenset()
    is_idempotent: bool = False
    is_open: bool = False
    body_bytes_max: int = BODY_BYTES_MAX
    answer: object = None
    status: int = 200
    further: Mapping[int, object] = {}
    content_type: str = "application/json"
    operation: str | None = None
    tag: str | None = None
    names_tenant: bool = True
    is_documented: bool = True


class Context(msgspec.Struct, frozen=True):
    """What an endpoint needs of its process."""

    authenticate: Callable[[str, int], Caller]
    clock: Callable[[], int]
    new_request_id: Callable[[int], str]


class Endpoint:
    """All methods of one path."""

    def __init__(self, context: Context, calls: Mapping[str, Call]) -> None:
        """Serve ``calls`` by method."""
        self._context = context
        self.calls = calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever goes wrong becomes an answer."""
        now_us = self._context.clock()
        incoming = Incoming(scope)
        request_id = incoming.request_id() or self._context.new_request_id(now_us)
        try:
            answer = await self._answer(incoming, scope.get("path_params", {}), receive, now_us)
        except ClientGone:
            return
        except SidecarError as error:
            answer = error_answer(error, request_id, tuple(self.calls))
            if isinstance(error, Unavailable):
                log.warning("request_unavailable", path=incoming.path, reason=error.message, request_id=request_id)
        except Exception:
            log.exception("request_failed", path=incoming.path, request_id=request_id)
            answer = error_answer(SidecarError("the request failed inside the sidecar"), request_id, ())
        await send_answer(send, answer, request_id)

    async def _answer(self, incoming: Incoming, path: Mapping[str, str], receive: Receive, now_us: int) -> Answer:
        call = self.calls.get(incoming.method)
        if call is None:
            raise MethodNotAllowed(f"`{incoming.method}` is not allowed here")
        body = await incoming.body(receive, call.body_bytes_max)
        caller = Caller("agent") if call.is_open else self._context.authenticate(incoming.bearer(), now_us)
        query = incoming.query()
        for name in query:
            if name != "tenant_id" and name not in call.query:
                raise ValidationFailed(f"unknown query field `{name[:64]}`", field=name[:64])
        document = self._document(incoming, call, body)
        request = None if call.request is None else typed.convert(document, call.request)
        name = " ".join((call.method, call.path, *path.values()))
        ask = Ask(caller, now_us, path, query, request, document, self._key(incoming, call), name)
        return await call.run(ask)

    def _document(self, incoming: Incoming, call: Call, body: bytes) -> object:
        """Return the decoded body; none at all stands for an empty object."""
        if not body:
            return {}
        if call.request is None:
            raise ValidationFailed("this call takes no body")
        incoming.require_json()
        return strict_json.decode(body)

    def _key(self, incoming: Incoming, call: Call) -> str | None:
        key = incoming.header(b"idempotency-key") if call.is_idempotent else None
        if key is not None and not (0 < len(key) <= IDEMPOTENCY_KEY_LENGTH_MAX and key.isprintable()):
            message = f"an idempotency key has 1 to {IDEMPOTENCY_KEY_LENGTH_MAX} printable characters"
            raise ValidationFailed(message, field="Idempotency-Key")
        return key


def error_answer(error: SidecarError, request_id: str, methods: tuple[str, ...]) -> Answer:
    """Return the answer that tells of ``error``."""
    document = {"error": error.message, "type": error.code, "request_id": request_id}
    if error.field is not None:
        document["field"] = error.field
    headers: tuple[tuple[str, str], ...] = ()
    match error.code:
        case "unauthenticated":
            headers = (("WWW-Authenticate", "Bearer"),)
        case "method_not_allowed":
            headers = (("Allow", ", ".join(sorted(methods))),)
        case "unavailable" | "store_unusable":
            headers = (("Retry-After", "1"),)
            document["type"] = "unavailable"
    return Answer(status_of(error), orjson.dumps(document), headers)


def json_answer(value: object, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """Return ``value`` as a JSON answer."""
    return Answer(status, orjson.dumps(value), headers)

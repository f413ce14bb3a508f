"""One path of a door as an ASGI application: authenticate, read, call, answer; and every error in the door's shape.

Time is read here, once per request and when all of it has come; how long it took is told to whoever counts. A plain
ASGI callable is what ``application`` and a Starlette route call, so the framework's request and response classes stay
off every way, and all of it off that of a decision.
"""

from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Any, Final, TypeAlias

import msgspec
import orjson
import structlog
from starlette.types import Receive, Scope, Send

from sidecar.core.access import Caller
from sidecar.core.admission import Admission
from sidecar.core.errors import (
    MethodNotAllowed,
    RateLimited,
    SidecarError,
    Unauthenticated,
    Unavailable,
    ValidationFailed,
)
from sidecar.core.idempotency import IdempotencyKey, idempotency_key
from sidecar.core.limits import BODY_BYTES_MAX, IDEMPOTENCY_KEY_LENGTH_MAX
from sidecar.doors.wire import strict_json
from sidecar.doors.wire.body import BodyReader, document_of
from sidecar.doors.wire.context import OTHER, Context, Served
from sidecar.doors.wire.http import Answer, ClientGone, Incoming, send_answer
from sidecar.doors.wire.manner import NATIVE, Manner
from sidecar.doors.wire.streams import send_stream, while_there

log: Final = structlog.get_logger("sidecar.http")


class Ask(msgspec.Struct, frozen=True):
    """One authenticated request as a call's function gets it.

    ``body`` has the call's request type, ``raw`` are its bytes; ``route`` names the call with its placeholders.
    ``head`` is the request as it came.
    """

    caller: Caller
    now_us: int
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: object
    raw: bytes
    key_text: str | None
    route: str
    accept: str
    head: Incoming

    def document(self) -> object:
        """Return the body as it was written, decoded; few calls look at it, so it is decoded for those only."""
        return document_of(self.raw)

    def tenant_id(self, in_body: str | None = None) -> str | None:
        """Return the tenant that the call names in its body or query. Raises ValidationFailed when they differ."""
        in_query = self.query.get("tenant_id")
        if in_body is not None and in_query is not None and in_body != in_query:
            raise ValidationFailed("the call names two different tenants", field="tenant_id")
        return in_body or in_query

    def idempotency_key(self) -> IdempotencyKey | None:
        """Return the call's idempotency key, None without one; a tenant is content, in the body or in the query."""
        if self.key_text is None:
            return None
        content, tenant_id = self.document(), self.query.get("tenant_id")
        if tenant_id is not None and isinstance(content, dict):
            content = content | {"tenant_id": tenant_id}
        name = " ".join((self.route, *self.path.values()))
        return idempotency_key(self.caller.name, name, self.key_text, strict_json.canonical(content))


REPLAYED: Final = ("Idempotent-Replayed", "true")
"""The header of a stored answer."""

Function: TypeAlias = Callable[[Ask], Awaitable[Answer]]


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One documented call. ``query`` names the fields that it takes beside ``tenant_id``.

    ``aliases`` are further paths of the same call. ``is_idempotent`` says that it takes an ``Idempotency-Key``;
    ``is_open`` that it needs no token, and that no rate limit holds for it; ``is_decision`` that its answer is a
    decision, or several; ``is_long`` that it may take long, and ends when its client goes away; ``is_raw`` that its
    function reads query, headers and body by itself. ``method`` is ``*`` for each that no other call has. What follows
    ``body_bytes_max`` is for the description only: the type of its ``answer`` and the ``status`` that it comes with,
    types of ``further`` answers by status (None for none), its ``operation`` (the function's name unless said) and
    ``tag`` (from the path unless said); ``names_tenant`` says that the query may name one, and without
    ``is_documented`` the call is left out. ``manner`` is the native one unless said.
    """

    method: str
    path: str
    run: Function
    aliases: tuple[str, ...] = ()
    request: type | None = None
    query: frozenset[str] = frozenset()
    is_idempotent: bool = False
    is_open: bool = False
    is_decision: bool = False
    is_long: bool = False
    is_raw: bool = False
    body_bytes_max: int = BODY_BYTES_MAX
    answer: object = None
    status: int = 200
    further: Mapping[int, object] = {}
    content_type: str = "application/json"
    operation: str | None = None
    tag: str | None = None
    names_tenant: bool = True
    is_documented: bool = True
    manner: Manner | None = None


NOBODY: Final = Caller("agent")
"""Who calls where no token is needed."""

NO_PATH: Final[Mapping[str, str]] = {}
"""What stands in the placeholders of a path without any."""

NO_QUERY: Final[Mapping[str, str]] = {}
"""What a call is given that reads its query itself."""

ANY_METHOD: Final = "*"
"""The method of a call that takes every one."""


class _Way(msgspec.Struct, frozen=True):
    """A call with what serves it: ``route`` names it with its placeholders, ``reader`` reads its bodies, if any."""

    call: Call
    route: str
    reader: BodyReader[Any] | None
    manner: Manner


def _way(call: Call) -> _Way:
    reader: BodyReader[Any] | None = None if call.request is None else BodyReader(call.request)
    return _Way(call, f"{call.method} {call.path}", reader, call.manner or NATIVE)


class Endpoint:
    """All methods of one path."""

    def __init__(self, context: Context, calls: Mapping[str, Call]) -> None:
        """Serve ``calls`` by method."""
        self.calls = calls
        self._ways = {method: _way(call) for method, call in calls.items()}
        self._route = next((call.path for call in calls.values()), OTHER)
        self._manner = next((way.manner for way in self._ways.values()), NATIVE)
        self._authenticate = context.authenticate
        self._clock = context.clock
        self._new_request_id = context.new_request_id
        self._admit = context.admit
        self._tell = context.count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever goes wrong becomes an answer."""
        incoming = Incoming(scope)
        try:
            answer = await self._answer(incoming, scope.get("path_params", NO_PATH), receive)
            request_id = self._request_id(incoming)
        except ClientGone:
            return
        except SidecarError as error:
            request_id = self._request_id(incoming)
            answer = self._manner.error_answer(error, request_id, tuple(self.calls))
            if isinstance(error, Unavailable):
                log.warning("request_unavailable", path=incoming.path, reason=error.message, request_id=request_id)
        except Exception:
            request_id = self._request_id(incoming)
            log.exception("request_failed", path=incoming.path, request_id=request_id)
            failure = SidecarError("the request failed inside the sidecar")
            answer = self._manner.error_answer(failure, request_id, ())
        self._count(incoming, answer)
        if answer.chunks is None:
            await send_answer(send, answer, request_id, incoming.limits)
        else:
            await send_stream(receive, send, answer, request_id, incoming.limits)

    def _request_id(self, incoming: Incoming) -> str:
        """Return the caller's request id, or one of the request's time."""
        request_id = self._manner.request_id(incoming)
        if request_id is None:
            request_id = self._new_request_id(self._clock() if incoming.now_us is None else incoming.now_us)
        return request_id

    def _count(self, incoming: Incoming, answer: Answer) -> None:
        """Tell of an answer before it is sent, so that whoever has read it finds it counted."""
        call = self.calls.get(incoming.method) or self.calls.get(ANY_METHOD)
        arrived, parsed = incoming.arrived, incoming.parsed
        served = Served(
            OTHER if call is None else call.method,
            self._route,
            answer.status,
            perf_counter() - arrived,
            None if parsed is None else parsed - arrived,
            call is not None and call.is_decision,
            REPLAYED in answer.headers,
        )
        self._tell(served)

    async def _answer(self, incoming: Incoming, path: Mapping[str, str], receive: Receive) -> Answer:
        way = self._ways.get(incoming.method) or self._ways.get(ANY_METHOD)
        if way is None:
            raise MethodNotAllowed(f"`{incoming.method}` is not allowed here")
        call = way.call
        raw = await incoming.body(receive, call.body_bytes_max)
        # Not before: who holds the body back must not choose the time.
        incoming.now_us = now_us = self._clock()
        caller = NOBODY if call.is_open else self._admitted(incoming, way.manner, now_us)
        if call.is_raw:
            incoming.parsed = perf_counter()
            return await call.run(Ask(caller, now_us, path, NO_QUERY, None, raw, None, way.route, "", incoming))
        query = incoming.query()
        for name in query:
            if name != "tenant_id" and name not in call.query:
                raise ValidationFailed(f"unknown query field `{name[:64]}`", field=name[:64])
        reader = way.reader
        if raw:
            if reader is None:
                raise ValidationFailed("this call takes no body")
            if way.manner.requires_json:
                incoming.require_json()
        body = None if reader is None else await reader.read_beside(raw)
        key = incoming.header(b"idempotency-key") if call.is_idempotent else None
        if key is not None:
            check_key(key)
        ask = Ask(caller, now_us, path, query, body, raw, key, way.route, incoming.accept(), incoming)
        incoming.parsed = perf_counter()
        if call.is_long:
            return await while_there(call.run(ask), receive)
        return await call.run(ask)

    def _admitted(self, incoming: Incoming, manner: Manner, now_us: int) -> Caller:
        """Return who calls. Raises Unauthenticated, and RateLimited."""
        credentials = manner.credentials(incoming)
        if credentials is None:
            return NOBODY
        text, token_id = credentials
        caller = self._authenticate(text, now_us)
        if token_id is not None and token_id != caller.name:
            raise Unauthenticated("the token is missing, unknown or expired")
        admission = self._admit(caller, now_us, manner.limit)
        if admission is not None:
            _limit(incoming, admission, manner)
        return caller


def _limit(incoming: Incoming, admission: Admission, manner: Manner) -> None:
    """Note how the caller stands with its rate limits; raises RateLimited."""
    incoming.limits = manner.limit_headers(admission)
    if admission.retry_after_seconds is not None:
        spent = " and ".join(f"`{each.limit.text}` of the {each.policy}" for each in admission.spent)
        seconds = admission.retry_after_seconds
        raise RateLimited(f"over the rate limit {spent}, retry in {seconds} s", retry_after_seconds=seconds)


def check_key(key: str) -> None:
    """Raise ValidationFailed for a text that cannot be an idempotency key."""
    if not (0 < len(key) <= IDEMPOTENCY_KEY_LENGTH_MAX and key.isprintable()):
        message = f"an idempotency key has 1 to {IDEMPOTENCY_KEY_LENGTH_MAX} printable characters"
        raise ValidationFailed(message, field="Idempotency-Key")


def json_answer(value: object, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """Return ``value`` as a JSON answer."""
    return Answer(status, orjson.dumps(value), headers)

"""One HTTP request and its answer, over plain ASGI: headers read once, the body bounded while it arrives."""

import re
from collections.abc import AsyncGenerator, Iterable, Mapping
from time import perf_counter
from typing import Final, TypeAlias
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Scope, Send

from sidecar.core.errors import (
    SidecarError,
    TooLarge,
    Unauthenticated,
    UnsupportedMediaType,
    ValidationFailed,
)

SINGLE: Final = frozenset(
    {b"authorization", b"api-key", b"x-api-key", b"x-api-secret", b"idempotency-key", b"content-type", b"x-request-id"}
)
"""Headers that may come once: of two, one layer would take the first and another the last (CVE-2021-32777)."""

DRAINED_BYTES_MAX: Final = 32 * 1024 * 1024
"""How much of a body that is too long is read and dropped, so that the client gets to read the answer."""

STATUS: Final[Mapping[str, int]] = {
    "invalid_json": 400,
    "validation_failed": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "too_large": 413,
    "unsupported_media_type": 415,
    "idempotency_conflict": 422,
    "rate_limited": 429,
    "internal": 500,
    "unavailable": 503,
    "store_unusable": 503,
    "configuration_invalid": 503,
}
"""Every error code and its status; a test holds it against the family in ``sidecar.core.errors``."""

Header: TypeAlias = tuple[str, str]

JSON: Final = "application/json"
NO_STORE: Final = "no-store"

_JSON_HEADER: Final = (b"content-type", JSON.encode())
_NO_STORE_HEADER: Final = (b"cache-control", NO_STORE.encode())
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:/-]{1,128}")
_QUERY_FIELDS_MAX: Final = 32


class ClientGone(Exception):
    """The connection ended before the request was read; nobody is there to be answered."""


class Answer(msgspec.Struct, frozen=True):
    """What goes back: the body as finished bytes, or ``chunks`` of it that are made while it is sent."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = JSON
    cache_control: str = NO_STORE
    chunks: AsyncGenerator[bytes, None] | None = None


class Incoming:
    """The head of one request, and what is found out about it on its way.

    ``now_us`` is its time, None while it has not come whole; ``parsed`` is when it was understood; ``limits`` are
    headers of every answer to it.
    """

    __slots__ = ("_all", "_doubled", "_headers", "_scope", "arrived", "limits", "method", "now_us", "parsed", "path")

    def __init__(self, scope: Scope) -> None:
        """Read the headers of ``scope``; nothing is judged yet."""
        self.arrived = perf_counter()
        self.parsed: float | None = None
        self.now_us: int | None = None
        self.limits: tuple[Header, ...] = ()
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self._scope = scope
        headers = scope["headers"]
        self._all: Iterable[tuple[bytes, bytes]] = headers
        self._headers: dict[bytes, bytes] = dict(headers)
        self._doubled = None if len(self._headers) == len(headers) else _doubled(headers)

    def header(self, name: bytes) -> str | None:
        """Return a header's value as text. Raises ValidationFailed when it came twice or is not ASCII."""
        if self._doubled is not None:
            raise ValidationFailed(f"the header `{self._doubled}` is given twice")
        value = self._headers.get(name)
        if value is None:
            return None
        try:
            return value.decode("ascii")
        except UnicodeDecodeError as error:
            raise ValidationFailed(f"the header `{name.decode()}` is not ASCII") from error

    def every(self, name: bytes) -> list[bytes]:
        """Return each value that a header was given, in order; for doors that take further headers than ``SINGLE``."""
        return [value for each, value in self._all if each == name]

    def raw_query(self) -> bytes:
        """Return the query as it was written."""
        query: bytes = self._scope.get("query_string", b"")
        return query

    def raw_path(self) -> bytes:
        """Return the path as it was written, nothing of it decoded; nothing where the server does not tell."""
        path: bytes | None = self._scope.get("raw_path")
        return path or b""

    def request_id(self) -> str | None:
        """Return the caller's request id when it is one that can stand in a log."""
        value = self._headers.get(b"x-request-id")
        text = None if value is None else value.decode("latin-1")
        return None if text is None or _REQUEST_ID.fullmatch(text) is None else text

    def accept(self) -> str:
        """Return the content types that the caller takes, as they were written."""
        return self._headers.get(b"accept", b"").decode("latin-1")

    def bearer(self) -> str:
        """Return the bearer token. Raises Unauthenticated when there is none."""
        scheme, _, token = (self.header(b"authorization") or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("the header `Authorization: Bearer <token>` is missing")
        return token

    def query(self) -> dict[str, str]:
        """Return the query's fields. Raises ValidationFailed for one that is given twice or cannot be read."""
        query = self.raw_query()
        if not query:
            return {}
        try:
            pairs = parse_qsl(
                query.decode("ascii"),
                keep_blank_values=True,
                strict_parsing=True,
                errors="strict",
                max_num_fields=_QUERY_FIELDS_MAX,
            )
        except ValueError as error:
            raise ValidationFailed("the query cannot be read") from error
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise ValidationFailed("a query field is given twice")
        return fields

    def require_json(self) -> None:
        """Raise UnsupportedMediaType unless the body is declared as JSON in UTF-8."""
        declared = (self.header(b"content-type") or "").lower()
        if declared == JSON:
            return
        kind, _, rest = declared.partition(";")
        if kind.strip() != JSON or rest.strip() not in {"", "charset=utf-8", 'charset="utf-8"'}:
            raise UnsupportedMediaType(f"expected `{JSON}`, got `{kind.strip()[:64]}`")

    async def body(self, receive: Receive, bytes_max: int) -> bytes:
        """Return the whole body.

        Raises TooLarge, after reading on for a while so that the answer can be read, and ClientGone when the connection
        ended first: what has arrived of a body may say something else than the whole.
        """
        chunks: list[bytes] = []
        length = 0
        more = True
        while more and length <= DRAINED_BYTES_MAX:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunk: bytes = message.get("body", b"")
            length += len(chunk)
            if length <= bytes_max:
                chunks.append(chunk)
            more = message.get("more_body", False)
        if length > bytes_max:
            raise TooLarge(f"the body is over {bytes_max} bytes")
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _doubled(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the name of a header that may come once and came twice."""
    seen: set[bytes] = set()
    for name, _ in headers:
        if name in seen and name in SINGLE:
            return name.decode("latin-1")
        seen.add(name)
    return None


BODILESS: Final = frozenset({204, 304})
"""Statuses whose answers have neither body nor type (RFC 9110 sections 15.3.5 and 15.4.5)."""


async def send_answer(send: Send, answer: Answer, request_id: str, more: tuple[Header, ...] = ()) -> None:
    """Send ``answer``, which is finished, with the headers that every answer has, and ``more``."""
    await send({"type": "http.response.start", "status": answer.status, "headers": _headers(answer, request_id, more)})
    await send({"type": "http.response.body", "body": answer.body})


async def send_start(send: Send, answer: Answer, request_id: str, more: tuple[Header, ...] = ()) -> None:
    """Send the head of an ``answer`` whose body follows in pieces, so that nobody can say how long it is."""
    headers = _headers(answer, request_id, more)
    del headers[1]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})


def _headers(answer: Answer, request_id: str, more: tuple[Header, ...]) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer, of which the second says how long the body is."""
    kind, cache = answer.content_type, answer.cache_control
    headers = [
        _JSON_HEADER if kind == JSON else (b"content-type", kind.encode()),
        (b"content-length", b"%d" % len(answer.body)),
        (b"x-request-id", request_id.encode()),
        _NO_STORE_HEADER if cache == NO_STORE else (b"cache-control", cache.encode()),
    ]
    if answer.status in BODILESS:
        headers = headers[2:]
    if answer.headers or more:
        headers += [(name.encode(), value.encode()) for name, value in (*answer.headers, *more)]
    return headers


def status_of(error: SidecarError) -> int:
    """Return the status of an error."""
    return STATUS.get(error.code, STATUS["internal"])

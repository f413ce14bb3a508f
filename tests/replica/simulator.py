"""A control plane that misbehaves at its HTTP port and nowhere else.

What is asked is answered by the product's own application, or by a real server behind it; what the asker gets of that
is decided by faults, which are values (``tests.replica.faults``) that a test or a seeded choice puts in the way.
Without a fault every byte is the control plane's own.

``Simulator`` is spoken to in process through ``transport`` or over a socket through ``tests.replica.simulated_port``.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, MutableMapping, Sequence
from random import Random
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx

Headers: TypeAlias = tuple[tuple[str, str], ...]
Loss = Literal["refused", "lost", "timed out"]
"""What an asker may get in place of an answer: nobody listens, the connection ends, or nothing comes."""


class Asked(NamedTuple):
    """One request. ``target`` is the path with the query, names of headers are in lower case."""

    method: str
    target: str
    headers: Headers
    body: bytes = b""

    @property
    def path(self) -> str:
        """The path without the query."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """The fields of the query."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    def header(self, name: str) -> str | None:
        """Return a header."""
        return dict(self.headers).get(name)

    def without(self, *names: str) -> "Asked":
        """Return the request without some headers."""
        return self._replace(headers=tuple(each for each in self.headers if each[0] not in names))


class Given(NamedTuple):
    """One answer. ``is_cut`` says that the connection ends behind ``body`` although more was to come."""

    status: int
    headers: Headers
    body: bytes
    is_cut: bool = False

    def header(self, name: str) -> str | None:
        """Return a header."""
        return dict(self.headers).get(name)

    def with_body(self, body: bytes) -> "Given":
        """Return the answer with another body, which comes whole."""
        kept = tuple(each for each in self.headers if each[0] != "content-length")
        return Given(self.status, (*kept, ("content-length", str(len(body)))), body)


Reply: TypeAlias = Given | Loss
Upstream: TypeAlias = Callable[[Asked], Coroutine[Any, Any, Given]]


class Exchange(NamedTuple):
    """One request and what came of it; ``fault`` is None where nothing was in the way."""

    asked: Asked
    reply: Reply
    fault: "Fault | None"

    @property
    def is_honest(self) -> bool:
        """Whether the asker got what the control plane answered."""
        return self.fault is None


class Fault(Protocol):
    """One way of going wrong."""

    async def meet(self, asked: Asked, upstream: Upstream, served: Sequence[Exchange]) -> Reply:
        """Return what the asker gets; ``upstream`` answers honestly, ``served`` is what came before."""


class Simulator:
    """A control plane behind faults.

    ``upstream`` may be exchanged at any time: that is a control plane which was restarted, restored or replaced; None
    is one that is down. Of the faults, those of ``coming`` meet one request each, then ``standing`` meets all; without
    both, ``chance`` of a thousand requests meet one of ``choice``, drawn by ``seed``.
    """

    def __init__(
        self, upstream: Upstream | None, *, choice: Sequence[Fault] = (), chance: int = 0, seed: int = 0
    ) -> None:
        """Stand before ``upstream``."""
        self.upstream = upstream
        self.coming: deque[Fault] = deque()
        self.standing: Fault | None = None
        self.choice = choice
        self.chance = chance
        self.served: list[Exchange] = []
        self._random = Random(seed)

    def lift(self) -> None:
        """Take all faults away."""
        self.coming.clear()
        self.standing = None
        self.chance = 0

    async def answer(self, asked: Asked) -> Reply:
        """Return what one request gets, and note it."""
        fault = self._fault()
        reply: Reply
        if self.upstream is None:
            reply = "refused"
        elif fault is None:
            reply = await self.upstream(asked)
        else:
            reply = await fault.meet(asked, self.upstream, self.served)
        self.served.append(Exchange(asked, reply, fault))
        return reply

    def _fault(self) -> Fault | None:
        if self.coming:
            return self.coming.popleft()
        if self.standing is not None:
            return self.standing
        if self.choice and self._random.randrange(1_000) < self.chance:
            return self._random.choice(self.choice)
        return None

    def asked(self, path: str) -> list[Asked]:
        """Return the requests for one path, in their order."""
        return [each.asked for each in self.served if each.asked.path == path]

    @property
    def transport(self) -> httpx.AsyncBaseTransport:
        """What an httpx client in this process sends its requests into."""
        return SimulatedTransport(self)


Message: TypeAlias = MutableMapping[str, Any]
Asgi: TypeAlias = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


def application_upstream(application: Asgi, *, waits: bool = False) -> Upstream:
    """Return an upstream that is an ASGI application in this process.

    A long poll is asked to wait no time unless ``waits``: in a test it is the test that lets time pass.
    """

    async def answer(asked: Asked) -> Given:
        return await _ask(application, asked if waits else _at_once(asked))

    return answer


def _at_once(asked: Asked) -> Asked:
    query = asked.query
    if "wait" not in query:
        return asked
    return asked._replace(target=f"{asked.path}?{urlencode(query | {'wait': '0'})}")


async def _ask(application: Asgi, asked: Asked) -> Given:
    """Call an ASGI application; an answer that it breaks off ends where it broke."""
    parts = urlsplit(asked.target)
    scope: Message = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": asked.method,
        "scheme": "http",
        "path": parts.path,
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in asked.headers],
        "server": ("control-plane.test", 80),
        "client": ("127.0.0.1", 1),
    }
    to_come: list[Message] = [{"type": "http.request", "body": asked.body, "more_body": False}]
    ended = asyncio.Event()
    started: list[Message] = []
    body = bytearray()

    async def receive() -> Message:
        if to_come:
            return to_come.pop()
        await ended.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            started.append(message)
            return
        body.extend(message.get("body", b""))
        if not message.get("more_body", False):
            ended.set()

    try:
        await application(scope, receive, send)
    except Exception:
        if not started:
            raise
    status = started[0]["status"]
    headers = tuple((name.decode().lower(), value.decode()) for name, value in started[0]["headers"])
    return Given(status, headers, bytes(body), is_cut=not ended.is_set())


def http_upstream(client: httpx.AsyncClient) -> Upstream:
    """Return an upstream that is a real server, to which ``client`` leads."""

    async def answer(asked: Asked) -> Given:
        kept = dict(asked.without("host", "connection", "content-length").headers)
        kept.setdefault("accept-encoding", "identity")  # or the client would accept more than the asker does
        async with client.stream(asked.method, asked.target, headers=kept, content=asked.body) as response:
            chunks: list[bytes] = []
            is_cut = False
            try:
                chunks.extend([chunk async for chunk in response.aiter_raw()])
            except httpx.TransportError:
                is_cut = True
            return Given(response.status_code, _hop(response.headers.items()), b"".join(chunks), is_cut)

    return answer


def _hop(headers: Iterable[tuple[str, str]]) -> Headers:
    """Return headers without those that are of one connection only."""
    return tuple(
        (name.lower(), value) for name, value in headers if name.lower() not in {"connection", "transfer-encoding"}
    )


class SimulatedTransport(httpx.AsyncBaseTransport):
    """A network of no distance between an httpx client and a simulator."""

    def __init__(self, simulator: Simulator) -> None:
        """Lead to ``simulator``."""
        self._simulator = simulator

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and raise what httpx raises of a network on which it is lost."""
        headers = tuple((name.lower(), value) for name, value in request.headers.items())
        body = await request.aread()
        reply = await self._simulator.answer(Asked(request.method, request.url.raw_path.decode(), headers, body))
        match reply:
            case "refused":
                raise httpx.ConnectError("nobody listens", request=request)
            case "lost":
                raise httpx.RemoteProtocolError("the server disconnected without an answer", request=request)
            case "timed out":
                raise httpx.ReadTimeout("nothing came", request=request)
            case Given():
                stream = _Body(reply, request)
                return httpx.Response(reply.status, headers=list(reply.headers), stream=stream, request=request)


class _Body(httpx.AsyncByteStream):
    """The body of an answer in two pieces, so that no reader may count on getting it in one."""

    def __init__(self, given: Given, request: httpx.Request) -> None:
        self._given = given
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        body = self._given.body
        for piece in (body[: len(body) // 2], body[len(body) // 2 :]):
            if piece:
                yield piece
        if self._given.is_cut:
            raise httpx.RemoteProtocolError("the server disconnected within its answer", request=self._request)

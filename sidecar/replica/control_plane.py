"""The control plane as a follower sees it: its HTTP calls, what they answer in bytes, and the two ways they fail.

Nothing that comes is believed to be short, quick or whole: each call has an end in time and each answer one in bytes.
What an answer means is for others to judge.
"""

import re
from asyncio import timeout
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from ipaddress import ip_address
from ssl import SSLContext
from typing import Final

import httpx
import orjson

from sidecar.core.errors import ConfigurationInvalid, SidecarError, Unavailable
from sidecar.core.feed import mark_text
from sidecar.core.model import AuditMark

CONNECT_SECONDS: Final = 5.0
"""How long a connection may take to come about."""

ANSWER_SECONDS: Final = 15.0
"""How long the control plane may take until it begins to answer, and between two parts of an answer, beside the time
that it was asked to wait."""

PAGE_SECONDS: Final = 120.0
"""How long a page may take as a whole, beside the time that the control plane was asked to wait."""

PAGE_BYTES_MAX: Final = 128 << 20
"""Of a page: a thousand records and all policy files of a tenant, of which 16 MiB are allowed, as JSON."""

LINE_BYTES_MAX: Final = 4 << 20
"""Of a line of a snapshot, which is one record."""

ANSWER_BYTES_MAX: Final = 4 << 20
"""Of the answer to something that was posted."""

REFUSAL_BYTES_MAX: Final = 1 << 16
"""Of an answer that says what is wrong."""

REASON_LENGTH_MAX: Final = 500
"""What is kept of such a sentence; it stands in logs and answers."""

RETRY_AFTER_SECONDS_MAX: Final = 600
"""The longest pause that a control plane can ask for: one that answers nonsense must not silence its followers."""

IDLE_SECONDS: Final = 30.0
"""How long a connection is kept that nobody uses; longer than the pause between two calls of a follower."""

CONNECTIONS_MAX: Final = 64
"""To one control plane: reservations of one worker that are under way at once, and its background work."""

HEADERS: Final = {"accept-encoding": "gzip", "user-agent": "agent-authorization-sidecar"}

CONFLICT: Final = 409
"""The status with which a control plane refuses what does not fit what it has."""

_TOO_MANY_REQUESTS: Final = 429
_SECONDS: Final = re.compile(r"[0-9]{1,9}")


class Unreachable(Unavailable):
    """The control plane gave no answer, or none that says anything: it may be asked again.

    ``retry_after_seconds`` is when, where it said so. Whether what was asked was done is not known where it
    ``was_sent``, or may have been.
    """

    def __init__(self, message: str, *, retry_after_seconds: int | None = None, was_sent: bool = True) -> None:
        """Keep the sentence, the pause and how far it came."""
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.was_sent = was_sent


class Rejected(SidecarError):
    """The control plane answered that it does not do this; ``status`` is its answer's, the message what it said."""

    def __init__(self, message: str, *, status: int) -> None:
        """Keep the sentence and the status."""
        super().__init__(message)
        self.status = status


class ControlPlane:
    """The calls of one control plane, asked with one token; made and used in one event loop."""

    def __init__(self, url: str, token: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Call the server at ``url``, http or https, through ``transport`` where one is given.

        A proxy of the environment (``HTTPS_PROXY``, ``NO_PROXY``) is used as other programs do, never to this machine.
        """
        self.url = url.rstrip("/")
        self._client = httpx.AsyncClient(
            base_url=self.url,
            headers=HEADERS | {"authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX, keepalive_expiry=IDLE_SECONDS),
            follow_redirects=False,  # the token is for this server
            verify=True if transport is not None else trusted(),
            trust_env=not is_this_machine(self.url),
            transport=transport,
        )

    async def page(
        self,
        since: int,
        files_digest: str | None,
        wait_seconds: int,
        mark: AuditMark | None = None,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> bytes:
        """Return the page of changes since a revision, which may take ``wait_seconds`` while there is nothing new.

        Beside them it may take ``answer_seconds`` to begin, and between two parts. ``files_digest`` is that of the
        policy files that are known here, ``mark`` that of what was taken last. Raises Unreachable and Rejected.
        """
        asked: dict[str, str | int] = {"since": since, "wait": wait_seconds}
        if files_digest is not None:
            asked["files"] = files_digest
        if mark is not None:
            asked["mark"] = mark_text(mark)
        waits = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS, read=wait_seconds + answer_seconds)
        request = self._client.build_request("GET", "/v1/changes", params=asked, timeout=waits)
        return await self._answer(request, wait_seconds + PAGE_SECONDS, PAGE_BYTES_MAX)

    @asynccontextmanager
    async def snapshot(self, cursor: str | None, mark: AuditMark | None = None) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give the lines of a snapshot without their ends, from a cursor on or from its beginning.

        ``mark`` is that of what holds here.

        What comes after the last end of a line is not given. Raises Unreachable and Rejected, also between two lines.
        """
        params = {} if cursor is None else {"cursor": cursor}
        if mark is not None:
            params["mark"] = mark_text(mark)
        request = self._client.build_request("GET", "/v1/snapshot", params=params)
        with _network():
            response = await self._sent(request)
        try:
            with _network():
                await _require_good(response)
            async with aclosing(_lines(response)) as lines:
                yield lines
        finally:
            with _network():
                await response.aclose()

    async def post(self, path: str, body: bytes, timeout_seconds: float) -> bytes:
        """Post JSON to a path and return the answer; the whole takes no longer than ``timeout_seconds``.

        Raises Unreachable, after which it may have been done all the same, and Rejected.
        """
        headers = {"content-type": "application/json"}
        request = self._client.build_request("POST", path, content=body, headers=headers, timeout=timeout_seconds)
        return await self._answer(request, timeout_seconds, ANSWER_BYTES_MAX)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _sent(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the answer, of which the body is still to come."""
        try:
            return await self._client.send(request, stream=True)
        except AttributeError as error:
            # What anyio makes of a connection over uvloop that was lost while it was made: the socket is gone already.
            raise httpx.ConnectError("the connection ended as it was made") from error

    async def _answer(self, request: httpx.Request, seconds: float, bytes_max: int) -> bytes:
        """Return the body of a good answer."""
        with _network():
            async with timeout(seconds):
                response = await self._sent(request)
                try:
                    await _require_good(response)
                    return await _body(response, bytes_max)
                finally:
                    await response.aclose()


def trusted() -> SSLContext:
    """Return whom a control plane's certificate may be from: the usual ones, or those of ``SSL_CERT_FILE`` or ``_DIR``.

    Raises ConfigurationInvalid where that file cannot be read.
    """
    try:
        return httpx.create_ssl_context()
    except OSError as error:  # of the file, or what is in it
        raise ConfigurationInvalid(f"the certificates of `SSL_CERT_FILE` cannot be read: {error.strerror}") from error


def is_this_machine(url: str) -> bool:
    """Tell whether a URL's host is this machine, so that nobody on a network hears what is said to it."""
    host = httpx.URL(url).host
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@contextmanager
def _network() -> Iterator[None]:
    """Turn what a network does into Unreachable."""
    try:
        yield
    except (httpx.TimeoutException, TimeoutError) as error:
        raise Unreachable("the control plane does not answer in time") from error
    except (httpx.HTTPError, httpx.StreamError, OSError) as error:
        said = shown(str(error)) or type(error).__name__
        was_sent = not isinstance(error, httpx.ConnectError)
        raise Unreachable(f"the control plane cannot be reached: {said}", was_sent=was_sent) from error


async def _require_good(response: httpx.Response) -> None:
    """Raise Unreachable or Rejected unless the answer is good."""
    if response.is_success:
        return
    status, said = response.status_code, _said(await _body(response, REFUSAL_BYTES_MAX))
    message = f"the control plane answers {status}" + (f": {said}" if said else "")
    if response.is_server_error or status == _TOO_MANY_REQUESTS:
        raise Unreachable(message, retry_after_seconds=_retry_after(response.headers))
    raise Rejected(message, status=status)


async def _body(response: httpx.Response, bytes_max: int) -> bytes:
    chunks: list[bytes] = []
    length = 0
    async for chunk in response.aiter_bytes():
        length += len(chunk)
        if length > bytes_max:
            raise Unreachable(f"the control plane's answer is over {bytes_max} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


async def _lines(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    rest = b""
    with _network():
        async for chunk in response.aiter_bytes():
            *whole, last = chunk.split(b"\n")
            if whole:
                yield rest + whole[0]
                for line in whole[1:]:
                    yield line
                rest = last
            else:
                rest += last
            if len(rest) > LINE_BYTES_MAX:
                raise Unreachable(f"a line of the control plane's snapshot is over {LINE_BYTES_MAX} bytes")


def _said(body: bytes) -> str:
    """Return the sentence of an error's body, nothing where it has none that can be read."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    said = document.get("error") if isinstance(document, dict) else None
    return shown(said) if isinstance(said, str) else ""


def shown(text: str) -> str:
    """Return foreign text as it can stand in one line of a log: bounded, with control characters escaped."""
    cut = text[:REASON_LENGTH_MAX]
    return "".join(each if each.isprintable() else f"\\u{{{ord(each):x}}}" for each in cut)


def _retry_after(headers: Mapping[str, str]) -> int | None:
    """Return the pause in seconds that an answer asks for; a date is not read (RFC 9110 section 10.2.3 allows both)."""
    asked = headers.get("retry-after", "")
    return min(int(asked), RETRY_AFTER_SECONDS_MAX) if _SECONDS.fullmatch(asked) else None

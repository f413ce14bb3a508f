"""The control plane's calls: what is asked, what is given back, and which failures may be tried again."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from sidecar.core.errors import ConfigurationInvalid, SidecarError
from sidecar.replica import control_plane as module
from sidecar.replica.control_plane import (
    REASON_LENGTH_MAX,
    RETRY_AFTER_SECONDS_MAX,
    ControlPlane,
    Rejected,
    Unreachable,
    is_this_machine,
)

T = TypeVar("T")
Answering = Callable[[httpx.Request], httpx.Response]
URL = "https://plane.test:8181/below"


def asked(answering: Answering, call: Callable[[ControlPlane], Coroutine[Any, Any, T]]) -> T:
    """Make a call of a control plane that answers so."""

    async def run() -> T:
        plane = ControlPlane(URL + "/", "fw_token", transport=httpx.MockTransport(answering))
        try:
            return await call(plane)
        finally:
            await plane.close()

    return asyncio.run(run())


async def a_page(plane: ControlPlane) -> bytes:
    """Ask for a page."""
    return await plane.page(7, None, 5)


async def a_post(plane: ControlPlane) -> bytes:
    """Post something."""
    return await plane.post("/v1/audit/records", b"{}", 1.0)


async def lines(plane: ControlPlane, cursor: str | None = None) -> list[bytes]:
    """Read a snapshot to its end."""
    async with plane.snapshot(cursor) as found:
        return [line async for line in found]


async def a_snapshot(plane: ControlPlane) -> bytes:
    """Read a snapshot to its end."""
    return b"".join(await lines(plane))


CALLS = (a_page, a_post, a_snapshot)


class Cut(httpx.AsyncByteStream):
    """A body that comes in parts and breaks off with an error, if any."""

    def __init__(self, *parts: bytes, error: Exception | None = None) -> None:
        """Give ``parts``."""
        self._parts = parts
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Give the parts."""
        for part in self._parts:
            yield part
        if self._error is not None:
            raise self._error


# --- What is asked ----------------------------------------------------------------------------------------------------


def test_each_call_has_its_path_its_fields_and_the_token() -> None:
    """Below the path of the address; and a redirection is no answer, for the token is for this server."""
    seen: list[httpx.Request] = []

    def answering(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b"answered\n")

    async def each(plane: ControlPlane) -> None:
        assert await plane.page(7, None, 5) == b"answered\n"
        assert await plane.page(0, "ab12", 0) == b"answered\n"
        assert await lines(plane) == await lines(plane, "a/b") == [b"answered"]
        assert await plane.post("/v1/audit/records", b'{"a":1}', 1.0) == b"answered\n"
        assert plane.url == URL

    asked(answering, each)
    assert [f"{request.method} {request.url}" for request in seen] == [
        f"GET {URL}/v1/changes?since=7&wait=5",
        f"GET {URL}/v1/changes?since=0&wait=0&files=ab12",
        f"GET {URL}/v1/snapshot",
        f"GET {URL}/v1/snapshot?cursor=a%2Fb",
        f"POST {URL}/v1/audit/records",
    ]
    assert {request.headers["authorization"] for request in seen} == {"Bearer fw_token"}
    assert seen[-1].headers["content-type"] == "application/json"
    assert seen[-1].content == b'{"a":1}'


def test_a_waiting_call_may_take_as_long_as_it_waits_and_then_some() -> None:
    """So the control plane's patience is never mistaken for a network that is gone."""
    limits: list[float] = []

    def answering(request: httpx.Request) -> httpx.Response:
        limits.append(request.extensions["timeout"]["read"])
        return httpx.Response(200)

    async def each(plane: ControlPlane) -> None:
        await plane.page(0, None, 30)
        await plane.post("/v1/x", b"", 0.25)

    asked(answering, each)
    assert limits == [30 + module.ANSWER_SECONDS, 0.25]


# --- What comes back --------------------------------------------------------------------------------------------------


def test_an_answer_may_come_compressed() -> None:
    packed = {"content-encoding": "gzip"}
    assert asked(lambda _: httpx.Response(200, headers=packed, content=gzip.compress(b"{}")), a_page) == b"{}"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        pytest.param((b"a\nb\n",), [b"a", b"b"], id="one part"),
        pytest.param((b"a", b"b\nc", b"\n"), [b"ab", b"c"], id="lines over parts"),
        pytest.param((b"a\n", b"half"), [b"a"], id="a last line without an end is none"),
        pytest.param((b"\n\na\n",), [b"", b"", b"a"], id="empty lines"),
        pytest.param((), [], id="nothing"),
    ],
)
def test_a_snapshot_is_given_line_by_line(parts: tuple[bytes, ...], expected: list[bytes]) -> None:
    assert asked(lambda _: httpx.Response(200, stream=Cut(*parts)), lines) == expected


def test_lines_before_a_cut_are_given() -> None:
    found: list[bytes] = []

    async def until_cut(plane: ControlPlane) -> None:
        async with plane.snapshot(None) as came:
            async for line in came:
                found.append(line)  # noqa: PERF401 -- what came before the error is looked at

    stream = Cut(b"a\nb\nhalf", error=httpx.RemoteProtocolError("gone"))
    with pytest.raises(Unreachable, match=r"cannot be reached: gone"):
        asked(lambda _: httpx.Response(200, stream=stream), until_cut)
    assert found == [b"a", b"b"]


def test_what_the_reader_of_a_snapshot_raises_is_raised_as_it_is() -> None:
    async def reading(plane: ControlPlane) -> None:
        async with plane.snapshot(None) as came:
            async for _line in came:
                raise TimeoutError("of the reader")

    with pytest.raises(TimeoutError, match="of the reader"):
        asked(lambda _: httpx.Response(200, stream=Cut(b"a\nb\n")), reading)


@pytest.mark.parametrize(
    ("limit", "call"), [("PAGE_BYTES_MAX", a_page), ("ANSWER_BYTES_MAX", a_post), ("LINE_BYTES_MAX", a_snapshot)]
)
def test_an_answer_has_an_end(
    monkeypatch: pytest.MonkeyPatch, limit: str, call: Callable[[ControlPlane], Coroutine[Any, Any, bytes]]
) -> None:
    """More than a call can rightly be answered is not read to its end."""
    monkeypatch.setattr(module, limit, 10)
    endless = Cut(*[b"12345"] * 3, error=AssertionError("read on"))
    with pytest.raises(Unreachable, match="over 10 bytes"):
        asked(lambda _: httpx.Response(200, stream=endless), call)


# --- What goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (httpx.ConnectError("refused\n"), "the control plane cannot be reached: refused\\u{a}"),
        (httpx.ReadError(""), "the control plane cannot be reached: ReadError"),
        (httpx.ConnectTimeout(""), "the control plane does not answer in time"),
        (httpx.DecodingError("not gzip"), "the control plane cannot be reached: not gzip"),
        (OSError("broken pipe"), "the control plane cannot be reached: broken pipe"),
        (
            AttributeError("'NoneType' object has no attribute 'getpeername'"),  # as anyio over uvloop raises it
            "the control plane cannot be reached: the connection ended as it was made",
        ),
    ],
)
def test_what_the_network_does_may_be_tried_again(
    call: Callable[[ControlPlane], Coroutine[Any, Any, bytes]], error: Exception, sentence: str
) -> None:
    def answering(_request: httpx.Request) -> httpx.Response:
        raise error

    with pytest.raises(Unreachable) as caught:
        asked(answering, call)
    assert (caught.value.message, caught.value.retry_after_seconds) == (sentence, None)
    never = isinstance(error, httpx.ConnectError | AttributeError)  # there was no connection, so nothing came there
    assert caught.value.was_sent is not never


def test_a_call_ends_in_time_whatever_the_other_side_does() -> None:
    """Also where a byte comes now and then, so that no pause between two is too long."""

    class Trickle(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                yield b"."
                await asyncio.sleep(0.005)

    async def call(plane: ControlPlane) -> bytes:
        return await plane.post("/v1/x", b"", 0.05)

    with pytest.raises(Unreachable, match="in time"):
        asked(lambda _: httpx.Response(200, stream=Trickle()), call)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("status", "headers", "pause"),
    [
        (500, {}, None),
        (503, {"Retry-After": "1"}, 1),
        (429, {"Retry-After": "20"}, 20),
        (429, {"Retry-After": "999999999"}, RETRY_AFTER_SECONDS_MAX),
        (429, {"Retry-After": "Sun, 22 Nov 2026 18:00:00 GMT"}, None),
        (502, {"Retry-After": "-5"}, None),
    ],
)
def test_a_server_that_cannot_now_may_be_tried_again(
    call: Callable[[ControlPlane], Coroutine[Any, Any, bytes]], status: int, headers: dict[str, str], pause: int | None
) -> None:
    with pytest.raises(Unreachable) as caught:
        asked(lambda _: httpx.Response(status, headers=headers, json={"error": "not now"}), call)
    assert caught.value.message == f"the control plane answers {status}: not now"
    assert caught.value.retry_after_seconds == pause


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, b'{"error":"the token is missing, unknown or expired"}', ": the token is missing, unknown or expired"),
        (409, b'{"error":"a\\nb\\u001b[2J\\u202e"}', ": a\\u{a}b\\u{1b}[2J\\u{202e}"),
        (404, b'{"error":5}', ""),
        (403, b"[]", ""),
        (404, b"<html>", ""),
        (302, b"", ""),
        (304, b"", ""),
        (400, b'{"error":"' + b"x" * 9_000 + b'"}', ": " + "x" * REASON_LENGTH_MAX),
    ],
)
def test_a_refusal_says_why(
    call: Callable[[ControlPlane], Coroutine[Any, Any, bytes]], status: int, body: bytes, said: str
) -> None:
    """In one short line that can stand in a log, whatever the other side wrote."""
    with pytest.raises(Rejected) as caught:
        asked(lambda _: httpx.Response(status, content=body), call)
    assert caught.value.status == status
    assert caught.value.message == f"the control plane answers {status}{said}"


def test_a_refusal_is_no_failure_of_the_network() -> None:
    """So that whoever tries again for the one does not for the other."""
    assert not issubclass(Rejected, Unreachable)
    assert issubclass(Rejected, SidecarError)
    assert Unreachable("gone").code == "unavailable"


@pytest.mark.parametrize(
    ("url", "is_here"),
    [
        ("http://127.0.0.1:8181", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:8181", True),
        ("http://localhost:1", True),
        ("http://plane.localhost", True),
        ("http://plane.test", False),
        ("http://localhost.evil.test", False),
        ("http://10.0.0.1", False),
        ("https://[2001:db8::1]", False),
    ],
)
def test_which_addresses_are_this_machine(url: str, is_here: bool) -> None:  # noqa: FBT001 -- a column of a table
    assert is_this_machine(url) == is_here


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are set by whoever has a certificate authority of his own; what is in another file is not asked for."""
    broken = tmp_path / "ca.pem"
    broken.write_text("no certificate")
    for file in (tmp_path / "none.pem", broken):
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        with pytest.raises(ConfigurationInvalid, match="SSL_CERT_FILE"):
            module.trusted()


def test_a_proxy_of_the_environment_is_not_between_two_servers_of_one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")

    async def proxied(url: str) -> bool:
        plane = ControlPlane(url, "fw_token")
        try:
            return bool(plane._client._mounts)  # noqa: SLF001 -- httpx has no other word for it
        finally:
            await plane.close()

    assert asyncio.run(proxied("https://plane.test"))
    assert not asyncio.run(proxied("https://localhost:8181"))

"""One attempt: what is sent, what is made of the answer, and that nothing inside the network is reached."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Self

import pytest

from sidecar.core.webhooks import Response, Waiting, secret_text
from sidecar.doors.webhooks import sender as module
from sidecar.doors.webhooks.sender import ANSWER_BYTES_MAX, Sender, is_public_url, local_sender, public_sender
from sidecar.service.deliveries import Parcel, Place
from tests.process.receiver import Receiver, Reply

BODY = b'{"type":"webhook.test","timestamp":"2026-03-09T12:00:00Z","data":{"name":"\xc3\xa9"}}'
EVENT = Waiting(event_id="evt_1", type="webhook.test", body=BODY, created_at_us=0, due_at_us=0)
OLD, NEW = b"o" * 32, b"n" * 32
PUBLIC, LOOPBACK = "93.184.215.14", "127.0.0.1"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that takes everything."""
    with Receiver() as opened:
        yield opened


def parcel(url: str, *secrets: bytes) -> Parcel:
    """An event on its way to ``url``."""
    return Parcel(Place(1, 1), url, EVENT, secrets or (NEW,))


def send(sender: Sender, *parcels: Parcel) -> list[Response]:
    """Send one after the other and close."""

    async def sent() -> list[Response]:
        try:
            return [await sender.send(each, time.time_ns() // 1_000) for each in parcels]
        finally:
            await sender.close()

    return asyncio.run(sent())


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Have names resolve to these addresses, one answer after the other, the last one again and again."""
    asked: list[str] = []

    def getaddrinfo(host: Any, port: Any, *_args: Any, **_more: Any) -> list[Any]:  # noqa: ANN401
        asked.append(host.decode() if isinstance(host, bytes) else host)
        found = answers[min(len(asked), len(answers)) - 1]
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(family[":" in each], socket.SOCK_STREAM, 6, "", (each, port)) for each in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


class Listener:
    """A service inside the network that hears whatever is said to it, and hangs up."""

    def __init__(self) -> None:
        """Listen."""
        self.heard: list[bytes] = []
        self._listener = socket.create_server((LOOPBACK, 0))
        self._listener.settimeout(0.05)
        self.port = self._listener.getsockname()[1]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._hear, daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._ended.set()
        self._thread.join()
        self._listener.close()

    def _hear(self) -> None:
        while not self._ended.is_set():
            with suppress(TimeoutError):
                connection, _ = self._listener.accept()
                connection.settimeout(1)
                with connection:
                    self.heard.append(connection.recv(1024))


# --- What is sent -----------------------------------------------------------------------------------------------------


def test_an_event_is_posted_with_the_headers_of_standard_webhooks(receiver: Receiver) -> None:
    (response,) = send(local_sender(), parcel(receiver.url))
    assert (response.status_code, response.error, response.is_success) == (204, None, True)
    (got,) = receiver.received
    assert (got.path, got.body, got.event_id) == ("/hook", BODY, "evt_1")
    assert got.headers["content-type"] == "application/json"
    assert got.verified(secret_text(NEW))["data"] == {"name": "é"}
    assert " " not in got.headers["webhook-signature"]
    assert abs(int(got.headers["webhook-timestamp"]) - time.time()) < 60


def test_during_a_rotation_both_secrets_sign(receiver: Receiver) -> None:
    send(local_sender(), parcel(receiver.url, NEW, OLD))
    (got,) = receiver.received
    for secret in (NEW, OLD):
        assert got.verified(secret_text(secret))
    assert [each[:3] for each in got.headers["webhook-signature"].split(" ")] == ["v1,", "v1,"]


def test_a_proxy_of_the_environment_is_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert send(local_sender(), parcel(receiver.url))[0].is_success


def test_what_an_endpoint_sets_is_not_given_to_the_next(receiver: Receiver) -> None:
    """Two tenants may use the same host."""
    receiver.reply = lambda _: Reply(200, {"set-cookie": "who=tenant-one; Path=/"})
    send(local_sender(), parcel(receiver.url), parcel(receiver.url))
    assert ["cookie" in got.headers for got in receiver.received] == [False, False]


# --- What is made of the answer ---------------------------------------------------------------------------------------


def test_a_redirection_is_not_followed(receiver: Receiver) -> None:
    with Receiver() as inside:
        receiver.reply = lambda _: Reply(307, {"location": inside.url})
        assert send(local_sender(), parcel(receiver.url))[0].status_code == 307
        assert inside.received == []


def test_of_a_long_answer_little_is_read(receiver: Receiver) -> None:
    """The status counts, and the rest is neither read nor kept."""
    receiver.reply = lambda _: Reply(200, {}, b"x" * 64 * 1024 * 1024)
    started = time.monotonic()
    (response,) = send(local_sender(), parcel(receiver.url))
    assert response == Response(200, None, response.duration_ms)
    assert time.monotonic() - started < 10
    assert ANSWER_BYTES_MAX < 64 * 1024


def test_a_short_answer_leaves_the_connection_for_the_next_event(receiver: Receiver) -> None:
    receiver.reply = lambda _: Reply(200, {}, b"taken")
    assert [each.is_success for each in send(local_sender(), *[parcel(receiver.url)] * 3)] == [True] * 3


def test_an_endpoint_that_hangs_is_given_up(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ATTEMPT_SECONDS", 0.2)
    receiver.hang()
    (response,) = send(local_sender(), parcel(receiver.url))
    assert (response.status_code, response.error) == (None, "timed_out")
    assert response.duration_ms >= 200


def test_an_endpoint_that_is_not_there_is_a_value(receiver: Receiver) -> None:
    with Receiver() as closed:
        url = closed.url
    responses = send(local_sender(), parcel(url), parcel("http://nowhere.invalid/"))
    assert [(each.status_code, each.error) for each in responses] == [(None, "connection_failed")] * 2
    assert receiver.received == []


def test_an_answer_that_is_no_http_is_a_value() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        async def sent() -> Response:
            sender = local_sender()

            async def babble() -> None:
                connection, _ = await asyncio.to_thread(listener.accept)
                connection.sendall(b"220 mail.example.com ESMTP\r\n")
                connection.close()

            babbling = asyncio.create_task(babble())
            response = await sender.send(parcel(f"http://127.0.0.1:{listener.getsockname()[1]}/"), 0)
            await babbling
            await sender.close()
            return response

        assert asyncio.run(sent()).error == "connection_failed"


# --- What is not reached ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0177.0.0.1", "127.1", "[::ffff:127.0.0.1]"])
def test_a_private_url_is_not_called_though_it_is_stored(receiver: Receiver, host: str) -> None:
    """As one that was made while local development was allowed."""
    responses = send(
        public_sender(), parcel(f"http://{host}:{receiver.port}/"), parcel(f"https://{host}:{receiver.port}/")
    )
    assert [each.error for each in responses] == ["address_not_allowed"] * 2
    assert receiver.received == []


@pytest.mark.parametrize(
    "addresses", [[LOOPBACK], ["10.0.0.1"], ["::1"], ["::ffff:127.0.0.1"], [PUBLIC, "169.254.169.254"]]
)
def test_a_name_with_a_private_address_is_not_connected_to(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    """Nor one that has a public address as well: which of them is connected to is not ours to guess."""
    connections: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda *args: connections.append(args))
    asked = resolving(monkeypatch, addresses)
    (response,) = send(public_sender(), parcel(f"https://rebind.example.com:{receiver.port}/"))
    assert response.error == "address_not_allowed"
    assert set(asked) == {"rebind.example.com"}
    assert connections == []


def test_a_name_that_is_bound_anew_between_check_and_connection_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that is connected to is checked too; what is told of it is what a closed port would say."""
    with Listener() as inside:
        asked = resolving(monkeypatch, [PUBLIC], [LOOPBACK])
        (response,) = send(public_sender(), parcel(f"https://rebind.example.com:{inside.port}/"))
    assert (response.status_code, response.error) == (None, "connection_failed")
    assert len(asked) > 1
    assert b"".join(inside.heard) == b""


def test_what_is_not_protected_would_be_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test before can fail."""
    with Listener() as inside:
        resolving(monkeypatch, [LOOPBACK])
        send(local_sender(), parcel(f"https://rebind.example.com:{inside.port}/"))
    assert b"".join(inside.heard) != b""


def test_a_name_is_public_when_all_its_addresses_are(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, [PUBLIC, "2606:4700::1111"])
    assert asyncio.run(is_public_url("https://example.com/"))
    assert asyncio.run(is_public_url("https://8.8.8.8/"))
    resolving(monkeypatch, [])
    assert not asyncio.run(is_public_url("https://example.com/"))

"""One attempt: what is sent, what is made of the answer, and that nothing inside the network is reached."""

import asyncio
import socket
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Self

import httpx
import msgspec
import pytest
import uvloop

from sidecar.core.event_formats import Format
from sidecar.core.webhooks import Response, Waiting, secret_text
from sidecar.doors.webhooks import sender as module
from sidecar.doors.webhooks.names import TENANT_LOOKUPS_MAX, Names
from sidecar.doors.webhooks.sender import (
    ANSWER_BYTES_MAX,
    Sender,
    local_sender,
    public_addresses,
    public_client,
    public_sender,
    signed_headers,
)
from sidecar.service.deliveries import Parcel, Place
from tests.process.receiver import Receiver, Reply
from tests.process.server import ROOT

BODY = b'{"type":"webhook.test","timestamp":"2026-03-09T12:00:00Z","data":{"name":"\xc3\xa9"}}'
EVENT = Waiting(event_id="evt_1", type="webhook.test", body=BODY, created_at_us=0, due_at_us=0)
OLD, NEW = b"o" * 32, b"n" * 32
PUBLIC, LOOPBACK = "93.184.215.14", "127.0.0.1"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that takes everything."""
    with Receiver() as opened:
        yield opened


def parcel(url: str, *secrets: bytes, tenant: int = 1, form: Format = "standard") -> Parcel:
    """An event on its way to ``url``."""
    return Parcel(Place(tenant, 1), url, EVENT, secrets or (NEW,), form)


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


@pytest.mark.parametrize(("form", "header"), [("ledger", "proxy-signature"), ("tally", "tally-signature")])
def test_a_vendors_receiver_gets_the_vendors_signature(receiver: Receiver, form: Format, header: str) -> None:
    """During a rotation of each secret, and only that header; the event's id is told beside it."""
    send(local_sender(), parcel(receiver.url, form=form), parcel(receiver.url, NEW, OLD, form=form))
    one, both = receiver.received
    for got, secrets in ((one, [NEW]), (both, [NEW, OLD])):
        assert (got.body, got.event_id) == (BODY, "evt_1")
        assert [got.stamped(header, secret_text(secret))["type"] for secret in secrets] == ["webhook.test"] * len(
            secrets
        )
        assert got.headers[header].count("v1=") == len(secrets)
        assert {name for name in got.headers if "webhook" in name or "signature" in name} == {"webhook-id", header}
    with pytest.raises(ValueError, match="no signature"):
        one.stamped(header, secret_text(OLD))


def test_a_vendors_signature_is_the_documented_one() -> None:
    """What ``openssl dgst -sha256 -hmac`` says of the same text; the documentation shows it."""
    waiting = msgspec.structs.replace(EVENT, body=b'{"test": 2432232314}')
    secrets = (b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),)
    signed = signed_headers(Parcel(Place(1, 1), "https://example.com/", waiting, secrets, "ledger"), 1614265330 * 10**6)
    documented = (ROOT / "docs" / "webhooks.md").read_text()
    assert f"Proxy-Signature: {signed['Proxy-Signature']}" in documented
    assert (
        signed["Proxy-Signature"] == "t=1614265330,v1=2e37df5d4a028c51a7f3133d64ae1e300d2c2c900f1b1d49d4369ad2530f8964"
    )


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


def test_a_name_that_is_bound_anew_after_it_was_judged_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not looked up again: what was judged is what is connected to."""
    connections: list[object] = []

    def refuse(_socket: socket.socket, address: object) -> None:
        connections.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", refuse)
    asked = resolving(monkeypatch, [PUBLIC], [LOOPBACK])
    (response,) = send(public_sender(), parcel("https://rebind.example.com:8443/"))
    assert (response.status_code, response.error) == (None, "connection_failed")
    assert (asked, connections) == (["rebind.example.com"], [(PUBLIC, 8443)])


def test_the_address_that_is_connected_to_is_looked_at_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a judgement ever be wrong, what is told of it is what a closed port would say."""

    async def misjudge(_url: str, _tenant: int) -> tuple[str, ...]:
        return (LOOPBACK,)

    resolving(monkeypatch, [PUBLIC])
    with Listener() as inside:
        (response,) = send(Sender(public_client, misjudge), parcel(f"https://rebind.example.com:{inside.port}/"))
    assert (response.status_code, response.error) == (None, "connection_failed")
    assert inside.heard == []


def test_a_connection_without_a_judgement_is_not_made(receiver: Receiver) -> None:
    async def called() -> None:
        async with public_client() as client:
            with pytest.raises(httpx.ConnectError, match="no address of"):
                await client.get(receiver.url)

    asyncio.run(called())
    assert receiver.received == []


def test_what_is_not_protected_would_be_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests before can fail. What TLS asks for is the name, not the address."""
    with Listener() as inside:
        resolving(monkeypatch, [LOOPBACK])
        send(local_sender(), parcel(f"https://rebind.example.com:{inside.port}/"))
    assert b"rebind.example.com" in b"".join(inside.heard)


def test_a_name_is_public_when_all_its_addresses_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def judged(url: str) -> tuple[str, ...]:
        return asyncio.run(public_addresses(Names(), url, 1))

    both = [PUBLIC, "2606:4700::1111"]
    resolving(monkeypatch, both)
    assert judged("https://example.com/") == tuple(both)
    assert judged("https://8.8.8.8/") == ("8.8.8.8",)
    resolving(monkeypatch, [])
    assert judged("https://example.com/") == ()


# --- How names are looked up ------------------------------------------------------------------------------------------


class Silence:
    """A resolver that answers nobody for names below ``silent.example`` until it is ended; the rest is here."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Answer in place of the system."""
        self.asked: list[str] = []
        self._ended = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", self._answer)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of every thread."""
        self._ended.set()

    def _answer(self, host: Any, port: Any, *_args: Any, **_more: Any) -> list[Any]:  # noqa: ANN401
        self.asked.append(host)
        if host.endswith("silent.example"):
            self._ended.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (LOOPBACK, port))]


def test_names_that_nobody_answers_for_hold_up_their_own_tenant_only(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look-up that was given up keeps its thread, and each further attempt would take another one."""
    monkeypatch.setattr(module, "ATTEMPT_SECONDS", 0.3)

    async def sent(sender: Sender) -> list[Response]:
        for _ in range(3):
            hanging = [f"https://h{n}.t{tenant}.silent.example/" for tenant in (1, 2) for n in range(20)]
            given_up = [sender.send(parcel(url, tenant=1 + n // 20), 0) for n, url in enumerate(hanging)]
            assert {each.error for each in await asyncio.gather(*given_up)} == {"timed_out"}
        healthy = parcel(f"http://well.example:{receiver.port}/hook", tenant=3)
        responses = [await sender.send(healthy, time.time_ns() // 1_000) for _ in range(2)]
        await sender.close()
        return responses

    with Silence(monkeypatch) as silence:
        responses = asyncio.run(sent(local_sender()))
        assert [each.is_success for each in responses] == [True, True]
        for tenant in (1, 2):
            of_tenant = [host for host in silence.asked if f".t{tenant}." in host]
            assert len(of_tenant) == len(set(of_tenant)) == TENANT_LOOKUPS_MAX


def test_many_who_wait_for_one_name_ask_once_and_are_all_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def found() -> list[tuple[str, ...]]:
        names = Names()
        return await asyncio.gather(*(names.addresses("well.example", tenant) for tenant in range(9)))

    with Silence(monkeypatch) as silence:
        assert asyncio.run(found()) == [(LOOPBACK,)] * 9
        assert silence.asked == ["well.example"]


def test_a_tenants_next_name_is_looked_up_when_one_of_its_threads_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    async def found(silence: Silence) -> tuple[str, ...]:
        names = Names()
        hanging = [names.addresses(f"h{n}.silent.example", 1) for n in range(TENANT_LOOKUPS_MAX)]
        waiting = asyncio.gather(*hanging, return_exceptions=True)
        await asyncio.sleep(0)
        last = asyncio.create_task(names.addresses("well.example", 1))
        await asyncio.sleep(0.05)
        assert not last.done()
        silence.__exit__()
        assert {type(each) for each in await waiting} == {socket.gaierror}
        return await last

    with Silence(monkeypatch) as silence:
        assert asyncio.run(found(silence)) == (LOOPBACK,)


def test_a_process_that_ends_waits_for_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async def given_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await Names().addresses("h.silent.example", 1)
        assert {each.daemon for each in threading.enumerate() if each.name == "webhook-name"} == {True}

    with Silence(monkeypatch):
        asyncio.run(given_up())


def test_under_uvloop_no_name_reaches_the_few_threads_of_the_loop(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the loop's own look-up does not come by ``socket``, and would not know this name."""
    resolving(monkeypatch, ["127.0.0.2", LOOPBACK])  # nobody listens at the first one

    async def sent() -> Response:
        sender = local_sender()
        response = await sender.send(parcel(f"http://hook.invalid:{receiver.port}/hook"), 0)
        await sender.close()
        return response

    assert uvloop.run(sent()).is_success
    assert receiver.received[0].headers["host"] == f"hook.invalid:{receiver.port}"

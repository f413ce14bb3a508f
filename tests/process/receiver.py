"""A receiver of webhooks: a real HTTP server of this process that notes what it gets and answers as it is told."""

import hmac
import json
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

from standardwebhooks import Webhook

TOLERANCE_SECONDS = 300


class Received(NamedTuple):
    """One request; the names of headers are in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def event_id(self) -> str:
        """The id of the event."""
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> dict[str, Any]:
        """Return the event, whose signature the reference library verifies. Raises where it does not."""
        event: dict[str, Any] = Webhook(secret).verify(self.body, dict(self.headers))
        return event

    def stamped(self, header: str, secret: str) -> dict[str, Any]:
        """Return the event, whose signature in a vendor's header is computed anew from the secret's text.

        Raises ValueError where none of the header's signatures is that one.
        """
        stamp = dict[str, list[str]]()
        for field in self.headers[header].split(","):
            name, _, value = field.partition("=")
            stamp.setdefault(name, []).append(value)
        (seconds,) = stamp["t"]
        assert abs(int(seconds) - time.time()) < TOLERANCE_SECONDS
        expected = hmac.digest(secret.encode("ascii"), seconds.encode() + b"." + self.body, "sha256").hex()
        if expected not in stamp["v1"]:
            raise ValueError("no signature of this secret")
        event: dict[str, Any] = json.loads(self.body)
        return event


class Reply(NamedTuple):
    """What to answer."""

    status: int = 204
    headers: Mapping[str, str] = {}
    body: bytes = b""


class QuietServer(ThreadingHTTPServer):
    """A server that expects its clients to be killed."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """Say nothing."""


class Receiver:
    """Listens on a port of its own while it is open."""

    def __init__(self, reply: Callable[[Received], Reply] = lambda _: Reply()) -> None:
        """Answer what ``reply`` says."""
        self.received: list[Received] = []
        self.reply = reply
        self._held = threading.Event()
        self._held.set()
        receiver = self

        class Requests(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(length)
                if len(body) < length:
                    return  # its sender was killed while it sent
                got = Received(self.path, headers, body)
                receiver.received.append(got)
                receiver._held.wait(30)
                reply = receiver.reply(got)
                try:
                    self.send_response(reply.status)
                    for name, value in {"content-length": str(len(reply.body)), **reply.headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(reply.body)
                except OSError:
                    self.close_connection = True  # the sender is gone

            def log_message(self, *_: object) -> None:
                pass

        self._server = QuietServer(("127.0.0.1", 0), Requests)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.go_on()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.server_port

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hook"

    def hang(self) -> None:
        """Answer nobody until told to go on."""
        self._held.clear()

    def go_on(self) -> None:
        """Answer again, also those who wait."""
        self._held.set()

    def wait_for(self, count: int, seconds: float = 15.0) -> list[Received]:
        """Return what came once it is at least ``count``."""
        deadline = time.monotonic() + seconds
        while len(self.received) < count:
            assert time.monotonic() < deadline, f"{len(self.received)} of {count} came within {seconds} s"
            time.sleep(0.005)
        return list(self.received)

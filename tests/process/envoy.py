"""A real Envoy of a test, on a configuration that the test changes, and an upstream behind it."""

import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests.process.server import STOP_SECONDS, poll

START_SECONDS = 30.0
ENVOY = Path(sys.executable).with_name("envoy")


class Upstream(ThreadingHTTPServer):
    """What is behind the proxy: it answers 200 to everything and keeps the headers of what it got."""

    daemon_threads = True

    def __init__(self) -> None:
        """Listen on a free port."""
        super().__init__(("127.0.0.1", 0), _Kept)
        self.got: list[Mapping[str, str]] = []

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])


class _Kept(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_GET(self) -> None:
        """Keep the headers and answer."""
        self.server.got.append({name.lower(): value for name, value in self.headers.items()})
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def upstream() -> Iterator[Upstream]:
    """Run an upstream."""
    with Upstream() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def envoy(folder: Path, document: Any, environment: Mapping[str, str]) -> Iterator[None]:  # noqa: ANN401 -- of YAML
    """Run Envoy on a configuration, from the moment on at which it listens."""
    config, log = folder / "envoy.yaml", folder / "envoy.log"
    config.write_text(yaml.safe_dump(document))
    command = [str(ENVOY), "-c", str(config), "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "info"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=dict(environment))
    try:
        poll(lambda: "starting main dispatch loop" in log.read_text() or process.poll() is not None, START_SECONDS)
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)

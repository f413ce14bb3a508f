"""A real server process of a test: started on a data directory, spoken to over HTTP, stopped or killed.

It gets this process's environment, so that coverage follows it, but none of its settings. It leads a session of its
own: one signal to the group reaches the workers too.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeAlias

ROOT = Path(__file__).parents[2]
OPERATOR = "operator-token-of-the-tests"
START_SECONDS = 30.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.01
IDLE_SECONDS_MAX = 3.0
"""After this a connection is made anew: the server closes one that was idle for 5 s."""

Document: TypeAlias = dict[str, Any]


class Lost(Exception):
    """The connection ended before the answer came: whether the call took effect is unknown."""


class Refused(Exception):
    """Nobody listens."""


class Answer(NamedTuple):
    """What came back; the names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Document:
        """The JSON object in the body; a number with a fraction is a decimal."""
        document: Document = json.loads(self.body, parse_float=Decimal)
        return document

    @property
    def exact(self) -> Document:
        """The JSON object in the body; a number with a fraction is the text it was written with."""
        document: Document = json.loads(self.body, parse_float=str)
        return document

    @property
    def is_replayed(self) -> bool:
        """Whether this is the stored answer of an earlier call."""
        return self.headers.get("idempotent-replayed") == "true"


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a socket file."""

    def __init__(self, path: Path, timeout: float) -> None:
        """Connect to ``path`` with the first call."""
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Client:
    """One keep-alive connection; it is made again after it was lost."""

    def __init__(self, connection: http.client.HTTPConnection, token: str = OPERATOR) -> None:
        """Speak over ``connection`` as the holder of ``token``."""
        self._connection = connection
        self._used = 0.0
        self.token = token

    def __enter__(self) -> Self:
        """Give the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make one call and return the answer, whatever its status. Raises Lost, or Refused before anything was sent.

        A ``body`` that is no bytes is sent as JSON.
        """
        sent = {"Authorization": f"Bearer {token or self.token}"} | dict(headers or {})
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        if content is not None:
            sent.setdefault("Content-Type", "application/json")
        if key is not None:
            sent["Idempotency-Key"] = key
        if time.monotonic() - self._used > IDLE_SECONDS_MAX:
            self.close()
        try:
            if self._connection.sock is None:
                self._connection.connect()
        except OSError as error:
            self.close()
            raise Refused from error
        try:
            self._connection.request(method, path, content, sent)
            response = self._connection.getresponse()
            answered = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Lost from error
        self._used = time.monotonic()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, answered)

    def ok(self, method: str, path: str, body: object = None, *, token: str | None = None) -> Document:
        """Make a call that must succeed and return its document."""
        answer = self.call(method, path, body, token=token)
        assert answer.status in {200, 201, 204}, (method, path, answer)
        return answer.document if answer.body else {}


class Server:
    """One ``sidecar serve`` on the folder ``data`` in ``folder``."""

    def __init__(self, folder: Path, *flags: str, environment: Mapping[str, str] | None = None) -> None:
        """Prepare a server; further ``flags`` come behind ``--port 0`` and ``--data-dir``."""
        self.folder = folder
        self.data_dir = folder / "data"
        self.flags = flags
        self._environment = clean_environment() | {"SIDECAR_ADMIN_TOKEN": OPERATOR} | dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._out = folder / "serve.out"
        self._log = folder / "serve.log"

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what still runs."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def launch(self) -> None:
        """Start the process and wait for nothing."""
        self._out.write_bytes(b"")
        command = [sys.executable, "-m", "sidecar", "serve", "--port", "0", "--data-dir", str(self.data_dir)]
        with self._out.open("ab") as out, self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *self.flags],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                cwd=ROOT,
                env=self._environment,
                start_new_session=True,
            )

    def start(self) -> None:
        """Start and wait until the server says that it can decide."""
        self.launch()
        poll(lambda: self.ready_lines() != [] or self.process.poll() is not None, START_SECONDS)
        assert self.ready_lines(), f"the server did not start: {self.logs()}"

    @property
    def is_started(self) -> bool:
        """Whether there was a process once."""
        return self._process is not None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that was started last."""
        assert self._process is not None
        return self._process

    def ready_lines(self) -> list[str]:
        """Return the lines in which the present process said that it is ready."""
        text = self._out.read_text()
        return text.splitlines() if text.endswith("\n") else []

    @property
    def url(self) -> str:
        """Where the server said it listens: ``http://HOST:PORT``."""
        return self.ready_lines()[0].removeprefix("ready on ")

    def client(self, token: str = OPERATOR, timeout: float = 20.0) -> Client:
        """Return a connection of its own."""
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return Client(http.client.HTTPConnection(host, int(port), timeout=timeout), token)

    def workers(self) -> list[int]:
        """Return the processes below the supervisor; the process itself where it has none."""
        own = self.process.pid
        found = [pid for pid in processes() if parent_of(pid) == own and "sidecar.app.child" in command_of(pid)]
        return found or [own]

    def stop(self) -> int:
        """End the server the proper way and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """End every process of the server at once, without notice."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS)
        poll(lambda: not members(self.process.pid), STOP_SECONDS)

    def kill_worker(self, pid: int) -> None:
        """End one process of the server without notice, unless it has ended already."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def logs(self) -> str:
        """Return everything that was written to standard error so far."""
        return self._log.read_text()


def clean_environment() -> dict[str, str]:
    """Return this process's environment without settings of a server, and without what would measure its lines.

    Measured, a server takes twice the time; what the gate asks for is reached in the tests' own process.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith(("SIDECAR_", "COVERAGE_"))}


def poll(is_met: Callable[[], bool], seconds: float) -> None:
    """Wait until ``is_met``; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not is_met():
        assert time.monotonic() < deadline, f"still not so after {seconds} s: {is_met}"
        time.sleep(POLL_SECONDS)


def processes() -> Iterator[int]:
    """Yield the ids of all processes that are visible here."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            yield int(entry.name)


def parent_of(pid: int) -> int | None:
    """Return the parent of a process, None when it is gone or ended."""
    fields = _stat(pid)
    return None if fields is None or fields[0] == "Z" else int(fields[1])


def members(group: int) -> list[int]:
    """Return the processes of a group that have not ended."""
    found = ((pid, _stat(pid)) for pid in processes())
    return [pid for pid, fields in found if fields is not None and fields[0] != "Z" and int(fields[2]) == group]


def _stat(pid: int) -> list[str] | None:
    """Return state, parent and group of a process, and what follows them in ``/proc/PID/stat``."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def command_of(pid: int) -> str:
    """Return the command line of a process, empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def run_sidecar(
    *words: str, environment: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run a command of the sidecar to its end."""
    return subprocess.run(
        [sys.executable, "-m", "sidecar", *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        cwd=cwd,
        env=clean_environment() | dict(environment or {}),
    )


def check_at_rest(data_dir: Path) -> None:
    """Check the log, the figures and the file of a data directory that no server has open (I1 to I4)."""
    for words in (("audit", "verify"), ("audit", "fsck")):
        done = run_sidecar(*words, "--data-dir", str(data_dir))
        assert done.returncode == 0, done.stdout + done.stderr


class Acme(NamedTuple):
    """A tenant with a team and an agent that may pay by card in CAD."""

    tenant_id: str
    key: str
    root: str
    team: str
    agent: str

    def request(self, amount: object = 10, **changes: object) -> Document:
        """Return the body of a card payment."""
        resource = {"type": "merchant", "id": "AWS", "currency": "CAD", "merchant_category": "7372", "amount": amount}
        return {"identity_id": self.agent, "action": "card.authorize", "resource": resource} | changes


def found_acme(client: Client, budgets: Iterable[Document] = (), name: str = "Acme Co") -> Acme:
    """Make the tenant; each of ``budgets`` changes the usual one, a daily amount in CAD on the team."""
    tenant = client.ok("POST", "/v1/tenants", {"name": name})
    key, root = tenant["api_key"], tenant["root_identity_id"]
    made: list[str] = []
    for kind, parent in (("team", root), ("agent", "")):
        body = {"parent_id": parent or made[-1], "type": kind, "name": f"the {kind}"}
        made.append(client.ok("POST", "/v1/identities", body, token=key)["identity_id"])
    rules = {"actions": ["card.authorize"], "max_amount": 200, "currencies": ["CAD"]}
    client.ok("POST", "/v1/policies", {"identity_id": made[0], "name": "cards", "rules": rules}, token=key)
    usual = {"identity_id": made[0], "name": "b", "dimension": "amount", "period": "daily", "currency": "CAD"}
    for change in budgets:
        client.ok("POST", "/v1/budgets", usual | change, token=key)
    return Acme(tenant["tenant_id"], key, root, *made)


@contextmanager
def serving(folder: Path, *flags: str) -> Iterator[tuple[Server, Client]]:
    """Run a server and give it with an operator's connection."""
    with Server(folder, *flags) as server, server.client() as client:
        yield server, client

"""The published examples against a real server, with nothing changed but base URL, ids and token; and raw sockets."""

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.process.server import OPERATOR, Acme, Client, Document, Server, found_acme, serving

CURL = shutil.which("curl")
SECONDS = 15.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server."""
    with serving(tmp_path_factory.mktemp("examples")) as (running, _):
        yield running


@pytest.fixture
def operator(server: Server) -> Iterator[Client]:
    """A connection of the operator's."""
    with server.client() as client:
        yield client


@pytest.fixture
def acme(operator: Client) -> Acme:
    """A tenant."""
    return found_acme(operator)


class Examples:
    """Runs an example as it is published: a path, and a body where there is one."""

    def __init__(self, server: Server) -> None:
        """Run against ``server`` as the operator."""
        self._server = server

    def run(self, path: str, body: str | None = None) -> Document:
        """Return the answer's document; with curl where there is one."""
        return self._with_curl(path, body) if CURL is not None else self._with_client(path, body)

    def post(self, path: str) -> Document:
        """Return the answer to a POST without a body."""
        return self.run(path, "")

    def _with_curl(self, path: str, body: str | None) -> Document:
        words = [str(CURL), "-sS", "--fail-with-body", f"{self._server.url}{path}"]
        words += ["-H", f"Authorization: Bearer {OPERATOR}"]
        if body is not None:
            words += ["-X", "POST"]
        if body:
            words += ["-H", "Content-Type: application/json", "-d", body]
        done = subprocess.run(words, check=False, capture_output=True, timeout=SECONDS)
        assert done.returncode == 0, (done.stdout, done.stderr)
        document: Document = json.loads(done.stdout)
        return document

    def _with_client(self, path: str, body: str | None) -> Document:
        with self._server.client() as client:
            answer = client.call("GET" if body is None else "POST", path, body.encode() if body else None)
        assert answer.status in {200, 201}, answer
        return answer.document


def test_the_published_examples_work_as_they_are_written(server: Server) -> None:
    """From the health check to the verified log, in the order of a typical integration."""
    examples = Examples(server)
    health = examples.run("/v1/health")
    assert (health["status"], set(health)) == ("ok", {"status", "service", "timestamp"})
    tenant = examples.run("/v1/tenants", '{"name":"Acme Co"}')
    ids = {"tenant": tenant["tenant_id"], "parent": tenant["root_identity_id"]}

    def body(text: str) -> str:
        return text.replace("t_01...", ids["tenant"]).replace("id_01...", ids["parent"])

    identity = examples.run(
        "/v1/identities",
        body("""{
    "tenant_id": "t_01...",
    "parent_id": "id_01...",
    "type": "agent",
    "name": "Procurement worker"
  }"""),
    )
    assert (identity["status"], identity["parent_id"]) == ("active", ids["parent"])
    ids["parent"] = identity["identity_id"]
    walked = examples.run(f"/v1/identities/{ids['parent']}/chain?tenant_id={ids['tenant']}")
    assert [link["type"] for link in walked["chain"]] == ["agent", "user"]
    policy = examples.run(
        "/v1/policies",
        body("""{
    "tenant_id": "t_01...",
    "identity_id": "id_01...",
    "name": "Daily card-only policy",
    "rules": {
      "actions": ["card.authorize"],
      "max_amount": 200,
      "currencies": ["CAD"],
      "allowed_mccs": ["5814", "5732", "7372"],
      "allowed_hours": [9, 18]
    }
  }"""),
    )
    assert policy["policy_id"].startswith("pol_")
    budget = examples.run(
        "/v1/budgets",
        body("""{
    "tenant_id": "t_01...",
    "identity_id": "id_01...",
    "name": "Daily spend cap",
    "dimension": "amount",
    "period": "daily",
    "limit": 500,
    "currency": "CAD"
  }"""),
    )
    assert budget["usage"]["remaining"] == 500
    card = examples.run(
        "/v1/treasury/cards",
        body("""{
    "tenant_id": "t_01...",
    "identity_id": "id_01...",
    "spend_limit_daily": 200,
    "spend_limit_monthly": 2000,
    "currency": "CAD"
  }"""),
    )
    assert (card["status"], card["spend_limit_daily"]) == ("active", 200)
    request = body("""{
    "tenant_id": "t_01...",
    "identity_id": "id_01...",
    "action": "card.authorize",
    "resource": {
      "type": "merchant",
      "id": "AWS",
      "amount": 47.23,
      "currency": "CAD",
      "merchant_category": "7372"
    }
  }""")
    decision = examples.run("/v1/authorize", request)
    assert decision["decision_id"].startswith("dec_")
    hour = int(decision["evaluated_at"][11:13])
    assert decision["allowed"] is (9 <= hour < 18)
    assert decision["reasons"][0]["matched_rule"] == (None if decision["allowed"] else "allowed_hours")
    frozen = examples.run(f"/v1/treasury/cards/{card['card_id']}/freeze", body('{"tenant_id":"t_01..."}'))
    assert frozen["status"] == "frozen"
    killed = examples.run("/v1/treasury/kill-switch", body('{"tenant_id":"t_01...","identity_id":"id_01..."}'))
    assert killed == {"frozen": 0, "card_ids": []}
    revoked = examples.post(f"/v1/identities/{ids['parent']}/revoke?tenant_id={ids['tenant']}")
    assert revoked["status"] == "revoked"
    denied = examples.run("/v1/authorize", request)
    assert (denied["allowed"], denied["reasons"][0]["verdict"]) == (False, "deny")
    records = examples.run(f"/v1/audit?tenant_id={ids['tenant']}&limit=50")["data"]
    types = [record["type"] for record in records]
    assert types[-5:] == ["decision", "card_frozen", "kill_switch", "identity_revoked", "decision"]
    verified = examples.run(f"/v1/audit/verify?tenant_id={ids['tenant']}")
    assert (verified["valid"], verified["entries_checked"]) == (True, len(records))


def test_the_tenant_may_be_implied_by_the_token(operator: Client, acme: Acme) -> None:
    """The preferred way of the published page: no tenant in the body."""
    operator.token = acme.key
    assert operator.ok("POST", "/v1/authorize", acme.request("47.23"))["allowed"] is True


# --- What only a real connection shows --------------------------------------------------------------------------------


def exchange(server: Server, *sent: bytes) -> bytes:
    """Send bytes as they are and return everything that comes back until the connection ends or an answer is whole."""
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), SECONDS) as connection:
        for part in sent:
            connection.sendall(part)
        answered = b""
        while not is_whole(answered):
            received = connection.recv(65536)
            if not received:
                break
            answered += received
    return answered


def is_whole(answered: bytes) -> bool:
    """Whether the head and as much body as it announces have come."""
    head, separator, body = answered.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    return bool(separator) and len(body) >= int(lengths[0] if lengths else 0)


def head(acme: Acme, *lines: str) -> bytes:
    """Return the head of a request to decide, with further header lines."""
    fixed = ["POST /v1/authorize HTTP/1.1", "Host: x", f"Authorization: Bearer {acme.key}"]
    return "\r\n".join([*fixed, "Content-Type: application/json", *lines, "", ""]).encode()


@pytest.mark.parametrize("length", [64 * 1024 + 1, 4 * 1024 * 1024])
def test_a_body_that_is_too_long_gets_an_answer_that_can_be_read(server: Server, acme: Acme, length: int) -> None:
    """The client sends all of it first and still finds the 413, with a length in front or in chunks."""
    announced = exchange(server, head(acme, f"Content-Length: {length}"), b" " * length)
    chunk = b" " * 32_000
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for _ in range(length // len(chunk) + 1))
    chunked = exchange(server, head(acme, "Transfer-Encoding: chunked"), chunks + b"0\r\n\r\n")
    for answered in (announced, chunked):
        assert answered.startswith(b"HTTP/1.1 413"), answered[:200]
        assert json.loads(answered.partition(b"\r\n\r\n")[2])["type"] == "too_large"


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"POST /v1/authorize HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0" * 1000 + b"\r\n\r\n",
    ],
)
def test_bytes_that_are_no_http_end_a_connection_and_nothing_else(
    server: Server, operator: Client, sent: bytes
) -> None:
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), SECONDS) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answered = connection.recv(65536)
    assert not answered.startswith(b"HTTP/1.1 5")
    assert operator.ok("GET", "/v1/health")["status"] == "ok"


def test_a_caller_that_goes_away_changes_nothing_for_others(server: Server, operator: Client, acme: Acme) -> None:
    """Half a body and an early end leave no decision; what was sent in full is decided whether it is waited for."""
    body = json.dumps(acme.request()).encode()
    before = operator.ok("GET", "/v1/audit/verify", token=acme.key)
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    for _ in range(5):
        with socket.create_connection((host, int(port)), SECONDS) as connection:
            connection.sendall(head(acme, f"Content-Length: {len(body)}") + body[:30])
    assert operator.ok("POST", "/v1/authorize", acme.request(dry_run=True), token=acme.key)["allowed"] is True
    assert operator.ok("GET", "/v1/audit/verify", token=acme.key) == before


def test_a_nested_policy_text_ends_no_worker(operator: Client, server: Server, acme: Acme) -> None:
    """Text that would crash the parser is refused, and the process that answers is the same."""
    workers = server.workers()
    for depth in (40, 500, 5_000):
        text = "permit (principal, action, resource) when { " + "(" * depth + "true" + ")" * depth + " };"
        answer = operator.call("POST", "/v1/policies", {"name": "x", "cedar": text}, token=acme.key)
        assert answer.status == 400, answer
    assert server.workers() == workers

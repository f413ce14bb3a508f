"""``sidecar mcp-proxy`` between the official SDK's client and server, asking a real sidecar.

One sidecar serves all tests; each has an agent, a token and a budget of its own.
"""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp_types import CallToolResult, TextContent

from sidecar.core.token_text import KEY_BYTES, SECRET_BYTES, mint
from tests.process.server import ROOT, Document, Server, clean_environment, poll
from tests.process.server import Client as Http

SERVER = Path(__file__).parent / "mcp_server.py"
MIB = 1024 * 1024

GATEWAY = """
[[mcp.tools]]
name = "buy"
amount = "$.amount"
currency = "CAD"

[[mcp.tools]]
name = "*"
"""


class Agent(NamedTuple):
    """An agent that may look up, crash and buy for 50 CAD at a time and 100 CAD a day."""

    http: Http
    key: str
    identity_id: str
    token: str
    budget_id: str

    @property
    def usage(self) -> Document:
        """What its budget has used."""
        found: Document = self.http.ok("GET", f"/v1/budgets/{self.budget_id}", token=self.key)["usage"]
        return found

    def decisions(self) -> list[Document]:
        """Its recorded decisions."""
        path = f"/v1/audit?identity_id={self.identity_id}&limit=200"
        records: list[Document] = self.http.ok("GET", path, token=self.key)["data"]
        return [each for each in records if each["type"] == "decision"]


class House(NamedTuple):
    """A running sidecar with a tenant."""

    server: Server
    http: Http
    key: str
    root: str

    def agent(self, *, may_release: bool = True) -> Agent:
        """Make an agent."""

        def make(path: str, body: Document) -> Document:
            return self.http.ok("POST", path, body, token=self.key)

        agent = make("/v1/identities", {"parent_id": self.root, "type": "agent", "name": "a"})["identity_id"]
        tools = [{"type": "tool", "id": name} for name in ("look_up", "buy", "crash")]
        rules = {"actions": ["tool.call"], "allowed_resources": tools, "max_amount": 50, "currencies": ["CAD"]}
        make("/v1/policies", {"identity_id": agent, "name": "tools", "rules": rules})
        limit = {"dimension": "amount", "period": "daily", "limit": 100, "currency": "CAD"}
        budget = make("/v1/budgets", {"identity_id": agent, "name": "daily"} | limit)
        token = make("/v1/tokens", {"name": "t", "identity_id": agent, "may_release": may_release})
        return Agent(self.http, self.key, agent, token["token"], budget["budget_id"])


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A running sidecar with a tenant."""
    folder = tmp_path_factory.mktemp("mcp")
    gateway = folder / "gateway.toml"
    gateway.write_text(GATEWAY)
    with Server(folder, "--gateway", str(gateway)) as server, server.client() as http:
        tenant = http.ok("POST", "/v1/tenants", {"name": "Acme"})
        yield House(server, http, tenant["api_key"], tenant["root_identity_id"])


def proxied(url: str, token: str, *command: str) -> StdioServerParameters:
    """Return how a client starts the proxy, as its configuration says."""
    args = ["-m", "sidecar", "mcp-proxy", "--url", url, "--server-name", "shop", "--", *command]
    return StdioServerParameters(
        command=sys.executable, args=args, env=clean_environment() | {"SIDECAR_TOKEN": token}, cwd=ROOT
    )


def shop(seen: Path) -> tuple[str, str, str]:
    """Return the command of the SDK's server."""
    return sys.executable, str(SERVER), str(seen)


def text_of(result: CallToolResult) -> str:
    """Return what the model reads of a result."""
    return "\n".join(each.text for each in result.content if isinstance(each, TextContent))


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_a_client_of_the_sdk_sees_and_calls_what_is_permitted(
    house: House, tmp_path: Path, mode: Literal["legacy", "auto"]
) -> None:
    """Tools that are not permitted are not listed and not called; what is spent is settled, what is not is freed."""
    agent, seen = house.agent(), tmp_path / "seen"

    async def session() -> dict[str, Any]:
        async with Client(proxied(house.server.url, agent.token, *shop(seen)), mode=mode) as client:
            return {
                "tools": [tool.name for tool in (await client.list_tools()).tools],
                "found": await client.call_tool("look_up", {"text": "x" * MIB}),
                "bought": await client.call_tool("buy", {"item": "pen", "amount": "30.25"}),
                "failed": await client.call_tool("buy", {"item": "nothing", "amount": "40"}),
                "wiped": await client.call_tool("wipe", {}),
                "dear": await client.call_tool("buy", {"item": "car", "amount": "50.01"}),
                "unpriced": await client.call_tool("buy", {"item": "pen"}),
                "again": await client.call_tool("buy", {"item": "pen", "amount": "45"}),
                "over": await client.call_tool("buy", {"item": "pen", "amount": "45"}),
            }

    done = asyncio.run(session())
    assert done["tools"] == ["look_up", "buy", "crash"]
    assert text_of(done["found"]) == f"found {MIB}"
    assert text_of(done["bought"]) == "bought pen"
    assert done["failed"].is_error
    for name, words in (
        ("wiped", "is denied by policy"),
        ("dear", "50"),
        ("unpriced", "the arguments have nothing at `$.amount`"),
        ("over", "may be tried again at"),
    ):
        assert done[name].is_error
        assert words in text_of(done[name])
    assert done["wiped"].meta["sidecar/codes"] == ["forbidden"]
    assert done["over"].meta["sidecar/codes"] == ["budget_exceeded"]
    assert done["over"].meta["sidecar/decision_id"] == agent.decisions()[-1]["decision_id"]
    assert seen.read_text().splitlines() == [f"look_up {MIB}", "buy pen 30.25", "buy nothing 40", "buy pen 45"]
    poll(lambda: str(agent.usage["settled"]) == "75.25", 5)
    assert agent.usage["reserved"] == 0
    assert [each["verdict"] for each in agent.decisions()] == [
        *("allow", "allow", "allow", "deny", "deny", "allow", "deny")
    ]


def test_without_a_sidecar_nothing_is_listed_and_nothing_called(tmp_path: Path) -> None:
    """A sidecar that cannot be reached permits nothing, and the model reads why."""
    seen = tmp_path / "seen"
    token = mint("agent", "live", bytes(KEY_BYTES + SECRET_BYTES)).text()

    async def session() -> CallToolResult:
        async with Client(proxied("http://127.0.0.1:9", token, *shop(seen)), mode="legacy") as client:
            with pytest.raises(MCPError, match="cannot be reached"):
                await client.list_tools()
            return await client.session.call_tool("look_up", {"text": "x"})

    result = asyncio.run(session())
    assert result.is_error
    assert "cannot be reached" in text_of(result)
    assert not seen.exists()


def test_a_server_that_dies_leaves_no_call_without_an_answer(house: House, tmp_path: Path) -> None:
    """Its calls are answered with an error; what they hold stays held, for it may be spent."""
    agent = house.agent()

    async def session() -> None:
        async with Client(proxied(house.server.url, agent.token, *shop(tmp_path / "seen")), mode="legacy") as client:
            with pytest.raises(MCPError, match="the server ended without an answer"):
                await client.call_tool("crash", {})

    asyncio.run(session())


class Proxy:
    """A proxy that is spoken to in lines."""

    def __init__(self, house: House, token: str, *command: str) -> None:
        """Start it."""
        words = ["mcp-proxy", "--url", house.server.url, "--", *command]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sidecar", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=clean_environment() | {"SIDECAR_TOKEN": token},
        )

    def end(self, data: bytes = b"", signal_number: int | None = None) -> tuple[list[Document], str]:
        """Write ``data``, end the proxy, and return what it wrote: messages and what it told."""
        if signal_number is not None:
            self.process.send_signal(signal_number)
        out, err = self.process.communicate(data, timeout=30)
        return [json.loads(line) for line in out.splitlines()], err.decode()


ECHO = """
import json, os, sys
print(json.dumps({"jsonrpc": "2.0", "method": "started", "params": [os.environ.get("SIDECAR_TOKEN")]}), flush=True)
for line in sys.stdin.buffer:
    message = json.loads(line)
    if "id" in message and "method" in message:
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": {"echo": line.decode()}}
        print(json.dumps(answer), flush=True)
sys.exit(3)
"""


def test_lines_pass_as_they_are_and_the_exit_code_too(house: House) -> None:
    """What is no call passes byte for byte, ids of both kinds too; the server never sees the token."""
    agent = house.agent(may_release=False)
    lines = [
        b'{ "jsonrpc":"2.0", "id":1, "method":"ping", "params": {"a": 1.50} }\n',
        b'{"jsonrpc":"2.0","id":"1","method":"ping"}\n',
        b'{"jsonrpc":"2.0","method":"ping","method":"tools/call","id":2}\n',
        b'{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"look_up","arguments":{}}}\n',
        b'{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"wipe"}}',
    ]
    proxy = Proxy(house, agent.token, sys.executable, "-c", ECHO)
    messages, _ = proxy.end(b"".join(lines))
    by_id = {message.get("id"): message for message in messages if "result" in message}
    assert [message["params"] for message in messages if "method" in message] == [[None]]
    assert by_id[1]["result"]["echo"].encode() == lines[0]
    assert by_id["1"]["result"]["echo"].encode() == lines[1]
    assert by_id[3]["result"]["echo"].encode() == lines[3]
    assert by_id[4]["result"]["isError"]
    assert next(message for message in messages if "error" in message)["id"] is None
    assert proxy.process.returncode == 3


def test_a_signal_ends_both(house: House) -> None:
    """SIGTERM ends the proxy and its server, even one that does not listen."""
    agent = house.agent()
    code = 'import sys, time; print(\'{"method": "up", "jsonrpc": "2.0"}\', flush=True); time.sleep(60)'
    proxy = Proxy(house, agent.token, sys.executable, "-c", code)
    assert proxy.process.stdout is not None
    assert proxy.process.stdout.readline()
    proxy.end(signal_number=signal.SIGTERM)
    assert proxy.process.returncode == 128 + signal.SIGTERM

"""A control plane and a follower of it as real processes on ports that stay, so that each finds the other again."""

import json
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.process.server import Acme, Client, Document, Server, found_acme, poll

SECONDS: Final = 30.0
"""What two processes may take on a machine that has other things to do."""


def free_port() -> int:
    """Return a port that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def local_url(port: int) -> str:
    """Return the address of a port of this machine."""
    return f"http://127.0.0.1:{port}"


class Following:
    """Both servers, each started and ended by its test; ``acme`` is the tenant that is followed."""

    def __init__(self, folder: Path, *flags: str) -> None:
        """Start the control plane and make the tenant, in which the agent may use tools too.

        ``flags`` are those of the follower, which is not started.
        """
        self.folder = folder
        self.flags = flags
        (folder / "plane").mkdir()
        self.plane = Server(folder / "plane", "--port", str(free_port()))
        self.plane.start()
        with self.operator() as operator:
            self.acme: Acme = found_acme(operator)
            rules = {"actions": ["tool.call"]}
            body = {"identity_id": self.acme.team, "name": "tools", "rules": rules}
            operator.ok("POST", "/v1/policies", body, token=self.acme.key)
        self.token, self.follower_id = self.new_token()
        self.follower = self.server("follower", self.plane.url, self.token)

    def __enter__(self) -> Self:
        """Give both."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what still runs."""
        for server in (self.follower, self.plane):
            if server.is_started:
                server.__exit__(kind, error, trace)

    def server(self, name: str, control_plane: str, token: str) -> Server:
        """Return a follower that is not started, with its data in the folder ``name``."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        environment: Mapping[str, str] = {"SIDECAR_CONTROL_PLANE_TOKEN": token}
        flags = ("--port", str(free_port()), "--control-plane", control_plane, *self.flags)
        return Server(folder, *flags, environment=environment)

    def new_token(self, tenant_key: str | None = None) -> tuple[str, str]:
        """Make a token to follow Acme with, or another tenant; returns its text and its id."""
        body = {"name": "follower", "kind": "follower"}
        with self.operator() as operator:
            made = operator.ok("POST", "/v1/tokens", body, token=tenant_key or self.acme.key)
        return made["token"], made["token_id"]

    def operator(self) -> Client:
        """Return a connection of Acme's operators to the control plane."""
        return self.plane.client()

    def agent(self) -> Client:
        """Return a connection with Acme's key to the follower."""
        return self.follower.client(self.acme.key)

    def codes(self, request: Document) -> list[str]:
        """Have the follower decide; returns why not, nothing for a permit."""
        with self.agent() as agent:
            decision = agent.ok("POST", "/v1/authorize", request)
        return [] if decision["allowed"] else [reason["code"] for reason in decision["reasons"]]

    def pays(self) -> list[str]:
        """Ask for a payment of 1.00; returns why not."""
        return self.codes(self.acme.request(1))

    def looks(self) -> list[str]:
        """Ask to use a tool that costs nothing; returns why not."""
        resource = {"type": "tool", "id": "search"}
        return self.codes({"identity_id": self.acme.agent, "action": "tool.call", "resource": resource})

    def seen(self) -> Document:
        """What the follower says of its following."""
        with self.agent() as agent:
            return agent.ok("GET", "/v1/replica")

    def add(self, name: str) -> str:
        """Make an identity at the control plane; returns its id."""
        body = {"parent_id": self.acme.team, "type": "agent", "name": name}
        with self.operator() as operator:
            made: str = operator.ok("POST", "/v1/identities", body, token=self.acme.key)["identity_id"]
            return made

    def knows(self, identity_id: str) -> bool:
        """Whether the follower has an identity."""
        with self.agent() as agent:
            return agent.call("GET", f"/v1/identities/{identity_id}").status == 200

    def all_is_shipped(self) -> bool:
        """Whether the control plane has acknowledged the follower's whole log."""
        audit = self.seen()["audit"]
        return bool(audit["backlog"] == 0 and audit["shipped"] == audit["records"] > 0)

    def wait_until_shipped(self) -> None:
        """Wait for that."""
        poll(self.all_is_shipped, SECONDS)


def events(server: Server) -> list[str]:
    """Return the events in a server's log."""
    return re.findall(r'"event": ?"(\w+)"', server.logs())


def reasons(server: Server, event: str) -> list[str]:
    """Return why, for each such event in a server's log."""
    lines = [json.loads(line) for line in server.logs().splitlines() if line.startswith("{")]
    return [line["reason"] for line in lines if line["event"] == event]

"""A follower beside its control plane: two real servers, one network between them that is there or not."""

import re
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.process.server import Acme, Client, Document, Server, found_acme, poll, run_sidecar

SECONDS = 20.0
PORT = 0


class Pair(NamedTuple):
    """A control plane with a tenant, and a follower of it that has its own clients."""

    plane: Server
    operator: Client
    acme: Acme
    follower: Server
    agent: Client

    def seen(self) -> Document:
        """What the follower says of its following."""
        return self.agent.ok("GET", "/v1/replica")

    def decides(self) -> bool:
        """Whether the follower permits a payment."""
        allowed: bool = self.agent.ok("POST", "/v1/authorize", self.acme.request(1))["allowed"]
        return allowed


def follower_token(operator: Client, acme: Acme) -> str:
    """Return a new token for a follower of the tenant."""
    body = {"name": "follower", "kind": "follower"}
    token: str = operator.ok("POST", "/v1/tokens", body, token=acme.key)["token"]
    return token


def follower_of(folder: Path, url: str, token: str, *flags: str) -> Server:
    """Return a server that would follow."""
    folder.mkdir(exist_ok=True)
    environment: Mapping[str, str] = {"SIDECAR_CONTROL_PLANE_TOKEN": token}
    return Server(folder, "--control-plane", url, *flags, environment=environment)


@contextmanager
def paired(folder: Path, *flags: str) -> Iterator[Pair]:
    """Start a control plane with a tenant, and a follower with further flags."""
    with ExitStack() as stack:
        (folder / "plane").mkdir()
        plane = stack.enter_context(Server(folder / "plane"))
        operator = stack.enter_context(plane.client())
        acme = found_acme(operator)
        follower = follower_of(folder / "follower", plane.url, follower_token(operator, acme), *flags)
        stack.enter_context(follower)
        agent = stack.enter_context(follower.client(acme.key))
        yield Pair(plane, operator, acme, follower, agent)


def events(server: Server) -> list[str]:
    """Return the events in a server's log."""
    return re.findall(r'"event": ?"(\w+)"', server.logs())


def test_a_follower_decides_by_what_the_control_plane_says(tmp_path: Path) -> None:
    """It knows the tenant's key, permits by its policies, and denies once its agent was revoked over there."""
    with paired(tmp_path) as pair:
        ready = pair.agent.ok("GET", "/readyz")
        assert ready["replica"]["connected"]
        assert ready["replica"]["lag_revisions"] == 0
        seen = pair.seen()
        assert (seen["role"], seen["control_plane"]) == ("follower", pair.plane.url)
        assert pair.decides()
        before = pair.agent.ok("POST", "/v1/authorize", pair.acme.request(1))
        there = pair.operator.ok("POST", "/v1/authorize", pair.acme.request(1), token=pair.acme.key)
        assert before["policy_revision"] == there["policy_revision"] == seen["policy_revision"]
        pair.operator.ok("POST", f"/v1/identities/{pair.acme.agent}/revoke", {}, token=pair.acme.key)
        poll(lambda: not pair.decides(), SECONDS)
        decision = pair.agent.ok("POST", "/v1/authorize", pair.acme.request(1))
        assert [reason["code"] for reason in decision["reasons"]] == ["identity_revoked"]
        assert pair.seen()["revision"] > seen["revision"]
        for client in (pair.agent, pair.operator):
            assert client.ok("GET", f"/v1/audit/verify?tenant_id={pair.acme.tenant_id}")["valid"]
        assert pair.follower.stop() == 0
    run = run_sidecar("audit", "verify", "--data-dir", str(tmp_path / "follower" / "data"))
    assert run.returncode == 0, run.stdout + run.stderr


def test_what_is_followed_is_changed_over_there_only(tmp_path: Path) -> None:
    with paired(tmp_path) as pair:
        identity = {"parent_id": pair.acme.root, "type": "agent", "name": "x"}
        answer = pair.agent.call("POST", "/v1/identities", identity)
        assert answer.status == 403
        assert answer.document["type"] == "forbidden"
        assert pair.plane.url in answer.document["error"]
        assert pair.agent.ok("GET", f"/v1/identities/{pair.acme.agent}")["identity_id"] == pair.acme.agent


def test_a_follower_decides_without_the_network_and_after_a_restart_without_it(tmp_path: Path) -> None:
    """It is ready at once with what is on its disk, and says that nobody answers."""
    with paired(tmp_path) as pair:
        revision = pair.seen()["revision"]
        pair.plane.kill()
        assert pair.decides()
        poll(lambda: not pair.seen()["connected"], SECONDS)
        assert pair.follower.stop() == 0
        pair.follower.start()
        with pair.follower.client(pair.acme.key) as agent:
            assert agent.ok("POST", "/v1/authorize", pair.acme.request(1))["allowed"]
            seen = agent.ok("GET", "/v1/replica")
            assert (seen["revision"], seen["connected"]) == (revision, False)
            poll(lambda: bool(agent.ok("GET", "/v1/replica")["last_error"]), SECONDS)
            assert agent.call("GET", "/readyz").status == 200
        assert "control_plane_lost" in events(pair.follower)


def test_a_follower_comes_back_to_a_control_plane_that_comes_back(tmp_path: Path) -> None:
    with paired(tmp_path) as pair:
        port = pair.plane.url.rpartition(":")[2]
        pair.plane.kill()
        poll(lambda: not pair.seen()["connected"], SECONDS)
        pair.plane.flags = ("--port", port)
        pair.plane.start()
        with pair.plane.client() as operator:
            operator.ok("POST", f"/v1/identities/{pair.acme.agent}/revoke", {}, token=pair.acme.key)
        poll(lambda: not pair.decides(), SECONDS)
        poll(lambda: bool(pair.seen()["connected"]), SECONDS)
        assert "control_plane_connected" in events(pair.follower)


def test_nothing_is_decided_before_there_is_anything_to_decide_by(tmp_path: Path) -> None:
    """The server listens and lives, says why it is not ready, and ends when it is told to."""
    with paired(tmp_path) as pair:
        token = follower_token(pair.operator, pair.acme)
        revoked = pair.operator.ok("GET", "/v1/tokens?limit=200", token=pair.acme.key)["data"][-1]["token_id"]
        pair.operator.ok("DELETE", f"/v1/tokens/{revoked}", token=pair.acme.key)
        with follower_of(tmp_path / "waiting", pair.plane.url, token, "--port", str(free_port())) as waiting:
            pass  # pragma: no cover


def free_port() -> int:
    """Return a port that nobody listens on."""
    return 0

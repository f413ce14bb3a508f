"""A follower beside its control plane: two real servers, one network between them that is there or not."""

import http.client
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.process.server import Acme, Client, Document, Lost, Refused, Server, found_acme, poll, run_sidecar

SECONDS = 20.0


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
def standing(folder: Path) -> Iterator[tuple[Server, Client, Acme]]:
    """Start a control plane with a tenant."""
    (folder / "plane").mkdir()
    with Server(folder / "plane") as plane, plane.client() as operator:
        yield plane, operator, found_acme(operator)


@contextmanager
def paired(folder: Path, *flags: str) -> Iterator[Pair]:
    """Start a control plane with a tenant, and a follower with further flags."""
    with ExitStack() as stack:
        plane, operator, acme = stack.enter_context(standing(folder))
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


def test_a_follower_of_a_follower_is_told_what_is_wrong(tmp_path: Path) -> None:
    """It is never ready, and says whom not to follow, once."""
    with paired(tmp_path) as pair:
        token = follower_token(pair.operator, pair.acme)
        port = free_port()
        second = follower_of(tmp_path / "second", pair.follower.url, token, "--port", str(port))
        with launched(second), Client(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)) as waiting:
            poll(lambda: is_alive(waiting), SECONDS)
            poll(lambda: "cannot be followed" in waiting.call("GET", "/readyz").document["reason"], SECONDS)
            assert events(second).count("control_plane_refuses_token") == 1
            assert second.stop() == 0
            assert second.ready_lines() == []


@pytest.mark.parametrize("workers", ["2"])
def test_nothing_is_decided_before_there_is_anything_to_decide_by(tmp_path: Path, workers: str) -> None:
    """With a token that the control plane refuses the server lives, says why it is not ready, and can be ended."""
    with standing(tmp_path) as (plane, operator, acme):
        made = operator.ok("POST", "/v1/tokens", {"name": "gone", "kind": "follower"}, token=acme.key)
        operator.ok("DELETE", f"/v1/tokens/{made['token_id']}", token=acme.key)
        port = free_port()
        words = ("--port", str(port), "--workers", workers)
        server = follower_of(tmp_path / "follower", plane.url, made["token"], *words)
        with launched(server), Client(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)) as waiting:
            poll(lambda: is_alive(waiting), SECONDS)
            poll(lambda: "401" in waiting.call("GET", "/readyz").document["reason"], SECONDS)
            assert waiting.call("GET", "/readyz").status == 503
            answer = waiting.call("POST", "/v1/authorize", acme.request(1), token=acme.key)
            assert answer.status == 503
            assert answer.document["type"] == "unavailable"
            seen = waiting.ok("GET", "/v1/replica")
            assert (seen["revision"], seen["connected"]) == (None, False)
            assert server.ready_lines() == []
            assert events(server).count("control_plane_refuses_token") == 1
            if workers == "2":  # a worker that is killed meanwhile is started again
                victim = server.workers()[0]
                server.kill_worker(victim)
                poll(lambda: victim not in server.workers() and len(server.workers()) == 2, SECONDS)
                assert server.process.poll() is None
            assert made["token"] not in server.logs()
            assert server.stop() == 0
            assert server.ready_lines() == []
            assert "Traceback" not in server.logs()


def test_a_process_that_follows_and_dies_is_followed_by_another(tmp_path: Path) -> None:
    """All workers decide alike, and each says the same of the following, whichever of them does it."""
    with paired(tmp_path, "--workers", "2") as pair:
        for victim in pair.follower.workers():
            pair.follower.kill_worker(victim)
            revision = pair.operator.ok("POST", "/v1/authorize", pair.acme.request(1), token=pair.acme.key)
            assert revision["allowed"]
            body = {"parent_id": pair.acme.team, "type": "agent", "name": "another"}
            made = pair.operator.ok("POST", "/v1/identities", body, token=pair.acme.key)["identity_id"]
            poll(lambda made=made: is_known(pair.follower, pair.acme, made), SECONDS)  # type: ignore[misc]
            poll(lambda: len(pair.follower.workers()) == 2, SECONDS)
        told = set()
        for _ in range(12):
            with pair.follower.client(pair.acme.key) as client:
                seen = client.ok("GET", "/v1/replica")
                told.add((seen["revision"], seen["connected"], seen["policy_revision"]))
        assert len(told) == 1, told


@contextmanager
def launched(server: Server) -> Iterator[None]:
    """Start a server without waiting until it is ready; what still runs at the end is killed."""
    server.launch()
    try:
        yield
    finally:
        server.__exit__(None, None, None)


def is_alive(client: Client) -> bool:
    """Whether a server answers already."""
    try:
        return client.call("GET", "/livez").status == 200
    except (Refused, Lost):
        return False


def is_known(server: Server, acme: Acme, identity_id: str) -> bool:
    """Whether a server knows an identity; a worker that was just killed takes its connections along."""
    with server.client(acme.key) as client:
        try:
            return client.call("GET", f"/v1/identities/{identity_id}").status == 200
        except Lost:
            return False


def free_port() -> int:
    """Return a port that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port

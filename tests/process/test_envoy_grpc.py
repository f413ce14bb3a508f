"""Envoy over gRPC: a client of the protocol, and the real Envoy, in front of a real server with two workers."""

import asyncio
import copy
import os
import re
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import grpc
import pytest
import yaml
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse  # type: ignore[import-untyped]
from grpc import aio

from sidecar.doors.gateway.grpc_check import ROUTE
from sidecar.doors.gateway.grpc_server import MESSAGE_BYTES_MAX
from tests.doors.checks import Generated, asked, headers_of, raw
from tests.process.following import free_port
from tests.process.proxies import Ports, Proxy, Reached, Upstream, envoy, running
from tests.process.server import ROOT, Acme, Server, found_acme, poll

GATEWAY = """
[http.identity]
from = "header"

[[http.routes]]
match = { path = "/v1/tools/{tool}" }
action = "tool.call"
resource = { type = "tool", id = "{tool}" }

[[http.routes]]
match = { path = "/health" }
public = true
"""

Yaml: TypeAlias = Any
"""Parts of a configuration."""

PERMITTED, REFUSED = 0, 7
SECONDS = 20.0
WORKERS = 2
LISTEN = "0A"
"""The state of a socket in /proc/net."""


class House(NamedTuple):
    """A server that Envoy asks at ``place``; ``stranger`` is an agent that may do nothing."""

    server: Server
    place: str
    acme: Acme
    stranger: str

    @property
    def port(self) -> int:
        """The port of the place."""
        return int(self.place.rpartition(":")[2])

    def ask(self, message: bytes, token: str | None = None, route: str = ROUTE) -> Generated:
        """Ask as a proxy does, the tenant's own unless ``token`` says another; an empty one is not sent."""
        shown = self.acme.key if token is None else token
        metadata = (("x-sidecar-authorization", f"Bearer {shown}"),) if shown else ()

        async def run() -> Generated:
            async with aio.insecure_channel(self.place) as channel:
                call: Callable[..., Awaitable[Generated]] = channel.unary_unary(
                    route, response_deserializer=CheckResponse.FromString
                )
                return await call(message, metadata=metadata, timeout=SECONDS)

        return asyncio.run(run())

    def fault(self, message: bytes, route: str = ROUTE) -> grpc.StatusCode:
        """Return the code with which a question fails."""
        with pytest.raises(aio.AioRpcError) as caught:
            self.ask(message, route=route)
        return caught.value.code()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Two workers."""
    folder = tmp_path_factory.mktemp("envoy_grpc")
    (folder / "gateway.toml").write_text(GATEWAY)
    place = f"127.0.0.1:{free_port()}"
    flags = ("--gateway", str(folder / "gateway.toml"), "--ext-authz-grpc", place, "--workers", str(WORKERS))
    with Server(folder, *flags) as server, server.client() as client:
        acme = found_acme(client)
        rules = {"actions": ["tool.call"]}
        client.ok("POST", "/v1/policies", {"identity_id": acme.team, "name": "tools", "rules": rules}, token=acme.key)
        body = {"parent_id": acme.root, "type": "agent", "name": "a stranger"}
        stranger = client.ok("POST", "/v1/identities", body, token=acme.key)["identity_id"]
        yield House(server, place, acme, stranger)
        assert server.stop() == 0


def message(house: House, path: str = "/v1/tools/search", agent: str | None = None) -> bytes:
    """Return the question of a call by the tenant's agent."""
    return raw(asked(path), ("x-agent-id", (agent or house.acme.agent).encode()))


def test_the_place_is_told_when_the_server_is_ready(house: House) -> None:
    assert house.server.ready_lines()[1:] == [f"ext_authz over gRPC on {house.place}"]


def test_a_permit_is_a_decision_like_any_other(house: House) -> None:
    response = house.ask(message(house))
    assert response.status.code == PERMITTED
    decision_id = headers_of(response.ok_response.headers)["x-decision-id"]
    assert "x-sidecar-authorization" in response.ok_response.headers_to_remove
    assert response.dynamic_metadata["decision_id"] == decision_id
    with house.server.client(house.acme.key) as client:
        decision = client.ok("GET", f"/v1/decisions/{decision_id}")
    assert decision["allowed"] is True


def test_a_denial_says_why_and_has_its_decision(house: House) -> None:
    response = house.ask(message(house, agent=house.stranger))
    assert (response.status.code, response.denied_response.status.code) == (REFUSED, 403)
    told = headers_of(response.denied_response.headers)
    assert told["x-decision-reason"] == "not_permitted"
    assert told["x-decision-id"] in response.denied_response.body
    assert response.dynamic_metadata["reason"] == "not_permitted"


@pytest.mark.parametrize("path", ["/v1/other", "/v1/tools/a%2Fb", "/v1/tools/../tools/x", "/v1//tools/x", "*"])
def test_a_path_that_no_route_has_or_that_can_be_read_in_two_ways_is_denied(house: House, path: str) -> None:
    assert house.ask(message(house, path)).denied_response.status.code in {400, 403}


def test_a_public_path_needs_nobody(house: House) -> None:
    assert house.ask(asked("/health").SerializeToString(), token="").status.code == PERMITTED


def test_without_an_identity_or_a_proxys_token_nobody_is_known(house: House) -> None:
    assert house.ask(asked("/v1/tools/x").SerializeToString()).denied_response.status.code == 401
    assert house.ask(message(house), token="").denied_response.status.code == 401
    assert house.ask(message(house), token="sk_nobodys").denied_response.status.code == 401


def test_an_identity_that_comes_twice_is_none(house: House) -> None:
    agent = house.acme.agent
    twice = raw(asked("/v1/tools/x"), ("x-agent-id", agent.encode()), ("x-agent-id", agent.encode()))
    joined = asked("/v1/tools/x", x_agent_id=f"{agent},{agent}").SerializeToString()
    beside = raw(asked("/v1/tools/x", x_agent_id=agent), ("x-agent-id", house.stranger.encode()))
    odd = raw(asked("/v1/tools/x"), ("x-agent-id", agent.encode() + b"\xc3\xa9"))
    long = raw(asked("/v1/tools/x"), ("x-agent-id", b"a" * 9000))
    for smuggled in (twice, joined, beside, odd, long):
        assert house.ask(smuggled).denied_response.status.code == 400


def test_what_is_no_question_is_denied_or_fails(house: House) -> None:
    assert house.ask(b"\xff\xff").denied_response.status.code == 400
    assert house.ask(b"").denied_response.status.code == 400
    assert house.fault(b"a" * (MESSAGE_BYTES_MAX + 1)) == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert house.fault(message(house), f"{ROUTE}All") == grpc.StatusCode.UNIMPLEMENTED


def test_questions_are_counted_by_the_name_of_the_call(house: House) -> None:
    house.ask(message(house))
    with house.server.client() as client:
        shown = client.call("GET", "/metrics").body.decode()
    assert re.search(rf'route="{re.escape(ROUTE)}",status="200"', shown)


def test_each_worker_listens_also_one_that_was_started_again(house: House) -> None:
    port = f":{house.port:04X}"

    def listening() -> int:
        rows = [row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/net/{name}").read_text().splitlines()]
        return sum(row[1].endswith(port) and row[3] == LISTEN for row in rows)

    poll(lambda: listening() == WORKERS, SECONDS)
    house.server.kill_worker(house.server.workers()[0])
    poll(lambda: listening() < WORKERS, SECONDS)
    assert house.ask(message(house)).status.code == PERMITTED
    poll(lambda: listening() == WORKERS, SECONDS)


class Front(NamedTuple):
    """An Envoy in front of an upstream.

    At ``own`` it says who asks, at ``open`` it lets its clients say so, and at ``alone`` there is no server to ask.
    """

    own: Proxy
    open: Proxy
    alone: Proxy

    @property
    def reached(self) -> list[Reached]:
        """What reached the upstream."""
        return self.own.upstream.reached


@pytest.fixture(scope="module")
def front(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """The example of deploy/, on ports of this machine, with two further listeners."""
    document: Any = yaml.safe_load((ROOT / "deploy" / "envoy-grpc.yaml").read_text())
    resources = document["static_resources"]
    listener, (sidecar, behind) = resources["listeners"][0], resources["clusters"]
    gone = copy.deepcopy(sidecar) | {"name": "gone"}
    resources["clusters"].append(gone)
    trusting = copy.deepcopy(listener) | {"name": "open"}
    del _filters(trusting)[0]
    alone = copy.deepcopy(trusting) | {"name": "alone"}
    _filters(alone)[0]["typed_config"]["grpc_service"]["envoy_grpc"]["cluster_name"] = "gone"
    resources["listeners"] += [trusting, alone]
    open_port, lonely_port = free_port(), free_port()

    def command(folder: Path, ports: Ports) -> list[str]:
        for cluster, port in ((sidecar, house.port), (behind, ports.upstream), (gone, free_port())):
            _move(cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"], port)
        for each, port in ((listener, ports.proxy), (trusting, open_port), (alone, lonely_port)):
            _move(each, port)
        words = envoy(folder, ports)
        config = folder / "envoy-grpc.yaml"
        config.write_text(yaml.safe_dump(document))
        words[words.index("-c") + 1] = str(config)
        return ["env", f"AGENT_ID={house.acme.agent}", f"GATEWAY_TOKEN={house.acme.key}", *words]

    folder = tmp_path_factory.mktemp("envoy")
    with Upstream() as upstream, running("envoy", folder, upstream, house.port, command) as own:
        yield Front(own, own._replace(port=open_port), own._replace(port=lonely_port))


def _filters(listener: Yaml) -> Yaml:
    return listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]


def _move(place: Yaml, port: int) -> None:
    place["address"]["socket_address"]["port_value"] = port


def test_envoy_lets_a_permitted_request_through_with_its_decision(house: House, front: Front) -> None:
    """What the client writes about itself, and about a decision, is replaced."""
    made_up = (("x-agent-id", house.stranger), ("x-decision-id", "dec_madeup"), ("x-sidecar-authorization", "x"))
    assert front.own.call("GET", "/v1/tools/search", headers=made_up).status == 200
    got = front.reached[-1].headers
    assert got["x-decision-id"].startswith("dec_")
    assert got["x-decision-id"] != "dec_madeup"
    assert got["x-agent-id"] == house.acme.agent
    assert "x-sidecar-authorization" not in got


def test_envoy_gives_a_denial_to_its_client(house: House, front: Front) -> None:
    before = len(front.reached)
    answer = front.open.call("GET", "/v1/tools/search", headers=[("x-agent-id", house.stranger)])
    assert (answer.status, answer.headers["x-decision-reason"]) == (403, "not_permitted")
    assert answer.headers["x-decision-id"] == answer.document["decision_id"]
    assert len(front.reached) == before


def test_envoy_passes_nothing_on_whose_identity_or_path_is_in_doubt(house: House, front: Front) -> None:
    agent, before = house.acme.agent, len(front.reached)

    def status(path: str, *agents: str | bytes) -> int:
        return front.open.call("GET", path, headers=[("X-Agent-Id", each) for each in agents]).status

    assert status("/v1/tools/x", agent) == 200
    assert status("/v1/tools/x") == 401
    assert status("/v1/tools/x", agent, agent) == 400
    assert status("/v1/tools/x", agent.encode() + b"\xe9") == 400
    assert status("/v1/tools/a%2Fb", agent) == 400
    assert status("/v1//tools/x", agent) == 400
    assert len(front.reached) == before + 1


def test_envoy_passes_nothing_on_while_the_server_hangs(house: House, front: Front) -> None:
    before = len(front.reached)
    os.killpg(house.server.process.pid, signal.SIGSTOP)
    try:
        assert front.own.call("GET", "/v1/tools/x").status == 503
    finally:
        os.killpg(house.server.process.pid, signal.SIGCONT)
    assert len(front.reached) == before
    poll(lambda: front.own.call("GET", "/v1/tools/x").status == 200, SECONDS)


def test_envoy_passes_nothing_on_without_a_server(house: House, front: Front) -> None:
    before = len(front.reached)
    assert front.alone.call("GET", "/v1/tools/x", headers=[("x-agent-id", house.acme.agent)]).status == 503
    assert len(front.reached) == before

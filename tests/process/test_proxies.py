"""nginx, Envoy, Caddy and Traefik, set up as is shown, in front of a real sidecar: what passes, and what does not."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from bench.servers import free_port
from tests.process.proxies import PROXIES, Proxy, Upstream, nginx, running
from tests.process.server import ROOT, Client, Server


class Site(NamedTuple):
    """A sidecar with a tenant, whose agent may call the tool `search` and buy for 100 CAD."""

    server: Server
    client: Client
    key: str
    agent: str
    token: str

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server.url.rpartition(":")[2])


def settled(folder: Path, mapping: Path) -> Iterator[Site]:
    """Run a sidecar with a mapping."""
    with Server(folder, "--gateway", str(mapping)) as server, server.client() as client:
        tenant = client.ok("POST", "/v1/tenants", {"name": "Acme", "root": {"type": "organization"}})
        client.token = key = tenant["api_key"]
        root = tenant["root_identity_id"]
        agent = client.ok("POST", "/v1/identities", {"parent_id": root, "type": "agent", "name": "a"})["identity_id"]
        tools = {"actions": ["tool.call"], "allowed_resources": [{"type": "tool", "id": "search"}]}
        pages = {"actions": ["http.request"]}
        buying = {"actions": ["card.authorize"], "currencies": ["CAD"]}
        for rules in (tools, pages, buying):
            client.ok("POST", "/v1/policies", {"identity_id": agent, "name": "p", "rules": rules})
        limit = {"dimension": "amount", "period": "daily", "limit": 100, "currency": "CAD"}
        client.ok("POST", "/v1/budgets", {"identity_id": agent, "name": "daily"} | limit)
        token = client.ok("POST", "/v1/tokens", {"name": "a", "identity_id": agent})["token"]
        yield Site(server, client, key, agent, token)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """What is protected."""
    with Upstream() as serving:
        yield serving


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A sidecar with the mapping that is shipped."""
    yield from settled(tmp_path_factory.mktemp("site"), ROOT / "deploy" / "gateway.toml")


@pytest.fixture(scope="module", params=PROXIES)
def proxy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, site: Site, upstream: Upstream
) -> Iterator[Proxy]:
    """Each of the proxies."""
    folder = tmp_path_factory.mktemp(request.param)
    with running(request.param, folder, upstream, site.port) as made:
        yield made


def test_what_is_permitted_reaches_the_upstream_with_the_decision_and_without_the_token(
    proxy: Proxy, site: Site
) -> None:
    answer = proxy.call("POST", "/tools/search?q=a%20b", site.token)
    assert answer.status == 200, answer
    reached = proxy.upstream.reached[-1]
    assert (reached.method, reached.target) == ("POST", "/tools/search?q=a%20b")
    decision = site.client.ok("GET", f"/v1/decisions/{reached.headers['x-decision-id']}")
    assert decision["allowed"]
    assert site.token not in json.dumps(reached.headers)
    if proxy.name in {"nginx", "envoy"}:  # the others give their client nothing of an answer that lets through
        assert answer.headers["x-decision-id"] == decision["decision_id"]


def test_what_is_denied_does_not_reach_it_and_says_why(proxy: Proxy, site: Site) -> None:
    before = len(proxy.upstream.reached)
    answer = proxy.call("POST", "/tools/shell", site.token)
    assert (answer.status, answer.headers["x-decision-reason"]) == (403, "forbidden")
    decision = site.client.ok("GET", f"/v1/decisions/{answer.headers['x-decision-id']}")
    assert decision["allowed"] is False
    assert answer.headers["x-decision-message"] == decision["reasons"][0]["message"]
    if proxy.name != "nginx":  # which has a page of its own
        assert answer.document["decision_id"] == decision["decision_id"]
    assert len(proxy.upstream.reached) == before


def test_who_shows_no_token_does_not_pass(proxy: Proxy, site: Site) -> None:
    before = len(proxy.upstream.reached)
    for token in (None, "at_live_unknown", site.key):
        answer = proxy.call("POST", "/tools/search", token)
        assert answer.status == (403 if token == site.key else 401), answer
        assert ("www-authenticate" in answer.headers) == (token != site.key)
    assert len(proxy.upstream.reached) == before


def test_what_is_public_passes_without_a_decision(proxy: Proxy) -> None:
    answer = proxy.call("GET", "/healthz", headers=[("X-Decision-Id", "dec_made_up")])
    assert answer.status == 200, answer
    assert not proxy.upstream.reached[-1].headers.get("x-decision-id")


def test_a_path_of_several_segments_and_the_host_are_asked_for(proxy: Proxy, site: Site) -> None:
    assert proxy.call("GET", "/pages/a/b.html", site.token).status == 200
    record = site.client.ok("GET", "/v1/audit?action=http.request&limit=200")["data"][-1]
    assert record["resource"] == {"type": "url", "id": "127.0.0.1/pages/a/b.html"}


def test_money_is_reserved_for_envoy_only(proxy: Proxy, site: Site) -> None:
    before = len(proxy.upstream.reached)
    answer = proxy.call("POST", "/buy/AWS", site.token, [("X-Amount", "12.50")])
    if proxy.name != "envoy":
        assert (answer.status, answer.headers["x-decision-error"]) == (403, "forbidden")
        assert len(proxy.upstream.reached) == before
        return
    assert answer.status == 200
    decision = site.client.ok("GET", f"/v1/decisions/{proxy.upstream.reached[-1].headers['x-decision-id']}")
    assert decision["reservation"]["state"] == "settled"
    over = proxy.call("POST", "/buy/AWS", site.token, [("X-Amount", "99")])
    assert (over.status, over.headers["x-decision-reason"]) == (403, "budget_exceeded")
    twice = proxy.call("POST", "/buy/AWS", site.token, [("X-Amount", "1"), ("X-Amount", "1")])
    assert twice.status in {400, 403}
    assert len(proxy.upstream.reached) == before + 1


def test_a_websocket_is_judged_when_it_is_opened(proxy: Proxy, site: Site) -> None:
    opening = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
    if proxy.name != "envoy":  # which refuses it unless it is told not to
        assert proxy.call("GET", "/pages/socket", site.token, opening).status == 200
    before = len(proxy.upstream.reached)
    for target, token in (("/pages/socket", None), ("/tools/shell", site.token)):
        assert proxy.call("GET", target, token, opening).status in {401, 403}
    assert len(proxy.upstream.reached) == before


@pytest.mark.parametrize("protocol", ["h2c", "H2C", "websocket, h2c", "other"])
def test_no_connection_is_opened_whose_requests_nobody_judges(proxy: Proxy, site: Site, protocol: str) -> None:
    """Over HTTP/2 behind an upgrade, a client that may read one page could ask the upstream for everything."""
    before = len(proxy.upstream.reached)
    opening = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", protocol), ("HTTP2-Settings", "AAMAAABkAAQAAP__")]
    proxy.call("GET", "/pages/socket", site.token, opening)
    assert not any("upgrade" in reached.headers for reached in proxy.upstream.reached[before:])


def test_a_decision_that_a_client_makes_up_does_not_reach_the_upstream(proxy: Proxy) -> None:
    """Nor one that is spelt as some upstreams read it: to them an underscore is a hyphen."""
    names = ("X-Decision-Id", "X_Decision_Id", "X-Decision_Id", "x_decision-id")
    assert proxy.call("GET", "/healthz", headers=[(name, "dec_made_up") for name in names]).status == 200
    assert "dec_made_up" not in proxy.upstream.reached[-1].headers.values()


def test_a_client_cannot_have_the_decision_taken_away(proxy: Proxy, site: Site) -> None:
    """Headers that `Connection` names are for one hop only; that of the decision is none of the client's."""
    nominating = [("Connection", "close, X-Decision-Id")]
    assert proxy.call("POST", "/tools/search", site.token, nominating).status == 200
    assert proxy.upstream.reached[-1].headers["x-decision-id"].startswith("dec_")


TRICKS: list[tuple[str, list[tuple[str, str | bytes]]]] = [
    ("/tools/shell", [("X-Original-URI", "/healthz"), ("X-Original-Method", "GET")]),
    ("/tools/shell", [("X-Forwarded-Uri", "/healthz"), ("X-Forwarded-Method", "GET")]),
    ("/tools/shell", [("X-Original-URI", "/tools/search"), ("X-Forwarded-Uri", "/tools/search")]),
    ("/tools/shell", [("x-original-uri", "/healthz"), ("X-Original-Uri", "/healthz"), ("X-Original-Host", "a")]),
    ("/tools/shell", [("X-HTTP-Method-Override", "GET"), ("Authorization", "Bearer at_live_other")]),
    ("/tools/shell", [("Authorization", b"Bearer \xc3\xa9")]),
    ("/tools/shell", [("X-Envoy-Original-Path", "/healthz"), ("X-Rewrite-URL", "/healthz")]),
    ("/healthz/../tools/shell", []),
    ("/healthz/%2e%2e/tools/shell", []),
    ("/healthz%2f..%2ftools/shell", []),
    ("/healthz/..%2ftools/shell", []),
    ("/healthz/..;/tools/shell", []),
    ("/healthz;/../tools/shell", []),
    ("/tools/search/..%5cshell", []),
    ("/tools/%73hell", []),
    ("/tools//shell", []),
    ("//tools/shell", []),
    ("/tools/./shell", []),
    ("/tools/search%00", []),
    ("/tools/search%252f..%252fshell", []),
    ("/tools/search;shell", []),
    ("/tools/search%3fx", []),
    ("/tools/shell?/../search", []),
    ("/tools/search#/../shell", []),
    ("http://127.0.0.1/tools/shell", []),
]


def test_no_trick_with_paths_or_headers_gets_through(proxy: Proxy, site: Site) -> None:
    """Whichever of the two readers a trick is meant for, the upstream is not reached."""
    before = len(proxy.upstream.reached)
    for target, headers in TRICKS:
        answer = proxy.call("POST", target, site.token, headers)
        assert answer.status in {400, 401, 403, 404, 405, 307}, (target, headers, answer)
        assert len(proxy.upstream.reached) == before, (target, headers, proxy.upstream.reached[-1])


def test_doubled_and_oversized_headers_do_not_pass(proxy: Proxy, site: Site) -> None:
    before = len(proxy.upstream.reached)
    doubled = [("Authorization", f"Bearer {site.token}")]
    assert proxy.call("POST", "/tools/search", site.token, doubled).status in {400, 401, 403}
    assert proxy.call("POST", "/tools/search", site.token + "a" * 9000).status in {400, 401, 403, 431}
    assert len(proxy.upstream.reached) == before


@pytest.mark.parametrize("name", PROXIES)
def test_without_the_sidecar_nothing_passes(name: str, tmp_path: Path, upstream: Upstream) -> None:
    before = len(upstream.reached)
    with running(name, tmp_path, upstream, free_port()) as alone:
        for target in ("/tools/search", "/healthz"):
            assert alone.call("GET", target, "at_live_any").status in {500, 502, 503}
    assert len(upstream.reached) == before


def test_a_proxy_that_knows_its_agents_names_them(tmp_path: Path, upstream: Upstream) -> None:
    """What an agent says of itself does not count, and a proxy that names nobody gets nothing."""
    mapping = tmp_path / "gateway.toml"
    shipped = (ROOT / "deploy" / "gateway.toml").read_text()
    mapping.write_text(shipped.replace('{ from = "token" }', '{ from = "header" }'))
    for site in settled(tmp_path, mapping):
        command = partial(nginx, amended=partial(naming, site))
        with running("nginx", tmp_path / "nginx", upstream, site.port, command) as proxy:
            key = ("X-Key", "key-of-the-agent")
            assert proxy.call("POST", "/tools/search", headers=[key]).status == 200
            assert proxy.call("POST", "/tools/search", headers=[key, ("X-Agent-Id", "id_other")]).status == 200
            assert proxy.call("POST", "/tools/shell", headers=[key]).status == 403
            before = len(upstream.reached)
            strangers: list[list[tuple[str, str | bytes]]] = [
                [],
                [("X-Agent-Id", site.agent)],
                [("X-Key", "another"), ("X-Agent-Id", site.agent)],
            ]
            for headers in strangers:
                answer = proxy.call("POST", "/tools/search", site.token, headers)
                assert answer.status == 401, answer
            assert len(upstream.reached) == before


def naming(site: Site, text: str) -> str:
    """Return an nginx's configuration in which it knows the agent by a key and tells the sidecar so."""
    known = (
        f'map $http_x_key $agent {{ default ""; "key-of-the-agent" "{site.agent}"; }}\n    server {{\n        listen'
    )
    told = f'X-Agent-Id $agent;\n proxy_set_header X-Sidecar-Authorization "Bearer {site.key}";'
    text = text.replace("server {\n        listen", known)
    return text.replace("Authorization $http_authorization;", told)

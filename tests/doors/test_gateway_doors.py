"""Envoy and forward authentication at their doors: who asks, what is answered, and that nothing passes by mistake."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from sidecar.core.errors import StoreUnusable, Unavailable, ValidationFailed
from sidecar.doors.gateway import answers
from sidecar.doors.gateway.envoy import EnvoyCalls
from sidecar.doors.gateway.mapping import HttpMapping
from sidecar.doors.wire.http import Incoming
from sidecar.service.gateway import Gateway
from sidecar.service.settlement import Settler
from tests.doors.door import Door, House, build
from tests.process.server import Answer, Document

MAPPING = """
[http]
{identity}

[[http.routes]]
match = {{ path = "/healthz" }}
public = true

[[http.routes]]
name = "pay"
match = {{ methods = ["POST"], path = "/pay/{{shop}}" }}
action = "card.authorize"
resource = {{ type = "merchant", id = "{{shop}}" }}
merchant_category = "7372"
amount = "{{header:x-amount}}"
currency = "CAD"

[[http.routes]]
match = {{ methods = ["POST"], path = "/pay-later/{{shop}}" }}
action = "card.authorize"
resource = {{ type = "merchant", id = "{{shop}}" }}
amount = "{{header:x-amount}}"
currency = "CAD"
settle = "later"

[[http.routes]]
match = {{ path = "/tools/{{tool}}" }}
action = "tool.call"
resource = {{ type = "tool", id = "{{tool}}" }}
"""
TOKEN = 'identity = { from = "token" }'
HEADER = 'identity = { from = "header" }'
SECRET = "x-sidecar-authorization"

Headers = Iterable[tuple[str, str | bytes]]


class Gate(NamedTuple):
    """A tenant behind a door with a mapping; its agent may pay and call the tools `search` and `fetch`."""

    house: House

    def envoy(self, method: str, path: str, token: str | None = None, headers: Headers = ()) -> Answer:
        """Ask as Envoy does."""
        return self.house.door.call(method, f"/envoy{path}", token=token, headers=headers)

    def told(self, method: str, uri: str, token: str | None = None, headers: Headers = ()) -> Answer:
        """Ask as nginx does."""
        told = (("X-Original-Method", method), ("X-Original-URI", uri), *headers)
        return self.house.door.call("GET", "/forward-auth", token=token, headers=told)

    def records(self) -> list[Document]:
        """Return the audit log's decisions."""
        return list(self.house.ok("GET", "/v1/audit?verdict=allow&limit=200")["data"])


def opened(folder: Path, identity: str, rate_limit: str | None = None) -> Iterator[Gate]:
    """Open a door with a mapping."""
    path = folder / "gateway.toml"
    path.write_text(MAPPING.format(identity=identity))
    with Door(folder, gateway=path, rate_limit=rate_limit) as door:
        house = build(door)
        rules = {"actions": ["tool.call"], "allowed_resources": [{"type": "tool", "id": each} for each in TOOLS]}
        house.ok("POST", "/v1/policies", {"identity_id": house.team, "name": "tools", "rules": rules})
        yield Gate(house)


TOOLS = ("search", "fetch")


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """Agents show their own tokens."""
    yield from opened(tmp_path_factory.mktemp("token"), TOKEN)


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """The proxy names the agent."""
    yield from opened(tmp_path_factory.mktemp("header"), HEADER)


def doors(gate: Gate, token: str | None, path: str, headers: Headers = ()) -> list[Answer]:
    """Ask for the same at both doors."""
    return [gate.envoy("GET", path, token, headers), gate.told("GET", path, token, headers)]


# --- Both doors -------------------------------------------------------------------------------------------------------


def test_a_permit_is_a_recorded_decision_with_its_id_in_a_header(gate: Gate) -> None:
    for answer, status in zip(doors(gate, gate.house.agent_token, "/tools/search?q=1"), (200, 204), strict=True):
        assert answer.status == status, answer
        assert answer.headers["x-decision-reason"] == "permitted"
        decision = gate.house.ok("GET", f"/v1/decisions/{answer.headers['x-decision-id']}")
        assert decision["allowed"]
        record = next(each for each in gate.records() if each["decision_id"] == decision["decision_id"])
        assert (record["identity_id"], record["action"], answer.body) == (gate.house.agent, "tool.call", b"")


def test_a_denial_says_why_in_headers_and_body(gate: Gate) -> None:
    for answer in doors(gate, gate.house.agent_token, "/tools/shell"):
        assert answer.status == 403
        document = answer.document
        assert document["type"] == answer.headers["x-decision-reason"] == "forbidden"
        assert document["error"] == answer.headers["x-decision-message"] == document["reasons"][0]["message"]
        assert document["decision_id"] == answer.headers["x-decision-id"]
        assert gate.house.ok("GET", f"/v1/decisions/{document['decision_id']}")["allowed"] is False


def test_without_a_token_nothing_passes_but_what_is_public(gate: Gate) -> None:
    before = gate.house.state()
    for answer in doors(gate, None, "/tools/search"):
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.headers["x-decision-error"] == answer.document["type"] == "unauthenticated"
        assert answer.document["request_id"] == answer.headers["x-request-id"]
        assert "x-decision-id" not in answer.headers
    for answer in doors(gate, "at_live_unknown", "/tools/search"):
        assert answer.status == 401
    for answer, status in zip(doors(gate, None, "/healthz"), (200, 204), strict=True):
        assert answer.status == status
        assert "x-decision-id" not in answer.headers
    assert gate.house.state() == before


@pytest.mark.parametrize("path", ["/nowhere", "/tools/search/x", "/tools//search", "/tools/../pay", "/tools/a%2Fb"])
def test_what_no_route_matches_or_cannot_be_read_once_does_not_pass(gate: Gate, path: str) -> None:
    before = gate.house.state()
    told = gate.told("GET", path, gate.house.agent_token)
    assert told.status == 403
    assert told.headers["x-decision-error"] in {"forbidden", "validation_failed"}
    assert gate.house.state() == before


@pytest.mark.parametrize("name", ["authorization", "x-amount"])
@pytest.mark.parametrize("values", [(b"a", b"a"), (b"\xc3\xa9",), (b"a\tb",), (b"a" * 9000,)])
def test_headers_that_can_be_read_in_two_ways_do_not_pass(gate: Gate, name: str, values: tuple[bytes, ...]) -> None:
    before = gate.house.state()
    token = None if name == "authorization" else gate.house.agent_token
    envoy, told = doors(gate, token, "/tools/search", [(name, value) for value in values])
    assert (envoy.status, told.status) in {(400, 403), (401, 401)}
    assert envoy.headers["x-decision-error"] in {"validation_failed", "unauthenticated"}
    assert gate.house.state() == before


def test_a_token_that_names_nobody_does_not_pass(gate: Gate) -> None:
    for answer in doors(gate, gate.house.key, "/tools/search"):
        assert (answer.status, answer.headers["x-decision-error"]) == (403, "forbidden")
        assert "names no identity" in answer.headers["x-decision-message"]


def test_paths_below_a_door_are_refused_in_its_words(gate: Gate) -> None:
    for path in ("/forward-auth/x", "/envoy/a%0Ab"):
        answer = gate.house.door.call("GET", path, token=None)
        assert (answer.status, answer.headers["x-decision-error"]) == (403, "not_found")


def test_rate_limits_hold(tmp_path: Path) -> None:
    for gate in opened(tmp_path, TOKEN, rate_limit="30/minute"):
        token = gate.house.agent_token
        statuses = {gate.envoy("GET", "/tools/search", token).status for _ in range(40)}
        assert statuses == {200, 429}
        for answer, status in zip(doors(gate, token, "/tools/search"), (429, 403), strict=True):
            assert (answer.status, answer.headers["x-decision-error"]) == (status, "rate_limited")
            assert int(answer.headers["retry-after"]) > 0
            assert "ratelimit" in answer.headers


def test_a_store_that_cannot_record_lets_nothing_through(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(gate.house.door.store, "require_room", fail)
    for answer, status in zip(doors(gate, gate.house.agent_token, "/tools/search"), (503, 403), strict=True):
        assert (answer.status, answer.headers["x-decision-error"]) == (status, "unavailable")
        assert answer.headers["retry-after"] == "1"


def test_a_fault_lets_nothing_through(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(gate.house.door.store, "require_room", fail)
    for answer, status in zip(doors(gate, gate.house.agent_token, "/tools/search"), (503, 403), strict=True):
        assert (answer.status, answer.headers["x-decision-error"]) == (status, "internal")
        assert b"boom" not in answer.body


def test_without_a_mapping_nothing_passes(door: Door, house: House) -> None:
    for path, headers in (("/envoy/healthz", ()), ("/forward-auth", TOLD)):
        assert door.call("GET", path, token=None, headers=headers).status == 401
        answer = door.call("GET", path, token=house.agent_token, headers=headers)
        assert answer.status == 403
        assert "no route" in answer.headers["x-decision-message"]


TOLD = (("X-Original-Method", "GET"), ("X-Original-URI", "/healthz"))

# --- The proxy names the agent ----------------------------------------------------------------------------------------


def proxy(gate: Gate, *named: str, secret: str | None = None) -> list[tuple[str, str | bytes]]:
    """The headers of a proxy with its own token."""
    return [(SECRET, f"Bearer {secret or gate.house.key}"), *(("x-agent-id", each) for each in named)]


def test_a_proxy_with_a_token_of_its_own_names_who_asks(trusted: Gate) -> None:
    for answer in doors(trusted, "at_live_of_the_upstream", "/tools/search", proxy(trusted, trusted.house.agent)):
        assert answer.status in {200, 204}, answer
        assert trusted.records()[-1]["identity_id"] == trusted.house.agent


def test_the_token_of_an_agent_does_not_stand_in_for_that_of_the_proxy(trusted: Gate) -> None:
    for answer in doors(trusted, trusted.house.agent_token, "/tools/search", [("x-agent-id", trusted.house.agent)]):
        assert answer.status == 401
        assert SECRET in answer.headers["x-decision-message"]


def test_a_proxy_that_names_nobody_does_not_pass(trusted: Gate) -> None:
    for answer in doors(trusted, trusted.house.agent_token, "/tools/search", proxy(trusted)):
        assert answer.status == 401
        assert "x-agent-id" in answer.headers["x-decision-message"]


def test_two_names_are_refused(trusted: Gate) -> None:
    both = (trusted.house.agent, trusted.house.other)
    for named in (both, (", ".join(both),)):
        for answer, status in zip(
            doors(trusted, None, "/tools/search", proxy(trusted, *named)), (400, 403), strict=True
        ):
            assert answer.status == status


def test_who_is_unknown_or_out_of_reach_is_not_let_through(trusted: Gate) -> None:
    secret = trusted.house.agent_token
    for named in ("id_nobody", trusted.house.other):
        for answer in doors(trusted, None, "/tools/search", proxy(trusted, named, secret=secret)):
            assert (answer.status, answer.headers["x-decision-error"]) == (403, "not_found")


# --- Envoy ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
def test_envoy_repeats_every_method(gate: Gate, method: str) -> None:
    assert gate.envoy(method, "/tools/search", gate.house.agent_token).status == 200


def test_envoy_is_told_what_the_upstream_must_not_see(gate: Gate) -> None:
    answer = gate.envoy("GET", "/tools/search", gate.house.agent_token)
    assert answer.headers["x-envoy-auth-headers-to-remove"] == "authorization"
    assert gate.envoy("GET", "/healthz").headers["x-envoy-auth-headers-to-remove"] == "authorization,x-decision-id"


def test_a_body_is_not_looked_at(gate: Gate) -> None:
    answer = gate.house.door.call("POST", "/envoy/tools/search", b"\xff{", token=gate.house.agent_token)
    assert answer.status == 200


@pytest.mark.parametrize(("path", "state"), [("/pay/AWS", "settled"), ("/pay-later/AWS", "held")])
def test_an_amount_is_settled_with_its_permit_unless_the_upstream_does_it(gate: Gate, path: str, state: str) -> None:
    answer = gate.envoy("POST", path, gate.house.agent_token, [("x-amount", "10.00")])
    assert answer.status == 200, answer
    decision = gate.house.ok("GET", f"/v1/decisions/{answer.headers['x-decision-id']}")
    assert (decision["reservation"]["state"], decision["reservation"]["amount"]) == (state, 10)


def test_what_a_budget_does_not_cover_does_not_pass(tmp_path: Path) -> None:
    for gate in opened(tmp_path, TOKEN):
        answered = [gate.envoy("POST", "/pay/AWS", gate.house.agent_token, [("x-amount", "200")]) for _ in range(3)]
        assert [each.status for each in answered] == [200, 200, 403]
        assert answered[-1].document["reasons"][0]["code"] == "budget_exceeded"
        assert answered[-1].document["reasons"][0]["remaining"] == 100


@pytest.mark.parametrize("amount", [None, "", "1e2", "-1", "1.001", "1,00"])
def test_an_amount_that_is_none_reserves_nothing(gate: Gate, amount: str | None) -> None:
    before = gate.house.state()
    answer = gate.envoy("POST", "/pay/AWS", gate.house.agent_token, [] if amount is None else [("x-amount", amount)])
    assert (answer.status, answer.document["field"]) == (400, "resource.amount")
    assert gate.house.state() == before


def test_a_permit_that_cannot_be_settled_is_not_given(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise StoreUnusable("the disk broke")

    monkeypatch.setattr(Settler, "settle", fail)
    answer = gate.envoy("POST", "/pay/AWS", gate.house.agent_token, [("x-amount", "1")])
    assert (answer.status, answer.document["type"]) == (503, "unavailable")


def test_a_host_that_is_given_twice_does_not_pass(gate: Gate) -> None:
    answer = gate.envoy("GET", "/tools/search", gate.house.agent_token, [("Host", "a"), ("Host", "b")])
    assert answer.status == 400


@pytest.mark.parametrize("raw_path", [b"/%65nvoy/tools/search", None])
def test_the_path_of_the_door_itself_must_be_written_plainly(gate: Gate, raw_path: bytes | None) -> None:
    scope: dict[str, object] = {"method": "GET", "path": "/envoy/tools/search", "raw_path": raw_path, "headers": []}
    manner = EnvoyCalls(Gateway(gate.house.door.store, Never(), Never()), HttpMapping.read({})).calls()[0].manner  # type: ignore[arg-type]
    assert manner is not None
    with pytest.raises(ValidationFailed, match="the path of the door"):
        manner.credentials(Incoming(scope))


class Never:
    """What is not asked."""


def test_the_root_is_a_path_too(gate: Gate) -> None:
    for path in ("", "/"):
        assert gate.envoy("GET", path, gate.house.agent_token).headers["x-decision-error"] == "forbidden"


# --- Forward authentication -------------------------------------------------------------------------------------------


def test_traefik_and_caddy_tell_in_other_headers(gate: Gate) -> None:
    told = (("X-Forwarded-Method", "GET"), ("X-Forwarded-Uri", "/tools/search"), ("X-Forwarded-Host", "a.com"))
    assert gate.house.door.call("GET", "/forward-auth", token=gate.house.agent_token, headers=told).status == 204


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("X-Original-Method", "GET"),),
        (("X-Original-URI", "/tools/search"),),
        (*TOLD, ("X-Forwarded-Uri", "/healthz")),
        (*TOLD, ("X-Forwarded-Method", "GET")),
        (*TOLD, ("X-Original-URI", "/tools/search")),
        (*TOLD, ("X-Original-Host", "a"), ("X-Original-Host", "b")),
    ],
)
def test_a_request_that_is_told_of_too_little_or_twice_does_not_pass(gate: Gate, headers: Headers) -> None:
    for token in (None, gate.house.agent_token):
        answer = gate.house.door.call("GET", "/forward-auth", token=token, headers=headers)
        assert (answer.status, answer.headers["x-decision-error"]) == (403, "validation_failed")


def test_a_mapping_may_name_the_headers_that_count(tmp_path: Path) -> None:
    identity = f'{TOKEN}\nforward_auth = {{ headers = "forwarded" }}'
    for gate in opened(tmp_path, identity):
        forged = (("X-Forwarded-Method", "GET"), ("X-Forwarded-Uri", "/tools/shell"))
        answer = gate.told("GET", "/tools/search", gate.house.agent_token, forged)
        assert (answer.status, answer.headers["x-decision-reason"]) == (403, "forbidden")


def test_no_money_is_reserved_for_a_proxy_of_this_kind(gate: Gate) -> None:
    before = gate.house.state()
    answer = gate.told("POST", "/pay/AWS", gate.house.agent_token, [("x-amount", "1")])
    assert (answer.status, answer.headers["x-decision-error"]) == (403, "forbidden")
    assert "the route `pay` has an amount" in answer.headers["x-decision-message"]
    assert gate.house.state() == before


def test_budgets_that_count_do(tmp_path: Path) -> None:
    for gate in opened(tmp_path, TOKEN):
        limit = {"dimension": "count", "period": "daily", "limit": 2, "actions": ["tool.call"]}
        gate.house.ok("POST", "/v1/budgets", {"identity_id": gate.house.agent, "name": "calls"} | limit)
        answered = [gate.told("GET", "/tools/search", gate.house.agent_token) for _ in range(3)]
        assert [each.status for each in answered] == [204, 204, 403]
        assert answered[-1].headers["x-decision-reason"] == "budget_exceeded"


def test_messages_in_headers_are_plain_text_of_a_bounded_length() -> None:
    headers = dict(answers.error_headers(Unavailable("é\r\nx: y" + "a" * 1000)))
    assert headers["X-Decision-Message"].startswith("\\xe9  x: ya")
    assert len(headers["X-Decision-Message"]) == answers.MESSAGE_LENGTH_MAX

"""Envoy's messages over gRPC become requests of the HTTP door's call, and its answers become messages."""

import asyncio

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse  # type: ignore[import-untyped]

from sidecar.core.access import Caller
from sidecar.core.errors import RateLimited, StoreUnusable, Unauthenticated, Unavailable
from sidecar.doors.gateway.grpc_check import ROUTE, CheckDoor, Metadata, Terms
from sidecar.doors.wire.context import Context, Served
from sidecar.doors.wire.endpoint import Ask, Call
from sidecar.doors.wire.http import Answer, Incoming
from sidecar.doors.wire.manner import NATIVE, Credentials, Manner
from tests.doors.checks import Generated, asked, headers_of, raw

OWN = "x-sidecar-authorization"
NAMED = Terms(OWN, frozenset({b"x-agent"}))
PROXY = ((OWN, "Bearer t"),)
PERMIT = Answer(200, b"", (("X-Decision-Id", "dec_1"), ("x-envoy-auth-headers-to-remove", "authorization, x-agent")))
DENIAL = Answer(403, b'{"reason":"no"}', (("X-Decision-Id", "dec_2"), ("X-Decision-Reason", "not_permitted")))


class Stub:
    """The HTTP door's call, which answers what it was told to and keeps what it was asked."""

    def __init__(self, answer: Answer | Exception = PERMIT, terms: Terms = NAMED) -> None:
        """Answer ``answer``, or raise it."""
        self.answer = answer
        self.seen: list[Incoming] = []
        self.asks: list[Ask] = []
        self.served: list[Served] = []
        manner = Manner(
            credentials=self.own_token, error_answer=NATIVE.error_answer, limit_headers=NATIVE.limit_headers
        )
        call = Call(method="*", path="/envoy/{path:path}", run=self.run, is_raw=True, is_decision=True, manner=manner)
        context = Context(authenticate, lambda: 7, lambda _now_us: "req_1", count=self.served.append)
        self.door = CheckDoor(context, call, "/envoy", terms)

    def own_token(self, incoming: Incoming) -> Credentials:
        """The proxy's own token, which may be given once."""
        self.seen.append(incoming)
        given = incoming.every(OWN.encode())
        if len(given) != 1:
            raise Unauthenticated("one token is needed")
        return Credentials(given[0].decode())

    async def run(self, ask: Ask) -> Answer:
        """Answer."""
        self.asks.append(ask)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def check(self, message: bytes, metadata: Metadata = PROXY) -> Generated:
        """Return the response to ``message``."""
        return CheckResponse.FromString(asyncio.run(self.door.check(message, metadata)))

    @property
    def head(self) -> Incoming:
        """The head of the request that it was asked last."""
        head = self.asks[-1].head
        assert head is not None
        return head


def authenticate(text: str, _now_us: int) -> Caller:
    """Know one token."""
    if text != "Bearer t":
        raise Unauthenticated("the token is missing, unknown or expired")
    return Caller("tenant")


def test_a_permit_gives_the_decision_to_the_upstream_and_takes_away_what_it_must_not_see() -> None:
    response = Stub().check(asked().SerializeToString())
    assert response.status.code == 0
    assert headers_of(response.ok_response.headers) == {"x-decision-id": "dec_1"}
    assert list(response.ok_response.headers_to_remove) == ["authorization", "x-agent"]
    assert dict(response.dynamic_metadata) == {"decision_id": "dec_1", "request_id": "req_1"}
    assert not response.HasField("denied_response")


def test_a_denial_tells_the_client_what_it_would_hear_over_http() -> None:
    response = Stub(DENIAL).check(asked(x_request_id="r-9").SerializeToString())
    assert (response.status.code, response.denied_response.status.code) == (7, 403)
    assert response.denied_response.body == '{"reason":"no"}'
    told = headers_of(response.denied_response.headers)
    assert told["x-decision-id"] == "dec_2"
    assert told["x-request-id"] == "r-9"
    assert told["content-type"] == "application/json"
    assert "content-length" not in told
    marks = {"decision_id": "dec_2", "reason": "not_permitted", "request_id": "r-9"}
    assert dict(response.dynamic_metadata) == marks
    assert not response.HasField("ok_response")


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [(Unauthenticated("who"), 16, 401), (RateLimited("slow", retry_after_seconds=3), 8, 429)],
)
def test_refusals_have_the_code_that_grpc_has_for_them(error: Exception, code: int, status: int) -> None:
    response = Stub(error).check(asked().SerializeToString())
    assert (response.status.code, response.denied_response.status.code) == (code, status)
    if status == 429:
        assert headers_of(response.denied_response.headers)["retry-after"] == "3"


@pytest.mark.parametrize("error", [StoreUnusable("broken"), Unavailable("full"), RuntimeError("bug")])
def test_a_fault_is_no_answer(error: Exception) -> None:
    with pytest.raises(Unavailable):
        Stub(error).check(asked().SerializeToString())


def test_the_call_is_asked_as_over_http() -> None:
    stub = Stub()
    stub.check(asked("/v1/tools/a%20b?x=%41&y", "DELETE", x_agent="id_1").SerializeToString())
    ask, head = stub.asks[-1], stub.head
    assert (head.method, head.path, head.raw_query()) == ("DELETE", "/envoy/v1/tools/a b", b"x=%41&y")
    assert ask.path == {"path": "v1/tools/a b"}
    assert ask.raw == b""
    assert head.header(b"host") == "api.example.com"
    assert head.every(b"x-agent") == [b"id_1"]
    assert head.header(b":path") is None
    assert stub.served[-1][:3] == ("*", ROUTE, 200)
    assert stub.served[-1].is_decision


def test_headers_that_envoy_joined_come_apart_where_they_may_come_once() -> None:
    """What was sent twice must not pass for one value."""
    stub = Stub()
    stub.check(asked(x_agent="id_1,id_2", accept="a/b,c/d").SerializeToString())
    assert stub.head.every(b"x-agent") == [b"id_1", b"id_2"]
    assert stub.head.every(b"accept") == [b"a/b,c/d"]


def test_raw_headers_come_as_they_were_sent() -> None:
    stub = Stub()
    stub.check(raw(asked(), (":path", b"/"), ("x-agent", b"id_1"), ("X-Agent", b"\xff"), ("accept", b"a")))
    assert stub.head.every(b"x-agent") == [b"id_1", b"\xff"]
    assert stub.head.header(b":path") is None


def test_a_comma_in_a_raw_header_is_its_own() -> None:
    """Envoy joined nothing: a value such as that of `User-Agent` has commas by itself."""
    stub = Stub()
    stub.check(raw(asked(), ("x-agent", b"KHTML, like Gecko")))
    assert stub.head.every(b"x-agent") == [b"KHTML, like Gecko"]


def test_a_raw_header_may_come_as_text() -> None:
    stub, request = Stub(), asked()
    request.attributes.request.http.header_map.headers.add(key="x-agent", value="id_1")
    stub.check(request.SerializeToString())
    assert stub.head.every(b"x-agent") == [b"id_1"]


@pytest.mark.parametrize("metadata", [(), ((OWN, "Bearer u"),), PROXY + PROXY, (("authorization", "Bearer t"),)])
def test_who_shows_no_token_of_a_proxy_is_refused(metadata: Metadata) -> None:
    response = Stub().check(asked().SerializeToString(), metadata)
    assert (response.status.code, response.denied_response.status.code) == (16, 401)


def test_a_client_of_the_proxy_cannot_show_the_proxys_token() -> None:
    stub = Stub()
    response = stub.check(asked(x_sidecar_authorization="Bearer t").SerializeToString(), ())
    assert response.denied_response.status.code == 401
    assert stub.asks == []


def test_a_token_may_come_as_bytes() -> None:
    assert Stub().check(asked().SerializeToString(), ((OWN, b"Bearer t"),)).status.code == 0


def test_where_the_clients_token_says_who_asks_metadata_does_not() -> None:
    stub = Stub(terms=Terms(None, frozenset({b"authorization"})))
    stub.check(asked(authorization="Bearer agent").SerializeToString(), (("authorization", "Bearer t"), *PROXY))
    assert stub.seen[-1].every(b"authorization") == [b"Bearer agent"]
    assert stub.seen[-1].every(OWN.encode()) == []
    stub.check(asked(authorization="Bearer a,Bearer b").SerializeToString())
    assert stub.seen[-1].every(b"authorization") == [b"Bearer a", b"Bearer b"]


def test_a_client_cannot_choose_the_host_by_a_header() -> None:
    stub = Stub()
    stub.check(asked(host="evil.example").SerializeToString())
    assert stub.head.every(b"host") == [b"api.example.com"]


@pytest.mark.parametrize(
    "message",
    [
        b"\xff\xff\xff",
        b"",
        asked(method="").SerializeToString(),
        asked(path="").SerializeToString(),
        asked(path="*", method="OPTIONS").SerializeToString(),
        asked(path="envoy/x").SerializeToString(),
    ],
    ids=["no message", "empty", "no method", "no path", "an asterisk", "no slash"],
)
def test_a_message_without_a_request_is_denied(message: bytes) -> None:
    """An error would let a request pass at a proxy that was told to go on without an answer."""
    stub = Stub()
    response = stub.check(message)
    assert (response.status.code, response.denied_response.status.code) == (7, 400)
    assert stub.asks == []
    assert stub.served == [Served("*", ROUTE, 400)]

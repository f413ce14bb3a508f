"""The sidecar as the proxy asks it: closed whenever there is no good answer."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import httpx
import msgspec
import pytest

from sidecar.core.errors import Forbidden, SidecarError, Unavailable, ValidationFailed
from sidecar.doors.mcp.arbiter import ATTEMPTS, Address, HttpArbiter, Reason, Whose

T = TypeVar("T")
HERE = Address("http://127.0.0.1:8181")
PERMIT = {"allowed": True, "decision_id": "dec_1", "reasons": [], "reservation": {"state": "held"}, "settle": "later"}


class Sidecar:
    """Answers one after the other, the last one for ever, and remembers what it was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        """Answer so."""
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer."""
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, content=answer.content)

    def do(self, work: Callable[[HttpArbiter], Awaitable[T]], whose: Whose = Whose()) -> T:  # noqa: B008 -- frozen
        """Return what an arbiter that asks this sidecar returns."""

        async def run() -> T:
            arbiter = HttpArbiter(HERE, "at_x", whose, transport=httpx.MockTransport(self))
            try:
                return await work(arbiter)
            finally:
                await arbiter.close()

        return asyncio.run(run())


def ask(arbiter: HttpArbiter) -> Awaitable[object]:
    """Ask about a call."""
    return arbiter.ask(msgspec.Raw(b'{"name":"buy","arguments":{"amount":1.50}}'), "k")


def test_a_call_is_asked_in_its_own_words() -> None:
    """With token, key, identity and server; numbers stay as they were written."""
    sidecar = Sidecar(httpx.Response(200, json=PERMIT))
    verdict = sidecar.do(
        lambda arbiter: arbiter.ask(msgspec.Raw(b'{"name":"buy","x":1.50}'), "k"), Whose("id_1", "shop")
    )
    (request,) = sidecar.requests
    assert (verdict.allowed, verdict.holds, verdict.settle) == (True, True, "later")
    assert request.url == "http://127.0.0.1:8181/mcp/authorize"
    assert (request.headers["authorization"], request.headers["idempotency-key"]) == ("Bearer at_x", "k")
    assert b'"params":{"name":"buy","x":1.50}' in request.content
    assert json.loads(request.content) | {"params": 0} == {
        "method": "tools/call",
        "params": 0,
        "identity_id": "id_1",
        "server": "shop",
    }


def test_a_denial_keeps_what_can_be_told() -> None:
    """Code, sentence, advice and when to try again."""
    reason = {"code": "budget_exceeded", "message": "over", "retry_at": "2026-01-01T00:00:00Z", "remaining": 1.5}
    sidecar = Sidecar(httpx.Response(200, json={"allowed": False, "decision_id": None, "reasons": [reason]}))
    verdict = sidecar.do(lambda arbiter: arbiter.ask(msgspec.Raw(b"{}"), "k"))
    assert verdict.reasons == [Reason("budget_exceeded", "over", None, "2026-01-01T00:00:00Z")]
    assert not verdict.holds


def test_many_tools_are_asked_about_in_parts() -> None:
    """As many as the sidecar takes at a time."""
    sidecar = Sidecar(httpx.Response(200, json={"allowed": ["a"], "denied": []}))
    assert sidecar.do(lambda arbiter: arbiter.shown([str(number) for number in range(501)])) == {"a"}
    assert [len(json.loads(request.content)["tools"]) for request in sidecar.requests] == [500, 1]
    assert sidecar.do(lambda arbiter: arbiter.shown([])) == set()


def test_what_is_held_is_ended_by_its_decision() -> None:
    """By native calls."""
    sidecar = Sidecar(httpx.Response(200, json={}))

    async def work(arbiter: HttpArbiter) -> None:
        await arbiter.settle("dec_1")
        await arbiter.release("dec/../2")

    sidecar.do(work)
    paths = [request.url.raw_path for request in sidecar.requests]
    assert paths == [b"/v1/decisions/dec_1/settle", b"/v1/decisions/dec%2F..%2F2/release"]


@pytest.mark.parametrize(
    ("fault", "error", "asked"),
    [
        (httpx.ConnectError("refused"), Unavailable, ATTEMPTS),
        (httpx.ReadTimeout(""), Unavailable, ATTEMPTS),
        (httpx.Response(503, json={"error": "busy"}), Unavailable, ATTEMPTS),
        (httpx.Response(500, content=b"oops"), Unavailable, ATTEMPTS),
        (httpx.Response(403, json={"error": "no"}), Forbidden, 1),
        (httpx.Response(404, json={"error": "unknown identity"}), ValidationFailed, 1),
        (httpx.Response(429, json={"error": "too often"}), ValidationFailed, 1),
        (httpx.Response(302, content=b""), ValidationFailed, 1),
        (httpx.Response(200, content=b"<html>"), Unavailable, 1),
        (httpx.Response(200, json={"allowed": "true"}), Unavailable, 1),
        (httpx.Response(200, json={}), Unavailable, 1),
    ],
)
def test_what_is_no_good_answer_permits_nothing(
    fault: httpx.Response | Exception, error: type[SidecarError], asked: int
) -> None:
    """What may pass by is asked once more under the same key."""
    sidecar = Sidecar(fault)
    with pytest.raises(error):
        sidecar.do(ask)
    assert [request.headers["idempotency-key"] for request in sidecar.requests] == ["k"] * asked


def test_a_second_answer_counts() -> None:
    """A connection that was lost is made again."""
    sidecar = Sidecar(httpx.ReadError("lost"), httpx.Response(200, json=PERMIT))
    assert sidecar.do(lambda arbiter: arbiter.ask(msgspec.Raw(b"{}"), "k")).allowed


def test_what_is_on_this_machine_is_known() -> None:
    """No proxy of the environment hears what is said there."""
    here = ("http://127.0.0.1:1", "http://[::1]:1", "http://localhost", "http://a.localhost")
    assert [Address(url).is_here() for url in (*here, "http://sidecar.example", "http://10.0.0.1")] == [True] * 4 + [
        False
    ] * 2
    assert Address("http://sidecar.example", Path("/run/sidecar.sock")).is_here()


def test_a_socket_file_takes_the_place_of_an_address(tmp_path: Path) -> None:
    """One that is not there cannot be reached."""

    async def run() -> None:
        arbiter = HttpArbiter(Address("http://127.0.0.1:8181", tmp_path / "no.sock"), "at_x", Whose())
        try:
            with pytest.raises(Unavailable, match="cannot be reached"):
                await arbiter.settle("dec_1")
        finally:
            await arbiter.close()

    asyncio.run(run())

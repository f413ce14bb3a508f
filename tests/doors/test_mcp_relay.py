"""The relay between an MCP client and its server: what is passed on, when, and what becomes of what is held."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from sidecar.core.errors import Forbidden, Unavailable
from sidecar.doors.mcp import relay
from sidecar.doors.mcp.arbiter import Reason, Verdict
from sidecar.doors.mcp.holds import ENDING_ATTEMPTS
from sidecar.doors.mcp.mapping import Settle
from sidecar.doors.mcp.messages import INTERNAL_ERROR, INVALID_REQUEST, SERVER_ENDED
from sidecar.doors.mcp.relay import Relay

Message = dict[str, Any]


def permit(settle: Settle = "on_result", decision_id: str = "dec_1") -> Verdict:
    """A permit that holds something."""
    return Verdict(allowed=True, decision_id=decision_id, reservation={"state": "held"}, settle=settle)


DENIAL = Verdict(
    allowed=False,
    decision_id="dec_9",
    reasons=[Reason("budget_exceeded", "too dear", "wait", "2026-03-10T00:00:00Z")],
    settle="later",
)


class Judge:
    """Decides as it is told, and remembers what it was asked and told to end."""

    def __init__(self) -> None:
        """Permit what holds nothing."""
        self.verdict: Verdict | Exception = Verdict(allowed=True, decision_id="dec_0")
        self.faults: list[Exception] = []
        self.tools: set[str] | Exception = set()
        self.gate: asyncio.Event | None = None
        self.keys: list[str] = []
        self.asked: list[bytes] = []
        self.ended: list[tuple[str, str]] = []

    async def ask(self, params: msgspec.Raw, key: str) -> Verdict:
        """Answer as told, once the gate is open."""
        self.keys.append(key)
        self.asked.append(bytes(params))
        verdict = self.verdict
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    async def shown(self, names: list[str]) -> set[str]:
        """Show what is told of them."""
        if isinstance(self.tools, Exception):
            raise self.tools
        return self.tools & set(names)

    async def settle(self, decision_id: str) -> None:
        """Note it."""
        self._end("settle", decision_id)

    async def release(self, decision_id: str) -> None:
        """Note it."""
        self._end("release", decision_id)

    def _end(self, how: str, decision_id: str) -> None:
        self.ended.append((how, decision_id))
        if self.faults:
            raise self.faults.pop(0)


class Session:
    """A relay between two ends that remember what they were given."""

    def __init__(self, judge: Judge) -> None:
        """Begin."""
        self.judge = judge
        self.client: list[Message] = []
        self.server: list[bytes] = []
        self.told: list[str] = []
        self.paused: list[float] = []
        self.relay = Relay(judge, self._to_client, self._to_server, self.told.append, "s", self._pause)

    async def _to_client(self, line: bytes) -> None:
        assert line.endswith(b"\n")
        self.client.append(json.loads(line))

    async def _to_server(self, line: bytes) -> None:
        self.server.append(line)

    async def _pause(self, seconds: float) -> None:
        self.paused.append(seconds)

    async def ask(self, request_id: object = 1, method: str = "tools/call", **params: object) -> bytes:
        """Write a request as the client, a call of `buy` unless said."""
        message = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params or {"name": "buy"}}
        line = json.dumps(message).encode() + b"\n"
        await self.relay.from_client(line)
        await self.rest()
        return line

    async def answer(self, request_id: object = 1, **message: object) -> None:
        """Write an answer as the server, a good result unless said."""
        document = {"jsonrpc": "2.0", "id": request_id} | (message or {"result": {}})
        await self.relay.from_server(json.dumps(document).encode() + b"\n")
        await self.rest()

    async def cancel(self, request_id: object = 1) -> None:
        """Write a cancellation as the client."""
        params = {"requestId": request_id}
        await self.relay.from_client(
            json.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}).encode() + b"\n"
        )

    async def rest(self) -> None:
        """Let what was begun go on as far as it can."""
        for _ in range(20):
            await asyncio.sleep(0)


def play(judge: Judge, scene: Callable[[Session], Awaitable[None]]) -> Session:
    """Run a scene and return what came of it."""

    async def run() -> Session:
        session = Session(judge)
        await scene(session)
        await session.relay.finish(1)
        return session

    return asyncio.run(run())


def test_a_permitted_call_is_passed_on_as_it_was_written() -> None:
    """The server gets the client's own bytes, the client the server's answer."""

    async def scene(session: Session) -> None:
        line = await session.ask(1, name="buy", arguments={"amount": 1.5})
        assert session.server == [line]
        await session.answer(1, result={"content": []})

    session = play(Judge(), scene)
    assert session.client == [{"jsonrpc": "2.0", "id": 1, "result": {"content": []}}]
    assert session.judge.asked == [b'{"name": "buy", "arguments": {"amount": 1.5}}']


def test_a_denied_call_is_answered_with_what_the_model_can_act_on() -> None:
    """Reason, advice and when it may be tried again; the server hears nothing."""
    judge = Judge()
    judge.verdict = DENIAL

    async def scene(session: Session) -> None:
        await session.ask("a")

    session = play(judge, scene)
    (answer,) = session.client
    assert answer["id"] == "a"
    assert answer["result"]["isError"] is True
    text = answer["result"]["content"][0]["text"]
    assert "- too dear (wait) (may be tried again at 2026-03-10T00:00:00Z)\nDecision: dec_9" in text
    assert answer["result"]["_meta"] == {"sidecar/decision_id": "dec_9", "sidecar/codes": ["budget_exceeded"]}
    assert session.server == []


def test_a_denial_without_a_decision_names_none() -> None:
    """So it is with a call that no request could be made of."""
    judge = Judge()
    judge.verdict = Verdict(allowed=False, reasons=[Reason("arguments_not_mapped", "no amount")])

    async def scene(session: Session) -> None:
        await session.ask()

    (answer,) = play(judge, scene).client
    assert answer["result"]["content"][0]["text"].endswith("- no amount")


def test_a_call_that_nobody_decides_about_is_denied() -> None:
    """The sidecar is down: the model reads so, a person too."""
    judge = Judge()
    judge.verdict = Unavailable("the sidecar cannot be reached")

    async def scene(session: Session) -> None:
        await session.ask()

    session = play(judge, scene)
    assert session.client[0]["result"]["isError"] is True
    assert session.client[0]["result"]["_meta"]["sidecar/codes"] == ["unavailable"]
    assert session.server == []
    assert "is not passed on: the sidecar cannot be reached" in session.told[0]


@pytest.mark.parametrize(
    ("settle", "answer", "ended"),
    [
        ("on_result", {"result": {}}, [("settle", "dec_1")]),
        ("on_result", {"result": {"isError": True}}, [("release", "dec_1")]),
        ("on_result", {"error": {"code": 1, "message": "no"}}, [("release", "dec_1")]),
        ("on_result", {"result": {"resultType": "input_required"}}, [("release", "dec_1")]),
        ("later", {"result": {}}, []),
        ("later", {"result": {"isError": True}}, []),
        ("at_once", {"result": {"isError": True}}, [("settle", "dec_1")]),
    ],
)
def test_what_a_call_holds_ends_as_its_mapping_says(settle: Settle, answer: Message, ended: list[Any]) -> None:
    """Settled when it is done, released when it is not; before the call, or by somebody else."""
    judge = Judge()
    judge.verdict = permit(settle)

    async def scene(session: Session) -> None:
        await session.ask()
        await session.answer(**answer)

    assert play(judge, scene).judge.ended == ended


def test_a_call_that_holds_nothing_is_not_settled() -> None:
    """Nothing is asked of the sidecar then."""
    judge = Judge()
    judge.verdict = Verdict(allowed=True, decision_id="dec_1", settle="on_result")

    async def scene(session: Session) -> None:
        await session.ask()
        await session.answer()

    assert play(judge, scene).judge.ended == []


def test_what_cannot_be_settled_before_its_call_is_not_called() -> None:
    """It is released, as far as that goes."""
    judge = Judge()
    judge.verdict = permit("at_once")
    judge.faults = [Unavailable("gone")]

    async def scene(session: Session) -> None:
        await session.ask()

    session = play(judge, scene)
    assert session.server == []
    assert session.client[0]["result"]["isError"] is True
    assert judge.ended == [("settle", "dec_1"), ("release", "dec_1")]


def test_an_end_is_tried_again_and_given_up() -> None:
    """What stays held is told."""
    judge = Judge()
    judge.verdict = permit()
    judge.faults = [Unavailable("busy")] * ENDING_ATTEMPTS

    async def scene(session: Session) -> None:
        await session.ask()
        await session.answer()

    session = play(judge, scene)
    assert judge.ended == [("settle", "dec_1")] * ENDING_ATTEMPTS
    assert len(session.paused) == ENDING_ATTEMPTS - 1
    assert session.told == ["what `dec_1` holds stays held until it expires: busy"]


def test_a_token_that_may_not_release_is_told_of_once() -> None:
    """It is no fault of the single call."""
    judge = Judge()
    judge.verdict = permit()
    judge.faults = [Forbidden("no"), Forbidden("no")]

    async def scene(session: Session) -> None:
        for request_id in (1, 2):
            await session.ask(request_id)
            await session.answer(request_id, result={"isError": True})

    session = play(judge, scene)
    assert len(session.told) == 1
    assert "`may_release`" in session.told[0]


def test_an_id_that_is_used_again_is_another_call() -> None:
    """One permit is for one call: each line is asked under a key of its own."""
    judge = Judge()

    async def scene(session: Session) -> None:
        for _ in range(2):
            await session.ask(1)
            await session.answer(1)

    assert play(judge, scene).judge.keys == ["mcp-s-1", "mcp-s-2"]


def test_an_id_that_is_under_way_is_refused_and_its_request_goes_on() -> None:
    """The refusal names no id, or it would be taken for the answer to the first request."""

    async def scene(session: Session) -> None:
        await session.ask(1, "ping")
        await session.ask(1)
        await session.ask("1")
        await session.answer(1)
        await session.answer("1")

    session = play(Judge(), scene)
    assert [message["id"] for message in session.client] == [None, 1, "1"]
    assert session.client[0]["error"]["code"] == INVALID_REQUEST
    assert len(session.server) == 2


def test_requests_under_way_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that the client gave up make room."""
    monkeypatch.setattr(relay, "UNDER_WAY_MAX", 2)

    async def scene(session: Session) -> None:
        for request_id in (1, 2, 3):
            await session.ask(request_id, "ping")
        await session.cancel(1)
        await session.ask(4, "ping")
        await session.answer(1)

    session = play(Judge(), scene)
    assert [message["id"] for message in session.client] == [3]
    assert "over 2 requests" in session.client[0]["error"]["message"]


def test_other_messages_do_not_wait_for_a_call_that_is_asked() -> None:
    """They keep their order; calls are asked at the same time."""
    judge = Judge()

    async def scene(session: Session) -> None:
        judge.gate = asyncio.Event()
        await session.ask(1)
        await session.ask(2)
        ping = await session.ask(3, "ping")
        assert session.server == [ping]
        assert len(judge.keys) == 2
        judge.gate.set()
        await session.relay.asked()
        assert len(session.server) == 3

    play(judge, scene)


def test_a_call_that_is_cancelled_while_it_is_asked_is_never_made() -> None:
    """What it would have held is released, and nobody hears of it."""
    judge = Judge()
    judge.verdict = permit("later")

    async def scene(session: Session) -> None:
        judge.gate = asyncio.Event()
        await session.ask(1)
        await session.cancel(1)
        judge.gate.set()

    session = play(judge, scene)
    assert (session.server, session.client) == ([], [])
    assert judge.ended == [("release", "dec_1")]


def test_a_denial_of_a_cancelled_call_is_kept_to_oneself() -> None:
    """The client does not wait for it."""
    judge = Judge()
    judge.verdict = DENIAL

    async def scene(session: Session) -> None:
        judge.gate = asyncio.Event()
        await session.ask(1)
        await session.cancel(1)
        judge.gate.set()

    assert play(judge, scene).client == []


def test_a_call_that_is_cancelled_later_is_settled_by_a_late_answer() -> None:
    """The cancellation reaches the server, which may have been done before."""
    judge = Judge()
    judge.verdict = permit()

    async def scene(session: Session) -> None:
        await session.ask(1)
        await session.cancel(1)
        await session.cancel(2)
        await session.answer(1)

    session = play(judge, scene)
    assert len(session.server) == 3
    assert judge.ended == [("settle", "dec_1")]


def test_a_list_shows_what_may_be_called() -> None:
    """The rest of the answer stays; a whole list stays as it was."""
    judge = Judge()
    judge.tools = {"a", "b"}

    async def scene(session: Session) -> None:
        await session.ask(1, "tools/list")
        await session.answer(1, result={"tools": [{"name": "a"}, {"name": "c"}], "nextCursor": "x"})
        await session.ask(2, "tools/list")
        await session.answer(2, result={"tools": [{"name": "b"}]})
        await session.ask(3, "tools/list")
        await session.answer(3, error={"code": 1, "message": "no"})

    session = play(judge, scene)
    assert session.client[0]["result"] == {"tools": [{"name": "a"}], "nextCursor": "x"}
    assert session.client[1]["result"] == {"tools": [{"name": "b"}]}
    assert session.client[2]["error"]["message"] == "no"


@pytest.mark.parametrize("result", [{"tools": [{"name": "a"}]}, {"tools": 7}])
def test_a_list_that_nobody_can_cut_is_not_passed_on(result: Message) -> None:
    """The client hears an error: no tool is shown unasked."""
    judge = Judge()
    judge.tools = Unavailable("gone")

    async def scene(session: Session) -> None:
        await session.ask(1, "tools/list")
        await session.answer(1, result=result)

    session = play(judge, scene)
    assert session.client[0]["id"] == 1
    assert session.client[0]["error"]["code"] == INTERNAL_ERROR


def test_answers_that_nobody_asked_for_are_not_passed_on() -> None:
    """Neither one to an unknown id, nor to a call that is asked still, nor in a batch; noise is none."""
    judge = Judge()

    async def scene(session: Session) -> None:
        judge.gate = asyncio.Event()
        await session.ask(1)
        await session.answer(1)
        await session.answer("1")
        await session.relay.from_server(b'[{"jsonrpc":"2.0","id":5,"result":{}},{"jsonrpc":"2.0","method":"log"}]\n')
        await session.relay.from_server(b"server is up\n")
        await session.relay.from_server(b"\n")
        judge.gate.set()

    session = play(judge, scene)
    assert session.client == [{"jsonrpc": "2.0", "method": "log"}]
    assert len(session.told) == 4


def test_what_is_no_request_passes_both_ways() -> None:
    """Notifications, the server's own requests and the answers to them."""

    async def scene(session: Session) -> None:
        await session.relay.from_client(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
        await session.relay.from_client(b'{"jsonrpc":"2.0","id":1,"result":{}}\r\n')
        await session.relay.from_client(b"\n")
        await session.relay.from_server(b'{"jsonrpc":"2.0","id":1,"method":"roots/list"}\n')

    session = play(Judge(), scene)
    assert session.server[1] == b'{"jsonrpc":"2.0","id":1,"result":{}}\r\n'
    assert len(session.server) == 2
    assert session.client == [{"jsonrpc": "2.0", "id": 1, "method": "roots/list"}]


def test_the_last_line_of_a_client_may_have_no_end() -> None:
    """It gets one, or a call that is permitted later would stand in the same line."""

    async def scene(session: Session) -> None:
        await session.relay.from_client(b'{"jsonrpc":"2.0","id":1,"method":"ping"}')

    assert play(Judge(), scene).server == [b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n']


def test_a_line_that_is_refused_is_answered_and_told() -> None:
    """The server never sees it."""

    async def scene(session: Session) -> None:
        await session.relay.from_client(b"nonsense\n")

    session = play(Judge(), scene)
    assert session.client[0]["id"] is None
    assert session.server == []
    assert session.told


def test_the_end_of_the_server_answers_what_is_under_way() -> None:
    """What was passed on stays held, as it may be spent; what was not is released."""
    judge = Judge()
    judge.verdict = permit()

    async def scene(session: Session) -> None:
        await session.ask(1)
        await session.ask(2, "ping")
        await session.ask(4, "ping")
        await session.cancel(4)
        judge.gate = asyncio.Event()
        judge.verdict = permit(decision_id="dec_3")
        await session.ask(3)
        await session.relay.server_ended()
        judge.gate.set()

    session = play(judge, scene)
    assert [(each["id"], each["error"]["code"]) for each in session.client] == [
        (number, SERVER_ENDED) for number in (1, 2, 3)
    ]
    assert "what `dec_1` holds stays held" in session.client[0]["error"]["message"]
    assert judge.ended == [("release", "dec_3")]


def test_a_mistake_of_ours_passes_nothing_on() -> None:
    """It is told."""
    judge = Judge()
    judge.verdict = ZeroDivisionError("oops")

    async def scene(session: Session) -> None:
        await session.ask()

    session = play(judge, scene)
    assert session.server == []
    assert "ZeroDivisionError" in session.told[0]


def test_the_end_does_not_wait_for_ever() -> None:
    """What is asked still is given up."""
    judge = Judge()

    async def scene(session: Session) -> None:
        judge.gate = asyncio.Event()
        await session.ask()
        await session.relay.finish(0)

    assert play(judge, scene).server == []

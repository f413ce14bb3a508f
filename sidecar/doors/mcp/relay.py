"""Between a client and its server: each call of a tool is asked first, lists show what may be called, all else passes.

Invariants: a call reaches the server only after a permit, and a permit is used for one call only. What a permit holds
is settled or released when the end of its call is known; where it is not, since the server died or the client gave up,
it stays held until it expires, for the money may have moved.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Final, Literal

from sidecar.core.errors import SidecarError
from sidecar.doors.mcp.arbiter import Verdict
from sidecar.doors.mcp.holds import Arbiter, Holds
from sidecar.doors.mcp.messages import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    SERVER_ENDED,
    FromClient,
    FromServer,
    Id,
    Key,
    Refusal,
    ToolList,
    denial_line,
    error_line,
    key_of,
    one_line,
    read_client,
    read_server,
)

UNDER_WAY_MAX: Final = 1_024
"""Requests of one client that have no answer yet."""

Send = Callable[[bytes], Awaitable[None]]


class Awaited:
    """A request of the client that has no answer yet."""

    def __init__(self, message: FromClient, request_id: Id) -> None:
        """Await the answer to ``message``."""
        self.kind: Literal["call", "list", "request"] = "request"
        if message.kind in {"call", "list"}:
            self.kind = "call" if message.kind == "call" else "list"
        self.request_id = request_id
        self.is_sent = message.kind != "call"
        self.is_cancelled = False
        self.verdict: Verdict | None = None


class Relay:
    """One session between a client and its server."""

    def __init__(
        self,
        arbiter: Arbiter,
        to_client: Send,
        to_server: Send,
        tell: Callable[[str], None],
        session: str,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Pass lines on; ``tell`` tells a person, ``session`` tells the keys of this session from all others."""
        self._arbiter = arbiter
        self._to_client = to_client
        self._to_server = to_server
        self._tell = tell
        self._session = session
        self._holds = Holds(arbiter, tell, pause)
        self._awaited: dict[Key, Awaited] = {}
        self._works: set[asyncio.Task[None]] = set()
        self._asking: set[asyncio.Task[None]] = set()
        self._calls = 0
        self._is_over = False

    # --- What the client writes --------------------------------------------------------------------------------------

    async def from_client(self, line: bytes) -> None:
        """Pass a line of the client on, ask about it, or answer it."""
        try:
            message = read_client(line)
            if message is not None:
                await self._take(message, one_line(line))
        except Refusal as refusal:
            self._tell(f"a line of the client is not passed on: {refusal}")
            await self._to_client(refusal.answer)

    async def _take(self, message: FromClient, line: bytes) -> None:
        request_id = message.request_id
        if request_id is None:
            await self._to_server(line)
        elif message.kind == "cancellation":
            await self._cancel(request_id, line)
        else:
            awaited = self._await(message, request_id)
            if message.kind == "call":
                self._begin(self._ask(awaited, message, line), self._asking)
            else:
                await self._to_server(line)

    def _await(self, message: FromClient, request_id: Id) -> Awaited:
        """Note a request. Raises Refusal for an id that is in use, whose answers could not be told apart."""
        key = key_of(request_id)
        if key in self._awaited:
            raise Refusal(INVALID_REQUEST, f"the id `{request_id}` is that of a request that has no answer yet")
        if len(self._awaited) >= UNDER_WAY_MAX:
            gone = next((each for each, awaited in self._awaited.items() if awaited.is_cancelled), None)
            if gone is None:
                message_text = f"over {UNDER_WAY_MAX} requests have no answer yet"
                raise Refusal(INVALID_REQUEST, message_text, request_id=request_id)
            del self._awaited[gone]
        awaited = self._awaited[key] = Awaited(message, request_id)
        return awaited

    async def _cancel(self, request_id: Id, line: bytes) -> None:
        """Pass a cancellation on, unless its call has not been; then the call never is."""
        awaited = self._awaited.get(key_of(request_id))
        if awaited is None or awaited.is_sent:
            await self._to_server(line)
        if awaited is not None:
            awaited.is_cancelled = True

    # --- Asking ------------------------------------------------------------------------------------------------------

    async def _ask(self, awaited: Awaited, message: FromClient, line: bytes) -> None:
        """Pass a call on when it is permitted, and answer it otherwise."""
        # A key for each line, not for each id: who used an id again would make a second call on the first permit.
        self._calls += 1
        try:
            verdict = await self._arbiter.ask(message.params, f"mcp-{self._session}-{self._calls}")
            is_wanted = self._is_wanted(awaited)
            if verdict.allowed and is_wanted:
                await self._holds.settle_at_once(verdict)
        except SidecarError as error:
            self._tell(f"the call of `{message.tool}` is not passed on: {error.message}")
            text = f"The tool `{message.tool}` was not called, as nobody could decide about it: {error.message}"
            await self._answer(awaited, denial_line(awaited.request_id, text, None, [error.code]))
            return
        if not verdict.allowed:
            await self._answer(awaited, _denied(awaited.request_id, message.tool, verdict))
        elif is_wanted:
            awaited.verdict, awaited.is_sent = verdict, True
            await self._to_server(line)
        else:
            self._awaited.pop(key_of(awaited.request_id), None)
            await self._holds.release(verdict)

    def _is_wanted(self, awaited: Awaited) -> bool:
        return not (awaited.is_cancelled or self._is_over)

    async def _answer(self, awaited: Awaited, line: bytes) -> None:
        """Answer a request in the place of the server, unless nobody waits for it."""
        self._awaited.pop(key_of(awaited.request_id), None)
        if self._is_wanted(awaited):
            await self._to_client(line)

    # --- What the server writes --------------------------------------------------------------------------------------

    async def from_server(self, line: bytes) -> None:
        """Pass a line of the server on; that of a list is passed on with what is shown of it."""
        found = read_server(line)
        if isinstance(found, list):
            for each in found:
                await self.from_server(each)
        elif found is None:
            if line.strip():
                self._tell("a line of the server is not passed on: it is no message")
        elif found.answers is None:
            await self._to_client(line)
        else:
            await self._answered(found, found.answers, line)

    async def _answered(self, found: FromServer, request_id: Id, line: bytes) -> None:
        awaited = self._awaited.get(key_of(request_id))
        if awaited is None or not awaited.is_sent:
            self._tell("an answer of the server is not passed on: nobody asked for it")
            return
        del self._awaited[key_of(request_id)]
        if awaited.kind == "list" and not found.is_error:
            self._begin(self._filter(awaited, line))
            return
        await self._to_client(line)
        if awaited.verdict is not None:
            self._begin(self._holds.end(awaited.verdict, found.outcome))

    async def _filter(self, awaited: Awaited, line: bytes) -> None:
        try:
            tools = ToolList(line)
            shown = await self._arbiter.shown(list(dict.fromkeys(tools.names)))
            await self._to_client(line if shown.issuperset(tools.names) else tools.only(shown))
        except (ValueError, SidecarError) as error:
            self._tell(f"a list of tools is not passed on: {error}")
            text = f"the tools cannot be listed: {error}"
            await self._to_client(error_line(awaited.request_id, INTERNAL_ERROR, text))

    # --- Ends --------------------------------------------------------------------------------------------------------

    def _begin(self, work: Coroutine[None, None, None], group: set[asyncio.Task[None]] | None = None) -> None:
        task = asyncio.ensure_future(self._told(work))
        for tasks in (self._works, group):
            if tasks is not None:
                tasks.add(task)
                task.add_done_callback(tasks.discard)

    async def _told(self, work: Coroutine[None, None, None]) -> None:
        """Do work that nobody waits for, and tell of a mistake of ours that ends it: then nothing is passed on."""
        try:
            await work
        except Exception as error:  # noqa: BLE001 -- told, and closed
            self._tell(f"a message is lost inside the proxy: {error!r}")

    async def asked(self) -> None:
        """Return when every call that the client made so far is passed on or answered."""
        if self._asking:
            await asyncio.wait(self._asking)

    async def server_ended(self) -> None:
        """Answer what the server has not answered. It has gone, or goes now, and nothing more is passed on to it."""
        self._is_over = True
        for awaited in self._awaited.values():
            if not awaited.is_cancelled:
                await self._to_client(error_line(awaited.request_id, SERVER_ENDED, _lost(awaited)))
        self._awaited.clear()

    async def finish(self, seconds: float) -> None:
        """Wait for settlements and releases that are under way, no longer than ``seconds``."""
        if self._works:
            _, left = await asyncio.wait(self._works, timeout=seconds)
            for task in left:
                task.cancel()


def _denied(request_id: Id, tool: str, verdict: Verdict) -> bytes:
    """Return the answer to a call that is denied: why, what would pass, and when it may be tried again."""
    lines = [f"The tool `{tool}` was not called, it is denied by policy:"]
    for reason in verdict.reasons:
        advice = "" if reason.advice is None else f" ({reason.advice})"
        retry = "" if reason.retry_at is None else f" (may be tried again at {reason.retry_at})"
        lines.append(f"- {reason.message}{advice}{retry}")
    if verdict.decision_id is not None:
        lines.append(f"Decision: {verdict.decision_id}")
    return denial_line(request_id, "\n".join(lines), verdict.decision_id, [reason.code for reason in verdict.reasons])


def _lost(awaited: Awaited) -> str:
    verdict = awaited.verdict
    if verdict is None or not verdict.holds:
        return "the server ended without an answer"
    return f"the server ended without an answer; what `{verdict.decision_id}` holds stays held, as it may be spent"

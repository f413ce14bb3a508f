"""Answers that take long: sent piece by piece, cut where they cannot go on, ended when nobody is there."""

import asyncio
from collections.abc import AsyncGenerator, Callable, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from sidecar.core.errors import Unavailable
from sidecar.doors.wire.http import Answer, ClientGone
from sidecar.doors.wire.streams import send_stream, while_there

Message = MutableMapping[str, Any]


class Line:
    """A connection whose client stays until it goes."""

    def __init__(self) -> None:
        """Nothing was sent yet."""
        self.sent: list[Message] = []
        self.gone = asyncio.Event()
        self.first: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive(self) -> Message:
        """Give what is left of the request, then wait for the end."""
        if self.first:
            return self.first.pop()
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take a message."""
        self.sent.append(message)

    @property
    def bodies(self) -> list[tuple[bytes, bool]]:
        """The pieces of the body, each with whether more is to come."""
        return [(each["body"], each.get("more_body", False)) for each in self.sent[1:]]


def streamed(pieces: Callable[[Line], AsyncGenerator[bytes, None]]) -> Line:
    """Send an answer of pieces."""

    async def run() -> Line:
        line = Line()
        await send_stream(line.receive, line.send, Answer(200, chunks=pieces(line)), "req_1", (("X-Limit", "1"),))
        return line

    return asyncio.run(run())


def test_the_pieces_of_an_answer_are_sent_as_they_come_and_then_its_end() -> None:
    """Nobody knows its length before."""

    async def pieces(_line: Line) -> AsyncGenerator[bytes, None]:
        yield b"one"
        yield b"two"

    line = streamed(pieces)
    headers = dict(line.sent[0]["headers"])
    assert (line.sent[0]["status"], headers[b"x-request-id"], headers[b"X-Limit"]) == (200, b"req_1", b"1")
    assert b"content-length" not in headers
    assert line.bodies == [(b"one", True), (b"two", True), (b"", False)]


@pytest.mark.parametrize("error", [Unavailable("the end is near"), RuntimeError("a fault")])
def test_a_stream_that_cannot_go_on_has_no_end(error: Exception) -> None:
    """So its reader notices; the log says why."""

    async def pieces(_line: Line) -> AsyncGenerator[bytes, None]:
        yield b"one"
        raise error

    with capture_logs() as logs:
        line = streamed(pieces)
    assert line.bodies == [(b"one", True)]
    assert [(each["event"], each["request_id"]) for each in logs] == [("stream_cut", "req_1")]


def test_a_stream_ends_when_its_client_goes_away() -> None:
    ended: list[bool] = []

    async def pieces(line: Line) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"more"
                line.gone.set()
                await asyncio.sleep(0)
        finally:
            ended.append(True)

    line = streamed(pieces)
    assert 1 <= len(line.bodies) <= 3
    assert all(more for _, more in line.bodies)
    assert ended == [True]


def test_an_answer_without_pieces_is_not_streamed() -> None:
    async def run() -> None:
        line = Line()
        with pytest.raises(ValueError, match="no chunks"):
            await send_stream(line.receive, line.send, Answer(200), "req_1")

    asyncio.run(run())


def test_a_call_that_takes_long_answers_or_fails_as_any_other() -> None:
    async def answers() -> Answer:
        return Answer(204)

    async def fails() -> Answer:
        raise Unavailable("no")

    async def run() -> None:
        assert (await while_there(answers(), Line().receive)).status == 204
        with pytest.raises(Unavailable):
            await while_there(fails(), Line().receive)

    asyncio.run(run())


def test_a_call_that_takes_long_ends_when_its_client_goes_away() -> None:
    ended: list[bool] = []

    async def waits(line: Line) -> Answer:
        try:
            line.gone.set()
            await asyncio.Event().wait()
        finally:
            ended.append(True)
        raise AssertionError

    async def run() -> None:
        line = Line()
        with pytest.raises(ClientGone):
            await while_there(waits(line), line.receive)

    asyncio.run(run())
    assert ended == [True]

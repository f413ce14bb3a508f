"""The proxy as a process: its two pipes, and its child."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sidecar.doors.mcp import proxy
from sidecar.doors.mcp.arbiter import Verdict
from sidecar.doors.mcp.pipes import Inlet, Lines, LineTooLong, Outlet
from sidecar.doors.mcp.proxy import EXIT_SIGNALLED, run
from sidecar.doors.mcp.relay import Relay


class Yes:
    """Permits everything and holds nothing."""

    async def ask(self, params: msgspec.Raw, key: str) -> Verdict:
        """Permit."""
        assert bytes(params) + key.encode()
        return Verdict(allowed=True)

    async def shown(self, names: list[str]) -> set[str]:
        """Show all."""
        return set(names)

    async def settle(self, decision_id: str) -> None:
        """Nothing is held."""
        raise AssertionError(decision_id)

    async def release(self, decision_id: str) -> None:
        """Nothing is held."""
        raise AssertionError(decision_id)


class Ends:
    """Pipes in the place of standard input and output."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, lines: Iterable[bytes] = (), *, is_open: bool = False) -> None:
        """Write ``lines`` as the client, which goes then unless it ``is_open``."""
        self._in, self._client = os.pipe()
        self._server, self._out = os.pipe()
        monkeypatch.setattr(proxy, "Inlet", lambda _: Inlet(self._in))
        monkeypatch.setattr(proxy, "Outlet", lambda _: Outlet(self._out))
        self.told: list[str] = []
        os.write(self._client, b"".join(lines))
        if not is_open:
            os.close(self._client)

    def stop_reading(self) -> None:
        """Take nothing any more."""
        os.close(self._server)

    def run(self, code: str, *, then: float | None = None) -> int:
        """Run the proxy with a child of Python ``code``; after ``then`` seconds it gets a signal."""

        async def running() -> int:
            if then is not None:
                asyncio.get_running_loop().call_later(then, os.kill, os.getpid(), signal.SIGTERM)
            return await run((sys.executable, "-c", code), os.environ, Yes(), self.told.append, "s")

        return asyncio.run(running())

    def written(self) -> list[dict[str, Any]]:
        """Return what the client was written."""
        os.close(self._out)
        with os.fdopen(self._server, "rb") as file:
            return [json.loads(line) for line in file]


PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'
ANSWER = 'print(\'{"jsonrpc":"2.0","id":1,"result":{}}\', flush=True)'


def test_bytes_are_cut_into_lines() -> None:
    """However they come; one that is too long is left out, and the next is read."""
    lines = Lines(8)
    found = [
        line for chunk in (b"a\nb", b"b\n\n", b"123456", b"7890", b"1\nc\n", b"rest") for line in lines.feed(chunk)
    ]
    assert [line if isinstance(line, bytes) else type(line) for line in found] == [
        *(b"a\n", b"bb\n", b"\n", LineTooLong, b"c\n")
    ]
    assert list(lines.rest()) == [b"rest"]
    assert list(lines.rest()) == []


def test_a_session_ends_with_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server sees the end of its input and ends by itself; its exit code is the proxy's."""
    ends = Ends(monkeypatch, [PING, b"nonsense"])
    assert ends.run(f"import sys; sys.stdin.readline(); {ANSWER}; assert not sys.stdin.read(); sys.exit(4)") == 4
    written = ends.written()
    assert sorted(str(message["id"]) for message in written) == ["1", "None"]


def test_a_session_ends_with_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it did not answer is answered."""
    ends = Ends(monkeypatch, [PING], is_open=True)
    assert ends.run("import sys; sys.stdin.readline(); sys.stdout.write('{\"half')") == 0
    (message,) = ends.written()
    assert "the server ended" in message["error"]["message"]


def test_the_last_line_of_the_server_may_lack_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets one."""
    ends = Ends(monkeypatch, [PING], is_open=True)
    ends.run('import sys; sys.stdin.readline(); sys.stdout.write(\'{"jsonrpc":"2.0","id":1,"result":{}}\')')
    assert [message["id"] for message in ends.written()] == [1]


def test_a_server_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked first, then killed."""
    monkeypatch.setattr(proxy, "GRACE_SECONDS", 0.05)
    monkeypatch.setattr(proxy, "KILL_SECONDS", 0.3)
    ends = Ends(monkeypatch)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    assert ends.run(deaf) in {EXIT_SIGNALLED + signal.SIGKILL, EXIT_SIGNALLED + signal.SIGTERM}


def test_a_server_that_closed_its_output_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing more to be heard of it."""
    monkeypatch.setattr(proxy, "KILL_SECONDS", 0.2)
    ends = Ends(monkeypatch, is_open=True)
    assert ends.run("import os, time; os.close(1); time.sleep(60)") == EXIT_SIGNALLED + signal.SIGTERM


def test_a_signal_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that comes while both ends are silent."""
    ends = Ends(monkeypatch, is_open=True)
    assert ends.run("import time; time.sleep(60)", then=0.3) == EXIT_SIGNALLED + signal.SIGTERM


def test_a_client_that_takes_nothing_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its server has nobody to speak to."""
    ends = Ends(monkeypatch, [PING], is_open=True)
    ends.stop_reading()
    code = ends.run(f"import sys, time; sys.stdin.readline(); {ANSWER}; time.sleep(60)")
    assert code == EXIT_SIGNALLED + signal.SIGTERM


def test_lines_have_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the client is refused; one of the server ends the session, as nobody knows whose answer it is."""
    monkeypatch.setattr(proxy, "CLIENT_LINE_BYTES_MAX", 64)
    monkeypatch.setattr(proxy, "SERVER_LINE_BYTES_MAX", 64)
    ends = Ends(monkeypatch, [b"x" * 65 + b"\n", PING], is_open=True)
    assert ends.run("import sys; sys.stdin.readline(); print('y' * 65, flush=True)") == 1
    first, second = ends.written()
    assert "over 64 bytes" in first["error"]["message"]
    assert second["id"] == 1
    assert ends.told == ["of the server, a line is over 64 bytes"]


def test_a_server_that_reads_nothing_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written to one that closed its input is lost."""
    ends = Ends(monkeypatch, [PING, PING.replace(b"1", b"2")], is_open=True)
    ends.run("import os, time; os.close(0); time.sleep(0.3)")
    assert len(ends.written()) >= 1


def test_a_mistake_of_ours_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and the exit code says so."""

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Relay, "from_client", broken)
    ends = Ends(monkeypatch, [PING])
    assert ends.run("import sys; sys.stdin.read()") == 1
    assert "ZeroDivisionError" in ends.told[0]


def test_a_file_can_be_read_as_well(tmp_path: Path) -> None:
    """And what cannot be read at all has its end at once."""
    (tmp_path / "in").write_bytes(b"abc")

    async def read(descriptor: int) -> bytes:
        return b"".join([chunk async for chunk in Inlet(descriptor).chunks()])

    with (tmp_path / "in").open("rb") as file:
        assert asyncio.run(read(file.fileno())) == b"abc"
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        assert asyncio.run(read(folder)) == b""
    finally:
        os.close(folder)

"""The command line as somebody types it: exit code and what was written, without a process of its own."""

import io
import sys

import msgspec
import pytest

from sidecar.cli.main import main


class Ended(msgspec.Struct, frozen=True):
    """How a command ended."""

    code: int
    out: str
    err: str


class Terminal:
    """Runs commands in the folder where the test is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """Take what pytest gives."""
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: object, given: bytes = b"") -> Ended:
        """Run ``sidecar`` with ``arguments`` and ``given`` as its standard input."""
        self._monkeypatch.setattr(sys, "argv", ["sidecar", *map(str, arguments)])
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._capsys.readouterr()
        return Ended(int(str(ended.value.code)), out, err)

"""``sidecar mcp-proxy`` as it is used wrongly, and how it starts its server."""

import sys
from pathlib import Path

import pytest

from sidecar.core.token_text import KEY_BYTES, SECRET_BYTES, mint
from tests.cli.terminal import Terminal

TOKEN = mint("agent", "live", bytes(KEY_BYTES + SECRET_BYTES)).text()


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without a token."""
    monkeypatch.delenv("SIDECAR_TOKEN", raising=False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Missing argument"),
        (("--", "true"), "no token: name its file in `--token-file`, or set `SIDECAR_TOKEN`"),
        (("--url", "localhost", "--", "true"), "not the address of a sidecar"),
        (("--identity", "a b", "--", "true"), "--identity"),
        (("--server-name", "a/b", "--", "true"), "--server-name"),
        (("--token-file", "/no/such/file", "--", "true"), "does not exist"),
        (("--speed", "1", "--", "true"), "No such option"),
    ],
)
def test_wrong_usage_is_told(terminal: Terminal, words: tuple[str, ...], said: str) -> None:
    """With exit code 2, before anything is started."""
    ended = terminal("mcp-proxy", *words)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err


def test_a_token_that_is_none_is_not_shown(terminal: Terminal, tmp_path: Path) -> None:
    """It may be another secret."""
    (tmp_path / "token").write_text("secret-of-mine\n")
    ended = terminal("mcp-proxy", "--token-file", tmp_path / "token", "--", "true")
    assert (ended.code, "secret-of-mine" in ended.err) == (2, False)
    assert "the token is not one of a sidecar" in ended.err


def test_a_server_that_cannot_be_started_is_told_as_shells_do(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """127 where there is none, 126 where it is no program."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    absent = terminal("mcp-proxy", "--token-file", tmp_path / "token", "--", "/no/such/server", "--speed")
    assert absent.code == 127
    assert "`/no/such/server` cannot be started: No such file or directory" in absent.err
    monkeypatch.setenv("SIDECAR_TOKEN", TOKEN)
    assert terminal("mcp-proxy", "--", tmp_path / "token").code == 126


def test_the_exit_code_is_that_of_the_server(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its options are its own."""
    monkeypatch.setenv("SIDECAR_TOKEN", TOKEN)
    code = "import os, sys; sys.exit(7 if 'SIDECAR_TOKEN' not in os.environ else 8)"
    assert terminal("mcp-proxy", "--server-name", "x", "--", sys.executable, "-c", code).code == 7

"""The flags of a follower: what is refused before anything starts, and that no complaint shows a secret."""

from pathlib import Path

import click
import pytest

from sidecar.cli.main import sidecar
from sidecar.core.staleness import StalenessLimits
from sidecar.core.token_text import KEY_BYTES, SECRET_BYTES, mint
from tests.process.server import run_sidecar

TOKEN = mint("follower", "live", bytes(range(KEY_BYTES + SECRET_BYTES))).text()
OTHER = mint("tenant", "live", bytes(range(KEY_BYTES + SECRET_BYTES))).text()
URL = "https://plane.test:8181"
EXIT_USAGE = 2


def given(*words: str) -> dict[str, object]:
    """The values of all flags when these are given."""
    with sidecar.commands["serve"].make_context("serve", [*words]) as ctx:
        return ctx.params


def refused(*words: str) -> str:
    """The complaint about flags that are refused, as it is shown."""
    with pytest.raises(click.UsageError) as caught:
        given(*words)
    return caught.value.format_message()


@pytest.mark.parametrize(
    "address",
    [
        "plane.test",
        "ftp://plane.test",
        "https://",
        "https://plane.test:0",
        "https://plane.test:99999",
        "https://plane.test:port",
        "https://user:hunter2@plane.test",
        "https://plane.test/?hunter2",
        "https://plane.test/#hunter2",
        "https://plane.test/hunter2 and more",
        "https://plane.test/\x1b[2Jhunter2",
        "https://bücher.test/hunter2",
    ],
)
def test_an_address_that_is_none_is_refused_without_repeating_it(address: str) -> None:
    complaint = refused("--control-plane", address)
    assert "--control-plane'" in complaint
    assert "hunter2" not in complaint


@pytest.mark.parametrize("token", [OTHER, TOKEN[:-1], TOKEN[:-1] + "!", f"{TOKEN[:20]}X{TOKEN[21:]}", "hunter2"])
def test_a_token_of_another_kind_or_mistyped_is_refused_without_repeating_it(
    monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("SIDECAR_CONTROL_PLANE_TOKEN", token)
    complaint = refused("--control-plane", URL)
    assert "--control-plane-token" in complaint
    assert token not in complaint


@pytest.mark.parametrize(
    ("flags", "environment", "named"),
    [
        (("--control-plane", URL), {}, "SIDECAR_CONTROL_PLANE_TOKEN"),
        ((), {"SIDECAR_CONTROL_PLANE_TOKEN": TOKEN}, "--control-plane"),
        (
            ("--shadow-policies", "policies"),
            {"SIDECAR_CONTROL_PLANE_TOKEN": TOKEN, "SIDECAR_CONTROL_PLANE": URL},
            "--shadow-policies",
        ),
    ],
    ids=["no token", "no address", "shadow policies"],
)
def test_flags_that_do_not_go_together_keep_a_server_from_starting(
    tmp_path: Path, flags: tuple[str, ...], environment: dict[str, str], named: str
) -> None:
    words = ("serve", "--port", "0", "--data-dir", str(tmp_path / "data"), *flags)
    done = run_sidecar(*words, environment={"SIDECAR_ADMIN_TOKEN": "x"} | environment)
    assert done.returncode == EXIT_USAGE, done
    assert named in done.stderr.splitlines()[-1]
    assert TOKEN not in done.stderr
    assert not (tmp_path / "data" / "db").exists()


@pytest.mark.parametrize("limits", ["", "spend", "spend=60", "spend=1w", "spend=1s,spend=2s", "=5s", "default=0s"])
def test_limits_of_age_that_say_nothing_are_refused(limits: str) -> None:
    assert "--max-staleness" in refused("--max-staleness", limits)


def test_flags_are_read_as_they_are_meant() -> None:
    """A slash at the end of an address and a line's end behind a token are no part of them."""
    words = ("--control-plane", f"{URL}/a/", "--control-plane-token", f"{TOKEN}\n", "--max-staleness", "spend=2s")
    read = given(*words)
    assert (read["control_plane"], read["control_plane_token"]) == (f"{URL}/a", TOKEN)
    assert read["max_staleness"] == StalenessLimits({"spend": 2, "default": 60})

"""The flag of Envoy's door over gRPC: a bad address, a missing extra or mapping, and a port that is taken are named."""

import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest

from sidecar.cli import envoy_grpc
from sidecar.cli.envoy_grpc import PlaceType, check_grpc, hold_port
from sidecar.core.errors import ConfigurationInvalid
from sidecar.settings import Settings
from tests.process.following import free_port
from tests.process.server import ROOT, clean_environment, run_sidecar

GATEWAY = Path("gateway.toml")


@pytest.mark.parametrize("value", ["127.0.0.1:9191", "localhost:0", "[::1]:65535"])
def test_a_host_and_a_port_are_a_place(value: str) -> None:
    assert PlaceType().convert(value, None, None) == value


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("9191", "no host and port"),
        (":9191", "no host and port"),
        ("::1:9191", "no host and port"),
        ("[::1:9191", "no host and port"),
        ("[127.0.0.1]:9191", "no host and port"),
        ("localhost", "no host and port"),
        ("localhost:", "no port from 0 to 65535"),
        ("localhost:65536", "no port from 0 to 65535"),
        ("localhost:http", "no port from 0 to 65535"),
    ],
)
def test_anything_else_is_refused(value: str, why: str) -> None:
    with pytest.raises(click.BadParameter, match=why):
        PlaceType().convert(value, None, None)


def test_without_the_flag_nothing_is_asked_for() -> None:
    check_grpc(Settings())
    assert hold_port(Settings()) == (Settings(), None)


def test_the_door_needs_a_mapping() -> None:
    check_grpc(Settings(ext_authz_grpc="127.0.0.1:0", gateway=GATEWAY))
    with pytest.raises(ConfigurationInvalid, match="`--gateway`"):
        check_grpc(Settings(ext_authz_grpc="127.0.0.1:0"))


@pytest.mark.parametrize("missing", ["no_such_package", "no_such_package.of.it"])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setattr(envoy_grpc, "NEEDED", (missing,))
    with pytest.raises(ConfigurationInvalid, match=r"pip install 'agent-authorization-sidecar\[grpc\]'"):
        check_grpc(Settings(ext_authz_grpc="127.0.0.1:0", gateway=GATEWAY))


def test_a_port_of_the_systems_choice_is_told() -> None:
    settings, held = hold_port(Settings(ext_authz_grpc="127.0.0.1:0"))
    assert held is None
    assert settings.ext_authz_grpc is not None
    host, _, port = settings.ext_authz_grpc.rpartition(":")
    assert host == "127.0.0.1"
    assert int(port) > 0


def test_a_port_is_kept_for_several_workers() -> None:
    settings, held = hold_port(Settings(ext_authz_grpc="127.0.0.1:0", workers=2))
    assert held is not None
    with held:
        assert settings.ext_authz_grpc == f"127.0.0.1:{held.getsockname()[1]}"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_that_somebody_listens_on_is_named(workers: int) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:
        place = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ConfigurationInvalid, match=f"cannot listen on `{place}`"):
            hold_port(Settings(ext_authz_grpc=place, workers=workers))


def test_a_host_that_nobody_knows_is_named() -> None:
    with pytest.raises(ConfigurationInvalid, match="cannot listen on `127"):
        hold_port(Settings(ext_authz_grpc=f"127.0.0.1.example.invalid:{free_port()}"))


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    words = ("serve", "--data-dir", str(tmp_path / "data"), "--port", "0", "--ext-authz-grpc", "127.0.0.1:0")
    done = run_sidecar(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "`--gateway`" in done.stderr


def test_without_the_extra_a_server_is_composed_all_the_same() -> None:
    """Nothing that every server loads needs a package of the extra."""
    hidden = "import sys; sys.modules.update({'grpc': None, 'envoy': None, 'google.protobuf': None}); "
    loading = hidden + "import sidecar.app.worker, sidecar.app.child; print(*sys.modules['sidecar'].__path__)"
    command = [sys.executable, "-c", loading]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=clean_environment())
    assert done.returncode == 0, done.stderr

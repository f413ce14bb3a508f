"""What starting a command costs: only `serve` loads the server, which takes longer than most commands run."""

import subprocess
import sys

import pytest

LOADED = "import sys; import sidecar.cli.main; print(*(name for name in sys.argv[1:] if name in sys.modules))"
SERVER_ONLY = ("webauthn", "cbor2", "starlette", "uvicorn", "structlog", "prometheus_client", "sidecar.app.composition")


@pytest.fixture(scope="module")
def loaded() -> list[str]:
    """The modules of a server that the command line has loaded before it knows which command is meant."""
    command = [sys.executable, "-c", LOADED, *SERVER_ONLY]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("name", SERVER_ONLY)
def test_a_command_that_serves_nothing_loads_no_server(loaded: list[str], name: str) -> None:
    assert name not in loaded

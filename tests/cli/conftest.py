"""What tests of the command line start with."""

import pytest

from tests.cli.terminal import Terminal


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """A terminal of 80 columns without colours, in an environment without settings."""
    for name in ("SIDECAR_POLICIES", "SIDECAR_SCHEMAS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return Terminal(monkeypatch, capsys)

"""The commands of the README's section on proxies, run as they stand but for their ports."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.servers import free_port
from tests.process.proxies import Ports
from tests.process.server import ROOT

SECONDS = 60.0
COPIED = ("gateway.toml", "nginx.conf", "envoy.yaml")


def blocks() -> list[str]:
    """Return the shell blocks of the section that is to be tried, in order."""
    text = (ROOT / "README.md").read_text()
    section = text[text.index("## Behind a proxy") : text.index("## Agents that use MCP")]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples are written with curl, which is not installed")
def test_the_page_shows_an_nginx_and_an_envoy_that_ask(tmp_path: Path) -> None:
    """Each answer is the one that is written behind its command."""
    ports = Ports(free_port(), free_port(), free_port())
    for name in ("policies", "schemas", ".venv"):
        (tmp_path / name).symlink_to(Path(sys.prefix) if name == ".venv" else ROOT / name)
    (tmp_path / "deploy").mkdir()
    for name in COPIED:
        (tmp_path / "deploy" / name).write_text(ports.put_into((ROOT / "deploy" / name).read_text()))
    serve, *rest = blocks()
    assert len(rest) == 2
    known = {name: value for name, value in os.environ.items() if not name.startswith(("SIDECAR_", "COVERAGE_"))}
    settings, _, command = serve.partition(" ")
    terminal = subprocess.Popen(
        ["/bin/bash", "-c", f"exec env {settings} {command.strip()} --port {ports.sidecar}"],
        cwd=tmp_path,
        env=known,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert terminal.stdout is not None
        assert terminal.stdout.readline().startswith(b"ready on ")
        script = ports.put_into("set -euo pipefail\n" + "\n".join(rest))
        done = subprocess.run(
            ["/bin/bash", "-c", script],
            cwd=tmp_path,
            env=known,
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    finally:
        terminal.terminate()
        terminal.communicate(timeout=SECONDS)
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])
    statuses = re.findall(r"HTTP/1\.1 (\d+)", done.stdout)
    assert statuses == ["200", "401", "403", "403", "403"], done.stdout
    assert re.search(r"X-Decision-Id: dec_\w+\nX-Decision-Reason: permitted\n\nhello", done.stdout), done.stdout
    assert re.search(r"X-Decision-Reason: forbidden", done.stdout), done.stdout
    assert re.search(r"x-decision-reason: budget_exceeded", done.stdout), done.stdout

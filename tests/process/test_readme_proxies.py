"""The commands of the README's section on proxies, run as they stand but for their ports."""

import re
import shutil
from pathlib import Path

import pytest

from bench.servers import free_port
from tests.process.proxies import Ports
from tests.process.readme import blocks, in_two_terminals, lay_out
from tests.process.server import ROOT

COPIED = ("gateway.toml", "nginx.conf", "envoy.yaml")


@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples are written with curl, which is not installed")
def test_the_page_shows_an_nginx_and_an_envoy_that_ask(tmp_path: Path) -> None:
    """Each answer is the one that is written behind its command."""
    ports = Ports(free_port(), free_port(), free_port())
    lay_out(tmp_path)
    (tmp_path / "deploy").mkdir()
    for name in COPIED:
        (tmp_path / "deploy" / name).write_text(ports.put_into((ROOT / "deploy" / name).read_text()))
    serve, *rest = blocks("## Behind a proxy")
    assert len(rest) == 2
    script = ports.put_into("\n".join(rest))
    done = in_two_terminals(tmp_path, f"{serve.strip()} --port {ports.sidecar}", script)
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])
    statuses = re.findall(r"HTTP/1\.1 (\d+)", done.stdout)
    assert statuses == ["200", "401", "403", "403", "403"], done.stdout
    assert re.search(r"X-Decision-Id: dec_\w+\nX-Decision-Reason: permitted\n\nhello", done.stdout), done.stdout
    assert re.search(r"X-Decision-Reason: forbidden", done.stdout), done.stdout
    assert re.search(r"x-decision-reason: budget_exceeded", done.stdout), done.stdout

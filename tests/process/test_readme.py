"""The README's examples, run as they stand."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.servers import free_port
from tests.process.readme import SECONDS, blocks, in_two_terminals, lay_out
from tests.process.server import OPERATOR, serving

SECTION = "## The API by example"
FOLLOWERS = "## Followers"


@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples are written with curl, which is not installed")
def test_the_examples_run_one_after_the_other(tmp_path: Path) -> None:
    """Every call succeeds, in one shell that stops at the first failure."""
    assert len(blocks(SECTION)) > 1
    with serving(tmp_path) as (server, _):
        script = "set -euo pipefail\n" + "\n".join(blocks(SECTION))
        known = os.environ | {"BASE": server.url, "TOKEN": OPERATOR}
        done = subprocess.run(
            ["/bin/bash", "-c", script], env=known, check=False, capture_output=True, text=True, timeout=SECONDS
        )
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])


@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples are written with curl, which is not installed")
def test_the_two_terminals_show_a_follower(tmp_path: Path) -> None:
    """What is permitted beside the agent is denied there once the control plane has revoked it."""
    first, second = blocks(FOLLOWERS)
    lay_out(tmp_path)
    plane, beside = free_port(), free_port()
    done = in_two_terminals(
        tmp_path,
        first.replace("8181", str(plane)),
        second,
        PLANE=f"http://127.0.0.1:{plane}",
        BESIDE=f"http://127.0.0.1:{beside}",
    )
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:], _log(tmp_path))
    starts = [found.start() for found in re.finditer(r'\{"decision_id"', done.stdout)]
    decisions = [json.JSONDecoder().raw_decode(done.stdout, start)[0] for start in starts]
    assert [decision["allowed"] for decision in decisions] == [True, False], done.stdout
    assert decisions[0]["budget_checks"][0]["requested"] == 47.23
    assert decisions[1]["reasons"][0]["code"] == "identity_revoked"
    assert '"follower_id"' in done.stdout


def _log(folder: Path) -> str:
    log = folder / "beside.log"
    return log.read_text()[-2000:] if log.exists() else ""

"""The README's examples, run as they stand."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.process.server import OPERATOR, ROOT, serving

SECTION = "## The API by example"
SECONDS = 60.0


def blocks() -> list[str]:
    """Return the shell blocks of the section, in order."""
    text = (ROOT / "README.md").read_text()
    start = text.index(SECTION) + len(SECTION)
    section = text[start : text.index("\n## ", start)]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples are written with curl, which is not installed")
def test_the_examples_run_one_after_the_other(tmp_path: Path) -> None:
    """Every call succeeds, in one shell that stops at the first failure."""
    assert len(blocks()) > 1
    with serving(tmp_path) as (server, _):
        script = "set -euo pipefail\n" + "\n".join(blocks())
        known = os.environ | {"BASE": server.url, "TOKEN": OPERATOR}
        done = subprocess.run(
            ["/bin/bash", "-c", script], env=known, check=False, capture_output=True, text=True, timeout=SECONDS
        )
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])

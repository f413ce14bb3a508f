"""The shell blocks of the README, and two terminals to run them in."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.process.server import ROOT

SECONDS = 60.0


def blocks(heading: str) -> list[str]:
    """Return the shell blocks of a section, in order."""
    text = (ROOT / "README.md").read_text()
    start = text.index(heading) + len(heading)
    section = text[start : text.index("\n## ", start)]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)


def lay_out(folder: Path) -> None:
    """Make ``folder`` look like a clone that was set up, as far as the examples look at it."""
    for name in ("policies", "schemas", ".venv"):
        (folder / name).symlink_to(Path(sys.prefix) if name == ".venv" else ROOT / name)


def in_two_terminals(folder: Path, server: str, script: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """Return what became of ``script``, run in ``folder`` once the ``server`` of the other terminal was ready.

    ``more`` are variables of the script. ``server`` is one command, with variables of its own before it.
    """
    known: Mapping[str, str] = {
        name: value for name, value in os.environ.items() if not name.startswith(("SIDECAR_", "COVERAGE_"))
    }
    terminal = subprocess.Popen(
        ["/bin/bash", "-c", f"exec env {server}"],
        cwd=folder,
        env=known,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert terminal.stdout is not None
        assert terminal.stdout.readline().startswith(b"ready on ")
        return subprocess.run(
            ["/bin/bash", "-c", f"set -euo pipefail\n{script}"],
            cwd=folder,
            env={**known, **more},
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    finally:
        terminal.terminate()
        terminal.communicate(timeout=SECONDS)

"""``python -m bench day``: the locust scenario against a server of its own, started and ended here."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from bench import servers
from bench.servers import ROOT, NotReadyError


def run(seconds: float, users: int, data_dir: Path | None) -> int:
    """Run one compressed day and return locust's exit code: 1 when any answer was not as expected."""
    with tempfile.TemporaryDirectory(prefix="sidecar-bench-", dir=data_dir) as folder:
        try:
            with servers.sidecar(Path(folder) / "day", "power-loss", None) as server:
                scenario = ROOT / "bench" / "locustfile.py"
                flags = ["--headless", "--only-summary", "--loglevel", "WARNING", "--host", server.url]
                command = [sys.executable, "-m", "locust", "-f", str(scenario), *flags]
                told = {"DAY_SECONDS": str(seconds), "DAY_USERS": str(users), "SIDECAR_ADMIN_TOKEN": server.operator}
                return subprocess.run(command, cwd=ROOT, env=os.environ | told, check=False).returncode
        except NotReadyError as error:
            raise click.ClickException(str(error)) from error

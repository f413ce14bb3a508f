"""``python -m bench day``: the locust scenario against a server of its own, started and ended here; and its hours."""

import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import click
import msgspec

from bench import servers
from bench.servers import ROOT, NotReadyError

HOURS: Final = (2, 1, 1, 1, 1, 3, 8, 20, 55, 85, 100, 95, 70, 90, 100, 95, 80, 60, 40, 25, 15, 10, 6, 3)
"""Agents at work in each hour, in percent of the busiest."""


class Day(msgspec.Struct, frozen=True):
    """Twenty-four hours in so many seconds, with so many agents in the busiest one."""

    seconds: float
    users: int

    def agents_at(self, seconds: float) -> tuple[int, float] | None:
        """Return the agents at work so long after midnight, and how many may come or go a second; None at its end."""
        if seconds >= self.seconds:
            return None
        share = HOURS[int(seconds / self.seconds * len(HOURS))] / 100
        return max(1, math.ceil(share * self.users)), max(1.0, self.users * len(HOURS) / self.seconds)


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

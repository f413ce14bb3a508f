"""The benchmark runs: its figures are for people, but that it starts, measures and checks is tested here."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HTTP_ROWS = ("bare ASGI echo", "health", "dry run", "permit, process-crash", "permit, power-loss")


@pytest.mark.timeout(300)
def test_a_short_run_prints_every_row_without_an_error(tmp_path: Path) -> None:
    """A run of 0.3 s a row exits with 0, shows all rows with figures, and leaves nothing but what was asked for."""
    results = tmp_path / "results.md"
    command = [
        sys.executable,
        "-m",
        "bench",
        "--seconds",
        "0.3",
        "--data-dir",
        str(tmp_path),
        "--markdown",
        str(results),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for text in (done.stdout, results.read_text()):
        assert re.search(r"fdatasync of 4 KiB.*\b1\b.*\d\.\d{3}", text)
        for row in HTTP_ROWS:
            for connections in (1, 32):
                assert re.search(rf"{row}.*\b{connections}\b.*\d\.\d{{3}}.*\b0 [│|]", text), (row, connections)
    assert list(tmp_path.iterdir()) == [results]

"""The tests beside policy files, which must pass before the files may hold: the one place where their runner is wired.

No runner is wired yet: every set passes. The runner is a function of the folder of the policies and of the files that
were read from it and from that of the schemas; it returns None when all tests pass, else a sentence that names the
first one that fails and says how many do.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from sidecar.app.loading import Trial
from sidecar.core.snapshot import PolicyFiles

Runner = Callable[[Path, PolicyFiles], str | None]


def _no_runner(_folder: Path, _files: PolicyFiles) -> None:
    """Let every set pass."""


RUNNER: Final[Runner] = _no_runner


def trial_in(policies: Path) -> Trial:
    """Return what runs the tests in the folder ``policies``."""
    return partial(RUNNER, policies)

"""The tests beside policy files, which must pass before the files may hold: where their runner is wired."""

from functools import partial
from pathlib import Path

from sidecar.app.loading import Trial
from sidecar.replica.policy_tests import first_failure


def trial_in(policies: Path) -> Trial:
    """Return what runs the tests in the folder ``policies``, and names the first that fails, None for none."""
    return partial(first_failure, policies)

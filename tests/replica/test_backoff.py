"""Pauses are spread from nothing up to a limit that doubles with each failure and has an end."""

import pytest

from sidecar.replica.backoff import doubled, full_jitter


@pytest.mark.parametrize(("failures", "limit"), [(0, 0.25), (1, 0.5), (5, 8.0), (6, 15.0), (1_000_000, 15.0)])
def test_the_limit_doubles_up_to_its_end(failures: int, limit: float) -> None:
    assert doubled(failures, 0.25, 15.0) == full_jitter(failures, 0.25, 15.0, lambda: 1.0) == limit


@pytest.mark.parametrize("drawn", [0.0, 0.5])
def test_a_pause_is_drawn_from_nothing_on(drawn: float) -> None:
    assert full_jitter(1, 0.25, 15.0, lambda: drawn) == 0.5 * drawn

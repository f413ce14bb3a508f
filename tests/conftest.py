"""What the whole suite shares: the option that makes the crash test longer, and property tests without a deadline."""

import pytest
from hypothesis import settings

# Nothing timed is asserted: how long one example takes says more of what else the machine does.
# Seeds differ from run to run, so fewer examples in each find in two runs what more would find in one.
settings.register_profile("untimed", deadline=None, max_examples=60)
settings.load_profile("untimed")

KILLS_DEFAULT = 12


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--kills``."""
    parser.addoption(
        "--kills",
        type=int,
        default=KILLS_DEFAULT,
        metavar="N",
        help=f"how often the crash test kills the server [default: {KILLS_DEFAULT}]",
    )
    parser.addoption(
        "--kill-seed", type=int, default=None, metavar="N", help="repeat a crash test with the seed that it printed"
    )


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    """How often the crash test kills."""
    value: int = request.config.getoption("--kills")
    return value


@pytest.fixture
def kill_seed(request: pytest.FixtureRequest) -> int | None:
    """The seed to repeat, None for a new one."""
    value: int | None = request.config.getoption("--kill-seed")
    return value


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give crash tests as much time as their kills need."""
    seconds = 120 + 20 * int(config.getoption("--kills"))
    for item in items:
        if item.get_closest_marker("crash") is not None:
            item.add_marker(pytest.mark.timeout(seconds))

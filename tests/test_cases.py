"""One corpus of stories, played on the services, the native door and a live server: no stage tells another ending."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sidecar.core.reasons import CODES
from tests.cases.door_stages import DOORS, DoorStage, write_gateway
from tests.cases.service_stage import ServiceStage
from tests.cases.story import Play, stories, write_policy_files
from tests.cases.wire_stage import WireStage
from tests.doors.door import NOON_US, Door
from tests.process.server import ROOT, Server, check_at_rest

STORIES = stories()
STANDALONE = [name for name, story in STORIES.items() if story.data_age_seconds is None]
TIMELESS = [name for name in STANDALONE if STORIES[name].now is None]
STORIES_MIN = 15


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The policy files of every story."""
    return write_policy_files(tmp_path_factory.mktemp("stories"))


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory, policies: Path) -> Iterator[ServiceStage]:
    """The services alone."""
    with ServiceStage(tmp_path_factory.mktemp("services"), policies, ROOT / "schemas") as stage:
        yield stage


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory, policies: Path) -> Iterator[WireStage]:
    """The native door."""
    with Door(tmp_path_factory.mktemp("native"), policies) as door:
        yield WireStage(door, lambda now_us: setattr(door.clock, "now_us", now_us))
    check_at_rest(door.data_dir)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, policies: Path) -> Iterator[WireStage]:
    """A live server of two workers."""
    folder = tmp_path_factory.mktemp("live")
    with Server(folder, "--policies", str(policies), "--workers", "2") as server:
        with server.client() as client:
            yield WireStage(client)
        assert server.stop() == 0
    check_at_rest(server.data_dir)


@pytest.mark.parametrize("name", STORIES)
def test_a_story_ends_as_told_on_the_services(name: str, services: ServiceStage) -> None:
    Play(name, STORIES[name], services).run(NOON_US)


@pytest.mark.parametrize("name", STANDALONE)
def test_a_story_ends_as_told_at_the_native_door(name: str, native: WireStage) -> None:
    Play(name, STORIES[name], native).run(NOON_US)


@pytest.mark.parametrize("name", TIMELESS)
def test_a_story_ends_as_told_on_a_live_server(name: str, live: WireStage) -> None:
    Play(name, STORIES[name], live).run(NOON_US)


def at_doors() -> list[tuple[str, str]]:
    """Return each door with each story that ends in a request it can say."""
    return [(door, name) for door, says in DOORS.items() for name in STANDALONE if says.says(STORIES[name].request)]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory, policies: Path) -> Iterator[dict[str, Door]]:
    """An application for each foreign door, with the mapping file of the whole corpus."""
    doors: dict[str, Door] = {}
    gateway = write_gateway(tmp_path_factory.mktemp("mapping"))
    with ExitStack() as stack:
        for name in DOORS:
            doors[name] = stack.enter_context(Door(tmp_path_factory.mktemp(name), policies, gateway=gateway))
        yield doors
    for door in doors.values():
        check_at_rest(door.data_dir)


@pytest.mark.parametrize(("through", "name"), at_doors())
def test_a_story_ends_as_told_at_a_foreign_door(through: str, name: str, foreign: dict[str, Door]) -> None:
    """The same decision, record and budgets as natively, whatever protocol asks."""
    door = foreign[through]
    stage = DoorStage(
        door, DOORS[through], lambda now_us: setattr(door.clock, "now_us", now_us), lambda: door.clock.now_us
    )
    Play(name, STORIES[name], stage).run(NOON_US)


def test_every_door_has_its_stories() -> None:
    told = {through: sum(each == through for each, _ in at_doors()) for through in DOORS}
    assert min(told.values()) >= 3, told


def test_every_code_of_a_denial_has_its_story() -> None:
    told = {reason["code"] for story in STORIES.values() for reason in story.expect.reasons}
    assert set(CODES) <= told
    assert "permitted" in told
    assert len(STORIES) >= STORIES_MIN


def test_each_story_is_another_one() -> None:
    """It says in a sentence of its own what it is about."""
    told = [story.story for story in STORIES.values()]
    assert len(set(told)) == len(told)
    assert all(len(sentence) > 20 for sentence in told)

"""Folders that change: what is new is tried once, when two looks agree, by the process on duty alone."""

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from sidecar.app import watching
from sidecar.app.watching import Watcher
from sidecar.core.errors import Unavailable


class Folders:
    """A folder whose content is set, and a store that knows what was tried."""

    def __init__(self) -> None:
        """Hold what was tried already."""
        self.looks = [b"one"]
        self.tried: bytes | None = b"one"
        self.reloads: list[bytes] = []
        self.errors: list[Exception] = []
        self.is_on_duty = True
        self.watcher = Watcher(self.look, lambda: self.tried, self.reload, lambda: self.is_on_duty)

    def look(self) -> bytes:
        """Return the next look, the last one again and again."""
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    async def reload(self) -> None:
        """Try what is there."""
        if self.errors:
            raise self.errors.pop()
        self.tried = self.looks[0]
        self.reloads.append(self.tried)

    def run(self, until: Callable[[], bool] = lambda: False, rounds: int = 60) -> None:
        """Watch until something holds, or for some rounds."""

        async def watched() -> None:
            task = asyncio.create_task(self.watcher.run())
            for _ in range(rounds):
                if until() or task.done():
                    break
                await asyncio.sleep(0.001)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        asyncio.run(watched())


@pytest.fixture
def folders(monkeypatch: pytest.MonkeyPatch) -> Folders:
    """Watched folders, with short pauses."""
    for name in ("TICK_SECONDS", "REST_SECONDS", "RETRY_SECONDS"):
        monkeypatch.setattr(watching, name, 0.0001)
    return Folders()


def test_what_was_tried_is_not_tried_again(folders: Folders) -> None:
    folders.run()
    assert folders.reloads == []


def test_another_content_is_tried_once_however_that_ends(folders: Folders) -> None:
    folders.looks = [b"two"]
    folders.run()
    assert folders.reloads == [b"two"]
    folders.looks = [b"one"]
    folders.run()
    assert folders.reloads == [b"two", b"one"]


def test_what_is_still_being_written_is_not_tried(folders: Folders) -> None:
    folders.looks = [b"a", b"ab", b"abc", b"abcd"]
    folders.run(lambda: folders.reloads != [], 2_000)
    assert folders.reloads == [b"abcd"]


def test_what_is_gone_for_the_time_of_one_look_is_not_missed(folders: Folders) -> None:
    folders.looks = [b"gone", b"one"]
    folders.run()
    assert folders.reloads == []


def test_a_start_that_noted_nothing_is_tried(folders: Folders) -> None:
    folders.tried = None
    folders.run(lambda: folders.reloads != [], 2_000)
    assert folders.reloads == [b"one"]


def test_who_is_not_on_duty_does_not_look(folders: Folders) -> None:
    folders.is_on_duty = False
    folders.looks = [b"two", b"three"]
    folders.run()
    assert (folders.reloads, len(folders.looks)) == ([], 2)


@pytest.mark.parametrize("error", [Unavailable("no room"), OSError("no process"), KeyError("a mistake")])
def test_what_nobody_could_find_out_is_tried_again(folders: Folders, error: Exception) -> None:
    folders.looks, folders.errors = [b"two"], [error]
    with capture_logs() as logs:
        folders.run(lambda: folders.reloads != [], 2_000)
    assert folders.reloads == [b"two"]
    assert [line["event"] for line in logs] == ["watch_failed"]

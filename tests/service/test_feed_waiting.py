"""Waiting for a change: one look for all who wait, none for nobody, and an end for everybody when the process ends."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sidecar.core.errors import StoreUnusable, Unauthenticated
from sidecar.core.feed import Page
from sidecar.service import feed_waiting
from sidecar.service.feed import Asked
from sidecar.service.feed_waiting import LOOK_SECONDS, Seen, Waiting
from tests.service.builders import World
from tests.service.mirror import Desk, follower
from tests.state.builders import writing


@pytest.fixture
def org(tmp_path: Path) -> Iterator[World]:
    """A tenant."""
    with World(tmp_path) as made:
        made.found()
        yield made


class Rests:
    """What happens between two looks, in place of the time that would pass."""

    def __init__(self, *then: Callable[[], object]) -> None:
        """Do these, one at each rest."""
        self.then = list(then)
        self.made = 0

    async def __call__(self, seconds: float) -> None:
        """Rest."""
        assert seconds == LOOK_SECONDS
        self.made += 1
        await asyncio.sleep(0)
        if self.then:
            self.then.pop(0)()


def seen(org: World) -> Seen:
    """What is known of the tenant now."""
    with org.store.read() as txn:
        return Seen(1, txn.tenants.revisions(1).entities, txn.tenants.revisions(0).policies)


def advance(org: World, number: int = 1) -> None:
    """Change a tenant, or for 0 the policy files, as another process does: nobody here is told."""
    with writing(org.environment) as txn:
        txn.tenants.advance(number, policies=True)


def end(waiting: Waiting) -> None:
    """Let the process be about to end."""
    waiting.end()


@pytest.mark.parametrize("number", [0, 1])
def test_a_change_by_any_process_is_seen(org: World, number: int) -> None:
    """Of the tenant, or of the policy files."""
    rests = Rests(lambda: None, lambda: advance(org, number))
    waiting = Waiting(org.store, rests)
    assert org.run(waiting.changed(seen(org))) is True
    assert rests.made >= 2
    assert waiting.waiters == 0


def test_a_change_between_reading_and_waiting_is_not_missed(org: World) -> None:
    known = seen(org)
    advance(org)
    assert org.run(Waiting(org.store, Rests()).changed(known)) is True


def test_all_who_wait_share_the_looks_and_nobody_looks_for_nobody(org: World) -> None:
    """The task ends with the last who waits, and begins anew with the next."""
    rests = Rests(lambda: None, lambda: advance(org))
    waiting = Waiting(org.store, rests)
    known = seen(org)

    async def all_wait() -> list[bool]:
        found = await asyncio.gather(*(waiting.changed(known) for _ in range(50)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return found

    assert org.run(all_wait()) == [True] * 50
    made = rests.made
    assert made <= 3
    rests.then = [lambda: advance(org)]
    assert org.run(waiting.changed(seen(org))) is True
    assert rests.made > made


def test_who_waits_for_another_tenant_goes_on_waiting(org: World) -> None:
    org.found("t_two", root_id="other")
    waiting = Waiting(org.store, Rests(lambda: advance(org, 2), lambda: None, lambda: end(waiting)))
    assert org.run(waiting.changed(seen(org))) is False


def test_who_goes_away_is_forgotten(org: World) -> None:
    waiting = Waiting(org.store, Rests())

    async def leave() -> None:
        task = asyncio.create_task(waiting.changed(seen(org)))
        await asyncio.sleep(0)
        assert waiting.waiters == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    org.run(leave())
    assert waiting.waiters == 0


def test_nobody_waits_any_more_when_the_process_ends(org: World) -> None:
    """Those who wait are answered at once, and so is who comes later."""
    waiting = Waiting(org.store, Rests(lambda: end(waiting), lambda: end(waiting)))
    assert org.run(waiting.changed(seen(org))) is False
    assert org.run(waiting.changed(seen(org))) is False


def test_when_too_many_wait_one_more_is_answered_at_once(org: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_waiting, "WAITERS_MAX", 0)
    assert org.run(Waiting(org.store, Rests()).changed(seen(org))) is False


def test_what_a_look_raises_is_told_to_all_who_wait(org: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken store keeps nobody waiting."""

    def broken() -> None:
        raise StoreUnusable("the store is broken")

    known = seen(org)
    waiting = Waiting(org.store, Rests(lambda: monkeypatch.setattr(org.store, "read", broken)))

    async def both() -> list[bool | BaseException]:
        return [*await asyncio.gather(waiting.changed(known), waiting.changed(known), return_exceptions=True)]

    assert [type(each) for each in org.run(both())] == [StoreUnusable, StoreUnusable]


# --- Pages ------------------------------------------------------------------------------------------------------------


def awaited(org: World, desk: Desk, caller_of: str | None = None, wait: int = 5, life_us: int | None = None) -> Page:
    """Wait for a page behind all that is there."""
    caller = follower(org, caller_of, life_us)
    page = desk.page(caller)
    asked = Asked(None, page.head, page.files_digest)
    return org.run(desk.publisher.awaited(caller, asked, wait, lambda: org.now_us))


def test_a_page_comes_as_soon_as_there_is_something_new(org: World) -> None:
    desk = Desk(org, Rests(lambda: None, lambda: advance(org)))
    page = awaited(org, desk)
    assert page.to_revision == page.from_revision + 1


def test_a_page_with_news_comes_without_waiting(org: World) -> None:
    desk = Desk(org)
    caller = follower(org)
    page = org.run(desk.publisher.awaited(caller, Asked(None, 0, None), 30, lambda: org.now_us))
    assert page.changes


def test_files_of_others_end_no_wait(org: World) -> None:
    """They are looked at, and the call waits on."""
    desk = Desk(org, Rests(lambda: advance(org, 0), lambda: None, lambda: end(desk.waiting)))
    page = awaited(org, desk)
    assert (page.to_revision, page.files, page.changes) == (page.from_revision, None, ())


def test_a_page_that_was_waited_for_in_vain_has_the_time_of_its_end(org: World) -> None:
    """And confirms that nothing has changed until then."""

    def later() -> None:
        org.now_us += 1_000

    desk = Desk(org, Rests(*[later] * 5))
    before = org.now_us
    page = awaited(org, desk, wait=1)
    assert page.time_us > before
    assert (page.changes, page.head) == ((), page.from_revision)


def test_a_token_that_runs_out_while_it_waits_gets_no_page(org: World) -> None:
    def later() -> None:
        org.now_us += 1_000
        advance(org)

    with pytest.raises(Unauthenticated):
        awaited(org, Desk(org, Rests(later)), life_us=500)
    org.now_us -= 1_000

    def late() -> None:
        org.now_us += 1_000

    with pytest.raises(Unauthenticated):
        awaited(org, Desk(org, Rests(late)), life_us=500, wait=1)

"""A snapshot: everything once, in an order that can be taken up, cut where it may not go on."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sidecar.core.errors import Conflict, Unauthenticated, Unavailable, ValidationFailed
from sidecar.core.feed import Change, FeedRefused
from sidecar.core.feed_snapshot import Mark, read_line
from sidecar.doors.native.feed import read_cursor, write_cursor
from sidecar.service import feed_snapshot
from sidecar.service.feed_snapshot import Begun
from sidecar.service.feed_walk import Place, Stage, Step
from tests.service.builders import OPERATOR, World, limit
from tests.service.mirror import LOOKS, Desk, Mirror, card, compact, follower


@pytest.fixture
def org(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A tenant with a bit of everything, of which a snapshot is told in small pieces."""
    monkeypatch.setattr(feed_snapshot, "MARK_EVERY", 1)
    monkeypatch.setattr(feed_snapshot, "ROUND_RECORDS", 2)
    with World(tmp_path) as made:
        made.found()
        made.identity("ops", type_name="team")
        made.identity("ann", "ops")
        made.identity("dan", "ann", type_name="service")
        made.identity("bob")
        made.grant()
        made.cedar(LOOKS.format("bob"), "ann")
        for name in ("root", "ann", "bob"):
            made.budget(limit(5, name))
            made.token(name)
        for _ in range(2):
            card(made, "ann")
        yield made


def told(lines: list[bytes]) -> list[str]:
    """The ids of the records among some lines."""
    return [line.id for line in map(read_line, lines) if isinstance(line, Change)]


def begun_at(lines: list[bytes]) -> list[Begun]:
    """Where a snapshot can be taken up: behind each record."""
    return [read_cursor(line.cursor) for line in map(read_line, lines) if isinstance(line, Mark)]


@pytest.mark.parametrize("top", [None, "ops", "ann", "dan"])
def test_a_snapshot_can_be_taken_up_behind_each_record(org: World, top: str | None) -> None:
    """What comes then is what came before, whatever stands there: identities, cards, limits, keys, strangers."""
    desk, caller = Desk(org), follower(org, top)
    whole = desk.snapshot(caller)
    ids = told(whole)
    assert len(ids) == len(set(ids)) > 5
    places = begun_at(whole)
    assert len(places) == len(ids)
    for number, begun in enumerate(places, start=1):
        rest = desk.snapshot(caller, write_cursor(begun))
        assert told(rest) == ids[number:]
        assert rest[-1] == whole[-1]


def test_it_goes_from_the_root_down(org: World) -> None:
    """So that everything that is told rests on something that was told."""
    ids = told(Desk(org).snapshot(follower(org, "ann")))
    people = [each for each in ids if each in {"root", "ops", "ann", "dan", "bob"}]
    assert people == ["root", "ops", "ann", "dan", "bob"]


def test_what_is_made_behind_the_place_is_left_to_the_pages(org: World) -> None:
    """Above it in the order of the walk, and told by the first page after."""
    desk, caller = Desk(org), follower(org)
    begun = begun_at(desk.snapshot(caller))[-1]
    org.budget(limit(9, "root"))
    assert told(desk.snapshot(caller, write_cursor(begun))) == []
    assert len(desk.page(caller, begun.revision).changes) == 1


def test_a_snapshot_that_ends_with_the_process_is_cut(org: World) -> None:
    desk, caller = Desk(org), follower(org)
    desk.waiting.end()
    with pytest.raises(Unavailable, match="about to end"):
        desk.snapshot(caller)


def test_a_snapshot_ends_with_its_token(org: World) -> None:
    """Also in the middle: what follows is not for it any more."""
    desk, caller = Desk(org), follower(org)
    lines = desk.lines(caller)

    async def read() -> None:
        await anext(lines)
        await anext(lines)
        await org.desk.revoke(OPERATOR, "t_one", caller.name, org.now_us)
        await anext(lines)

    with pytest.raises(Unauthenticated):
        org.run(read())


def test_a_snapshot_that_began_too_long_ago_begins_anew(org: World) -> None:
    """The changes since then are not all kept, so no page could complete it."""
    desk, caller = Desk(org), follower(org)
    begun = begun_at(desk.snapshot(caller))[0]
    lines = desk.lines(caller)
    for number in range(5):
        org.identity(f"more{number}")
    org.run(anext(lines))  # type: ignore[arg-type]
    compact(org, 2)
    with pytest.raises(Conflict, match="begin anew"):
        desk.snapshot(caller, write_cursor(begun))
    with pytest.raises(Conflict, match="begin anew"):
        org.run(anext(lines))  # type: ignore[arg-type]


def test_a_cursor_serves_whoever_it_was_given_to(org: World) -> None:
    """Of another subtree, the rest would be another one."""
    desk = Desk(org)
    begun = begun_at(desk.snapshot(follower(org, "ann")))[0]
    for top in (None, "ops"):
        with pytest.raises(ValidationFailed, match="not one of this snapshot's"):
            desk.snapshot(follower(org, top), write_cursor(begun))


def strange_places(org: World) -> Iterator[Place]:
    """Places that no snapshot of ann's subtree gives out."""
    with org.store.read() as txn:
        tenant = txn.tenants.find("t_one")
        assert tenant is not None
        bob = txn.of(tenant).identities.place_of("bob")
        ops = txn.of(tenant).identities.place_of("ops")
    yield from (Place(stage, place) for stage in (Stage.ABOVE, Stage.BELOW) for place in (bob, 999))
    yield Place(Stage.BELOW, ops)


def test_a_place_outside_is_no_place(org: World) -> None:
    desk, caller = Desk(org), follower(org, "ann")
    begun = begun_at(desk.snapshot(caller))[0]
    for place in strange_places(org):
        with pytest.raises(ValidationFailed, match="not one of this snapshot's"):
            desk.snapshot(caller, write_cursor(msgspec.structs.replace(begun, place=place)))


def test_a_place_behind_a_card_that_is_not_there_goes_on_with_the_next(org: World) -> None:
    """Nothing of another identity's card is told."""
    desk, caller = Desk(org), follower(org, "ann")
    strange = card(org, "bob")
    with org.store.read() as txn:
        tenant = txn.tenants.find("t_one")
        assert tenant is not None
        ann, place = (txn.of(tenant).identities.place_of("ann"), txn.of(tenant).cards.place_of(strange.card_id))
    begun = msgspec.structs.replace(
        begun_at(desk.snapshot(caller))[0], place=Place(Stage.BELOW, ann, Step.CARDS, place)
    )
    kinds = [
        line.kind for line in map(read_line, desk.snapshot(caller, write_cursor(begun))) if isinstance(line, Change)
    ]
    assert "budget" not in kinds


def test_a_snapshot_with_a_changed_byte_is_refused(org: World) -> None:
    """By its reader, who follows the digest from mark to mark; what a mark says is held against it."""
    desk = Desk(org)
    mirror = Mirror(desk, follower(org))
    whole = desk.snapshot(mirror.caller)
    for number in (at for at, line in enumerate(whole) if not isinstance(read_line(line), Mark)):
        damaged = [*whole]
        line = bytearray(damaged[number])
        line[len(line) // 2] ^= 1
        damaged[number] = bytes(line)
        fresh = Mirror(desk, mirror.caller)
        fresh.desk = Damaged(damaged)  # type: ignore[assignment]
        with pytest.raises((AssertionError, FeedRefused)):
            fresh.load()


class Damaged:
    """Tells what it was given."""

    def __init__(self, lines: list[bytes]) -> None:
        """Tell these lines."""
        self._lines = lines

    def snapshot(self, *_: object) -> list[bytes]:
        """Return them."""
        return self._lines

"""The log of a data directory as a history: whole, up to a head that does not move."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.core.audit import link_of
from sidecar.core.errors import ConfigurationInvalid
from sidecar.core.history import digest
from sidecar.state import chronicle as module
from sidecar.state.audit_log import TILE
from sidecar.state.chronicle import StoredChronicle, chronicles
from tests.service.builders import World, payment


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        made.tenant()
        for number in range(6):
            made.decide(payment(100 + number))
        made.found("t_two")
        yield made


def history(world: World, size: int | None = None) -> StoredChronicle:
    return chronicles(world.environment, "t_one", size)[0]


def test_every_record_is_read_once_over_chunks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The facts of requests come from the chunk or from the store."""
    monkeypatch.setattr(module, "CHUNK", 3)
    assert len(world.kinds()) < TILE
    found = history(world)
    rows = list(found.entries())
    assert [seq for seq, _ in rows] == list(range(found.size))
    assert link_of(rows[-1][1]) == found.link
    addresses = [str(body["request"]) for body in world.bodies() if body["type"] == "decision"]
    contents = {found.fact(digest(address), 4) for address in addresses}
    assert len(contents) == 6
    assert None not in contents
    assert found.fact(bytes(32), 4) is None
    assert found.place(4) == "record 4 of tenant `t_one`"


def test_what_is_appended_meanwhile_is_not_read(world: World) -> None:
    found = history(world)
    size = found.size
    rows = found.entries()
    next(rows)
    world.decide(payment())
    assert 1 + sum(1 for _ in rows) == size
    assert history(world).size == size + 1


def test_a_history_can_end_sooner(world: World) -> None:
    """Its link is that of its last record; it cannot end later than the log."""
    found = history(world, 4)
    rows = list(found.entries())
    assert (len(rows), found.link) == (4, link_of(rows[-1][1]))
    assert history(world, history(world).size).link == history(world).link
    with pytest.raises(ConfigurationInvalid, match="the log of tenant `t_one` ends with record 9, expected 20"):
        history(world, 21)


def test_tenants_are_listed_in_order_of_creation(world: World) -> None:
    assert [each.tenant_id for each in chronicles(world.environment, None)] == ["t_one", "t_two"]
    with pytest.raises(ConfigurationInvalid, match="the store has no tenant `t_no`"):
        chronicles(world.environment, "t_no")

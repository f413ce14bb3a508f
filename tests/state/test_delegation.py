"""What followers and their control plane keep of what they decide together, and that damage to any row is found."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.core.errors import StoreUnusable
from sidecar.service.delegation_store import Delegated, Intent
from sidecar.state.codec import encode
from tests.service.builders import World, payment
from tests.service.flotilla import Fleet

OTHER = "dec_01K9Z3J4M5N6P7Q8R9S0T1V2W6"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A control plane that holds for one decision of a follower and was told to cancel one before it came."""
    with Fleet(tmp_path) as made:
        made.budget(100)
        one = made.followers[0]
        assert one.world.decide(payment("1", "bob")).allowed
        one.line.fault = "late"
        one.world.decide(payment("1", "bob"))
        one.line.fault = "none"
        one.cancel()
        one.line.fault = "cut"
        one.world.decide(payment("1", "bob"))
        yield made


def rows(world: World, table: str) -> dict[bytes, bytes]:
    """What lies in a table."""
    with world.environment.read() as txn, txn.cursor(db=world.environment.tables[table]) as cursor:
        return {bytes(key): bytes(value) for key, value in cursor}


def put(world: World, table: str, key: bytes, value: bytes) -> None:
    """Change a row by hand."""
    txn = world.environment.begin_write()
    txn.put(key, value, db=world.environment.tables[table])
    txn.commit()


def test_intents_are_kept_by_their_decision(tmp_path: Path) -> None:
    """In order of the decisions, one each, and forgotten without asking whether there is one."""
    first, second = (f"dec_01K9Z3J4M5N6P7Q8R9S0T1V2W{digit}" for digit in "12")
    with World(tmp_path) as world:
        for decision_id in (second, first):
            world.write(lambda txn, decision_id=decision_id: txn.intents.keep(Intent(decision_id, 5)))  # type: ignore[misc]
        world.write(lambda txn: txn.intents.keep(Intent(first, 5, is_abandoned=True)))
        with world.store.read() as txn:
            assert list(txn.intents.all()) == [Intent(first, 5, is_abandoned=True), Intent(second, 5)]
            assert (txn.intents.find(second), txn.intents.find(OTHER)) == (Intent(second, 5), None)
            with pytest.raises(StoreUnusable, match="is no id of a decision"):
                txn.intents.find("tok_1")
        for _ in range(2):
            world.write(lambda txn: txn.intents.forget(first))
        with world.store.read() as txn:
            assert list(txn.intents.all()) == [Intent(second, 5)]


def test_a_fleet_holds(fleet: Fleet) -> None:
    assert len(rows(fleet.plane, "delegated")) == 2
    assert len(rows(fleet.followers[0].world, "intents")) == 1
    fleet.require_sound()


def test_a_damaged_intent_is_found(fleet: Fleet) -> None:
    """Whether it cannot be read or lies under another decision."""
    world = fleet.followers[0].world
    ((key, value),) = rows(world, "intents").items()
    for damaged, said in (
        (value[:-1], "an intent is damaged"),
        (encode(Intent(OTHER, 1)), f"the intent of `{OTHER}` lies in the place of another"),
    ):
        put(world, "intents", key, damaged)
        assert any(said in fault for fault in world.faults())
    put(world, "intents", key, value)
    assert world.faults() == []


def test_a_damaged_row_of_what_was_decided_for_a_follower_is_found(fleet: Fleet) -> None:
    """Whether it cannot be read, lies under another decision, has no record, or is another follower's."""
    world, name = fleet.plane, fleet.callers[0].name
    (held, word), (cancelled, tombstone) = rows(world, "delegated").items()
    with world.look() as part:
        found = part.delegations.find(fleet.followers[0].world.bodies()[-1]["decision"])  # type: ignore[arg-type]
        assert found is None

    def row(decision_id: str, follower_id: str, *, is_cancelled: bool) -> bytes:
        return encode(
            Delegated(
                decision_id=decision_id, follower_id=follower_id, request=None, word=None, is_cancelled=is_cancelled
            )
        )

    known = decision_of(world)
    for key, damaged, said in (
        (held, word[:-1], "is damaged"),
        (cancelled, row(OTHER, name, is_cancelled=True), "lies in the place of another"),
        (held, row(known, name, is_cancelled=True), "and not recorded, or the other way round"),
        (held, row(known, "tok_other", is_cancelled=True), "is held for another follower"),
    ):
        put(world, "delegated", key, damaged)
        assert any(said in fault for fault in world.faults()), said
        put(world, "delegated", held, word)
        put(world, "delegated", cancelled, tombstone)
    assert world.faults() == []


def decision_of(world: World) -> str:
    """The decision that is held for the follower."""
    return next(str(body["decision"]) for body in world.bodies() if body["type"] == "decision")

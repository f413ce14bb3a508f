"""Dossiers, what was taken in, and reservations of card networks are broken by hand, and the check names it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from sidecar.core.card_authorization import Opening, Request, Seen, Share
from sidecar.core.card_events import NetworkHold
from sidecar.core.errors import StoreUnusable
from sidecar.core.ids import DECISION, ulid_bytes
from sidecar.service.store import TenantTransaction, Transaction
from sidecar.state.card_authorizations import authorization_key, seen_key
from sidecar.state.codec import U32
from tests.service.builders import World, limit
from tests.service.terminal import Terminal, capture, refund, standing

TENANT = U32.pack(1)
DOSSIER = TENANT + authorization_key("stripe", "iauth_1", "CAD")
ELSEWHERE = TENANT + authorization_key("stripe", "iauth_9", "CAD")

Break = Callable[[TenantTransaction], None]


class House(Terminal):
    """A terminal at which something of everything happened; ``break_`` writes past the service."""

    def __init__(self, world: World) -> None:
        """Ask, capture and refund, with a request and without one."""
        super().__init__(world)
        world.budget(limit("500", "ann"))
        self.decision_id = self.asks(1_000)
        self.tells(capture(300, "a"), say=standing(1, 1, authorized=900))
        self.tells(capture(500, "b"), refund(100), authorization_id="iauth_2")

    def break_(self, work: Break) -> list[str]:
        """Let somebody write past the service, and return what the check finds."""
        self.write(work)
        return self.faults()

    def write(self, work: Break) -> None:
        """Write past the service."""

        def write(txn: Transaction) -> None:
            tenant = txn.tenants.find("t_one")
            assert tenant is not None
            work(txn.of(tenant))

        self.world.write(write)

    def put(self, table: str, key: bytes, value: bytes | None) -> list[str]:
        """Write or delete one row."""
        environment = self.world.environment
        txn = environment.begin_write()
        if value is None:
            assert txn.delete(key, db=environment.tables[table])
        else:
            assert txn.put(key, value, db=environment.tables[table])
        txn.commit()
        return self.faults()

    def row(self, table: str, key: bytes) -> bytes:
        """Return one row."""
        with self.world.environment.read() as txn:
            return bytes(txn.get(key, db=self.world.environment.tables[table]) or b"")

    def faults(self) -> list[str]:
        """Return what the check finds of cards."""
        found = self.world.faults()
        assert all(fault.startswith("cards: ") for fault in found), found
        return [fault.removeprefix("cards: ") for fault in found]

    def changed(self, **changes: object) -> list[str]:
        """Change the dossier of `iauth_1`, and return what the check finds."""
        dossier = msgspec.structs.replace(self.dossier(), **changes)
        return self.break_(lambda part: part.card_authorizations.keep(dossier))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A house that holds."""
    with World(tmp_path) as world:
        made = House(world)
        assert made.faults() == []
        yield made


def test_a_dossier_that_does_not_add_up(house: House) -> None:
    name = "authorization `iauth_1` of `stripe`"
    shares = {house.decision_id: Share(500, 400)}
    assert house.changed(captured_minor=400, shares=shares) == [
        f"{name} does not add up to its movements of kind `capture`",
        f"the reservation of `{house.decision_id}` has not what {name} comes to",
    ]


def test_a_dossier_that_was_not_booked(house: House) -> None:
    name = "authorization `iauth_1` of `stripe`"
    assert house.changed(shares={}) == [f"{name} was not brought to its reservations"]


def test_a_request_that_is_not_the_one_that_was_decided(house: House) -> None:
    dossier = house.dossier()
    denied = msgspec.structs.replace(dossier.requests[0], allowed=False)
    found = house.changed(requests=(denied,))
    assert f"authorization `iauth_1` of `stripe` says otherwise of `{house.decision_id}` than it was decided" in found
    assert f"the reservation of `{house.decision_id}` is not in its authorization `iauth_1`" in found


def test_a_request_that_nobody_made(house: House) -> None:
    strange = Request(decision_id="dec_no", index=1, amount_minor=5, allowed=False)
    assert house.changed(requests=(*house.dossier().requests, strange)) == [
        "authorization `iauth_1` of `stripe` has a request that was not taken in, `dec_no`",
        "authorization `iauth_1` of `stripe` says otherwise of `dec_no` than it was decided",
    ]


def test_an_opening_that_the_log_does_not_tell_of(house: House) -> None:
    found = house.changed(opening=Opening(decision_id="dec_01ARZ3NDEKTSV4RRFFQ69G5FAV", amount_minor=1))
    assert "authorization `iauth_1` of `stripe` has a capture without a request that is not in the log" in found


def test_a_reservation_of_another_authorization(house: House) -> None:
    reservation = house.reservation(house.decision_id)
    other = msgspec.structs.replace(reservation, network=NetworkHold("lithic", "x"))
    assert house.break_(lambda part: part.ledger.keep(other)) == [
        f"the reservation of `{house.decision_id}` has not what authorization `iauth_1` of `stripe` comes to"
    ]


def test_dossiers_that_are_gone_damaged_or_misplaced(house: House) -> None:
    row = house.row("card_authorizations", DOSSIER)
    missing = [
        f"authorization `iauth_1` of `stripe` misses the request that `{house.decision_id}` answers",
        "authorization `iauth_1` of `stripe` misses what moved",
        f"the reservation of `{house.decision_id}` is not in its authorization `iauth_1`",
    ]
    assert house.put("card_authorizations", DOSSIER, None) == missing
    [damaged, *rest] = house.put("card_authorizations", DOSSIER, row[:-3])
    assert damaged.startswith("a card authorization is damaged: a stored document cannot be read")
    assert rest == missing
    house.put("card_authorizations", DOSSIER, None)
    assert "authorization `iauth_1` of `stripe` lies in the place of another" in house.put(
        "card_authorizations", ELSEWHERE, row
    )
    with house.world.look() as part:
        assert part.card_authorizations.find("stripe", "iauth_9", "CAD") is None


def test_what_was_taken_in_is_gone_damaged_or_misplaced(house: House) -> None:
    event, movement = TENANT + seen_key("event", "stripe", "evt_1"), TENANT + seen_key("movement", "stripe", "a")
    row = house.row("card_seen", event)
    assert house.put("card_seen", event, None) == ["event `evt_1` of `stripe` is in the log and was not taken in"]
    assert "lies in the place of another" in house.put("card_seen", TENANT + seen_key("event", "stripe", "x"), row)[0]
    with house.world.look() as part:
        assert part.card_authorizations.seen("event", "stripe", "x") is None
    house.put("card_seen", TENANT + seen_key("event", "stripe", "x"), None)
    [damaged, _] = house.put("card_seen", event, b"\x01")
    assert damaged.startswith("what a card network told is damaged: a stored document cannot be read")
    house.put("card_seen", event, row)
    assert house.put("card_seen", movement, None) == [
        "movement `a` of `stripe` is in the log and was not taken in",
        "authorization `iauth_1` of `stripe` does not add up to its movements of kind `capture`",
    ]


def test_what_nobody_told(house: House) -> None:
    """An event and a movement that lie in the store and not in the log."""
    event = Seen(of="event", network="stripe", id="evt_x", fingerprint=b"")
    assert house.break_(lambda part: part.card_authorizations.keep_seen(event)) == [
        "event `evt_x` of `stripe` was taken in and is not in the log"
    ]
    place = {"authorization_id": "iauth_1", "currency": "CAD"}
    movement = Seen(of="movement", network="stripe", id="x", fingerprint=b"", moved=capture(0), **place)  # type: ignore[arg-type]
    assert "movement `x` of `stripe` counts and is not what the log tells" in house.break_(
        lambda part: part.card_authorizations.keep_seen(movement)
    )


def test_a_reservation_that_is_gone_is_a_damaged_store(house: House) -> None:
    """A later event cannot be booked on it."""
    environment, ulid = house.world.environment, ulid_bytes(house.decision_id, DECISION)
    txn = environment.begin_write()
    assert txn.delete(TENANT + (ulid or b""), db=environment.tables["reservations"])
    txn.commit()
    with pytest.raises(StoreUnusable, match="is of a card authorization and has no reservation"):
        house.tells(capture(1, "z"))


def test_a_forced_record_and_its_reservation_belong_together(house: House) -> None:
    """I2 holds for what was captured without a request as well."""
    opened = house.world.bodies()[-2]
    assert opened["type"] == "forced"
    reservation = house.reservation(str(opened["decision"]))
    with house.world.look() as part:
        assert part.answers.decision(reservation.decision_id) is None
    without = msgspec.structs.replace(reservation, claims=())
    house.write(lambda part: part.ledger.keep(without))
    found = house.world.faults()
    assert f"I2: the reservation of `{reservation.decision_id}` has other claims than its record" in found

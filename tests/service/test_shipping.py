"""What a follower ships: its log in order, with the facts that only it has, in parcels that have an end."""

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from sidecar.core.errors import Conflict, Unavailable
from sidecar.service import shipping
from sidecar.service.shipping import FAULT, Parcel
from tests.service.builders import World, payment, tool_call
from tests.service.fleet import Fleet, batch_of


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A control plane and a follower that has decided a few things."""
    with Fleet(tmp_path) as made:
        for _ in range(4):
            made.below.decide(payment("1.00", "ann"))
        yield made
        assert made.faults() == []


def taken(fleet: Fleet, next_seq: int, parcel: Parcel | None = None) -> None:
    """Let the control plane answer what a follower takes note of."""
    parcel = parcel or fleet.shipping.question()
    assert parcel is not None
    fleet.below.run(
        fleet.shipping.received(
            parcel, orjson.dumps({"next_seq": next_seq, "received": 0, "follower_id": fleet.caller.name})
        )
    )


def parcel_of(fleet: Fleet) -> Parcel:
    """The next parcel."""
    parcel = fleet.shipping.parcel()
    assert parcel is not None
    return parcel


def test_nothing_is_shipped_before_anything_was_followed(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        shipper = shipping.Shipping(world.store, lambda: pytest.fail("nobody asks"))
        assert (shipper.question(), shipper.parcel(), shipper.backlog()) == (None, None, 0)


def test_a_parcel_tells_how_the_follower_is(fleet: Fleet) -> None:
    size = len(fleet.bodies())
    question = fleet.shipping.question()
    assert question is not None
    said = batch_of(question)
    assert (said.records, said.facts, said.from_seq) == ((), (), 0)
    assert (said.status.revision, said.status.age_ms, said.status.head) == (3, 2_000, size)
    assert (question.head, question.to_seq, fleet.shipping.backlog()) == (size, 0, size)


def test_requests_and_lists_of_policies_go_along_and_a_list_but_once(fleet: Fleet) -> None:
    """All else came from the control plane."""
    first = parcel_of(fleet)
    requests = [fact for fact in batch_of(first).facts if b'"identity_id"' in fact]
    manifests = [fact for fact in batch_of(first).facts if b'"engine"' in fact]
    assert (len(requests), len(manifests), len(batch_of(first).facts)) == (1, 1, 2)
    assert batch_of(parcel_of(fleet)).facts == batch_of(first).facts
    taken(fleet, first.to_seq, first)
    fleet.below.decide(tool_call("ann"))
    assert [b'"tool"' in fact for fact in batch_of(parcel_of(fleet)).facts] == [True]
    fleet.shipping = fleet.restarted()
    assert len(batch_of(parcel_of(fleet)).facts) == 2


def test_a_list_goes_along_again_after_the_control_plane_was_set_back(fleet: Fleet) -> None:
    size = fleet.ship() and len(fleet.bodies())
    fleet.below.decide(tool_call("ann"))
    assert len(batch_of(parcel_of(fleet)).facts) == 1
    taken(fleet, size - 1)
    assert fleet.shipping.backlog() == 2
    assert len(batch_of(parcel_of(fleet)).facts) == 3


def test_what_is_remembered_as_sent_has_an_end(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "SENT_MAX", 1)
    fleet.ship()
    for _ in range(2):
        fleet.below.grant(identity_id="ann")
        fleet.below.decide(tool_call("ann"))
        assert len(batch_of(parcel_of(fleet)).facts) == 2
        fleet.ship()
    fleet.below.decide(tool_call("ann"))
    assert len(batch_of(parcel_of(fleet)).facts) == 1


@pytest.mark.parametrize("limit", ["SHIPPED_RECORDS_MAX", "PARCEL_BYTES", "USAGES_MAX"])
def test_a_parcel_has_an_end(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """In records, bytes and budgets; each has one record at least."""
    fleet.assign()
    for _ in range(2):
        fleet.below.decide(payment("1.00", "ann"))
    monkeypatch.setattr(shipping, limit, 1)
    parcels = fleet.ship()
    assert fleet.stored() == fleet.bodies()
    assert 1 < parcels <= len(fleet.bodies())


def test_a_fact_that_fits_no_call_stays_at_home(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control plane names it as missing."""
    monkeypatch.setattr(shipping, "FACT_BYTES_MAX", 400)
    fleet.ship()
    valid, _, missing = fleet.verified()
    assert (valid, missing) == (True, 4)


def test_a_record_that_cannot_be_read_is_shipped_as_it_is(tmp_path: Path) -> None:
    """The control plane says what is wrong with it."""
    with Fleet(tmp_path) as fleet:
        with fleet.below.look() as part:
            tenant = part.tenant
        unknown = {"decision": "dec_01K9Z3J4M5N6P7Q8R9S0T1V2W6", "identity": "ann", "state": "x", "measures": []}
        fleet.below.write(lambda txn: txn.of(tenant).audit.append("settle", 1, {**unknown}))
        fleet.ship()
        fleet.below.write(lambda txn: txn.of(tenant).audit.append("decision", 1, {"request": "none", "budgets": 7}))
        with pytest.raises(Conflict, match="`request` of the decision holds no address of a fact"):
            fleet.ship()


def test_an_answer_that_says_nothing_changes_nothing(fleet: Fleet) -> None:
    parcel = parcel_of(fleet)
    for answer in (b"", b"{}", b'{"next_seq":"1","received":0}'):
        with pytest.raises(Unavailable, match="cannot be read"):
            fleet.below.run(fleet.shipping.received(parcel, answer))
    assert fleet.shipping.backlog() == len(fleet.bodies())


def test_a_log_that_is_refused_is_a_fault_until_it_is_taken_again(fleet: Fleet) -> None:
    fleet.below.run(fleet.shipping.refused("record 3 is another"))
    fleet.below.run(fleet.shipping.refused("something else"))
    assert fleet.fault() == FAULT + "record 3 is another"
    taken(fleet, 0)
    assert fleet.fault() is not None
    fleet.ship()
    assert fleet.fault() is None


def test_a_fault_of_another_kind_is_not_ours_to_end(fleet: Fleet) -> None:
    fleet.below.write(lambda txn: txn.replica.keep_fault("a disk was full"))
    fleet.below.run(fleet.shipping.refused("record 3 is another"))
    fleet.ship()
    assert fleet.fault() == "a disk was full"


def test_a_store_that_was_set_back_decides_nothing_more(fleet: Fleet) -> None:
    """It knows by the control plane's answer, tells it in its next question, and grows to no log that fits."""
    size = len(fleet.bodies())
    with pytest.raises(Conflict, match=f"it has {size + 5} records of it and there are {size}"):
        taken(fleet, size + 5)
    assert fleet.shipping.parcel() is None
    question = fleet.shipping.question()
    assert question is not None
    assert question.from_seq == size + 5
    with pytest.raises(Conflict, match="it was set back"):
        fleet.deliver(question)
    assert fleet.fault() is not None
    taken(fleet, size)
    assert fleet.fault() is None


def test_a_question_whose_answer_is_that_all_is_there_ends_the_fault(fleet: Fleet) -> None:
    """Then the control plane has compared the last record."""
    fleet.ship()
    fleet.below.run(fleet.shipping.refused("not in order"))
    taken(fleet, len(fleet.bodies()) - 1)
    assert fleet.fault() is not None
    taken(fleet, len(fleet.bodies()))
    assert fleet.fault() is None


def test_nothing_is_decided_before_the_control_plane_knows_the_log(fleet: Fleet) -> None:
    """Another server may have the token: only one of them may decide on what is assigned to it."""
    fleet.below.write(lambda txn: txn.replica.acknowledge("tok_of_before"))
    with pytest.raises(Unavailable, match="has not taken the audit log of this server yet"):
        fleet.below.decide(tool_call("ann"))
    taken(fleet, 0)
    with pytest.raises(Unavailable):
        fleet.below.decide(tool_call("ann"))
    fleet.ship()
    fleet.below.decide(tool_call("ann"))
    fleet.below.write(lambda txn: txn.replica.acknowledge("tok_of_before"))
    fleet.ship()
    fleet.below.decide(tool_call("ann"))
    fleet.below.write(lambda txn: txn.replica.acknowledge("tok_of_before"))
    taken(fleet, len(fleet.bodies()))  # it was known already what it has
    fleet.below.decide(tool_call("ann"))


def test_a_control_plane_that_has_nothing_is_told_everything_again(fleet: Fleet) -> None:
    """As after it was set back to before this follower: its token stays known here."""
    fleet.ship()
    taken(fleet, 0)
    assert fleet.shipping.backlog() == len(fleet.bodies())
    fleet.ship()
    assert fleet.stored() == fleet.bodies()


def test_usage_is_told_of_budgets_that_are_decided_here_only(fleet: Fleet) -> None:
    """A limit per transaction is looked at on every server, and counts on none."""
    fleet.ship()
    fleet.assign("per_transaction", "tok_of_another")
    assert fleet.below.decide(payment("1.00", "ann")).allowed
    assert batch_of(parcel_of(fleet)).status.usages == ()

"""Each rule of the outbox is broken by hand, and the check names it; one that only the sidecar wrote holds."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sidecar.core.ids import id_of
from sidecar.core.webhooks import Lane, Secrets, Waiting
from sidecar.state.codec import U32, U64, encode
from sidecar.state.environment import Environment
from sidecar.state.outbox import READY_ROW
from sidecar.state.outbox_check import check_outbox, ready_by_tenant
from tests.service.builders import World
from tests.service.mailroom import Mailroom
from tests.state.builders import a_tenant, rows, store_in, writing
from tests.state.test_webhooks import a_webhook

EVENT = Waiting(event_id=id_of("evt", bytes(16)), type="webhook.test", body=b"{}", created_at_us=0, due_at_us=9)
LANE = U32.pack(1) + U64.pack(10)

Change = tuple[str, bytes, bytes | None]

BREAKS: dict[str, tuple[list[Change], set[str]]] = {
    "a row that is not listed": (
        [("outbox_due", LANE + U64.pack(9) + bytes(16), None)],
        {f"event `{EVENT.event_id}` is not listed at the time at which it is due"},
    ),
    "a row that is listed at another time": (
        [("outbox", LANE + bytes(16), encode(msgspec.structs.replace(EVENT, due_at_us=8)))],
        {f"event `{EVENT.event_id}` is not listed at the time at which it is due"},
    ),
    "a listed row that is missing": (
        [("outbox", LANE + bytes(16), None)],
        {f"event `{EVENT.event_id}` is due and does not wait", "lane 10 counts 1 events, 0 wait"},
    ),
    "a lane that is missing": (
        [("outbox_lanes", LANE, None)],
        {
            f"event `{EVENT.event_id}` waits in a lane that does not exist",
            "lane 10 is ready and does not exist",
            "the active webhooks and the lanes are not the same",
        },
    ),
    "a lane that is not ready": (
        [("outbox_ready", READY_ROW.pack(9, 1, 10), None)],
        {"lane 10 is not ready when its next event is due"},
    ),
    "a lane that nothing is known to wait in": (
        [("outbox_lanes", LANE, encode(Lane(number=1, waiting=1))), ("outbox_ready", READY_ROW.pack(9, 1, 10), None)],
        {"lane 10 is not ready when its next event is due"},
    ),
    "a secret that is missing": (
        [("webhook_secrets", U32.pack(1) + U64.pack(1), None)],
        {"webhook `wh_1` has no secret to sign with"},
    ),
    "a secret of an endpoint that is missing": (
        [("webhook_secrets", U32.pack(1) + U64.pack(7), encode(Secrets(b"s")))],
        {"a secret is kept for webhook 7, which does not exist"},
    ),
    "a summary that is missing": (
        [("webhook_interests", U32.pack(1), None)],
        {"the summary of the webhooks is not that of the active ones"},
    ),
}


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    """Two tenants with an endpoint each, for which one event waits; in the first also a dropped lane with another."""
    with store_in(tmp_path) as opened:
        with writing(opened) as txn:
            for number in (1, 2):
                part = txn.of(a_tenant(number))
                part.webhooks.keep(a_webhook())
                part.webhooks.keep_secrets(1, Secrets(b"s"))
                for lane in (10, 11):
                    part.outbox.open(lane, 1)
                    part.outbox.add(lane, EVENT)
                part.outbox.drop(11)
        yield opened


def found(environment: Environment) -> set[str]:
    """Return what is wrong in the first tenant."""
    with environment.read() as txn:
        ready = ready_by_tenant(txn, environment.tables["outbox_ready"])
        return set(check_outbox(txn, environment.tables, a_tenant(), ready[1]))


def test_what_the_sidecar_wrote_holds(environment: Environment) -> None:
    """A dropped lane that was swept in part, too."""
    assert found(environment) == set()
    with writing(environment) as txn:
        txn.sweep_lanes(1)
    assert len(rows(environment, "outbox_due")) == 3
    assert found(environment) == set()


@pytest.mark.parametrize(("changes", "expected"), BREAKS.values(), ids=BREAKS.keys())
def test_what_is_broken_is_named(environment: Environment, changes: list[Change], expected: set[str]) -> None:
    txn = environment.begin_write()
    for table, key, value in changes:
        if value is None:
            txn.delete(key, db=environment.tables[table])
        else:
            txn.put(key, value, db=environment.tables[table])
    txn.commit()
    assert found(environment) == expected


def test_the_check_of_the_whole_store_looks_at_the_outbox(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.tenant()
        Mailroom(world).hook()
        assert world.faults() == []
        txn = world.environment.begin_write()
        txn.drop(world.environment.tables["webhook_interests"], delete=False)
        txn.commit()
        assert world.faults() == ["outbox: the summary of the webhooks is not that of the active ones"]

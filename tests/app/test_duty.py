"""Background work: what fails is logged, is tried again, and stands in front of nothing else, of holds least of all."""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from sidecar.app import duty as module
from sidecar.app.duty import SWEEP_ROUNDS, Chores, Duty
from sidecar.core.errors import Unavailable
from sidecar.core.webhooks import Response
from sidecar.doors.webhooks.courier import Courier
from sidecar.service.announcement import Announcer
from sidecar.service.compaction import Compactor
from sidecar.service.deliveries import Parcel
from sidecar.service.payment_effects import RETRY_US
from sidecar.service.policy_store import PoliciesLoaded
from sidecar.service.transits import Transits
from sidecar.service.webhooks import WebhookPatch
from sidecar.state.clock import Clock
from tests.service.bank import PENDING, SUCCESS, FakeRail, Till, paying
from tests.service.builders import SECOND, World, limit, payment, shipped_files
from tests.service.mailroom import TAKEN, Mailroom

CHANGES_KEPT = 10


class Open:
    """In place of a sender: takes everything."""

    async def send(self, _parcel: Parcel, _now_us: int) -> Response:
        """Take an event."""
        return TAKEN

    async def close(self) -> None:
        """End."""


class Office:
    """The background work of a world."""

    def __init__(self, world: World, folder: Path, transits: Transits | None = None) -> None:
        """Compete for a lock file in ``folder``."""
        self.world = world
        self.mail = Mailroom(world)
        self.clock = Clock(0, lambda: world.now_us, lambda: world.now_us)
        self.courier = Courier(self.mail.dispatch, Open(), self.clock)  # type: ignore[arg-type]
        transits = transits or Transits(world.store, self.clock)
        chores = Chores(self.courier, Announcer(world.store), transits, Compactor(world.store, CHANGES_KEPT))
        self.duty = Duty(folder / "lock", world.store, world.settler, self.clock, world.desk, chores)

    def run(self, until: Callable[[], bool], ticks: int = 2_000) -> None:
        """Work until something holds, which must be before so many ticks."""

        async def worked() -> None:
            working = asyncio.create_task(self.duty.run())
            for _ in range(ticks):
                if working.done() or until():
                    break
                await asyncio.sleep(0.001)
            assert not working.done(), "background work has ended"
            assert until()
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

        self.world.run(worked())

    def due_hold(self) -> None:
        """Make a hold whose time has come."""
        self.world.budget(limit(100))
        self.world.authorize(payment(ttl_seconds=60))
        self.world.now_us += 60 * SECOND

    def is_expired(self) -> bool:
        """Whether the newest record is that of an expiry."""
        return "expire" in self.world.kinds()


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    """The background work of a tenant, with short ticks; the store holds together at the end."""
    monkeypatch.setattr(module, "TICK_SECONDS", 0.001)
    with World(tmp_path) as world:
        world.tenant()
        yield Office(world, tmp_path)
        assert world.faults() == []


def raising(error: Exception) -> Callable[..., Any]:
    """Return what fails however it is called."""

    def fail(*_: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("error", [Unavailable("the store is full"), OSError("no room"), KeyError("a mistake")])
@pytest.mark.parametrize("broken", ["tick", "sweep"])
def test_holds_expire_whatever_becomes_of_webhooks(
    office: Office, monkeypatch: pytest.MonkeyPatch, error: Exception, broken: str
) -> None:
    calls: list[int] = []

    def fail(*_: object) -> None:
        calls.append(1)
        raise error

    monkeypatch.setattr(office.courier, broken, fail)
    with capture_logs() as logs:
        office.run(lambda: len(calls) > 2)
        office.due_hold()
        office.run(office.is_expired)
    assert {line["event"] for line in logs} == {"background_work_failed"}


@pytest.mark.parametrize("error", [Unavailable("the store is full"), KeyError("a mistake")])
def test_events_are_sent_whatever_becomes_of_the_rest(
    office: Office, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    for name in ("expire_due", "prune_replays"):
        monkeypatch.setattr(office.world.settler, name, raising(error))
    monkeypatch.setattr(office.world.store, "tend", raising(error))
    monkeypatch.setattr(office.world.desk, "prune_former_secrets", raising(error))
    webhook = office.mail.hook()
    office.mail.test(webhook)
    with capture_logs() as logs:
        office.run(lambda: len(office.mail.log(webhook)) == 1)
    assert {line["step"] for line in logs} == {"expire", "tend", "forget_secrets", "prune"}


def test_a_lock_file_that_cannot_be_opened_is_tried_again(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open
    refused: list[int] = []

    def refuse(path: Path, flags: int, mode: int = 0o777) -> int:
        if len(refused) > 2 or Path(path).name != "lock":
            return opened(path, flags, mode)
        refused.append(1)
        raise OSError(24, "too many open files")

    office.due_hold()
    monkeypatch.setattr(os, "open", refuse)
    with capture_logs() as logs:
        office.run(office.is_expired)
    assert len(logs) == 3


def test_what_waited_for_an_endpoint_that_is_gone_is_removed_some_at_each_tick(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much it is, no hold waits for all of it; and nothing is left."""
    monkeypatch.setattr("sidecar.service.deliveries.SWEPT_AT_ONCE", 1)
    monkeypatch.setattr("sidecar.doors.webhooks.courier.SWEPT_AT_ONCE", 1)
    webhook = office.mail.hook()
    for _ in range(3 * SWEEP_ROUNDS):
        office.mail.test(webhook)
    office.mail.change(webhook, WebhookPatch(status="disabled"))
    order: list[str] = []
    swept, expired = office.mail.dispatch.sweep, office.world.settler.expire_due

    async def sweep() -> int:
        order.append("sweep")
        return await swept()

    async def expire_due(now_us: int) -> int:
        order.append("expire")
        return await expired(now_us)

    monkeypatch.setattr(office.mail.dispatch, "sweep", sweep)
    monkeypatch.setattr(office.world.settler, "expire_due", expire_due)
    office.run(lambda: order.count("sweep") > 6 * SWEEP_ROUNDS)
    rounds = [len(part) for part in " ".join(order).replace("sweep", "s").replace(" ", "").split("expire") if part]
    assert max(rounds) == SWEEP_ROUNDS
    assert office.world.run(swept()) == 0


def test_tenants_that_were_not_told_of_a_load_are_told_behind_it(office: Office) -> None:
    """Whoever loaded the files was killed before it got to them, or they were loaded at the start."""
    loaded = PoliciesLoaded(shipped_files().digest(), 1, "watch", office.world.now_us)
    office.world.write(lambda txn: txn.keep_policies_loaded(loaded))
    office.run(lambda: "policies_loaded" in office.world.kinds())
    assert office.duty.is_on_duty


def test_payments_that_were_left_on_their_way_are_taken_up_and_nothing_waits_for_their_rail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that does not answer keeps its own payments and nobody's holds."""
    monkeypatch.setattr(module, "TICK_SECONDS", 0.001)
    rail = FakeRail(PENDING, SUCCESS)
    with World(tmp_path) as world:
        world.tenant()
        world.identity("ann")
        world.identity("shop", type_name="service")
        till = Till(world, {"solana": rail}, rail_seconds=30.0)
        payment = till.paid(paying(till.account("ann", "90", network="solana"), till.account("shop", network="solana")))
        office = Office(world, tmp_path, till.transits)
        office.due_hold()
        world.now_us += RETRY_US
        rail.gate = asyncio.Event()
        office.run(lambda: len(rail.submitted) == 2 and office.is_expired())
        assert till.get(payment.payment_id).payment.status == "initiated"
        rail.gate = None
        world.now_us += RETRY_US
        again = Office(world, tmp_path, till.transits)
        again.run(lambda: till.get(payment.payment_id).payment.status == "success")
        assert world.faults() == []


def test_old_changes_are_forgotten_for_as_long_as_there_are_more(office: Office) -> None:
    """Some at each tick, behind what is due; the newest are kept."""
    for _ in range(CHANGES_KEPT + 5):
        office.world.budget(limit(100))

    def floor() -> int:
        with office.world.store.read() as txn:
            tenant = next(txn.tenants.after(0))
            return txn.tenants.revisions(tenant.number).entities - txn.of(tenant).feed.floor()

    assert floor() > CHANGES_KEPT
    office.run(lambda: floor() == CHANGES_KEPT)

"""Payments on a rail: the value is in transit between two transactions, and whoever dies in between loses nothing."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.core.accounts import transit
from sidecar.core.errors import Conflict, Forbidden, NotFound, StoreUnusable, Unavailable
from sidecar.core.payments import Outcome, Payment
from sidecar.service.payment_effects import RETRY_US
from sidecar.service.payment_lists import PaymentFilter
from sidecar.service.rails import PENDING, BuiltInLedger
from sidecar.service.transits import Transits
from tests.service.bank import CANCELLED, FAILED, SUCCESS, FakeRail, Till, pay_key, paying
from tests.service.builders import DAY, OPERATOR, World, limit

WAY = transit("solana", "USDC")


class Network:
    """A tenant whose agent has 100 USDC on a network with a rail, and a budget of 50 a day."""

    def __init__(self, world: World) -> None:
        """Open the accounts."""
        world.tenant()
        world.identity("ann")
        world.identity("shop", type_name="service")
        self.world = world
        self.rail = FakeRail()
        self.till = Till(world, {"solana": self.rail}, rail_seconds=0.05)
        self.ann = self.till.account("ann", "100", network="solana")
        self.shop = self.till.account("shop", network="solana")
        self.budget = world.budget(limit(50, "ann", currency="USDC")).budget.budget_id

    def answers(self, *answers: Outcome | Exception) -> None:
        """Let the rail answer so."""
        self.rail.answers = list(answers)

    def pay(self, amount: str = "10") -> Payment:
        """Pay the shop."""
        return self.till.paid(paying(self.ann, self.shop, amount))

    def left(self) -> Payment:
        """Pay, and have the network say nothing."""
        self.answers(PENDING)
        payment = self.pay()
        assert payment.status == "initiated"
        return payment

    def resume(self) -> int:
        """Take up what was left."""
        return self.world.run(self.till.transits.resume())

    def status(self, payment: Payment) -> str:
        """Where a payment stands now."""
        return self.till.get(payment.payment_id).payment.status

    @property
    def balances(self) -> tuple[int, int, int]:
        """What Ann has, what is on its way, and what the shop has, in whole USDC."""
        first, way, last = (self.till.balance(name) // 10**6 for name in (self.ann, WAY, self.shop))
        return first, way, last

    @property
    def used(self) -> tuple[int, int]:
        """What the budget has settled and held, in whole USDC."""
        settled, held = self.world.used(self.budget)
        return settled // 10**6, held // 10**6


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Network]:
    """One that holds at the end."""
    with World(tmp_path) as world:
        yield Network(world)
        assert world.faults() == []


def test_a_payment_that_its_rail_moved_has_arrived(net: Network) -> None:
    payment = net.pay()
    assert (payment.status, payment.transaction_hash, payment.transaction_fee_minor) == ("success", "0xfeed", 5)
    assert (net.balances, net.used) == ((90, 0, 10), (10, 0))
    assert net.world.kinds()[-4:] == ["decision", "payment", "settle", "payment"]
    assert net.rail.submitted == [payment.payment_id]


@pytest.mark.parametrize("outcome", [FAILED, CANCELLED], ids=["failed", "cancelled"])
def test_a_payment_that_its_rail_refused_is_back_and_its_budget_free(net: Network, outcome: Outcome) -> None:
    net.answers(outcome)
    payment = net.pay()
    assert (payment.status, payment.error_details) == (outcome.status, outcome.error_details)
    assert (net.balances, net.used) == ((100, 0, 0), (0, 0))
    assert net.world.kinds()[-4:] == ["decision", "payment", "release", "payment"]


def test_a_payment_that_is_denied_is_never_submitted(net: Network) -> None:
    assert net.pay("51").status == "failed"
    assert net.rail.submitted == []


def test_a_rehearsal_is_never_submitted(net: Network) -> None:
    payment = net.till.paid(paying(net.ann, net.shop, debug_mode=True))
    assert (payment.status, net.rail.submitted, net.balances) == ("success", [], (100, 0, 0))


def test_what_is_on_its_way_is_held_and_cannot_be_spent_again(net: Network) -> None:
    net.left()
    assert (net.balances, net.used) == ((90, 10, 0), (0, 10))
    with pytest.raises(Conflict):
        net.till.withdraw(net.ann, "91")


@pytest.mark.parametrize("trouble", [Unavailable("the network is down"), PENDING], ids=["down", "nothing known"])
def test_a_payment_stays_on_its_way_until_its_rail_says_more(net: Network, trouble: Outcome | Exception) -> None:
    net.answers(trouble, trouble, SUCCESS)
    payment = net.pay()
    assert payment.status == "initiated"
    assert net.resume() == 0
    for _ in range(2):
        net.world.now_us += RETRY_US
        assert net.resume() == 1
    assert net.resume() == 0
    assert (net.status(payment), net.balances, net.used) == ("success", (90, 0, 10), (10, 0))


def test_a_rail_that_is_slow_keeps_nobody_waiting(net: Network) -> None:
    async def pay() -> Payment:
        net.rail.gate = asyncio.Event()
        done = await net.till.paymaster.pay(OPERATOR, "t_one", paying(net.ann, net.shop), None, net.world.now_us)
        return done.value.payment

    payment = net.world.run(pay())
    assert payment.status == "initiated"
    net.rail.gate = None
    net.world.now_us += RETRY_US
    assert net.resume() == 1
    assert net.status(payment) == "success"


def test_a_caller_that_dies_while_the_rail_works_loses_nothing(net: Network) -> None:
    """The process is gone between the two transactions: another one asks the rail, which knows the payment."""

    async def killed() -> None:
        net.rail.gate, net.rail.asked = asyncio.Event(), asyncio.Event()
        call = net.till.paymaster.pay(OPERATOR, "t_one", paying(net.ann, net.shop), None, net.world.now_us)
        task = asyncio.create_task(call)
        await net.rail.asked.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    net.world.run(killed())
    net.rail.gate = None
    assert net.balances == (90, 10, 0)
    net.world.now_us += RETRY_US
    other = Transits(net.world.store, lambda: net.world.now_us, {"solana": net.rail})
    assert net.world.run(other.resume()) == 1
    assert net.balances == (90, 0, 10)
    assert len(net.rail.submitted) == 2


def test_the_first_answer_of_a_rail_counts(net: Network) -> None:
    """Two processes ask at once, and the network contradicts itself: what was completed stays."""
    payment = net.left()
    with net.world.store.read() as txn:
        tenant = next(txn.tenants.after(0))
    net.answers(SUCCESS)
    net.world.run(net.till.transits.submit(tenant, payment))
    net.rail.known.clear()
    net.answers(FAILED)
    again = net.world.run(net.till.transits.submit(tenant, payment))
    assert (again.status, net.balances, net.used) == ("success", (90, 0, 10), (10, 0))


def test_one_payment_that_breaks_its_rail_keeps_no_other_waiting(net: Network) -> None:
    first, second = net.left(), net.left()
    net.world.now_us += RETRY_US
    net.answers(RuntimeError("a mistake in the rail"), SUCCESS)
    with pytest.raises(RuntimeError):
        net.resume()
    assert {net.status(first), net.status(second)} == {"initiated", "success"}
    net.world.now_us += RETRY_US
    assert net.resume() == 1
    assert net.balances == (80, 0, 20)


def test_a_repeated_key_is_answered_with_where_the_payment_is_now(net: Network) -> None:
    net.answers(PENDING)
    draft = paying(net.ann, net.shop)
    first = net.till.pay(draft, key=pay_key(draft))
    net.answers(SUCCESS)
    net.world.now_us += RETRY_US
    net.resume()
    again = net.till.pay(draft, key=pay_key(draft))
    assert (first.value.payment.status, again.value.payment.status, again.replayed) == ("initiated", "success", True)
    assert len(net.rail.submitted) == 2


def test_an_account_with_payments_on_their_way_is_not_closed(net: Network) -> None:
    net.left()
    close = net.till.bank.close(OPERATOR, "t_one", net.shop, None, net.world.now_us)
    with pytest.raises(Conflict, match="on their way"):
        net.world.run(close)


def test_a_payment_arrives_although_its_sender_was_revoked_meanwhile(net: Network) -> None:
    payment = net.left()
    net.world.revoke("ann")
    net.answers(SUCCESS)
    net.world.now_us += RETRY_US
    net.resume()
    assert (net.status(payment), net.balances) == ("success", (90, 0, 10))


@pytest.mark.parametrize(("outcome", "used"), [(SUCCESS, (10, 0)), (FAILED, (0, 0))], ids=["arrived", "failed"])
def test_a_hold_that_expired_meanwhile_is_settled_late_or_stays_free(
    net: Network, outcome: Outcome, used: tuple[int, int]
) -> None:
    payment = net.left()
    net.world.now_us += 8 * DAY
    net.answers(outcome)
    net.resume()
    assert net.status(payment) == outcome.status
    with net.world.look() as part:
        reservation = part.ledger.reservation(payment.decision_id or "")
    assert reservation is not None
    assert reservation.late is (outcome is SUCCESS)
    assert sum(claim.settled for claim in reservation.claims) == used[0] * 10**6


@pytest.mark.parametrize("outcome", [SUCCESS, FAILED], ids=["arrived", "failed"])
@pytest.mark.parametrize("by_hand", ["settle", "release"])
def test_a_hold_that_was_ended_by_hand_stays_ended(net: Network, by_hand: str, outcome: Outcome) -> None:
    payment = net.left()
    assert payment.decision_id is not None
    if by_hand == "settle":
        net.world.settle(payment.decision_id)
    else:
        net.world.release(payment.decision_id)
    used = net.used
    net.answers(outcome)
    net.world.now_us += RETRY_US
    net.resume()
    assert (net.status(payment), net.used) == (outcome.status, used)


# --- Cancelling -------------------------------------------------------------------------------------------------------


def test_a_payment_on_its_way_is_stopped_where_its_rail_can(net: Network) -> None:
    payment = net.left()
    net.answers(CANCELLED)
    done = net.till.cancel(payment.payment_id)
    assert (done.value.payment.status, net.balances, net.used) == ("cancelled", (100, 0, 0), (0, 0))
    assert net.till.cancel(payment.payment_id).value == done.value
    assert net.rail.cancelled == [payment.payment_id]
    net.world.now_us += RETRY_US
    assert net.resume() == 0


def test_a_repeated_key_stops_once(net: Network) -> None:
    payment = net.left()
    net.answers(CANCELLED)
    key = pay_key(paying(net.ann, net.shop), "cancel")
    first = net.till.cancel(payment.payment_id, key=key)
    again = net.till.cancel(payment.payment_id, key=key)
    assert (first.replayed, again) == (False, (first.value, True))


@pytest.mark.parametrize(
    ("said", "status"), [(SUCCESS, "success"), (FAILED, "failed"), (PENDING, "initiated")], ids=["done", "failed", "no"]
)
def test_what_a_rail_says_instead_of_stopping_is_kept(net: Network, said: Outcome, status: str) -> None:
    payment = net.left()
    net.answers(said)
    with pytest.raises(Conflict, match=f"is `{status}`"):
        net.till.cancel(payment.payment_id, key=pay_key(paying(net.ann, net.shop), "cancel"))
    assert net.status(payment) == status


def test_a_payment_that_has_ended_is_not_cancelled(net: Network) -> None:
    payment = net.pay()
    with pytest.raises(Conflict, match="is `success`"):
        net.till.cancel(payment.payment_id)
    assert net.rail.cancelled == []


def test_only_who_may_free_budget_cancels_and_only_within_reach(net: Network) -> None:
    payment = net.left()
    net.answers(CANCELLED)
    with pytest.raises(Forbidden):
        net.till.cancel(payment.payment_id, caller=net.world.token("ann"))
    net.world.identity("eve")
    with pytest.raises(NotFound):
        net.till.cancel(payment.payment_id, caller=net.world.token("eve", may_release=True))
    assert net.till.cancel(
        payment.payment_id, caller=net.world.token("ann", may_release=True)
    ).value.payment.status == ("cancelled")


def test_a_rail_that_cannot_be_asked_cancels_nothing(net: Network) -> None:
    payment = net.left()
    net.rail.gate = None
    net.answers(Unavailable("the network is down"))
    with pytest.raises(Unavailable):
        net.till.cancel(payment.payment_id)
    assert net.status(payment) == "initiated"


# --- What is built in -------------------------------------------------------------------------------------------------


def test_a_network_that_lost_its_rail_neither_completes_nor_gives_back(net: Network) -> None:
    payment = net.left()
    bare = Till(net.world)
    net.world.now_us += RETRY_US
    assert net.world.run(bare.transits.resume()) == 1
    with pytest.raises(Conflict):
        bare.cancel(payment.payment_id)
    assert (net.status(payment), net.balances) == ("initiated", (90, 10, 0))
    assert BuiltInLedger().is_immediate


@pytest.mark.parametrize("missing", ["payment", "tenant", "payment that is completed"])
def test_a_store_in_which_what_is_on_its_way_does_not_exist_is_not_used(tmp_path: Path, missing: str) -> None:
    """Only a damaged store can name such a payment."""
    with World(tmp_path) as world:
        net = Network(world)
        payment = net.left()
        with world.store.read() as reading:
            tenant = next(reading.tenants.after(0))
        tables = world.environment.tables
        txn = world.environment.begin_write()
        key = bytes(next(iter(txn.cursor(db=tables["payments_due"])))[0])
        if missing == "tenant":
            txn.put(key[:8] + (99).to_bytes(4) + key[12:], b"", db=tables["payments_due"])
        else:
            txn.delete((1).to_bytes(4) + key[12:], db=tables["payments"])
        txn.commit()
        net.answers(SUCCESS)
        world.now_us += RETRY_US
        is_completed = missing == "payment that is completed"
        call = net.till.transits.submit(tenant, payment) if is_completed else net.till.transits.resume()
        with pytest.raises(StoreUnusable, match="does not exist"):
            world.run(call)


# --- Lists ------------------------------------------------------------------------------------------------------------


def test_payments_on_their_way_can_be_listed(net: Network) -> None:
    net.pay()
    left = net.left()
    assert net.till.listed(PaymentFilter(status="initiated")) == [left.payment_id]

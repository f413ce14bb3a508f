"""Double entry against an obvious model (I5): whatever is paid at once, refused, rehearsed or lost, sums hold.

The model is a purse per account, a list of what is on its way, and one number for the budget. Payments of one step are
planned together and land in one batch, so each was ruled on before the one in front of it had moved anything.
"""

import tempfile
from itertools import product
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from sidecar.core.accounts import external, transit
from sidecar.core.errors import Conflict
from sidecar.core.payments import Outcome, Payment
from sidecar.service.idempotency import Done
from sidecar.service.payment_effects import RETRY_US
from sidecar.service.payment_lists import Paid
from tests.service.bank import CANCELLED, FAILED, PENDING, SUCCESS, FakeRail, Till, paying
from tests.service.builders import OPERATOR, World, limit

UNIT: Final = 10**6
LIMIT: Final = 120
NAMES: Final = ("ann", "bob", "cat")
NETWORKS: Final = ("internal", "solana")
ANSWERS: Final = (SUCCESS, FAILED, CANCELLED, PENDING)

Ask = tuple[str, str, str, int, bool]


class Model:
    """What should be where, in whole units."""

    def __init__(self) -> None:
        """Nothing is anywhere."""
        self.purses = {(network, name): 0 for network in NETWORKS for name in NAMES}
        self.outside = dict.fromkeys(NETWORKS, 0)
        self.on_the_way: dict[str, tuple[str, str, int]] = {}
        self.used = 0

    def pays(self, ask: Ask) -> str:
        """Return what becomes of a payment: `conflict`, `failed`, `rehearsed` or `made`, and take it off the payer."""
        network, payer, _, amount, debug = ask
        if payer == "ann" and self.used + amount > LIMIT:
            return "failed"
        if self.purses[network, payer] < amount:
            return "conflict"
        if debug:
            return "rehearsed"
        self.purses[network, payer] -= amount
        self.used += amount if payer == "ann" else 0
        return "made"

    def arrives(self, network: str, payer: str, receiver: str, amount: int, *, does: bool) -> None:
        """Give what was taken off to whom it was for, or back, and free the budget then."""
        self.purses[network, receiver if does else payer] += amount
        self.used -= amount if payer == "ann" and not does else 0


class Trade(RuleBasedStateMachine):
    """A world and a model of it."""

    def __init__(self) -> None:
        """Open an account for everybody on both networks."""
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self.folder.name))
        self.world.tenant()
        for name in NAMES:
            self.world.identity(name)
        self.rail = FakeRail()
        self.till = Till(self.world, {"solana": self.rail})
        self.accounts = {key: self.till.account(key[1], network=key[0]) for key in product(NETWORKS, NAMES)}
        self.world.budget(limit(LIMIT, "ann", period="total", currency="USDC"))
        self.model = Model()

    @rule(network=st.sampled_from(NETWORKS), name=st.sampled_from(NAMES), amount=st.integers(1, 60))
    def deposit(self, network: str, name: str, amount: int) -> None:
        """Something comes in."""
        self.till.deposit(self.accounts[network, name], str(amount))
        self.model.purses[network, name] += amount
        self.model.outside[network] -= amount

    @rule(network=st.sampled_from(NETWORKS), name=st.sampled_from(NAMES), amount=st.integers(1, 60))
    def withdraw(self, network: str, name: str, amount: int) -> None:
        """Something goes out, if it is there."""
        fits = amount <= self.model.purses[network, name]
        try:
            self.till.withdraw(self.accounts[network, name], str(amount))
        except Conflict:
            assert not fits
            return
        assert fits
        self.model.purses[network, name] -= amount
        self.model.outside[network] += amount

    @rule(
        network=st.sampled_from(NETWORKS),
        asks=st.lists(
            st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES), st.integers(1, 50), st.booleans()).filter(
                lambda ask: ask[0] != ask[1]
            ),
            min_size=1,
            max_size=5,
        ),
        said=st.sampled_from(ANSWERS),
    )
    def pay(self, network: str, asks: list[tuple[str, str, int, bool]], said: Outcome) -> None:
        """Several pay at once; the rail of a network that has one says the same of all of them."""
        self.rail.answers = [said]
        calls = [
            self.till.paymaster.pay(
                OPERATOR,
                "t_one",
                paying(
                    self.accounts[network, payer],
                    self.accounts[network, receiver],
                    str(amount),
                    debug_mode=debug and amount % 2 == 0,
                ),
                None,
                self.world.now_us,
            )
            for payer, receiver, amount, debug in asks
        ]
        answers = self.world.together(*calls)
        expected = []
        for payer, receiver, amount, debug in asks:
            became = self.model.pays((network, payer, receiver, amount, debug and amount % 2 == 0))
            expected.append(became)
            if became == "made" and network == "internal":
                self.model.arrives(network, payer, receiver, amount, does=True)
        for (payer, receiver, amount, _), became, answer in zip(asks, expected, answers, strict=True):
            payment = self._check(network, became, answer, said)
            if payment is not None:
                if payment.status == "initiated":
                    self.model.on_the_way[payment.payment_id] = (payer, receiver, amount)
                else:
                    self.model.arrives(network, payer, receiver, amount, does=payment.status == "success")

    def _check(self, network: str, became: str, answer: Done[Paid] | BaseException, said: Outcome) -> Payment | None:
        """Compare what came of a payment with the model; returns it where a rail was asked about it."""
        if isinstance(answer, BaseException):
            assert isinstance(answer, Conflict), answer
            assert became == "conflict"
            return None
        payment = answer.value.payment
        if became != "made" or network == "internal":
            assert payment.status == ("failed" if became == "failed" else "success"), became
            assert payment.debug_mode or became != "rehearsed"
            return None
        assert payment.status == ("initiated" if said is PENDING else said.status)
        return payment

    @rule(said=st.sampled_from(ANSWERS))
    def resume(self, said: Outcome) -> None:
        """The background work asks again about what is on its way."""
        self.rail.answers = [said]
        self.world.now_us += RETRY_US
        assert self.world.run(self.till.transits.resume()) == len(self.model.on_the_way)
        self._ended(list(self.model.on_the_way), said)

    @rule(said=st.sampled_from(ANSWERS), data=st.data())
    def cancel(self, said: Outcome, data: st.DataObject) -> None:
        """Somebody wants one of them back."""
        if not self.model.on_the_way:
            return
        payment_id = data.draw(st.sampled_from(sorted(self.model.on_the_way)))
        self.rail.answers = [said]
        try:
            self.till.cancel(payment_id)
        except Conflict:
            assert said is not CANCELLED
        else:
            assert said is CANCELLED
        self._ended([payment_id], said)

    def _ended(self, payment_ids: list[str], said: Outcome) -> None:
        for payment_id in payment_ids if said is not PENDING else ():
            payer, receiver, amount = self.model.on_the_way.pop(payment_id)
            self.model.arrives("solana", payer, receiver, amount, does=said is SUCCESS)

    @invariant()
    def books_are_those_of_the_model(self) -> None:
        """Each account holds what it should, what is on its way lies in transit, and all of it sums to zero."""
        model = self.model
        for key, minor in model.purses.items():
            assert self.till.balance(self.accounts[key]) == minor * UNIT, key
        for network in NETWORKS:
            assert self.till.balance(external(network, "USDC")) == model.outside[network] * UNIT
        on_the_way = sum(amount for _, _, amount in model.on_the_way.values())
        assert self.till.balance(transit("solana", "USDC")) == on_the_way * UNIT

    def teardown(self) -> None:
        """Check the whole store."""
        faults = self.world.faults()
        self.world.close()
        self.folder.cleanup()
        assert faults == []


def test_whatever_is_paid_sums_to_zero() -> None:
    run_state_machine_as_test(
        Trade,
        settings=settings(
            max_examples=20, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )

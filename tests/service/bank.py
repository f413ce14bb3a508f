"""Accounts and payments of a world: a bank with a paymaster, and a rail that does what a test says."""

import asyncio
from collections.abc import Mapping

import msgspec

from sidecar.core.access import Caller
from sidecar.core.idempotency import IdempotencyKey, idempotency_key
from sidecar.core.money import Major
from sidecar.core.payments import Outcome, Payment
from sidecar.service.accounts import AccountDraft, Bank
from sidecar.service.idempotency import Done
from sidecar.service.paging import PageRequest
from sidecar.service.payment_lists import Paid, PaymentFilter
from sidecar.service.payment_plan import PaymentDraft, Side
from sidecar.service.payments import Paymaster
from sidecar.service.rails import Rail
from sidecar.service.transits import NO_RAILS, Transits
from tests.service.builders import OPERATOR, World

SUCCESS = Outcome(status="success", transaction_hash="0xfeed", transaction_fee_minor=5)
FAILED = Outcome(status="failed", error_details="the network refused it")
CANCELLED = Outcome(status="cancelled")
PENDING = Outcome(status="pending")


class FakeRail:
    """An honest network that can be slow, refuse, break down, and forget to answer; it moves each payment once."""

    is_immediate = False

    def __init__(self, *answers: Outcome | Exception) -> None:
        """Answer so, one call after the other, the last one again and again."""
        self.answers = list(answers or (SUCCESS,))
        self.submitted: list[str] = []
        self.cancelled: list[str] = []
        self.gate: asyncio.Event | None = None
        self.known: dict[str, Outcome] = {}

    async def submit(self, payment: Payment) -> Outcome:
        """Take a payment."""
        self.submitted.append(payment.payment_id)
        if self.gate is not None:
            await self.gate.wait()
        return self._answer(payment)

    async def cancel(self, payment: Payment) -> Outcome:
        """Stop a payment unless it was moved."""
        self.cancelled.append(payment.payment_id)
        return self._answer(payment)

    def _answer(self, payment: Payment) -> Outcome:
        if payment.payment_id in self.known:
            return self.known[payment.payment_id]
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if answer.status != "pending":
            self.known[payment.payment_id] = answer
        return answer


class Till:
    """The accounts and payments of a world; ``rails`` are by network."""

    def __init__(self, world: World, rails: Mapping[str, Rail] = NO_RAILS, *, rail_seconds: float = 5.0) -> None:
        """Work on the store of ``world``."""
        self.world = world
        self.bank = Bank(world.store, world.ids)
        self.transits = Transits(world.store, lambda: world.now_us, rails, rail_seconds)
        self.paymaster = Paymaster(world.store, world.authorizer, world.snapshots, world.ids, self.transits)

    def account(
        self, identity_id: str, amount: str | None = None, asset: str = "USDC", network: str = "internal"
    ) -> str:
        """Open an account, with something in it where an amount is given; returns its id."""
        draft = AccountDraft(identity_id=identity_id, asset=asset, network=network)
        account_id = self.world.run(self.bank.open(OPERATOR, "t_one", draft, None, self.world.now_us)).value.account
        if amount is not None:
            self.deposit(account_id.account_id, amount)
        return account_id.account_id

    def deposit(self, account_id: str, amount: str) -> int:
        """Book what comes in; returns what is in the account then."""
        call = self.bank.deposit(OPERATOR, "t_one", account_id, Major(amount), None, None, self.world.now_us)
        return self.world.run(call).value.balance_minor

    def withdraw(self, account_id: str, amount: str) -> int:
        """Book what goes out; returns what is in the account then."""
        call = self.bank.withdraw(OPERATOR, "t_one", account_id, Major(amount), None, None, self.world.now_us)
        return self.world.run(call).value.balance_minor

    def balance(self, account_id: str) -> int:
        """Return what is in an account, one of the sidecar's own too."""
        with self.world.look() as part:
            return part.books.balance(account_id).minor

    def pay(self, draft: PaymentDraft, *, key: IdempotencyKey | None = None, caller: Caller = OPERATOR) -> Done[Paid]:
        """Make a payment."""
        return self.world.run(self.paymaster.pay(caller, _named(caller), draft, key, self.world.now_us))

    def paid(self, draft: PaymentDraft, caller: Caller = OPERATOR) -> Payment:
        """Make a payment and return it."""
        return self.pay(draft, caller=caller).value.payment

    def cancel(self, payment_id: str, *, key: IdempotencyKey | None = None, caller: Caller = OPERATOR) -> Done[Paid]:
        """Stop a payment."""
        return self.world.run(self.paymaster.cancel(caller, _named(caller), payment_id, key, self.world.now_us))

    def get(self, payment_id: str, caller: Caller = OPERATOR) -> Paid:
        """Look a payment up."""
        return self.paymaster.get(caller, _named(caller), payment_id)

    def listed(
        self, wanted: PaymentFilter | None = None, *, caller: Caller = OPERATOR, newest_first: bool = False
    ) -> list[str]:
        """Return the ids of the payments in a list, whose pages have two each."""
        found: list[str] = []
        after: int | None = 0
        while after is not None:
            page = self.paymaster.listed(
                caller, _named(caller), wanted or PaymentFilter(), PageRequest(after, 2), newest_first=newest_first
            )
            found += [value.payment.payment_id for value in page.values]
            after = page.next_after
        return found


def paying(source: str, target: str, amount: str = "10", **more: object) -> PaymentDraft:
    """A payment between two accounts or identities; what begins like an account's id is one."""
    draft = PaymentDraft(source=_side(source), target=_side(target), amount=Major(amount), currency="USDC")
    return msgspec.structs.replace(draft, **more)


def pay_key(draft: PaymentDraft, text: str = "k1", caller: Caller = OPERATOR) -> IdempotencyKey:
    """The idempotency key of a payment as a door makes it."""
    return idempotency_key(caller.name, "POST /v1/payments", text, draft.fingerprint)


def _side(name: str) -> Side:
    return Side(account_id=name) if name.startswith("acct_") else Side(identity_id=name)


def _named(caller: Caller) -> str | None:
    return None if caller.token is not None else "t_one"

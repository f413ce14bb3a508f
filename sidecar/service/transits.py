"""Payments on their way: handed to the rails of their networks, and completed by what those say.

Between the transaction that decided and the one that completes, the value is in transit. Whoever dies in between leaves
a payment that the background work takes up again: rails know a payment by its id, and its first outcome counts.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final

from sidecar.core.access import Caller
from sidecar.core.directory import Tenant
from sidecar.core.errors import StoreUnusable, Unavailable
from sidecar.core.payments import Outcome, Payment
from sidecar.service.payment_effects import complete
from sidecar.service.rails import PENDING, BuiltInLedger, Rail
from sidecar.service.store import Store, TenantTransaction, Transaction

RAIL_SECONDS: Final = 30.0
"""How long a rail is waited for; then the payment stays on its way and is looked after later."""

RESUME_BATCH: Final = 64
"""Payments that one step of the background work asks their rails about, all at once."""

NO_RAILS: Final[Mapping[str, Rail]] = MappingProxyType({})


class Transits:
    """Moves what is on its way, in any tenant."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], int],
        rails: Mapping[str, Rail] = NO_RAILS,
        rail_seconds: float = RAIL_SECONDS,
    ) -> None:
        """Ask ``rails``, by network; any other network is settled in the ledger built in."""
        self._store = store
        self._clock = clock
        self._rails = rails
        self._rail_seconds = rail_seconds
        self._built_in = BuiltInLedger()

    def are_needed(self, network: str) -> bool:
        """Whether payments on ``network`` are on their way for a time."""
        return not self._rail(network).is_immediate

    async def submit(self, tenant: Tenant, payment: Payment) -> Payment:
        """Hand over a payment and complete it; returns it as it is then, on its way where nothing is known yet."""
        try:
            outcome = await self._answer(self._rail(payment.network).submit(payment))
        except Unavailable:
            return payment
        return await self._store.write(lambda txn: self._complete(txn, tenant, payment, outcome))

    async def stop(self, payment: Payment) -> Outcome:
        """Ask for a payment to be cancelled; returns what became of it. Raises Unavailable."""
        return await self._answer(self._rail(payment.network).cancel(payment))

    def end(self, part: TenantTransaction, payment: Payment, outcome: Outcome, caller: Caller | None) -> Payment:
        """Complete a payment inside a transaction, by what its rail says."""
        return complete(part, payment, outcome, caller, self._clock())

    async def resume(self) -> int:
        """Take up some payments that were left on their way; returns how many, 0 once none is due.

        Raises what a rail raised, after all of them were asked.
        """
        now_us = self._clock()
        with self._store.read() as txn:
            if not txn.due_payments(now_us, 1):
                return 0
        left = await self._store.write(lambda txn: self._take(txn, now_us))
        results = await asyncio.gather(*(self.submit(*each) for each in left), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return len(left)

    def _take(self, txn: Transaction, now_us: int) -> list[tuple[Tenant, Payment]]:
        """Return payments that are due, each put off first: one that its rail fails must not keep others waiting."""
        taken = []
        for due in txn.due_payments(now_us, RESUME_BATCH):
            tenant = txn.tenants.get(due.tenant)
            part = None if tenant is None else txn.of(tenant)
            payment = None if part is None else part.payments.get(due.payment_id)
            if tenant is None or part is None or payment is None:
                raise StoreUnusable(f"`{due.payment_id}` is on its way and does not exist")
            taken.append((tenant, complete(part, payment, PENDING, None, now_us)))
        return taken

    def _complete(self, txn: Transaction, tenant: Tenant, payment: Payment, outcome: Outcome) -> Payment:
        part = txn.of(tenant)
        present = part.payments.get(payment.payment_id)
        if present is None:
            raise StoreUnusable(f"`{payment.payment_id}` was on its way and does not exist")
        return self.end(part, present, outcome, None)

    async def _answer(self, call: Awaitable[Outcome]) -> Outcome:
        try:
            async with asyncio.timeout(self._rail_seconds):
                return await call
        except TimeoutError as error:
            raise Unavailable("the network did not say in time what became of the payment") from error

    def _rail(self, network: str) -> Rail:
        return self._rails.get(network, self._built_in)

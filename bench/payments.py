"""``python -m bench.payments``: what a payment costs beside a permit, after a thousand payments and after 100,000.

Requests go straight into the real ASGI application, on a store of its own without fsync, so that only our own work is
in the figures. A permit and a payment of the same agent claim the same two budgets. All calls take turns, so that what
disturbs one disturbs the others: quote the ratio.
"""

import asyncio
import itertools
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import orjson

from bench import tenant
from bench.servers import ROOT
from bench.steps import MICRO, OPERATOR, call
from sidecar.app.composition import Health, compose
from sidecar.app.logs import set_up_logs
from sidecar.app.prepare import prepare
from sidecar.core.access import Caller
from sidecar.core.ids import PAYMENT, id_of
from sidecar.service.payment_effects import begin
from sidecar.service.payment_store import ListOf
from sidecar.service.store import Store, Transaction
from sidecar.settings import Settings

PAYMENTS: Final = (1_000, 10_000, 100_000)
ROUNDS: Final = 10
TIMES: Final = 20
CHUNK: Final = 1_000
COLUMNS: Final = ("permit", "payment", "get", "a page of 50", "of one receiver")


class Till:
    """A tenant whose agent pays a shop; both ``POST /v1/authorize`` and ``POST /v1/payments`` are permitted."""

    def __init__(self, application: Any, store: Store) -> None:  # noqa: ANN401  # ASGI
        """Work on ``application`` and fill its ``store``."""
        self._application = application
        self._store = store
        self._cents = itertools.count(1)
        self.key = ""
        self.tenant_id = ""
        self.payer = ""
        self.shop = ""
        self.made: dict[str, Any] = {}
        self._lists: list[tuple[ListOf, str]] = []

    async def post(self, path: str, body: dict[str, object]) -> dict[str, Any]:
        """Make something."""
        return await call(self._application, f"/v1/{path}", orjson.dumps(body), self.key or OPERATOR)

    async def get(self, path: str) -> dict[str, Any]:
        """Look at something."""
        return await call(self._application, f"/v1/{path}", b"", self.key, method="GET")

    async def open(self) -> None:
        """Make the tenant and the first payment."""
        founded = await self.post("tenants", {"name": "Bench", "time_zone": "America/Toronto"})
        self.key, self.tenant_id, root = founded["api_key"], founded["tenant_id"], founded["root_identity_id"]
        team = (await self.post("identities", {"parent_id": root, "type": "team", "name": "team"}))["identity_id"]
        rules = tenant.RULES | {"actions": ["card.authorize", "payment.create"]}
        rules.pop("allowed_mccs")  # payments have none
        await self.post("policies", {"identity_id": team, "name": "Spend", "rules": rules})
        names = []
        for parent, kind in ((team, "agent"), (root, "service")):
            body: dict[str, object] = {"parent_id": parent, "type": kind, "name": kind}
            identity = (await self.post("identities", body))["identity_id"]
            account = (await self.post("accounts", {"identity_id": identity, "asset": "CAD"}))["account_id"]
            names.append((identity, account))
        (self.payer, source), (self.shop, _) = names
        for owner, period in ((team, "total"), (self.payer, "daily")):
            await self.post("budgets", tenant.budget(owner, period, period, tenant.BUDGET_LIMIT))
        await self.post(f"accounts/{source}/deposits", {"amount": tenant.BUDGET_LIMIT})
        self.made = await self.pay()
        self._lists = [
            *(("within", name) for name in (root, team, self.payer, self.shop)),
            ("actor", self.payer),
            ("sender", self.payer),
            ("receiver", self.shop),
            *(("account", account) for _, account in names),
        ]

    async def fill(self, payments: int) -> None:
        """Copy the first payment until there are so many: movement, journal, lists and record, without a decision."""
        for start in range(1, payments, CHUNK):
            await self._store.write(partial(self._copy, numbers=range(start, min(start + CHUNK, payments))))

    def _copy(self, txn: Transaction, numbers: range) -> None:
        found = txn.tenants.find(self.tenant_id)
        if found is None:
            raise click.ClickException("the tenant is gone")
        part = txn.of(found)
        first = part.payments.get(self.made["payment_id"])
        if first is None:
            raise click.ClickException("the first payment is gone")
        for number in numbers:
            name = id_of(PAYMENT, number.to_bytes(16, "big"))
            copy = msgspec.structs.replace(first, payment_id=name, decision_id=None)
            begin(part, copy, self._lists, Caller("operator"), first.created_at_us)

    async def permit(self) -> dict[str, Any]:
        """Authorize a card payment, of another amount each time."""
        resource = {"type": "merchant", "id": "AWS", "amount": next(self._cents) / 100, "currency": "CAD"}
        body: dict[str, object] = {"identity_id": self.payer, "action": "card.authorize", "resource": resource}
        return _require(await self.post("authorize", body), "allowed", wanted=True)

    async def pay(self) -> dict[str, Any]:
        """Pay the shop, another amount each time."""
        body: dict[str, object] = {"identity_id": self.payer, "receiver_id": self.shop, "currency": "CAD"}
        return _require(await self.post("payments", body | {"amount": next(self._cents) / 100}), "status", "success")

    async def look(self) -> dict[str, Any]:
        """Show the first payment."""
        return _require(await self.get(f"payments/{self.made['payment_id']}"), "status", "success")

    async def page(self) -> dict[str, Any]:
        """List the oldest payments."""
        return _require_page(await self.get("payments"))

    async def received(self) -> dict[str, Any]:
        """List the oldest payments to the shop that succeeded."""
        return _require_page(await self.get(f"payments?receiver_id={self.shop}&status=success"))


def _require(answer: dict[str, Any], field: str, wanted: object) -> dict[str, Any]:
    if answer.get(field) != wanted:
        raise click.ClickException(f"`{field}` is not {wanted!r}: {answer}")
    return answer


def _require_page(answer: dict[str, Any]) -> dict[str, Any]:
    if not answer.get("data"):
        raise click.ClickException(f"an empty page: {answer}")
    return answer


async def medians(till: Till) -> tuple[float, ...]:
    """Return what each call takes, in microseconds: of each round the median, of the rounds the least."""
    calls = (till.permit, till.pay, till.look, till.page, till.received)
    rounds: list[list[float]] = []
    for _ in range(ROUNDS):
        taken: list[list[float]] = []
        for _ in range(TIMES):
            row = []
            for each in calls:
                began = time.perf_counter()
                await each()
                row.append((time.perf_counter() - began) * MICRO)
            taken.append(row)
        rounds.append([statistics.median(column) for column in zip(*taken, strict=True)])
    return tuple(min(column) for column in zip(*rounds, strict=True))


async def _measured(till: Till, payments: int) -> tuple[float, ...]:
    await till.open()
    await till.fill(payments)
    return await medians(till)


def main() -> None:
    """Print one row per number of payments: medians in microseconds."""
    set_up_logs("error")
    click.echo(f"| payments | {' | '.join(f'{name}, µs' for name in COLUMNS)} | payment : permit |")
    click.echo("| ---: " * (len(COLUMNS) + 2) + "|")
    for payments in PAYMENTS:
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(
                data_dir=Path(folder) / "data",
                policies=ROOT / "policies",
                schemas=ROOT / "schemas",
                durability="process-crash",
                admin_token=OPERATOR,
            )
            worker = compose(prepare(settings), lambda: None, Health())
            try:
                found = asyncio.run(_measured(Till(worker.application, worker.store), payments))
            finally:
                worker.store.close()
        figures = " | ".join(f"{figure:,.0f}" for figure in found)
        click.echo(f"| {payments:,} | {figures} | {found[1] / found[0]:.2f} |")


if __name__ == "__main__":
    main()

"""``python -m bench.kill_switch``: what freezing every card of a subtree costs with ten cards and with ten thousand.

In this process, on a store of its own without fsync, so that only our own work is in the figures: the mark alone, the
whole call (which counts the cards after the mark is written), and the first decision with a frozen card.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from sidecar.app.sources import AscendingIds, random_bytes
from sidecar.core.access import Caller
from sidecar.core.cards import Card
from sidecar.core.directory import walk
from sidecar.core.model import AuthorizeRequest, ResourceRef
from sidecar.replica.files import read_files
from sidecar.service.access import tenant_of
from sidecar.service.authorize import Authorizer
from sidecar.service.budgets import Treasurer
from sidecar.service.card_drafts import CardDraft
from sidecar.service.identities import Registry
from sidecar.service.identity_changes import kill_cards
from sidecar.service.kill_switch import KillSwitch
from sidecar.service.snapshots import Snapshots
from sidecar.service.store import Transaction
from sidecar.service.tenants import Tenancy, TenantDraft
from sidecar.service.tokens import TokenDesk
from sidecar.service.treasury import CardDesk
from sidecar.state.environment import open_environment
from sidecar.state.headroom import Headroom
from sidecar.state.store import LmdbStore

CARDS: Final = (10, 100, 1_000, 10_000)
ROUNDS: Final = 20
CHUNK: Final = 500
OPERATOR: Final = Caller("operator")
ROOT: Final = Path(__file__).parent.parent


class Treasury:
    """A tenant whose root has ``cards`` cards."""

    def __init__(self, folder: Path, cards: int) -> None:
        """Make it."""
        environment = open_environment(folder / "db", durability="process-crash")
        self.store = LmdbStore(environment, Headroom(environment.data_file(), 0), shared=False, fail=print)
        snapshots, ids = Snapshots(), AscendingIds()
        registry = Registry(self.store, snapshots, ids)
        desk = TokenDesk(self.store, ids, random_bytes, "unused")
        self.runner = asyncio.Runner()
        self.run(self.store.write(_load))
        draft = TenantDraft("Acme", "acme", "UTC", "live", "root", "Ann", "user")
        self.run(Tenancy(self.store, registry, desk, ids).create(OPERATOR, draft, now_us()))
        card_desk = CardDesk(self.store, Treasurer(self.store, snapshots, ids), ids)
        card = CardDraft(identity_id="root", currency="CAD")
        self.card: Card = self.run(card_desk.create(OPERATOR, "acme", card, None, now_us())).value.card
        for begin in range(1, cards, CHUNK):
            self.run(self.store.write(partial(self._copy, numbers=range(begin, min(begin + CHUNK, cards)))))
        self.switch = KillSwitch(self.store)
        self.authorizer = Authorizer(self.store, snapshots, ids)

    def _copy(self, txn: Transaction, numbers: range) -> None:
        tenant = tenant_of(txn, OPERATOR, "acme")
        part = txn.of(tenant)
        for number in numbers:
            revision = txn.tenants.advance(tenant.number)
            copy = msgspec.structs.replace(
                self.card, card_id=f"card_{number}", thawed_revision=revision, revision=revision
            )
            part.cards.add(copy.card_id, copy, revision, owner="root")

    def run(self, call: Coroutine[object, object, Any]) -> Any:  # noqa: ANN401 -- whatever the call returns
        """Await one call."""
        return self.runner.run(call)

    def mark(self, txn: Transaction) -> None:
        """Write the mark alone."""
        part = txn.of(tenant_of(txn, OPERATOR, "acme"))
        identity = walk("root", part.identities.get)[0]
        kill_cards(txn, part, identity, "kill_switch", "bench", now_us())

    def close(self) -> None:
        """Close the store."""
        self.store.close()
        self.runner.close()


def _load(txn: Transaction) -> None:
    txn.keep_policy_files(read_files(ROOT / "policies", ROOT / "schemas"))


def now_us() -> int:
    """Return the time."""
    return time.time_ns() // 1_000


def measured(treasury: Treasury, call: Coroutine[object, object, object]) -> float:
    """Return how long a call takes, in microseconds."""
    began = time.perf_counter()
    treasury.run(call)
    return (time.perf_counter() - began) * 1e6


def medians(treasury: Treasury) -> tuple[float, ...]:
    """Return what the mark alone, the whole call and a decision take."""
    request = AuthorizeRequest(
        identity_id="root",
        action="card.authorize",
        resource=ResourceRef("merchant", "AWS"),
        amount_minor=100,
        currency="CAD",
        card_id=treasury.card.card_id,
        ttl_seconds=60,
    )
    rows = [
        (
            measured(treasury, treasury.store.write(treasury.mark)),
            measured(treasury, treasury.switch.kill(OPERATOR, "acme", "root", None, now_us())),
            measured(treasury, treasury.authorizer.authorize(OPERATOR, "acme", request, None, now_us())),
        )
        for _ in range(ROUNDS)
    ]
    return tuple(statistics.median(column) for column in zip(*rows, strict=True))


def main() -> None:
    """Print one row per number of cards: medians in microseconds."""
    click.echo("| cards | mark alone, µs | whole call, µs | decision with a frozen card, µs |")
    click.echo("| ---: | ---: | ---: | ---: |")
    for cards in CARDS:
        with tempfile.TemporaryDirectory() as folder:
            treasury = Treasury(Path(folder), cards)
            figures = " | ".join(f"{figure:,.0f}" for figure in medians(treasury))
            treasury.close()
        click.echo(f"| {cards:,} | {figures} |")


if __name__ == "__main__":
    main()

"""``kill -9`` at any moment loses nothing that was acknowledged and breaks nothing that holds (I1 to I6).

The server is killed under concurrent load, first with one worker, then with three of which one may die alone before;
every few times the next start is killed as well. Then the data directory is checked at rest, the server started on it
again, calls in flight repeated, and every acknowledged decision compared with what was answered.
"""

import random
import secrets
import time
from decimal import Decimal
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner
from lmdb.verify import verify as verify_file

from sidecar.cli.main import sidecar
from tests.process.server import Acme, Client, Document, Server, check_at_rest, found_acme, poll
from tests.process.spender import Order, Spender, Till, make, without_id

SPENDERS = 6
MOMENT_SECONDS_MAX = 0.35
UNDER_WAY = 0.8
"""Share of lives that end only after a first decision."""

ANSWER_SECONDS_MAX = 20.0
OLDER_CHECKED = 40
PLENTY = 10_000_000_000
REPEATED = 10

BUDGETS = (
    {"name": "daily", "limit": 100_000},
    {"name": "rolling", "limit": 50_000, "period": "rolling_24h"},
    {"name": "total", "limit": 70_000, "period": "total"},
    {"name": "once", "limit": "9.00", "period": "per_transaction"},
    {"name": "calls", "limit": 100_000, "dimension": "count", "currency": None},
    {"name": "tokens", "limit": 1_000_000, "dimension": "tokens", "currency": None, "on_expiry": "settle"},
)


class Ordeal:
    """One server, those who call it, and the checks between two of its lives."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Make the tenant; nothing is killed yet."""
        self._random = random.Random(seed)
        self._folder = folder
        self._checked = 0
        self.server = Server(folder)
        with self.server, self.server.client() as client:
            self._acme: Acme = found_acme(client, BUDGETS)
            budgets = client.ok("GET", "/v1/budgets", token=self._acme.key)["data"]
            self._till = _open_till(client, self._acme)
            assert self.server.stop() == 0
        ids = [budget["budget_id"] for budget in budgets if budget["dimension"] == "amount"]
        self._spenders = [
            Spender(number, self._acme, ids[number % len(ids)], self._till, self._random.getrandbits(32))
            for number in range(SPENDERS)
        ]

    def live_and_die(self, workers: int, *, dies_at_start: bool) -> None:
        """Start, check what the life before left, call, kill, check at rest."""
        if dies_at_start:
            self._die_at_start(workers)
        self.server = Server(self._folder, "--workers", str(workers))
        self.server.start()
        self._check_answers()
        threads = [Thread(target=each.spend, args=(self._client(),)) for each in self._spenders]
        for thread in threads:
            thread.start()
        if self._random.random() < UNDER_WAY:
            poll(lambda: self._decided() > self._checked, ANSWER_SECONDS_MAX)
        time.sleep(self._random.uniform(0, MOMENT_SECONDS_MAX))
        if workers > 1 and self._random.random() < 0.5:
            self._kill_one_worker()
        self.server.kill()
        for thread in threads:
            thread.join()
        assert [each.fault for each in self._spenders if each.fault is not None] == []
        self._check_at_rest()

    def end(self) -> None:
        """Start once more, compare every decision there ever was, stop, and check with the commands themselves."""
        with Server(self._folder) as self.server:
            self._checked = 0
            self._check_answers()
            assert any(each.paid for each in self._spenders)
            assert self.server.stop() == 0
        check_at_rest(self.server.data_dir)

    def _decided(self) -> int:
        return sum(len(each.decided) for each in self._spenders)

    def _client(self) -> Client:
        return self.server.client(self._acme.key)

    def _die_at_start(self, workers: int) -> None:
        server = Server(self._folder, "--workers", str(workers))
        server.launch()
        time.sleep(self._random.uniform(0, 1.2))
        server.kill()

    def _kill_one_worker(self) -> None:
        """Let one worker die alone, perhaps while it holds the writer lock; the others go on."""
        victim = self._random.choice(self.server.workers())
        self.server.kill_worker(victim)
        time.sleep(self._random.uniform(0, MOMENT_SECONDS_MAX))

    def _check_at_rest(self) -> None:
        marks = [document["audit"] for each in self._spenders for _, document in each.decided]
        assert len({mark["seq"] for mark in marks}) == len(marks)
        contains = [word for mark in marks for word in ("--contains", f"{mark['seq']}:{mark['hash']}")]
        data_dir = ["--data-dir", str(self.server.data_dir)]
        for words in (["verify", "--tenant", self._acme.tenant_id, *contains], ["fsck"]):
            done = CliRunner().invoke(sidecar, ["audit", *words, *data_dir])
            assert done.exit_code == 0, (words[:3], done.output, done.exception)
        file_faults = verify_file(str(self.server.data_dir / "db"))  # type: ignore[no-untyped-call]  # it has no types
        assert file_faults == []

    def _check_answers(self) -> None:
        """Resolve what was in flight, then compare the decisions of the last life and some older ones."""
        with self._client() as client:
            for each in self._spenders:
                each.resolve(client)
            found = [(each, *decided) for each in self._spenders for decided in each.decided]
            found.sort(key=lambda item: int(item[2]["audit"]["seq"]))
            older = found[: self._checked]
            for each, _, answered in found[self._checked :] + self._sample(older, OLDER_CHECKED):
                stored = client.call("GET", f"/v1/decisions/{answered['decision_id']}").exact
                reservation = stored["reservation"] and without_id(stored["reservation"])
                assert reservation == each.reservations.get(answered["decision_id"]), (answered, stored)
                assert stored | {"reservation": answered["reservation"]} == answered
            for each, order, answered in self._sample(found, REPEATED):
                if order.body["identity_id"] not in each.revoked:
                    again = make(client, order)
                    assert again.is_replayed, (order, again)
                    assert again.exact == answered
            self._checked = len(found)
            self._check_payments(client)

    def _check_payments(self, client: Client) -> None:
        """What was answered is what is kept, and the shop has the sum of it: nothing is lost or paid twice."""
        paid = [answered for each in self._spenders for _, answered in each.paid]
        for answered in self._random.sample(paid, min(len(paid), OLDER_CHECKED)):
            assert client.call("GET", f"/v1/payments/{answered['payment_id']}").exact == answered
        arrived = sum(Decimal(str(answered["amount"])) for answered in paid if answered["status"] == "success")
        assert Decimal(str(client.ok("GET", f"/v1/accounts/{self._till.target}")["balance"])) == arrived

    def _sample(self, found: list[tuple[Spender, Order, Document]], most: int) -> list[tuple[Spender, Order, Document]]:
        return self._random.sample(found, min(most, len(found)))


def _open_till(client: Client, acme: Acme) -> Till:
    """Let the agent pay out of an account with plenty in it, to a shop."""
    rules = {"actions": ["payment.create"]}
    client.ok("POST", "/v1/policies", {"identity_id": acme.team, "name": "pay", "rules": rules}, token=acme.key)
    body = {"parent_id": acme.root, "type": "service", "name": "shop", "id": "shop"}
    client.ok("POST", "/v1/identities", body, token=acme.key)
    source, target = (
        client.ok("POST", "/v1/accounts", {"identity_id": identity, "asset": "CAD"}, token=acme.key)["account_id"]
        for identity in (acme.agent, "shop")
    )
    client.ok("POST", f"/v1/accounts/{source}/deposits", {"amount": PLENTY}, token=acme.key)
    return Till(source, target)


@pytest.mark.crash
def test_nothing_acknowledged_is_lost_when_the_server_is_killed(
    tmp_path: Path, kills: int, kill_seed: int | None
) -> None:
    """Whatever moment a server dies at, its log, figures and answers are those that it had acknowledged."""
    seed = secrets.randbits(32) if kill_seed is None else kill_seed
    print(f"repeat with --kill-seed {seed}")  # noqa: T201 -- shown when the test fails
    ordeal = Ordeal(tmp_path, seed)
    try:
        for number in range(kills):
            ordeal.live_and_die(1 if number < kills / 2 else 3, dies_at_start=number % 5 == 4)
        ordeal.end()
    finally:
        ordeal.server.__exit__(None, None, None)

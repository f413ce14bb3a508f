"""``kill -9`` of a follower and of its control plane at any moment loses nothing and repeats nothing.

Buyers spend at the follower: from a budget that it decides on alone, and from one that the control plane decides on in
the same call. Either server is killed under that load and started again. At the end every decision that was answered is
in the follower's log once and at the control plane once, both logs verify, and both budgets have used exactly what the
permits say.
"""

import random
import secrets
import time
from decimal import Decimal
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.process.following import SECONDS, Following
from tests.process.server import Client, Document, Lost, Refused, check_at_rest, poll, run_sidecar

BUYERS = 4
KILLS_PER_LIFE = 12
"""Of the kills that the crash test of one server makes, one in so many is made here: two servers start more slowly."""

MOMENT_SECONDS_MAX = 0.7
LIMIT = 100_000
RETRY_SECONDS = 0.05


class Buyer:
    """Asks, settles and releases until it is told to stop; what was not answered is asked again with the same key."""

    def __init__(self, number: int, pair: Following, identity_id: str, seed: int) -> None:
        """Buy as ``identity_id``."""
        self._number = number
        self._pair = pair
        self._identity_id = identity_id
        self._random = random.Random(seed)
        self._made = 0
        self._pending: tuple[str, Document, str] | None = None
        self.stopped = Event()
        self.decided: list[Document] = []
        self.open: list[str] = []
        self.fault: BaseException | None = None

    def buy(self) -> None:
        """Go on until stopped, and through all deaths of the server."""
        try:
            with self._pair.agent() as client:
                while not self.stopped.is_set() or self._pending is not None:
                    self._attempt(client)
        except BaseException as error:  # noqa: BLE001 -- a thread's failure is told by the test
            self.fault = error

    def _attempt(self, client: Client) -> None:
        path, body, key = self._pending = self._pending or self._next()
        try:
            answer = client.call("POST", path, body, key=key)
        except (Lost, Refused):
            time.sleep(RETRY_SECONDS)
            return
        if answer.status == 503:
            time.sleep(RETRY_SECONDS)
            return
        assert answer.status == 200, (path, body, answer)
        self._pending = None
        if path == "/v1/authorize":
            self.decided.append(answer.exact)
            if answer.exact["allowed"]:
                self.open.append(answer.exact["decision_id"])

    def _next(self) -> tuple[str, Document, str]:
        self._made += 1
        key = f"buyer {self._number} call {self._made}"
        if len(self.open) > 3 and self._random.random() < 0.4:
            decision_id = self.open.pop(self._random.randrange(len(self.open)))
            return f"/v1/decisions/{decision_id}/{self._random.choice(('settle', 'release'))}", {}, key
        request = self._pair.acme.request(f"{self._random.randint(1, 9)}.25") | {"identity_id": self._identity_id}
        return "/v1/authorize", request, key


class Ordeal:
    """Both servers and those who buy at the follower."""

    def __init__(self, pair: Following, seed: int) -> None:
        """Make one budget of each kind, and a second agent beside the first."""
        self._random = random.Random(seed)
        self._pair = pair
        self._referring = pair.add("whose budget is decided at the control plane")
        self.assigned = self._budget(pair.acme.agent, {"follower_id": pair.follower_id})
        self.remote = self._budget(self._referring, {})
        pair.follower.start()
        self.buyers = [
            Buyer(number, pair, (pair.acme.agent, self._referring)[number % 2], self._random.getrandbits(32))
            for number in range(BUYERS)
        ]
        self._threads = [Thread(target=each.buy) for each in self.buyers]
        for thread in self._threads:
            thread.start()

    def _budget(self, identity_id: str, more: Document) -> str:
        body = {"identity_id": identity_id, "name": "all", "dimension": "amount", "period": "total", "currency": "CAD"}
        with self._pair.operator() as operator:
            made = operator.ok("POST", "/v1/budgets", body | {"limit": LIMIT} | more, token=self._pair.acme.key)
        found: str = made["budget_id"]
        return found

    def kill(self) -> None:
        """Kill one server or both after a while of buying, and start again what was killed."""
        before = self._decided()
        poll(lambda: self._decided() > before, SECONDS)
        time.sleep(self._random.uniform(0, MOMENT_SECONDS_MAX))
        pair = self._pair
        victims = self._random.choice(([pair.follower], [pair.plane], [pair.follower, pair.plane]))
        for victim in victims:
            victim.kill()
        time.sleep(self._random.uniform(0, MOMENT_SECONDS_MAX))
        for victim in reversed(victims):  # the control plane first, or the follower starts without it
            if self._random.random() < 0.3:
                victim.launch()
                time.sleep(self._random.uniform(0, MOMENT_SECONDS_MAX))
                victim.kill()
            victim.start()

    def _decided(self) -> int:
        return sum(len(each.decided) for each in self.buyers)

    def end(self) -> None:
        """Have everything that was asked answered."""
        for each in self.buyers:
            each.stopped.set()
        for thread in self._threads:
            thread.join(SECONDS)
        assert [each.fault for each in self.buyers if each.fault is not None] == []
        assert not any(thread.is_alive() for thread in self._threads)

    def decisions(self) -> list[Document]:
        """Return every decision that was answered."""
        return [decision for each in self.buyers for decision in each.decided]

    def spent(self, budget_id: str) -> Decimal:
        """Return what the permits of the agent of this budget hold and have settled, as the follower says."""
        who = self._pair.acme.agent if budget_id == self.assigned else self._referring
        total = Decimal(0)
        with self._pair.agent() as agent:
            for decision in self.decisions():
                if decision["allowed"] and decision["identity_id"] == who:
                    found = agent.ok("GET", f"/v1/decisions/{decision['decision_id']}")["reservation"]
                    total += Decimal(str(found["held"])) + Decimal(str(found["settled"]))
        return total

    def used(self, client: Client, budget_id: str) -> Decimal:
        """Return what a server says that a budget has used."""
        usage = client.ok("GET", f"/v1/budgets/{budget_id}", token=self._pair.acme.key)["usage"]
        return Decimal(str(usage["settled"])) + Decimal(str(usage["reserved"]))


def shipped_records(pair: Following) -> list[Document]:
    """Return all that the control plane has of the follower's log, in its order."""
    found: list[Document] = []
    with pair.operator() as operator:
        path = f"/v1/audit?follower_id={pair.follower_id}&limit=200"
        cursor = ""
        while True:
            page = operator.ok("GET", path + cursor, token=pair.acme.key)
            found += page["data"]
            if page.get("next_cursor") is None:
                return sorted(found, key=lambda record: int(record["seq"]))
            cursor = f"&cursor={page['next_cursor']}"


@pytest.mark.crash
def test_nothing_is_lost_or_repeated_when_follower_and_control_plane_are_killed(
    tmp_path: Path, kills: int, kill_seed: int | None
) -> None:
    """Every decision that was answered is in both logs once, and the budgets have used what the permits say."""
    seed = secrets.randbits(32) if kill_seed is None else kill_seed
    print(f"repeat with --kill-seed {seed}")  # noqa: T201 -- shown when the test fails
    with Following(tmp_path) as pair:
        ordeal = Ordeal(pair, seed)
        try:
            for _ in range(max(1, kills // KILLS_PER_LIFE)):
                ordeal.kill()
        finally:
            ordeal.end()
        pair.wait_until_shipped()
        check_logs(pair, ordeal)
        with pair.agent() as agent:
            assert ordeal.used(agent, ordeal.assigned) == ordeal.spent(ordeal.assigned)
        with pair.operator() as operator:
            poll(lambda: ordeal.used(operator, ordeal.remote) == ordeal.spent(ordeal.remote), SECONDS)
        assert pair.follower.stop() == 0
        assert pair.plane.stop() == 0
        for server in (pair.follower, pair.plane):
            check_at_rest(server.data_dir)
        marks = [decision["audit"] for decision in ordeal.decisions()]
        contains = [word for mark in marks for word in ("--contains", f"{mark['seq']}:{mark['hash']}")]
        words = ["--tenant", pair.acme.tenant_id, "--data-dir", str(pair.follower.data_dir), *contains]
        done = run_sidecar("audit", "verify", *words)
        assert done.returncode == 0, done.stdout + done.stderr


def check_logs(pair: Following, ordeal: Ordeal) -> None:
    """Check that the control plane has the follower's log without a gap, with each decision once and in its place."""
    records = shipped_records(pair)
    assert [record["seq"] for record in records] == list(range(len(records)))
    by_decision = {decision["decision_id"]: decision["audit"] for decision in ordeal.decisions()}
    assert any(decision["allowed"] for decision in ordeal.decisions())
    told = [record for record in records if record["type"] == "decision"]
    found = {record["decision_id"]: {"seq": record["seq"], "hash": record["hash"]} for record in told}
    assert len(found) == len(told)
    assert {decision_id: found.get(decision_id) for decision_id in by_decision} == by_decision
    with pair.operator() as operator:
        path = f"/v1/audit/verify?follower_id={pair.follower_id}"
        assert operator.ok("GET", path, token=pair.acme.key)["valid"]
    with pair.agent() as agent:
        assert agent.ok("GET", "/v1/audit/verify")["valid"]

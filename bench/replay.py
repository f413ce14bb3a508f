"""``python -m bench replay``: how long it takes to prove a long history and to decide it again by other policy files.

The history is made by the project's own services: agents of several teams pay and use tools, under policies, daily and
rolling budgets and a total one; some is denied, most permits are settled, some released, some left to themselves. What
is measured is the command as its users run it, processes and all.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

from bench.bulk import ROOT, SPAN_US, Bulk
from bench.population import OPERATOR, Filled, Founder
from bench.results import Timed
from sidecar.core.model import AuthorizeRequest, ResourceRef
from sidecar.core.money import Major
from sidecar.core.windows import Period
from sidecar.service.authorize import Authorizer
from sidecar.service.budget_changes import BudgetDraft
from sidecar.service.budgets import Treasurer
from sidecar.service.identities import IdentityDraft
from sidecar.service.settlement import Settler, Wanted

AGENTS: Final = 50
TTL_SECONDS: Final = 7 * 86_400
CANDIDATE: Final = """
@id("candidate/less-per-payment")
@description("no payment of more than 150")
forbid (principal, action == Action::"card.authorize", resource)
when { context.amount > 15000 };
"""
SEED: Final = 5


class ReplayFailedError(Exception):
    """A command did not do what is measured of it."""


class Clerks:
    """The agents of one tenant at work."""

    def __init__(self, bulk: Bulk, filled: Filled, step_us: int) -> None:
        """Hire agents in the first team, with a budget each; two things happen ``step_us`` apart."""
        self._bulk = bulk
        self._tenant_id = filled.tenant_id
        self._step_us = step_us
        self._now_us = bulk.now_us()
        self._random = Random(SEED)
        self._authorizer = Authorizer(bulk, bulk.snapshots, bulk.new_id)
        self._settler = Settler(bulk)
        self._agents = [self._hire(filled.team_id, number) for number in range(AGENTS)]
        self._waiting: list[str] = []

    def _hire(self, team_id: str, number: int) -> str:
        bulk, tenant_id = self._bulk, self._tenant_id
        draft = IdentityDraft(team_id, "agent", f"Clerk {number}", metadata={"tool_profile": "read_only"})
        made = bulk.call(bulk.registry.create(OPERATOR, tenant_id, draft, self._tick())).value.identity.identity_id
        periods: tuple[Period, ...] = ("daily", "rolling_24h")
        limit = BudgetDraft(
            identity_id=made,
            name="own",
            dimension="amount",
            period=periods[number % 2],
            limit=Major("100000"),
            currency="CAD",
        )
        bulk.call(Treasurer(bulk, bulk.snapshots, bulk.new_id).create(OPERATOR, tenant_id, limit, self._tick()))
        return made

    def _tick(self) -> int:
        self._now_us += self._step_us
        return self._now_us

    def decide(self) -> None:
        """Decide one request, and end a hold now and then."""
        chance = self._random.random()
        request = self._payment() if chance < 0.7 else self._tool_call()
        call = self._authorizer.authorize(OPERATOR, self._tenant_id, request, None, self._tick())
        decision = self._bulk.call(call).decision
        if decision.allowed and decision.reserved_minor is not None and decision.decision_id is not None:
            self._waiting.append(decision.decision_id)
        if len(self._waiting) > AGENTS:
            self._end(self._waiting.pop(self._random.randrange(AGENTS)))

    def _payment(self) -> AuthorizeRequest:
        return AuthorizeRequest(
            identity_id=self._random.choice(self._agents),
            action="card.authorize",
            resource=ResourceRef("merchant", f"shop-{self._random.randrange(200)}"),
            amount_minor=self._random.randrange(100, 120_000 if self._random.random() < 0.1 else 20_000),
            currency="CAD" if self._random.random() < 0.95 else "USD",
            merchant_category=self._random.choice(("5411", "5732", "7372", "7995")),
            ttl_seconds=TTL_SECONDS,
        )

    def _tool_call(self) -> AuthorizeRequest:
        return AuthorizeRequest(
            identity_id=self._random.choice(self._agents),
            action="tool.call",
            resource=ResourceRef("tool", self._random.choice(("search", "fetch", "shell", "write_file"))),
            quantities={"tokens": self._random.randrange(2_000)},
            ttl_seconds=TTL_SECONDS,
        )

    def _end(self, decision_id: str) -> None:
        chance, now_us = self._random.random(), self._tick()
        if chance < 0.85:
            wanted = Wanted(None, {}, final=True)
            self._bulk.call(self._settler.settle(OPERATOR, self._tenant_id, decision_id, wanted, None, now_us))
        elif chance < 0.95:
            self._bulk.call(self._settler.release(OPERATOR, self._tenant_id, decision_id, None, now_us))


def make(data_dir: Path, decisions: int, tenants: int, told: Callable[[int], object]) -> None:
    """Fill a data directory with a history of so many decisions."""
    bulk = Bulk(data_dir, ROOT / "policies", ROOT / "schemas")
    try:
        for number in range(tenants):
            clerks = Clerks(bulk, Founder(bulk).found(f"Tenant {number}", 20), SPAN_US // (3 * decisions + 1_000))
            for done in range(decisions // tenants):
                clerks.decide()
                if done % 1_000 == 0:
                    told(number * (decisions // tenants) + done)
    except BaseException:
        bulk.abandon()
        raise
    bulk.close()


def measure(folder: Path, data_dir: Path) -> list[Timed]:
    """Return how long the commands take on a history."""
    policies = folder / "policies"
    shutil.copytree(ROOT / "policies", policies)
    (policies / "candidate.cedar").write_text(CANDIDATE)
    candidate = ("--policies", str(policies), "--schemas", str(ROOT / "schemas"))
    here = ("--data-dir", str(data_dir), "--format", "json")
    return [
        _timed("audit replay: proof only", "audit", "replay", *here),
        _timed("replay: proof and candidate", "replay", *here, *candidate),
        _timed("replay in one process", "replay", *here, *candidate, "--jobs", "1"),
    ]


def _timed(name: str, *arguments: str) -> Timed:
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "sidecar", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode not in {0, 1} or not done.stdout:
        raise ReplayFailedError(f"`{name}` ended with {done.returncode}: {done.stderr}")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    if not all(each.get("exact", True) and each.get("proof", {}).get("exact", True) for each in found):
        raise ReplayFailedError(f"`{name}` found a difference: {done.stdout[:500]}")
    decisions = sum(each["decisions"] for each in found)
    return Timed(name, seconds, decisions, sum(len(each.get("flips", ())) for each in found))


def run(decisions: int, tenants: int, parent: Path | None, told: Callable[[str], object]) -> list[Timed]:
    """Make a history in a folder below ``parent``, measure on it, and remove it."""
    with tempfile.TemporaryDirectory(prefix="bench-replay-", dir=parent) as name:
        folder = Path(name)
        told(f"making a history of {decisions} decisions")
        make(folder / "data", decisions, tenants, lambda done: told(f"{done} decisions made"))
        told("measuring")
        return measure(folder, folder / "data")

"""``python -m bench.followers``: how fast a change reaches a follower, and what a decision costs there.

A control plane and a follower are real servers on one machine, so the network costs nothing here: add the round trips
of yours. Decisions at the control plane, at the follower, and at the follower with a budget that the control plane
decides take turns, so that what disturbs one disturbs the others: quote the ratio.
"""

import http.client
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from rich.console import Console
from rich.progress import Progress, track

from bench.fill import Plan, fill
from bench.servers import Server, sidecar
from bench.tenant import RULES, Desk

REVOCATIONS: Final = 200
DECISIONS: Final = 2_000
WARM_UP: Final = 200
SIZES: Final = (1_000, 20_000)
SHIPPED: Final = 5_000
PATIENCE_SECONDS: Final = 60.0
POLICY: Final = {"name": "Cards", "rules": {key: RULES[key] for key in ("actions", "max_amount", "currencies")}}


class Agent(msgspec.Struct, frozen=True):
    """One agent and the token that it asks with."""

    identity_id: str
    token: str


class Asker:
    """One kept connection that asks for decisions."""

    def __init__(self, server: Server) -> None:
        """Connect to ``server``."""
        self._connection = http.client.HTTPConnection(server.host, server.port, timeout=30)

    def ask(self, agent: Agent) -> dict[str, Any]:
        """Return the decision on a small payment."""
        resource = {"type": "merchant", "id": "AWS", "amount": 1, "currency": "CAD"}
        body = {"identity_id": agent.identity_id, "action": "card.authorize", "resource": resource}
        headers = {"Authorization": f"Bearer {agent.token}", "Content-Type": "application/json"}
        self._connection.request("POST", "/v1/authorize", json.dumps(body), headers)
        answer: dict[str, Any] = json.loads(self._connection.getresponse().read())
        return answer

    def permitted(self, agent: Agent) -> bool:
        """Whether a small payment is permitted now."""
        return bool(self.ask(agent).get("allowed"))


class Pair(msgspec.Struct, frozen=True):
    """A control plane, its tenant's key, and a follower of that tenant."""

    plane: Server
    follower: Server
    desk: Desk
    follower_id: str
    numbers: Iterator[int] = itertools.count()

    def agent(self) -> Agent:
        """Make an agent with a token of its own."""
        made = self.desk.post(
            "/v1/identities", {"parent_id": "root", "type": "agent", "name": f"n{next(self.numbers)}"}
        )
        token = self.desk.post("/v1/tokens", {"identity_id": made["identity_id"], "name": "own"})
        return Agent(made["identity_id"], token["token"])

    def budget(self, agent: Agent, follower_id: str | None) -> None:
        """Give an agent a budget, decided at the control plane or at one follower."""
        body = {"identity_id": agent.identity_id, "name": "A day", "dimension": "amount", "period": "daily"}
        assigned = {} if follower_id is None else {"follower_id": follower_id}
        self.desk.post("/v1/budgets", body | {"limit": 1_000_000, "currency": "CAD"} | assigned)


@contextmanager
def pair(folder: Path, durability: str) -> Iterator[Pair]:
    """Run a control plane with a tenant, and a follower of it; raises NotReadyError."""
    with ExitStack() as stack:
        plane = stack.enter_context(sidecar(folder / "plane", durability, None))
        with Desk(plane.url, plane.operator) as operator:
            tenant = operator.post("/v1/tenants", {"name": "Measured", "root": {"id": "root"}})
        desk = stack.enter_context(Desk(plane.url, tenant["api_key"]))
        desk.post("/v1/policies", {"identity_id": "root", **POLICY})
        token = desk.post("/v1/tokens", {"name": "measured", "kind": "follower"})
        follows = plane.url, token["token"]
        follower = stack.enter_context(sidecar(folder / "follower", durability, None, follows=follows))
        yield Pair(plane, follower, desk, token["token_id"])


def revocations(both: Pair, number: int) -> list[float]:
    """Return how long after the answer to each revocation the follower's first denial was asked for, in ms."""
    asker = Asker(both.follower)
    found = []
    for _ in track(range(number), "revocations"):
        agent = both.agent()
        _await(partial(asker.permitted, agent))
        both.desk.post(f"/v1/identities/{agent.identity_id}/revoke", {})
        began = time.perf_counter()
        asked = began
        while asker.permitted(agent):
            asked = time.perf_counter()
        found.append((asked - began) * 1_000)
    return found


def decisions(both: Pair, number: int) -> dict[str, list[float]]:
    """Return what a permit takes in ms, per place that decides it."""
    unbudgeted, assigned, remote = (both.agent() for _ in range(3))
    both.budget(assigned, both.follower_id)
    both.budget(remote, None)
    plane, follower = Asker(both.plane), Asker(both.follower)
    ways = {
        "control plane, its budget": (plane, remote),
        "follower, no budget": (follower, unbudgeted),
        "follower, budget assigned to it": (follower, assigned),
        "follower, budget at the control plane": (follower, remote),
    }
    for asker, agent in ways.values():
        _await(partial(asker.permitted, agent))
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in track(range(-WARM_UP, number), "decisions"):
        for name, (asker, agent) in ways.items():
            began = time.perf_counter()
            if not asker.permitted(agent):
                raise click.ClickException(f"{name}: a request that must be permitted was denied")
            if turn >= 0:
                found[name].append((time.perf_counter() - began) * 1_000)
    return found


def first_states(folder: Path, durability: str) -> dict[int, float]:
    """Return how long a follower takes until it is ready with its first state, in s, by number of identities."""
    found = {}
    for size in SIZES:
        here = folder / f"filled-{size}"
        with Progress(console=Console(stderr=True)) as progress:
            filled = fill(here / "data", Plan(identities=size), progress)[0]
        operator = (here / "data" / "admin.token").read_text().strip()
        with sidecar(here, durability, None, operator=operator) as plane, Desk(plane.url, operator) as desk:
            body: dict[str, object] = {"tenant_id": filled.tenant_id, "name": "measured", "kind": "follower"}
            token = desk.post("/v1/tokens", body)["token"]
            began = time.perf_counter()
            with sidecar(folder / f"follower-{size}", durability, None, follows=(plane.url, token)):
                found[size] = time.perf_counter() - began
    return found


def shipping(both: Pair, number: int) -> float:
    """Return how many audit records a second reach the control plane while decisions go on."""
    agent = both.agent()
    asker = Asker(both.follower)
    _await(partial(asker.permitted, agent))
    with Desk(both.follower.url, both.follower.operator) as desk:
        _await(lambda: desk.get("/v1/replica")["audit"]["backlog"] == 0)
        began = time.perf_counter()
        for _ in track(range(number), "records"):
            asker.ask(agent)
        _await(lambda: desk.get("/v1/replica")["audit"]["backlog"] == 0)
    return number / (time.perf_counter() - began)


def _await(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > end:
            raise click.ClickException("what was waited for did not happen")
        time.sleep(0.005)


def _shown(figures: list[float]) -> str:
    cuts = statistics.quantiles(figures, n=100)
    return f"{statistics.median(figures):8.2f} {cuts[98]:8.2f} {max(figures):8.2f}"


@click.command(context_settings={"show_default": True})
@click.option("--durability", type=click.Choice(["power-loss", "process-crash"]), default="power-loss")
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), help="The disk to measure.")
@click.option("--quick", is_flag=True, help="A tenth of everything: to see that it runs, too short to quote.")
def main(durability: str, data_dir: Path | None, *, quick: bool) -> None:
    """Measure and print."""
    share = 10 if quick else 1
    with tempfile.TemporaryDirectory(dir=data_dir) as name, pair(Path(name), durability) as both:
        reached = revocations(both, REVOCATIONS // share)
        cost = decisions(both, DECISIONS // share)
        shipped = shipping(both, SHIPPED // share)
    click.echo(f"{'ms':40} {'p50':>8} {'p99':>8} {'max':>8}")
    click.echo(f"{'revocation answered, follower denies':40} {_shown(reached)}")
    base = statistics.median(next(iter(cost.values())))
    for way, figures in cost.items():
        click.echo(f"{way:40} {_shown(figures)}   {statistics.median(figures) / base:.2f}x")
    click.echo(f"audit records that arrive, beside one connection that decides: {shipped:.0f}/s")
    with tempfile.TemporaryDirectory(dir=data_dir) as name:
        for size, seconds in first_states(Path(name), durability).items():
            click.echo(f"a follower of {size} identities is ready after {seconds:.1f} s")


if __name__ == "__main__":
    main()

"""This project as a contestant: the same work, once as a dry run and once as full permits at each durability.

One store is made with an empty policies folder, because a tenant must exist before files hold for it; each server then
gets a copy of it and the policies of the work as files.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec
import orjson

from bench import servers, tenant
from bench.measure import Request, post
from bench.peers import cedar_text
from bench.servers import Server
from bench.tenant import Tenant
from bench.workload import ACTION, CHAIN, MERCHANT, Question, Work

TENANT: Final = "t_bench"
FREE_AGENT: Final = "agent_free"
"""An agent below the same policy with no budget on its chain: a dry run that decides no more than the peers do."""

FILE_POLICIES: Final = 100
"""Policies in one file."""

DRY_RUN: Final = "this project, dry run"
"""The row to compare the peers with: all are asked the same thing again and again."""

VARIED_DRY_RUN: Final = "this project, dry run, another amount each time"
"""What it costs where no ruling can be kept from the time before."""


class Own(msgspec.Struct, frozen=True, kw_only=True):
    """A running server of ours; ``free_token`` is that of the agent without budgets."""

    durability: str
    server: Server
    tenant: Tenant
    free_token: str

    @property
    def permit(self) -> str:
        """What the row of its full permits is called."""
        return f"this project, permit, {self.durability}{_over(self.server)}"

    @property
    def dry_run(self) -> str:
        """What the row of its dry runs is called."""
        return f"{DRY_RUN}{_over(self.server)}"

    def ask(self, question: Question, *, dry_run: bool) -> Request:
        """Return the request: a dry run of the agent without budgets, or a full permit of the one with two."""
        body = {
            "identity_id": FREE_AGENT if dry_run else CHAIN[0],
            "action": ACTION,
            "resource": {
                "type": "merchant",
                "id": MERCHANT,
                "amount": question.text,
                "currency": question.currency,
                "merchant_category": question.category,
            },
        } | ({"dry_run": True} if dry_run else {})
        token = self.free_token if dry_run else self.tenant.token
        content = post(self.server, "/v1/authorize", orjson.dumps(body), token)
        return Request(content=content, path=("allowed",), value=question.is_allowed)


LEGEND: Final = {
    DRY_RUN: "token, JSON, identity chain, schema and Cedar: decides like the peers and does no more",
    VARIED_DRY_RUN: "the same for 9,000 amounts in turn: each is evaluated anew",
    "this project, permit, process-crash": "also claims from two budgets, reserves, seals a record and stores the"
    " answer, all in one transaction committed before the answer; survives `kill -9`",
    "this project, permit, power-loss": "the same with an fsync before the answer, shared by who waits; the default",
}


def _over(server: Server) -> str:
    return ", UDS" if server.uds else ""


class Made(msgspec.Struct, frozen=True):
    """A store that servers get copies of."""

    data: Path
    operator: str
    tenant: Tenant
    free_token: str


def make_store(folder: Path, core: int | None) -> Made:
    """Make the store of the work in ``folder``; raises NotReadyError and httpx.HTTPError."""
    empty, home = folder / "no_policies", folder / "made"
    empty.mkdir()
    with servers.sidecar(home, "process-crash", core, policies=empty) as server:
        made, free_token = _found(server)
    return Made(home / "data", server.operator, made, free_token)


def _found(server: Server) -> tuple[Tenant, str]:
    """Make the tenant: the work's four identities with two budgets, and a second branch without any."""
    agent, team, division, root = CHAIN
    body: dict[str, object] = {"id": TENANT, "name": "Bench", "time_zone": "America/Toronto", "root": {"id": root}}
    with tenant.Desk(server.url, server.operator) as desk:
        key = desk.post("/v1/tenants", body)["api_key"]
    with tenant.Desk(server.url, key) as desk:
        tenant.add_identity(desk, root, "organization", "Division", id=division)
        for below, worker in ((team, agent), ("team_free", FREE_AGENT)):
            tenant.add_identity(desk, division, "team", "Team", id=below)
            tenant.add_identity(desk, below, "agent", "Agent", id=worker)
        team_budget = tenant.add_budget(desk, team, "Team", "total", tenant.BUDGET_LIMIT)
        tenant.add_budget(desk, agent, "Agent daily", "daily", tenant.BUDGET_LIMIT)
        made = [desk.post("/v1/tokens", {"name": name, "identity_id": name}) for name in (agent, FREE_AGENT)]
    tokens = [each["token"] for each in made]
    return Tenant(key, tokens[0], root, team, agent, team_budget), tokens[1]


def write_policies(folder: Path, work: Work) -> None:
    """Write the policies of ``work`` as files of the tenant."""
    home = folder / TENANT
    home.mkdir(parents=True)
    rules = msgspec.to_builtins(work)["policies"]
    for begin in range(0, len(rules), FILE_POLICIES):
        text = cedar_text.policies(rules[begin : begin + FILE_POLICIES], "Organization")
        (home / f"{begin // FILE_POLICIES:05}.cedar").write_text(text)


@contextmanager
def running(folder: Path, made: Made, policies: Path, core: int | None) -> Iterator[list[Own]]:
    """Run a server for each durability over TCP and over a Unix domain socket; raises NotReadyError."""
    with ExitStack() as stack:
        found = []
        for durability in ("process-crash", "power-loss"):
            for over_uds in (False, True):
                home = folder / f"{durability}{'-uds' if over_uds else ''}"
                shutil.copytree(made.data, home / "data")
                server = stack.enter_context(
                    servers.sidecar(
                        home, durability, core, policies=policies, over_uds=over_uds, operator=made.operator
                    )
                )
                own = Own(durability=durability, server=server, tenant=made.tenant, free_token=made.free_token)
                found.append(own)
        yield found

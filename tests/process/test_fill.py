"""A filled data directory is one that a server could have made: the checks find nothing, and a server serves it."""

from contextlib import closing
from pathlib import Path

import orjson
import pytest
from rich.progress import Progress

from bench.fill import Plan, fill
from bench.population import Filled
from sidecar.state.environment import open_existing
from sidecar.state.fsck import check
from sidecar.state.transaction import Transaction
from tests.process.server import ROOT, serving

PLAN = Plan(
    identities=60,
    tenants=3,
    descendants=120,
    records=3_000,
    reservations=1_200,
    policies=8,
    policy_files=300,
    policy_tenants=2,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for the data directory."""
    return tmp_path_factory.mktemp("filled")


@pytest.fixture(scope="module")
def tenants(folder: Path) -> list[Filled]:
    """The tenants of the first filling of a store that was filled twice."""
    with Progress(disable=True) as progress:
        found = fill(folder / "data", PLAN, progress)
        fill(folder / "data", Plan(identities=10), progress)
    return found


def test_nothing_is_wrong_with_what_was_filled(folder: Path, tenants: list[Filled]) -> None:
    with closing(open_existing(folder / "data" / "db")) as environment:
        found = list(check(environment))
    assert len(found) == len(tenants) + 1
    assert [checked.faults for checked in found] == [()] * len(found)


def test_there_is_as_much_as_was_asked_for(folder: Path, tenants: list[Filled]) -> None:
    with closing(open_existing(folder / "data" / "db")) as environment, environment.read() as raw:
        txn = Transaction(raw, environment.tables)
        parts = [txn.of(tenant) for tenant in txn.tenants.after(0)][: len(tenants)]
        assert [sum(1 for _ in part.identities.all()) for part in parts] == [21, 20, 20, 4 + 1 + 120]
        assert [sum(1 for _ in part.policies.all()) for part in parts] == [5, 5, 1, 1]
        assert sum(1 for _ in parts[3].identities.owned(tenants[3].crowd_id)) == 100
        kinds = [orjson.loads(body)["type"] for _, body in parts[0].audit.read(0, 10_000)]
    assert kinds.count("settle") == PLAN.records // 2 + 1
    assert kinds.count("decision") == PLAN.records // 2 + PLAN.reservations + 1


def test_a_server_decides_on_it(folder: Path, tenants: list[Filled]) -> None:
    """With the policy files that were written beside it; the agent's own token is permitted what its team is."""
    policies = folder / "data" / "policies"
    assert sum(text.read_text().count("@id(") for text in policies.glob("t_*/*.cedar")) == PLAN.policy_files
    with serving(folder, "--policies", str(policies), "--schemas", str(ROOT / "schemas")) as (_, client):
        for filled in tenants:
            answer = client.ok("POST", "/v1/authorize", filled.request(), token=filled.token)
            assert answer["allowed"], answer

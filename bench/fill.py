"""``python -m bench.fill DIR``: make a data directory of any size within minutes, for measuring what size costs.

The store is one that a server could have made: ``sidecar audit fsck`` passes. Each tenant is one line of JSON in
``DIR/filled.jsonl``, its tokens among them; the operator's token is in ``DIR/admin.token``.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.progress import Progress

from bench.bulk import ROOT, Bulk
from bench.history import Clerk
from bench.population import OPERATOR, Filled, Founder, agents_of, write_policy_files
from sidecar.core.directory import Tenant as Organisation
from sidecar.service.access import tenant_of

SMALLEST: Final = 4
"""Identities of the smallest tenant: a root, a team, a project and an agent."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much of what a store is filled with. ``records`` are those of the first tenant's decisions."""

    identities: int = 0
    tenants: int = 1
    descendants: int = 0
    records: int = 0
    reservations: int = 0
    policies: int = 0
    policy_files: int = 0
    policy_tenants: int = 1


Told = Callable[[int], object]


@contextmanager
def _stage(progress: Progress, name: str, total: int) -> Iterator[Told]:
    """Show how far one part of the work has come; what is given counts its pieces."""
    task = progress.add_task(name, total=total)
    yield lambda done: progress.advance(task, done)


def fill(data_dir: Path, plan: Plan, progress: Progress) -> list[Filled]:
    """Fill a data directory and return its new tenants, the one with many descendants last.

    Policy files go to ``<data_dir>/policies`` together with the shipped ones, and hold once a server loads them.
    """
    bulk = Bulk(data_dir, ROOT / "policies", ROOT / "schemas")
    try:
        tenants = _found(bulk, plan, progress)
        _enact(bulk, plan, tenants, progress)
        if plan.records or plan.reservations:
            clerk = Clerk(bulk, tenants[0])
            with _stage(progress, "records", plan.records) as told:
                clerk.settled(plan.records // 2, lambda copies: told(2 * copies))
            with _stage(progress, "reservations", plan.reservations) as told:
                clerk.open(plan.reservations, told)
        if plan.policy_files:
            _write_files(bulk, data_dir / "policies", plan, tenants)
    except BaseException:
        bulk.abandon()
        raise
    bulk.close()
    return tenants


def _found(bulk: Bulk, plan: Plan, progress: Progress) -> list[Filled]:
    founder = Founder(bulk)
    each = max(SMALLEST, plan.identities // plan.tenants)
    tenants = []
    with _stage(progress, "identities", each * plan.tenants) as told:
        for number in range(plan.tenants):
            tenants.append(founder.found(f"Tenant {number}", each))
            told(each)
    if plan.descendants:
        with _stage(progress, "descendants", plan.descendants) as told:
            tenants.append(founder.crowd("Crowd", plan.descendants))
            told(plan.descendants)
    return tenants


def _enact(bulk: Bulk, plan: Plan, tenants: list[Filled], progress: Progress) -> None:
    founder = Founder(bulk)
    chosen = tenants[: plan.policy_tenants]
    each = plan.policies // len(chosen)
    with _stage(progress, "policies", each * len(chosen)) as told:
        for filled in chosen if each else ():
            founder.enact(*_agents(bulk, filled), each)
            told(each)


def _agents(bulk: Bulk, filled: Filled) -> tuple[Organisation, list[str]]:
    with bulk.read() as txn:
        tenant = tenant_of(txn, OPERATOR, filled.tenant_id)
        return tenant, list(agents_of(txn.of(tenant)))


def _write_files(bulk: Bulk, folder: Path, plan: Plan, tenants: list[Filled]) -> None:
    shutil.copytree(ROOT / "policies", folder, dirs_exist_ok=True)
    chosen = tenants[: plan.policy_tenants]
    for filled in chosen:
        write_policy_files(folder / filled.tenant_id, _agents(bulk, filled)[1], plan.policy_files // len(chosen))


@click.command(context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
@click.argument("data_dir", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--identities", type=click.IntRange(0), default=0, help="Identities over all tenants, four deep.")
@click.option("--tenants", type=click.IntRange(1), default=1, help="Tenants that they are spread over.")
@click.option("--descendants", type=click.IntRange(0), default=0, help="Below one identity of one more tenant.")
@click.option("--records", type=click.IntRange(0), default=0, help="Audit records of settled permits, first tenant.")
@click.option("--reservations", type=click.IntRange(0), default=0, help="Open holds on one budget, first tenant.")
@click.option("--policies", type=click.IntRange(0), default=0, help="Policies made by the API, over all tenants.")
@click.option("--policy-files", type=click.IntRange(0), default=0, help="Policies in files, over all tenants.")
@click.option("--policy-tenants", type=click.IntRange(1), default=1, help="The first tenants, which have the policies.")
def main(data_dir: Path, **options: int) -> None:
    """Fill the data directory DIR, which may be filled already: more tenants come on top."""
    began = time.perf_counter()
    plan = msgspec.convert(options, Plan)
    with Progress(console=Console(stderr=True)) as progress:
        tenants = fill(data_dir, plan, progress)
    with (data_dir / "filled.jsonl").open("ab") as file:
        file.writelines(msgspec.json.encode(filled) + b"\n" for filled in tenants)
    size = (data_dir / "db" / "data.mdb").stat().st_size
    click.echo(f"{len(tenants)} tenants in {time.perf_counter() - began:.1f} s, {size / 1e9:.2f} GB")


if __name__ == "__main__":
    main()

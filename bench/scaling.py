"""``python -m bench scaling``: what a decision costs as one thing grows, everything else small.

For each dimension there is a store of each size, filled directly and not through the API, and a server on each; all of
them take turns, so that the sizes can be compared.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec
import orjson
from rich.console import Console
from rich.progress import Progress

from bench import cores, fill, servers, tenant
from bench.generator import Generator, generator
from bench.measure import Request, post
from bench.results import Line
from bench.servers import Server
from bench.subjects import Subject, Terms, line, subject, take_turns
from bench.tenant import Tenant

PERMIT: Final = "permit, process-crash"
DRY_RUN: Final = "dry run"
IDENTITIES_WITH_POLICIES: Final = 12_000
"""Enough that no agent has more than one of the policies."""

TENANT_IDENTITIES: Final = 1_000
TENANTS_MAX: Final = 1_000


class Dimension(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that grows. ``large`` sizes are for a full run only; ``plan`` says what a store is filled with."""

    name: str
    sizes: tuple[int, ...]
    large: tuple[int, ...] = ()
    plan: Callable[[int], fill.Plan] | None = None
    is_workers: bool = False


def _spread(identities: int) -> fill.Plan:
    return fill.Plan(identities=identities, tenants=min(TENANTS_MAX, max(1, identities // TENANT_IDENTITIES)))


DIMENSIONS: Final = (
    Dimension(name="identities", sizes=(1_000, 100_000), large=(1_000_000,), plan=_spread),
    Dimension(name="budgets on the chain", sizes=(0, 1, 4, 16, 64)),
    Dimension(
        name="audit records",
        sizes=(1_000, 100_000),
        large=(1_000_000, 10_000_000),
        plan=lambda size: fill.Plan(records=size),
    ),
    Dimension(
        name="open reservations",
        sizes=(1, 1_000, 100_000),
        large=(1_000_000,),
        plan=lambda size: fill.Plan(reservations=size),
    ),
    Dimension(
        name="policies made by the API",
        sizes=(10, 100, 1_000, 10_000),
        plan=lambda size: fill.Plan(identities=IDENTITIES_WITH_POLICIES, policies=size),
    ),
    Dimension(name="workers", sizes=(1, 2), is_workers=True),
)
"""Workers are not pinned: two of them need both processors, and share them with the load."""


LEGEND: Final = {
    DRY_RUN: "one decision of an agent, reading its chain, policies and budgets; nothing is written",
    PERMIT: "the same with a reservation, the counters of its budgets and an audit record in one transaction",
}


class Choice(msgspec.Struct, frozen=True):
    """Which dimensions are measured, by name, and whether their large sizes are too."""

    dimensions: tuple[Dimension, ...]
    is_full: bool = False
    sizes_max: int | None = None

    def sizes(self, dimension: Dimension) -> tuple[int, ...]:
        """Return the sizes of one dimension."""
        whole = dimension.sizes + (dimension.large if self.is_full else ())
        return whole[: self.sizes_max]


def scale(choice: Choice, terms: Terms, console: Console) -> list[Line]:
    """Measure each dimension at each of its sizes; raises NotReadyError and httpx.HTTPError."""
    lines = []
    with cores.held(terms.placed.load), generator() as driver:
        for dimension in choice.dimensions:
            with tempfile.TemporaryDirectory(prefix="sidecar-bench-", dir=terms.data_dir) as folder:
                lines += _dimension(Path(folder), dimension, choice.sizes(dimension), driver, terms, console)
    return lines


def _dimension(  # a dimension needs all of these
    folder: Path, dimension: Dimension, sizes: Sequence[int], driver: Generator, terms: Terms, console: Console
) -> list[Line]:
    subjects: list[tuple[int, Subject]] = []
    with ExitStack() as stack:
        for size in sizes:
            console.print(f"{dimension.name}: making a store of {size:,}", style="dim")
            home = folder / str(size)
            home.mkdir()
            server, asker = stack.enter_context(_serve(home, dimension, size, terms, console))
            for name, dry_run in ((DRY_RUN, True), (PERMIT, False)):
                request = _ask(server, asker, dry_run=dry_run)
                subjects.append((size, subject(name, "own", driver, server, request, terms.connections)))
        rows = [row for _, each in subjects for row in each.rows.values()]
        take_turns(rows, terms.seconds, dimension.name, console)
        return [line(dimension.name, size, each) for size, each in subjects]


@contextmanager
def _serve(
    home: Path, dimension: Dimension, size: int, terms: Terms, console: Console
) -> Iterator[tuple[Server, Tenant]]:
    """Run a server on a store of that size and return it with the tenant that is asked about."""
    filled, operator = None, None
    if dimension.plan is not None:
        with Progress(console=console, transient=True) as progress:
            filled = fill.fill(home / "data", dimension.plan(size), progress)[0]
        operator = (home / "data" / "admin.token").read_text().strip()
    core, workers = (None, size) if dimension.is_workers else (terms.placed.server, 1)
    with servers.sidecar(home, "process-crash", core, operator=operator, more={"--workers": str(workers)}) as server:
        if filled is not None:
            yield server, filled
        elif dimension.is_workers:
            yield server, tenant.set_up(server.url, server.operator)
        else:
            yield server, tenant.set_up_with_budgets(server.url, server.operator, size)


def _ask(server: Server, asker: Tenant, *, dry_run: bool) -> Request:
    content = post(server, "/v1/authorize", orjson.dumps(asker.request(dry_run=dry_run)), asker.token)
    return Request(content=content, path=("allowed",), value=True)

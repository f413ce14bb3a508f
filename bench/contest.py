"""``python -m bench peers``: this project and the others, all on the same work, at several numbers of policies."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console

from bench import cores, disk, measure, own, servers, tenant
from bench.generator import Generator, generator
from bench.measure import Request, Row
from bench.peers.contestants import Contestant, contestants
from bench.peers.install import UnavailableError
from bench.results import Line
from bench.servers import NotReadyError, Server
from bench.subjects import Subject, Terms, line, subject, take_turns
from bench.workload import ACTION, PERMITTED, QUESTIONS, Question, Work, work

DIMENSION: Final = "policies"
ECHO: Final = "bare ASGI echo (floor)"
HEALTH: Final = "this project, health"
LEGEND: Final = {
    disk.NAME: "nothing over HTTP: appends a page to a file on the disk of the stores and makes it durable",
    ECHO: "uvicorn with uvloop and httptools sends the request's body back: HTTP and nothing else",
    HEALTH: "`GET /v1/health`: routing and the server's own reading and writing of requests",
}


def contest(sizes: Sequence[int], terms: Terms, console: Console) -> tuple[list[Line], list[str]]:
    """Measure everybody at each number of policies; returns the lines and what was wrong.

    Raises NotReadyError and httpx.HTTPError when this project itself does not run.
    """
    lines: list[Line] = []
    wrong: list[str] = []
    with cores.held(terms.placed.load), generator() as driver:
        for size in sizes:
            with tempfile.TemporaryDirectory(prefix="sidecar-bench-", dir=terms.data_dir) as folder:
                found, disagreements = hold(Path(folder), work(size), driver, terms, console)
            lines += found
            wrong += disagreements
    return lines, wrong


def legend(lines: Sequence[Line]) -> dict[str, str]:
    """Return what each of the lines does."""
    known = LEGEND | own.LEGEND | {contestant.name: contestant.does for contestant in contestants()}
    return {line.name: known[line.name] for line in lines if line.name in known}


def hold(folder: Path, given: Work, driver: Generator, terms: Terms, console: Console) -> tuple[list[Line], list[str]]:
    """Start everybody with the work, let them take turns, and return their lines and where our books disagree."""
    with ExitStack() as stack:
        size = len(given.policies)
        with console.status(f"{size:,} policies: starting this project") as status:
            subjects, ours = _own_subjects(stack, folder, given, driver, terms)
            for number, contestant in enumerate(contestants()):
                status.update(f"{size:,} policies: starting {contestant.name}")
                home = folder / f"peer-{number}"
                home.mkdir()
                subjects.append(_peer(stack, home, contestant, given, driver, terms))
        rows = [row for subject in subjects for row in subject.rows.values()]
        take_turns(rows, terms.seconds, f"{size:,} policies", console)
        lines = [line(DIMENSION, size, each) for each in subjects]
        return lines, list(_disagreements(ours, rows))


def _own_subjects(
    stack: ExitStack, folder: Path, given: Work, driver: Generator, terms: Terms
) -> tuple[list[Subject], list[own.Own]]:
    core, connections = terms.placed.server, terms.connections
    echoing = folder / "echo"
    echoing.mkdir()
    echo = stack.enter_context(servers.echo(echoing, core))
    own.write_policies(folder / "policies", given)
    made = own.make_store(folder, core)
    ours = stack.enter_context(own.running(folder, made, folder / "policies", core))
    first = ours[0]
    echoed = first.ask(PERMITTED, dry_run=True)
    echoed = msgspec.structs.replace(echoed, path=("action",), value=ACTION)
    health = Request(content=measure.get(first.server, "/v1/health"), path=("status",), value="ok")
    subjects = [
        Subject(disk.NAME, "disk", {connections[0]: disk.syncs(folder)}),
        subject(ECHO, "echo", driver, echo, echoed, connections),
        subject(HEALTH, "own", driver, first.server, health, connections),
    ]
    for each in ours:
        _require_right(driver, each.server, lambda asked, each=each: each.ask(asked, dry_run=True))  # type: ignore[misc]
    for each in ours:
        if each.durability == "process-crash":
            dry = each.ask(PERMITTED, dry_run=True)
            subjects.append(subject(each.dry_run, "own", driver, each.server, dry, connections))
            if not each.server.uds:
                varied = msgspec.structs.replace(dry, varied=PERMITTED.text)
                subjects.append(subject(own.VARIED_DRY_RUN, "own", driver, each.server, varied, connections))
    for each in ours:
        full = each.ask(PERMITTED, dry_run=False)
        subjects.append(subject(each.permit, "own", driver, each.server, full, connections))
    return subjects, ours


def _peer(  # a contestant needs all of these
    stack: ExitStack, folder: Path, contestant: Contestant, given: Work, driver: Generator, terms: Terms
) -> Subject:
    """Start one of the others; one that cannot be had, or answers wrongly, keeps its line and says why."""
    try:
        server = stack.enter_context(contestant.start(folder, given, terms.placed.server))
        _require_right(driver, server, lambda asked: contestant.ask(server, asked))
    except (UnavailableError, NotReadyError) as error:
        return Subject(contestant.name, "peer", {}, missing=str(error))
    return subject(contestant.name, "peer", driver, server, contestant.ask(server, PERMITTED), terms.connections)


def _require_right(driver: Generator, server: Server, ask: Callable[[Question], Request]) -> None:
    """Ask once for each verdict; raises NotReadyError for a wrong one."""
    for question in QUESTIONS:
        outcome, _ = driver.drive(measure.plan(server, ask(question), 1))
        if outcome.wrong:
            raise NotReadyError(f"it decided wrongly about {question}: {outcome.first_wrong}")


def _disagreements(ours: Sequence[own.Own], rows: Sequence[Row]) -> Iterator[str]:
    """Yield where a server's own books differ from the permits that it was seen to give."""
    for each in ours:
        permits = sum(row.right for row in rows if row.name == each.permit)
        found = tenant.first_disagreement(each.server, each.tenant, permits)
        if found is not None:
            yield f"{each.permit}: {found}"

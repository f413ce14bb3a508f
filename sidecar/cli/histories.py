"""The histories that commands work on, from a data directory or an export, and the processes that work on them.

Each tenant's history is proven and retried by itself, so that both fit on the cores there are. A job names what it
works on, and whoever runs it opens that anew: nothing that is open goes from one process to another.
"""

import gc
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final, TypeAlias

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sidecar.core.errors import ConfigurationInvalid, SidecarError, Unavailable
from sidecar.core.snapshot import PolicyFiles
from sidecar.replica.export import exported
from sidecar.service.chain_proof import Chain, verify_chain
from sidecar.service.chronicle import Chronicle
from sidecar.service.courses import Candidate
from sidecar.service.proof import Proof, Prover, joined
from sidecar.service.replay import Comparison, Span, against_candidate, compare
from sidecar.state.chronicle import chronicles
from sidecar.state.environment import open_existing

APART_MIN: Final = 5_000
"""Records from which on processes of their own are worth their start, some half a second each."""

COLLECT_AFTER: Final = 100_000
"""New objects after which cycles are looked for. A history leaves next to none and keeps many objects, through which
Python's own 700 would walk again and again."""

Told: TypeAlias = Callable[[int], object]
Result: TypeAlias = Chain | Proof | Comparison | SidecarError


class Source(msgspec.Struct, frozen=True):
    """Where histories lie: in an export, or else in a data directory."""

    data_dir: Path
    export: Path | None

    @contextmanager
    def opened(self, tenant_id: str | None, size: int | None = None) -> Iterator[Sequence[Chronicle]]:
        """Give the histories of a tenant or of all; raises ConfigurationInvalid where there are none."""
        if self.export is not None:
            yield exported(self.export, tenant_id)
            return
        with closing(open_existing(self.data_dir / "db")) as environment:
            yield chronicles(environment, tenant_id, size)


class Log(msgspec.Struct, frozen=True):
    """A history as far as it was when the command began."""

    tenant_id: str
    size: int


class ChainJob(msgspec.Struct, frozen=True):
    """Verify the hash chain of a history."""

    source: Source
    log: Log

    def run(self, told: Told) -> Chain:
        """Return what came of it."""
        with self.source.opened(self.log.tenant_id, self.log.size) as (chronicle,):
            return verify_chain(chronicle, told)


class ProofJob(msgspec.Struct, frozen=True):
    """Prove a history."""

    source: Source
    log: Log
    accept_engine: bool

    def run(self, told: Told) -> Proof:
        """Return the proof; a record that cannot be used at all is told as one that was changed where it was."""
        with self.source.opened(self.log.tenant_id, self.log.size) as (chronicle,):
            try:
                return Prover(chronicle, told, accept_engine=self.accept_engine).prove()
            except ConfigurationInvalid:
                chain = verify_chain(chronicle, told)
                if chain.fault is None:
                    raise
                return Proof(
                    tenant_id=chain.tenant_id,
                    entries=0,
                    decisions=0,
                    missing=(),
                    missing_count=0,
                    difference=chain.fault,
                )


class RetrialJob(msgspec.Struct, frozen=True):
    """Decide a history again by other policy files."""

    source: Source
    log: Log
    files: PolicyFiles
    span: Span

    def run(self, told: Told) -> Comparison:
        """Return what comes out differently."""
        with self.source.opened(self.log.tenant_id, self.log.size) as (chronicle,):
            return compare(chronicle, against_candidate(Candidate(self.files)), self.span, told)


Job: TypeAlias = ChainJob | ProofJob | RetrialJob


def source_options(function: Callable[..., object]) -> Callable[..., object]:
    """Give a command the options that say which histories it is about."""
    for option in (
        click.option("--tenant", "tenant_id", help="This tenant only."),
        click.option(
            "--export",
            type=click.Path(path_type=Path, file_okay=False),
            help="Folder that `sidecar audit export` wrote, or one tenant's in it; instead of a data directory.",
        ),
        click.option(
            "--data-dir",
            type=click.Path(path_type=Path, file_okay=False),
            envvar="SIDECAR_DATA_DIR",
            default=Path("data"),
            show_default=True,
            help="Folder of the store; a server may be running on it.",
        ),
        click.option(
            "--accept-engine",
            is_flag=True,
            help="Decide by this policy engine what another version of it decided, instead of refusing.",
        ),
        click.option(
            "--jobs",
            type=click.IntRange(1, 64),
            default=None,
            help="Processes to work in. [default: as many as there are cores]",
        ),
    ):
        function = option(function)
    return function


def source_of(ctx: click.Context, data_dir: Path, export: Path | None) -> Source:
    """Return where the histories lie. Raises UsageError for a data directory and an export at once."""
    given = ctx.get_parameter_source("data_dir")
    if export is not None and given is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("--data-dir and --export exclude each other")
    return Source(data_dir, export)


def logs_of(source: Source, tenant_id: str | None) -> list[Log]:
    """Return the histories that there are, as far as they go now."""
    with source.opened(tenant_id) as found:
        return [Log(each.tenant_id, each.size) for each in found]


def run(jobs: Sequence[Job], processes: int | None) -> list[Result]:
    """Return the result of each job, in their order; a terminal shows how far they are.

    What is wrong with a history is a result as well, since another job may say it better. What is wrong with the
    command is raised at once, and the other jobs are stopped.
    """
    most = min(len(jobs), processes or len(os.sched_getaffinity(0)))
    terminal = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as progress:
        tasks = [progress.add_task(_title(job), total=job.log.size) for job in jobs]

        def told(number: int, done: int) -> None:
            progress.update(tasks[number], completed=done)

        if most == 1 or max((job.log.size for job in jobs), default=0) < APART_MIN:
            return [_result(job, partial(told, number)) for number, job in enumerate(jobs)]
        return _run_apart(jobs, most, told)


def proofs_of(results: Sequence[Result]) -> tuple[Proof, ...]:
    """Return the proof of each history, with what was found of its chain.

    Raises the error of a job that failed while all proofs hold.
    """
    chains = {each.tenant_id: each for each in results if isinstance(each, Chain)}
    proofs = tuple(joined(chains[each.tenant_id], each) for each in results if isinstance(each, Proof))
    failed = next((each for each in results if isinstance(each, SidecarError)), None)
    if failed is not None and all(proof.is_exact for proof in proofs):
        raise failed
    return proofs


def _result(job: Job, told: Told) -> Result:
    """Run a job. Raises ConfigurationInvalid."""
    try:
        return job.run(told)
    except ConfigurationInvalid:
        raise
    except SidecarError as error:
        return error


def _title(job: Job) -> str:
    match job:
        case ChainJob():
            return f"verify {job.log.tenant_id}"
        case ProofJob():
            return f"prove {job.log.tenant_id}"
        case RetrialJob():
            return f"decide again {job.log.tenant_id}"


def _run_apart(jobs: Sequence[Job], most: int, told: Callable[[int, int], None]) -> list[Result]:
    """Run jobs in processes of their own, ``most`` at a time."""
    context = multiprocessing.get_context("spawn")  # a fork would inherit what must not be shared
    waiting = list(enumerate(jobs))
    results: dict[int, Result] = {}
    running: dict[Connection, tuple[int, BaseProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < most:
                number, job = waiting.pop(0)
                here, there = context.Pipe(duplex=False)
                process: BaseProcess = context.Process(target=work, args=(job, there), daemon=True)
                process.start()
                there.close()
                running[here] = number, process
            for ready in wait(list(running)):
                if isinstance(ready, Connection):
                    _hear(ready, running, results, told)
    finally:
        for connection, (_, process) in running.items():
            process.terminate()
            process.join()
            connection.close()
    return [results[number] for number in range(len(jobs))]


def _hear(
    connection: Connection,
    running: dict[Connection, tuple[int, BaseProcess]],
    results: dict[int, Result],
    told: Callable[[int, int], None],
) -> None:
    """Take one message of a job: how far it is, what came of it, or why it failed."""
    number, process = running[connection]
    try:
        message = connection.recv()
    except EOFError:
        process.join()
        raise Unavailable(f"a process of the replay ended with code {process.exitcode}, try fewer --jobs") from None
    if isinstance(message, int):
        told(number, message)
        return
    if isinstance(message, ConfigurationInvalid):
        raise message
    results[number] = message
    del running[connection]
    process.join()
    connection.close()


def work(job: Job, connection: Connection) -> None:
    """Run a job for another process and send it what comes of it, with how far it is meanwhile."""
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
    try:
        outcome = _result(job, connection.send)
    except ConfigurationInvalid as error:
        outcome = error
    except (BrokenPipeError, KeyboardInterrupt):  # nobody waits for it any more
        return
    connection.send(outcome)

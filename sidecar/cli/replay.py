"""``sidecar replay``: what other policy files would have made of the decisions that were really made."""

import os
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from sidecar.cli.histories import ChainJob, ProofJob, RetrialJob, logs_of, proofs_of, run, source_of, source_options
from sidecar.cli.replay_json import as_json
from sidecar.cli.replay_markdown import as_markdown
from sidecar.cli.replay_report import LIMIT, Replayed
from sidecar.cli.replay_text import WIDTH, as_text, print_text
from sidecar.core.errors import ConfigurationInvalid, ValidationFailed
from sidecar.core.instants import parse_utc
from sidecar.core.policy import engine
from sidecar.core.snapshot import PolicyFiles
from sidecar.replica.files import read_files
from sidecar.service.courses import Candidate
from sidecar.service.replay import Comparison, Span

EXIT_DIFFERENT: Final = 1
LIMIT_MAX: Final = 100
"""Rows of each table: with more, a comment for a review is longer than what takes it."""


class Time(click.ParamType[int]):
    """A time as click reads it, in microseconds."""

    name = "time"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the instant that ``value`` writes."""
        try:
            return value if isinstance(value, int) else parse_utc(value, "time")
        except ValidationFailed as error:
            self.fail(error.message, param, ctx)


@click.command("replay")
@source_options
@click.option(
    "--policies",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="SIDECAR_POLICIES",
    default=Path("policies"),
    show_default=True,
    help="Folder of the candidate's policies: in place of all policy files, and of no policy made by the API.",
)
@click.option(
    "--schemas",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="SIDECAR_SCHEMAS",
    default=Path("schemas"),
    show_default=True,
    help="Folder of the candidate's schema.",
)
@click.option("--from", "from_us", type=Time(), help="Tell of decisions from this time on, RFC 3339.")
@click.option("--to", "to_us", type=Time(), help="Tell of decisions before this time, RFC 3339.")
@click.option(
    "--format",
    "shape",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    show_default=True,
    help="How to print: for people, as one JSON object, or as a comment for a review.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, LIMIT_MAX),
    default=LIMIT,
    show_default=True,
    help="Rows of each table in text and Markdown; the JSON has everything.",
)
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write to, instead of the terminal."
)
@click.pass_context
def replay(  # noqa: PLR0913 -- an argument per option
    ctx: click.Context,
    /,
    *,
    data_dir: Path,
    export: Path | None,
    tenant_id: str | None,
    accept_engine: bool,
    jobs: int | None,
    policies: Path,
    schemas: Path,
    from_us: int | None,
    to_us: int | None,
    shape: str,
    limit: int,
    output: Path | None,
) -> None:
    """Decide the recorded history again by other policy files, and report what comes out differently.

    First the history is proven: by the policies of then, each decision must come out as it was recorded. Then each is
    decided by the candidate, with the request, identities, cards, budgets and time of then; budgets have used what the
    candidate itself permitted: a permit that it denies spends nothing, a denial that it permits is settled in full at
    once. Policies made by the API are those of then.

    Exit code 0 when nothing flips, 1 when something does or the proof fails, 2 for files that cannot be used.
    """
    if from_us is not None and to_us is not None and from_us >= to_us:
        raise click.UsageError("--from must be before --to")
    source = source_of(ctx, data_dir, export)
    files = read_files(policies, schemas)
    candidate, span = _checked(files), Span(from_us, to_us)
    logs = logs_of(source, tenant_id)
    proving = [ProofJob(source, log, accept_engine) for log in logs]
    retrying = [RetrialJob(source, log, files, span) for log in logs]
    results = run([*proving, *retrying, *(ChainJob(source, log) for log in logs)], jobs)
    found = Replayed(
        proofs=proofs_of(results),
        comparisons=tuple(each for each in results if isinstance(each, Comparison)),
        span=span,
        candidate=candidate.digest,
        engine=engine(),
    )
    if output is not None:
        _write(output, _rendered(found, shape, limit))
    elif shape == "text":
        console = Console()
        print_text(found, console if console.is_terminal else Console(width=WIDTH), limit)
    else:
        click.echo(_rendered(found, shape, limit), nl=False)
    has_flips = any(each.flips for each in found.comparisons)
    ctx.exit(EXIT_DIFFERENT if has_flips or not found.is_exact else 0)


def _checked(files: PolicyFiles) -> Candidate:
    try:
        return Candidate(files)
    except ValidationFailed as error:
        raise ConfigurationInvalid(f"the candidate: {error.message}") from error


def _rendered(found: Replayed, shape: str, limit: int) -> str:
    match shape:
        case "json":
            return as_json(found)
        case "markdown":
            return as_markdown(found, limit)
        case _:
            return as_text(found, limit)


def _write(path: Path, text: str) -> None:
    """Write a file whole, or leave it as it was."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise

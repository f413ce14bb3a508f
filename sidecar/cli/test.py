"""``sidecar test``: the tests that lie beside the policies, run against them."""

import io
import time
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from sidecar.cli.policy_test_report import json_report, junit_report, write_text
from sidecar.cli.policy_test_run import Run, Wanted, fingerprint, run_tests
from sidecar.core.errors import ConfigurationInvalid

EXIT_GOOD: Final = 0
EXIT_BAD: Final = 1
EXIT_USAGE: Final = 2

POLL_SECONDS: Final = 0.5
"""How often files are looked at for changes: sooner than somebody who saved one looks back."""

ALL: Final = 100
FOLDER: Final = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[PATHS]...")
@click.option(
    "--policies",
    type=FOLDER,
    envvar="SIDECAR_POLICIES",
    help="Folder of the policies under test [default: the one that the folder in PATHS lies in, else policies].",
)
@click.option(
    "--schemas",
    type=FOLDER,
    default=Path("schemas"),
    envvar="SIDECAR_SCHEMAS",
    show_default=True,
    help="Folder of the Cedar schema.",
)
@click.option("--filter", "-k", "needle", default="", metavar="TEXT", help="Run the tests with TEXT in their names.")
@click.option("--coverage", is_flag=True, help="Show which policies never decided and which conditions never changed.")
@click.option(
    "--coverage-min",
    type=click.IntRange(0, ALL),
    metavar="PERCENT",
    help="Exit with 1 when the coverage is below PERCENT; asks for --coverage.",
)
@click.option(
    "--jobs", "-j", type=click.IntRange(1), help="Processes for many tests [default: one for each processor]."
)
@click.option(
    "--format",
    "shape",
    type=click.Choice(["text", "json", "junit"]),
    default="text",
    show_default=True,
    help="Form of the report.",
)
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Write the report to a file; show text too."
)
@click.option("--watch", is_flag=True, help="Run again whenever a policy, schema or test file changes, until Ctrl-C.")
@click.pass_context
def test(  # noqa: PLR0913 (an option each)
    ctx: click.Context,
    /,
    *,
    paths: tuple[Path, ...],
    policies: Path | None,
    schemas: Path,
    needle: str,
    coverage: bool,
    coverage_min: int | None,
    jobs: int | None,
    shape: str,
    output: Path | None,
    watch: bool,
) -> None:
    """Run the tests of policies.

    PATHS are files and folders, searched for *.test.yaml; left out, the folder of the policies. How a test is written
    is in policies/README.md.

    Exit codes: 0 all passed, 1 a test failed or the coverage is too low, 2 wrong usage, broken files, no tests or a
    test that cannot be decided.
    """
    chosen = paths or (policies or Path("policies"),)
    wanted = Wanted(chosen, policies, schemas, needle, coverage or coverage_min is not None, jobs)
    told = _Told(shape, output, coverage_min or 0)
    ctx.exit(_watch(wanted, told) if watch else told.tell(run_tests(wanted)))


class _Told:
    """Where and how runs are told."""

    def __init__(self, shape: str, output: Path | None, coverage_min: int) -> None:
        self._shape = shape
        self._output = output
        self._coverage_min = coverage_min

    def tell(self, run: Run) -> int:
        """Report a run and return its exit code."""
        report = self._report(run)
        if report is None or self._output is not None:
            write_text(run, Console(highlight=False, emoji=False, markup=False))
        if self._output is not None:
            self._output.write_bytes(_plain_text(run) if report is None else report)
        elif report is not None:
            click.echo(report, nl=False)
        if run.broken:
            return EXIT_USAGE
        if run.coverage is not None and run.coverage.percent < self._coverage_min:
            click.echo(
                f"sidecar: the coverage is {run.coverage.percent} %, expected at least {self._coverage_min} %", err=True
            )
            return EXIT_BAD
        return EXIT_BAD if run.failed else EXIT_GOOD

    def _report(self, run: Run) -> bytes | None:
        return {"json": json_report, "junit": junit_report}[self._shape](run) if self._shape != "text" else None


def _plain_text(run: Run) -> bytes:
    written = io.StringIO()
    write_text(run, Console(file=written, highlight=False, emoji=False, markup=False, no_color=True))
    return written.getvalue().encode()


def _watch(wanted: Wanted, told: _Told) -> int:
    """Run whenever a file changes; returns the exit code of the last run once it is interrupted."""
    terminal = Console()
    code, seen = EXIT_GOOD, None
    try:
        while True:
            found = fingerprint(wanted)
            if found != seen:
                seen = found
                if terminal.is_terminal:
                    terminal.clear()
                code = _once(wanted, told)
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        return EXIT_BAD if code else EXIT_GOOD


def _once(wanted: Wanted, told: _Told) -> int:
    try:
        return told.tell(run_tests(wanted))
    except ConfigurationInvalid as error:
        click.echo(f"sidecar: {error.message}", err=True)
        return EXIT_USAGE

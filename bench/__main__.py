"""``python -m bench``: measure a part or all of it, print it, keep the figures; exit code 1 for a wrong answer."""

import shlex
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn

import click
import httpx
import msgspec
from rich.console import Console

from bench import contest, cores, day, machine, replay, report, results, scaling, steps, tables
from bench.generator import GeneratorDiedError
from bench.results import Part, Replays, Setting, Steps
from bench.servers import ROOT, NotReadyError
from bench.stages import NoSuchStepError
from bench.steps import StepsFailedError
from bench.subjects import Terms
from sidecar.app.logs import set_up_logs

CONNECTIONS: Final = (1, 32)
CONNECTIONS_MAX: Final = 512
SECONDS_MAX: Final = 600.0
POLICIES: Final = (10, 100, 1_000, 10_000)
POLICIES_QUICK: Final = (10, 1_000)
SECONDS: Final = 2.0
SECONDS_QUICK: Final = 0.3
RESULTS: Final = ROOT / "bench" / "RESULTS.md"
ABORTED: Final = 128
"""Plus the signal's number: the exit code of a run that was told to stop."""

FAILURES: Final = (NotReadyError, GeneratorDiedError, StepsFailedError, NoSuchStepError, httpx.HTTPError)

_quick = click.option("--quick", is_flag=True, help="Fewer sizes and shorter rows: to see that it runs, not to quote.")
_full = click.option("--full", is_flag=True, help="The largest sizes too: a million identities, ten million records.")
_seconds = click.option(
    "--seconds",
    type=click.FloatRange(0.1, SECONDS_MAX),
    help=f"How long each row is measured. [default: {SECONDS:g}, {SECONDS_QUICK:g} with --quick]",
)
_concurrency = click.option(
    "--concurrency",
    type=click.IntRange(1, CONNECTIONS_MAX),
    multiple=True,
    default=CONNECTIONS,
    show_default=True,
    help="Keep-alive connections at once; give it several times.",
)
_data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True, writable=True),
    help="Folder on the disk to be measured; folders in it are made and removed. [default: the system's temporary one]",
)
_policies = click.option(
    "--policies",
    type=click.IntRange(1, POLICIES[-1]),
    multiple=True,
    help=f"Numbers of policies. [default: {POLICIES}, {POLICIES_QUICK} with --quick]",
)


def _measured(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that all measurements over HTTP have."""
    for option in (_data_dir, _concurrency, _seconds, _quick):
        function = option(function)
    return function


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure this project, beside others and by itself; the README beside it says what each figure means.

    Each part keeps its figures in bench/.results/, from which `report` writes RESULTS.md and its plots.
    """
    signal.signal(signal.SIGTERM, _leave)


@main.command("peers")
@_measured
@_policies
def peers_command(**options: Any) -> None:  # noqa: ANN401  # click's
    """This project and others, on the same work, in one run."""
    _end(_peers(**options))


@main.command("scaling")
@_measured
@_full
@click.option("--only", multiple=True, help=f"Dimensions: {', '.join(each.name for each in scaling.DIMENSIONS)}.")
def scaling_command(**options: Any) -> None:  # noqa: ANN401  # as above
    """What a decision costs as identities, budgets, records, holds, policies and workers grow."""
    _end(_scaling(**options))


@main.command("steps")
@_quick
@_data_dir
def steps_command(**options: Any) -> None:  # noqa: ANN401  # as above
    """What each step of a decision costs, without a network."""
    _steps(**options)


@main.command("replay")
@click.option("--decisions", type=click.IntRange(100), default=100_000, show_default=True, help="In the history.")
@click.option("--tenants", type=click.IntRange(1), default=1, show_default=True, help="That they are spread over.")
@_data_dir
def replay_command(decisions: int, tenants: int, data_dir: Path | None) -> None:
    """How long a long history takes to be proven, and decided again by other policy files."""
    set_up_logs("error")  # the history is made by the project's own services, in this process
    before, console = machine.strain(), Console(stderr=True)
    try:
        timed = replay.run(decisions, tenants, data_dir, lambda what: console.print(f"replay: {what}", style="dim"))
    except replay.ReplayFailedError as error:
        raise click.ClickException(str(error)) from error
    strain = machine.strain().told_since(before)
    setting = Setting(machine.describe(_folder(data_dir)), "on all cores", strain, 0.0, _command())
    results.save("replay", kept := Replays(setting=setting, tenants=tenants, timed=tuple(timed)))
    report.print_replays(kept, report.console())


@main.command("day")
@click.option("--seconds", type=click.FloatRange(1, SECONDS_MAX), default=60.0, show_default=True, help="One day.")
@click.option(
    "--users", type=click.IntRange(1, 1_000), default=40, show_default=True, help="Agents at the busiest hour."
)
@_data_dir
def day_command(seconds: float, users: int, data_dir: Path | None) -> None:
    """A day of several tenants, compressed, against a server of its own."""
    sys.exit(day.run(seconds, users, data_dir))


@main.command("all")
@_measured
@_full
@click.option("--publish", is_flag=True, help="Write RESULTS.md and its plots at the end.")
def all_command(*, publish: bool, full: bool, **options: Any) -> None:  # noqa: ANN401  # as above
    """All of it, one part after the other."""
    is_right = _peers(policies=(), **options)
    is_right &= _scaling(full=full, only=(), **options)
    _steps(quick=options["quick"], data_dir=options["data_dir"])
    if publish:
        _report(RESULTS)
    _end(is_right)


@main.command("report")
@click.option(
    "--markdown", type=click.Path(path_type=Path, dir_okay=False), default=RESULTS, help="File; plots go beside it."
)
def report_command(markdown: Path) -> None:
    """Write RESULTS.md and its plots from the figures that were kept."""
    _report(markdown)


def _leave(number: int, _frame: object) -> NoReturn:
    """End like Ctrl-C does, so that the servers are stopped and the folders are removed."""
    sys.exit(ABORTED + number)


def _end(is_right: bool) -> NoReturn:  # noqa: FBT001  # the verdict of a run
    sys.exit(0 if is_right else 1)


def _terms(*, quick: bool, seconds: float | None, concurrency: tuple[int, ...], data_dir: Path | None) -> Terms:
    return Terms(
        connections=tuple(sorted(set(concurrency))),
        seconds=seconds or (SECONDS_QUICK if quick else SECONDS),
        placed=cores.choose(),
        data_dir=data_dir,
    )


def _peers(*, policies: tuple[int, ...], quick: bool, **options: Any) -> bool:  # noqa: ANN401  # as above
    """Measure this project and the others; returns whether every answer of ours was right."""
    sizes = sorted(set(policies)) or (POLICIES_QUICK if quick else POLICIES)

    def measure(terms: Terms, console: Console) -> Part:
        lines, wrong = contest.contest(sizes, terms, console)
        return Part(setting=_unset(terms), lines=tuple(lines), legend=contest.legend(lines), wrong=tuple(wrong))

    part = _part(measure, _terms(quick=quick, **options))
    results.save("peers", part)
    report.print_part(part, [tables.peers(part)], report.console())
    return _is_right(part)


def _scaling(*, full: bool, only: tuple[str, ...], quick: bool, **options: Any) -> bool:  # noqa: ANN401  # as above
    """Measure what size costs; returns whether every answer was right."""
    known = {each.name: each for each in scaling.DIMENSIONS}
    for name in set(only) - set(known):
        raise click.UsageError(f"unknown dimension `{name}`, there are: {', '.join(known)}")
    chosen = tuple(known[name] for name in dict.fromkeys(only or known))
    choice = scaling.Choice(chosen, is_full=full, sizes_max=2 if quick else None)

    def measure(terms: Terms, console: Console) -> Part:
        set_up_logs("error")  # the filler works with the project's own services, in this process
        lines = scaling.scale(choice, terms, console)
        return Part(setting=_unset(terms), lines=tuple(lines), legend=scaling.LEGEND)

    part = _part(measure, _terms(quick=quick, **options))
    results.save("scaling", part)
    report.print_part(part, tables.scaling(part), report.console())
    return _is_right(part)


def _steps(*, quick: bool, data_dir: Path | None) -> None:
    size = steps.Size(rounds=2, requests=256) if quick else steps.Size()
    placed, console = cores.choose(), Console(stderr=True)
    before, folder = machine.strain(), _folder(data_dir)
    try:
        found = steps.measure(size, data_dir, placed.server, lambda name: console.print(f"steps: {name}", style="dim"))
    except FAILURES as error:
        raise click.ClickException(str(error)) from error
    strain = machine.strain().told_since(before)
    setting = Setting(machine.describe(folder), "on one core", strain, 0.0, _command())
    results.save("steps", kept := Steps(setting=setting, steps=found))
    report.print_steps(kept, report.console())


def _part(measure: Callable[[Terms, Console], Part], terms: Terms) -> Part:
    """Measure a part, with what went on meanwhile; what stops it becomes a clear error."""
    before = machine.strain()
    try:
        part = measure(terms, Console(stderr=True))
    except FAILURES as error:
        raise click.ClickException(str(error)) from error
    setting = msgspec.structs.replace(part.setting, strain=machine.strain().told_since(before))
    return msgspec.structs.replace(part, setting=setting)


def _unset(terms: Terms) -> Setting:
    """Return the setting of a run that is not over."""
    found = machine.describe(_folder(terms.data_dir))
    return Setting(found, terms.placed.told(), "", terms.seconds, _command())


def _folder(data_dir: Path | None) -> Path:
    return Path(tempfile.gettempdir()) if data_dir is None else data_dir


def _command() -> str:
    return shlex.join(["python", "-m", "bench", *sys.argv[1:]])


def _is_right(part: Part) -> bool:
    """Return whether no answer was wrong; a peer that cannot be had is no fault."""
    return not part.wrong and not any(found.wrong for line in part.lines for found in line.figures.values())


def _report(path: Path) -> None:
    peers, scaled, found = results.part("peers"), results.part("scaling"), results.steps()
    replays = results.replays()
    if peers is None and scaled is None and found is None and replays is None:
        raise click.ClickException("nothing was measured yet: run `python -m bench all`, or parts of it")
    report.write(path, peers, scaled, found, replays)
    click.echo(f"wrote {path}")


if __name__ == "__main__":
    main(prog_name="python -m bench")

"""``python -m bench``: start the servers, drive them, print the table; exit code 1 when any answer was wrong."""

import shlex
import signal
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NoReturn

import click
import httpx
import msgspec

from bench import cores, disk, machine, measure, report, servers, tenant
from bench.generator import Generator, GeneratorDiedError, generator
from bench.measure import Row
from bench.servers import NotReadyError, Server
from bench.tenant import Tenant

CONNECTIONS: Final = (1, 32)
CONNECTIONS_MAX: Final = 512
SECONDS: Final = 5.0
SECONDS_MAX: Final = 600.0
ABORTED: Final = 128
"""Plus the signal's number: the exit code of a run that was told to stop."""


class Bed(msgspec.Struct, frozen=True):
    """What runs during a benchmark: the bare echo, and a server for each durability with its tenant."""

    folder: Path
    generator: Generator
    echo: Server
    crash: Server
    crash_tenant: Tenant
    power: Server
    power_tenant: Tenant


@click.command(context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
@click.option(
    "--seconds", type=click.FloatRange(0.1, SECONDS_MAX), default=SECONDS, help="How long each row is measured."
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, CONNECTIONS_MAX),
    multiple=True,
    default=CONNECTIONS,
    help="Keep-alive connections at once; give it several times for several groups of rows.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True, writable=True),
    help="Folder on the disk to be measured; a folder in it is made and removed. [default: the system's temporary one]",
)
@click.option("--markdown", type=click.Path(path_type=Path, dir_okay=False), help="File to write the results to.")
def main(seconds: float, concurrency: tuple[int, ...], data_dir: Path | None, markdown: Path | None) -> None:
    """Measure full permits over HTTP, beside the floors of this machine taken in the same run.

    Starts real servers with stores of their own and ends them; needs nothing else. The README beside it says what each
    row means.
    """
    signal.signal(signal.SIGTERM, _leave)
    placed = cores.choose()
    found = machine.describe(Path(tempfile.gettempdir()) if data_dir is None else data_dir)
    before = machine.strain()
    try:
        with ExitStack() as stack:
            bed = _set_up(stack, data_dir, placed)
            rows = _rows(bed, sorted(set(concurrency)))
            click.echo(f"measuring {len(rows)} rows of {seconds:g} s, with warm-up about {_total(rows, seconds)} s")
            measure.run(rows, seconds)
            disagreements = _disagreements(bed, rows)
    except (NotReadyError, GeneratorDiedError, httpx.HTTPError) as error:
        raise click.ClickException(str(error)) from error
    command = shlex.join([".venv/bin/python", "-m", "bench", *sys.argv[1:]])
    setting = report.Setting(found, placed, machine.strain().told_since(before), seconds, command)
    report.print_table(rows, setting)
    if markdown is not None:
        markdown.write_text(report.markdown(rows, setting))
    for disagreement in disagreements:
        click.echo(f"wrong: {disagreement}", err=True)
    sys.exit(1 if disagreements or any(row.wrong for row in rows) else 0)


def _leave(number: int, _frame: object) -> NoReturn:
    """End like Ctrl-C does, so that the servers are stopped and the folder is removed."""
    sys.exit(ABORTED + number)


def _set_up(stack: ExitStack, data_dir: Path | None, placed: cores.Cores) -> Bed:
    """Start everything; ``stack`` ends it. The servers are pinned to one core, whatever is started later to another."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sidecar-bench-", dir=data_dir)))
    echo = stack.enter_context(servers.echo(placed.server))
    crash = stack.enter_context(servers.sidecar(folder, "process-crash", placed.server))
    power = stack.enter_context(servers.sidecar(folder, "power-loss", placed.server))
    cores.pin(0, placed.load)
    return Bed(
        folder=folder,
        generator=stack.enter_context(generator()),
        echo=echo,
        crash=crash,
        crash_tenant=tenant.set_up(crash.url, crash.operator),
        power=power,
        power_tenant=tenant.set_up(power.url, power.operator),
    )


def _rows(bed: Bed, concurrency: Iterable[int]) -> list[Row]:
    """Return the rows in the order of a permit's stages, each doing all that the one before it does and more."""
    rows = [disk.syncs(bed.folder)]
    for connections in concurrency:
        rows += [
            measure.echoes(bed.generator, bed.echo, bed.crash_tenant, connections),
            measure.health(bed.generator, bed.crash, connections),
            measure.dry_runs(bed.generator, bed.crash, bed.crash_tenant, connections),
            measure.permits("process-crash", bed.generator, bed.crash, bed.crash_tenant, connections),
            measure.permits("power-loss", bed.generator, bed.power, bed.power_tenant, connections),
        ]
    return rows


def _total(rows: Sequence[Row], seconds: float) -> int:
    """Return about how many seconds the run takes."""
    return round(len(rows) * (seconds * 1.1 + min(measure.FIRST_WARM_UP_SECONDS, seconds)))


def _disagreements(bed: Bed, rows: Sequence[Row]) -> list[str]:
    """Return where a server's own books differ from the permits that it was seen to give."""
    permits = {
        durability: sum(row.right for row in rows if row.name == measure.permit_name(durability))
        for durability in ("process-crash", "power-loss")
    }
    found = (
        tenant.first_disagreement(bed.crash.url, bed.crash_tenant, permits["process-crash"]),
        tenant.first_disagreement(bed.power.url, bed.power_tenant, permits["power-loss"]),
    )
    return [disagreement for disagreement in found if disagreement is not None]


main(prog_name="python -m bench")

"""The figures for people: a table for the terminal, and the same as Markdown with what it takes to repeat them."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from bench.cores import Cores
from bench.machine import Machine
from bench.measure import Figures, Row

HEADINGS: Final = ("", "c", "p50 ms", "p99 ms", "max ms", "per second", "p50 : echo", "errors")
WIDTH_UNKNOWN: Final = 110
"""Columns where the output is no terminal: enough that nothing is cut."""

BUSY_MAX: Final = 0.9
"""Above this share of its processor the generator itself may be what limits a row."""


class Setting(msgspec.Struct, frozen=True):
    """What a run was made on, beside what (``strain``, a clause), for how long, and by which command."""

    machine: Machine
    cores: Cores
    strain: str
    seconds: float
    command: str


def print_table(rows: Sequence[Row], setting: Setting) -> None:
    """Print the table and what the run was made on."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_UNKNOWN)
    table = Table()
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading else "left")
    for before, row in zip((None, *rows), rows, strict=False):
        if before is not None and before.connections != row.connections:
            table.add_section()
        table.add_row(*_cells(row, _floor(rows, row)))
    console.print(table)
    for line in (*_told(setting), *notes(rows, setting.machine)):
        console.print(line, highlight=False, soft_wrap=True)


def markdown(rows: Sequence[Row], setting: Setting) -> str:
    """Return the same as a Markdown document."""
    right = ("---", *("---:" for _ in HEADINGS[1:]))
    table = (HEADINGS, right, *(_cells(row, _floor(rows, row)) for row in rows))
    return "\n".join(
        (
            "# Results",
            "",
            "Made by the command below, not by hand; what each figure means is in [README.md](README.md).",
            "",
            "```",
            setting.command,
            "```",
            "",
            *(f"- {line}" for line in _told(setting)),
            *(f"- {line}" for line in notes(rows, setting.machine)),
            "",
            *("| " + " | ".join(cells) + " |" for cells in table),
            "",
            "At concurrency 1, the median of each stage over the stage before it:",
            "",
            *(f"- {line}" for line in stages(rows)),
            "",
        )
    )


def stages(rows: Sequence[Row]) -> Iterator[str]:
    """Yield what each step of a permit adds, one request at a time; the rows come in the order of the steps."""
    before = 0.0
    for row in rows:
        if row.connections != 1 or row.kind == "disk":
            continue
        p50 = row.figures().p50_ms
        yield f"{row.name}: {p50 - before:+.3f} ms"
        before = p50


def notes(rows: Sequence[Row], machine: Machine) -> Iterator[str]:
    """Yield what has to be known to believe the figures."""
    busiest = max(rows, key=lambda row: row.figures().busy)
    busy = busiest.figures().busy
    yield f"load generator busy {busy:.0%} of its time at most (`{busiest.name}`, c={busiest.connections})"
    if busy > BUSY_MAX:
        yield "a row in which the generator is busy all the time shows the generator's limit, not the server's"
    if not machine.is_disk_real:
        yield f"the stores lie on {machine.file_system}, in memory: fsync is free here, `power-loss` means nothing"
    for row in rows:
        for outcome in row.outcomes:
            if outcome.first_wrong:
                yield f"wrong answer in `{row.name}`, c={row.connections}: {outcome.first_wrong}"


def _told(setting: Setting) -> Iterator[str]:
    machine = setting.machine
    yield f"{machine.processor}, {machine.cores} cores; {machine.kernel}; {machine.python}; {machine.file_system}"
    yield f"{setting.cores.told()}; {setting.strain}"
    yield f"{setting.seconds:g} s a row, in slices of about a second in which the rows take turns"


def _floor(rows: Sequence[Row], row: Row) -> Figures | None:
    """Return the figures of the echo at the same concurrency; None for what is no HTTP."""
    echo = next((each for each in rows if each.kind == "echo" and each.connections == row.connections), None)
    return echo.figures() if echo is not None and row.kind == "stage" else None


def _cells(row: Row, floor: Figures | None) -> tuple[str, ...]:
    figures = row.figures()
    ratio = "" if floor is None or not floor.p50_ms else f"{figures.p50_ms / floor.p50_ms:.1f}"
    return (
        row.name,
        str(row.connections),
        f"{figures.p50_ms:.3f}",
        f"{figures.p99_ms:.3f}",
        f"{figures.max_ms:.2f}",
        f"{figures.rate:,.0f}",
        ratio,
        str(row.wrong),
    )

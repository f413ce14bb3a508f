"""The figures for people: tables for the terminal, and ``RESULTS.md`` with its plots from the parts that were kept."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table as ConsoleTable

from bench import plots, tables
from bench.results import Part, Replays, Steps
from bench.tables import Table

WIDTH_UNKNOWN: Final = 240
"""Columns where the output is no terminal: enough that nothing is cut."""

PLOTS: Final = "plots"
REACH: Final = "REACH.md"
"""Written by hand: what was aimed at, what was reached, and why not more. It becomes the end of the results."""

OPENING: Final = """# Results

Written by `python -m bench report` from what was measured, not by hand; what each figure means is in
[README.md](README.md). Absolute figures move with the machine: quote the ratios."""


def print_part(part: Part, shown: list[Table], console: Console) -> None:
    """Print the tables of a part and what it was measured on."""
    for table in shown:
        console.print(_for_console(table))
    for line in (*tables.told(part), *tables.notes(part)):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def print_steps(steps: Steps, console: Console) -> None:
    """Print the stages of a decision."""
    console.print(_for_console(tables.steps(steps)))
    for line in tables.told(steps):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def print_replays(replays: Replays, console: Console) -> None:
    """Print how long replays take."""
    console.print(_for_console(tables.replays(replays)))
    for line in tables.told(replays):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def console() -> Console:
    """Return where tables are printed: as wide as they need where no terminal limits them."""
    found = Console()
    return found if found.is_terminal else Console(width=WIDTH_UNKNOWN)


def write(
    path: Path, peers: Part | None, scaling: Part | None, steps: Steps | None, replays: Replays | None = None
) -> None:
    """Write the Markdown to ``path`` and its plots to the folder beside it; a ``REACH`` beside it becomes its end."""
    folder = path.parent / PLOTS
    drawn = plots.draw(folder, peers, scaling, steps)
    blocks = [OPENING]
    if peers is not None:
        blocks += ["## Beside others", *_about(peers), _for_markdown(tables.peers(peers)), *_legend(peers.legend)]
        blocks += [_plot(name, title) for name, title in drawn if name.startswith("peers")]
    if scaling is not None:
        blocks += ["## As things grow", *_about(scaling), *_legend(scaling.legend)]
        for table in tables.scaling(scaling):
            blocks += [f"### {table.title}", _for_markdown(table)]
        blocks += [_plot(name, title) for name, title in drawn if name.startswith("scaling")]
    if steps is not None:
        blocks += ["## Where the time goes", _list(_setting(steps)), _for_markdown(tables.steps(steps))]
        blocks += [_plot(name, title) for name, title in drawn if name.startswith("steps")]
    if replays is not None:
        blocks += ["## A history decided again", _list(_setting(replays)), _for_markdown(tables.replays(replays))]
    reach = path.with_name(REACH)
    if reach.exists():
        blocks.append(reach.read_text().strip())
    path.write_text("\n\n".join(blocks) + "\n")


def _about(part: Part) -> Iterator[str]:
    yield _list((*_setting(part), *tables.notes(part)))


def _setting(part: Part | Steps | Replays) -> Iterator[str]:
    yield f"`{part.setting.command}`"
    yield from tables.told(part)


def _legend(legend: Mapping[str, str]) -> Iterator[str]:
    yield "What one request does:"
    yield _list(f"**{name}**: {does}" for name, does in legend.items())


def _list(lines: Iterator[str] | tuple[str, ...]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _plot(name: str, title: str) -> str:
    return f"![{title}]({PLOTS}/{name}.svg)"


def _for_markdown(table: Table) -> str:
    right = tuple("---" if number in table.texts else "---:" for number in range(len(table.headings)))
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (table.headings, right, *table.rows))


def _for_console(table: Table) -> ConsoleTable:
    found = ConsoleTable(title=table.title)
    for number, heading in enumerate(table.headings):
        found.add_column(heading, justify="left" if number in table.texts else "right", no_wrap=number in table.texts)
    for number, row in enumerate(table.rows):
        if number in table.sections:
            found.add_section()
        found.add_row(*row)
    return found

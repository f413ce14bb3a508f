"""A replay's findings as text: tables with colours where a terminal takes them."""

from io import StringIO
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sidecar.cli.replay_report import (
    DIRECTIONS,
    Group,
    Replayed,
    amount_text,
    cause_text,
    codes_text,
    groups_of,
    money_of,
    money_text,
    remarks,
    summary,
)
from sidecar.core.instants import utc_text
from sidecar.service.replay import Flip

WIDTH: Final = 160
"""Columns where the output is no terminal."""


def print_text(found: Replayed, console: Console, limit: int) -> None:
    """Print the report; colours are the console's matter."""
    console.print(Text(summary(found), style="bold"))
    for remark in remarks(found, limit):
        style = "bold red" if remark.startswith("PROOF FAILED") else ""
        console.print(Text(remark, style=style), soft_wrap=True)
    for before, after in DIRECTIONS:
        flips = found.flips(before)
        if flips:
            colour = "red" if after == "allow" else "yellow"
            heading = f"{before.upper()} to {after.upper()}: {len(flips)}"
            console.print()
            console.print(Text(f"{heading}  {money_text(money_of(flips))}", style=f"bold {colour}"))
            console.print(_table_of_groups(groups_of(flips), limit))
            console.print(_table_of_flips(flips, limit))


def _table_of_groups(groups: list[Group], limit: int) -> Table:
    table = Table("made by", box=None, pad_edge=False)
    table.add_column("decisions", justify="right")
    table.add_column("money", justify="right")
    for group in groups[:limit]:
        table.add_row(Text(cause_text(group.cause)), str(group.decisions), money_text(group.money))
    if len(groups) > limit:
        table.add_row(f"and {len(groups) - limit} more", "", "")
    return table


def _table_of_flips(flips: list[Flip], limit: int) -> Table:
    table = Table("tenant", "record", "at", "identity", "action", "resource", box=None, pad_edge=False)
    table.add_column("amount", justify="right")
    table.add_column("then")
    table.add_column("now")
    for flip in flips[:limit]:
        told = (
            flip.tenant_id,
            str(flip.seq),
            utc_text(flip.now_us),
            flip.identity_id,
            flip.action,
            f"{flip.resource_type} {flip.resource_id}",
            amount_text(flip),
            codes_text(flip.reasons_before),
            codes_text(flip.reasons_after),
        )
        table.add_row(*(Text(each) for each in told))
    if len(flips) > limit:
        table.add_row(f"and {len(flips) - limit} more")
    return table


def as_text(found: Replayed, limit: int) -> str:
    """Return the report as text without colours."""
    file = StringIO()
    print_text(found, Console(file=file, width=WIDTH, no_color=True, force_terminal=False), limit)
    return file.getvalue()

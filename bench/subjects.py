"""Whatever has a line in a table: how it is measured, and the line that comes of it."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import Progress

from bench import cores, measure
from bench.generator import Generator
from bench.measure import Kind, Request, Row
from bench.memory import resident_mib
from bench.results import Line
from bench.servers import Server


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How everything is measured: connections at once, seconds a row, the processors, and where stores lie."""

    connections: tuple[int, ...]
    seconds: float
    placed: cores.Cores
    data_dir: Path | None


class Subject(msgspec.Struct):
    """Whatever has a line: what to measure at each number of connections, and the server that it runs in."""

    name: str
    kind: Kind
    rows: dict[int, Row]
    server: Server | None = None
    missing: str = ""


def subject(  # a row needs all of these
    name: str, kind: Kind, driver: Generator, server: Server, request: Request, connections: Sequence[int]
) -> Subject:
    """Return a subject that sends one request again and again."""
    rows = {each: measure.row(name, kind, driver, server, request, each) for each in connections}
    return Subject(name, kind, rows, server)


def take_turns(rows: Sequence[Row], seconds: float, name: str, console: Console) -> None:
    """Measure ``rows``, showing how far it is."""
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(f"{name}: {len(rows)} rows", total=len(rows) * measure.slices(seconds))
        measure.run(rows, seconds, lambda: progress.advance(task))


def line(dimension: str, size: int, subject: Subject) -> Line:
    """Return what was found of ``subject``."""
    return Line(
        dimension=dimension,
        size=size,
        name=subject.name,
        kind=subject.kind,
        figures={connections: row.figures() for connections, row in subject.rows.items()},
        memory_mib=None if subject.server is None else resident_mib(subject.server.pid),
        missing=subject.missing,
    )

"""The figures as tables of text: the same cells for the terminal and for Markdown."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from bench import contest, own
from bench.measure import Figures
from bench.results import Line, Part, Replays, Steps

ANSWERS_MIN: Final = 100
"""With fewer answers, a p99 is the slowest of them, and the row says so."""

BUSY_MAX: Final = 0.9
"""Above this share of its processor the generator itself may be what limits a row."""


class Table(msgspec.Struct, frozen=True):
    """A table; a new section begins before each row whose number is in ``sections``."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    sections: frozenset[int] = frozenset()
    texts: frozenset[int] = frozenset({0})
    """Columns of text, which stand at the left; the others are figures."""


def peers(part: Part) -> Table:
    """Return everybody at each number of policies, beside the echo and beside this project's dry run."""
    connections = _connections(part.lines)
    low, high = connections[0], connections[-1]
    headings = (
        "policies",
        "server",
        *_figure_headings(connections),
        "MiB",
        f"p50 : echo, c={low}",
        f"p50 : ours, c={low}",
        f"per s : ours, c={high}",
        "note",
    )
    rows = []
    for line in part.lines:
        echo, ours = (_find(part.lines, line, name) for name in (contest.ECHO, own.DRY_RUN))
        rows.append(
            (
                f"{line.size:,}",
                line.name,
                *_figure_cells(line, connections),
                _memory(line),
                _ratio(line, echo, low, "p50_ms"),
                _ratio(line, ours, low, "p50_ms"),
                _ratio(line, ours, high, "rate"),
                _note(line),
            )
        )
    texts = frozenset({1, len(headings) - 1})
    return Table(
        "This project and others on the same work",
        headings,
        tuple(rows),
        _sections([line.size for line in part.lines]),
        texts,
    )


def scaling(part: Part) -> list[Table]:
    """Return a table for each dimension, every size beside the smallest."""
    connections = _connections(part.lines)
    low, high = connections[0], connections[-1]
    found = []
    for dimension in dict.fromkeys(line.dimension for line in part.lines):
        lines = sorted((line for line in part.lines if line.dimension == dimension), key=lambda each: each.name)
        rows = []
        for line in lines:
            smallest = next(each for each in lines if each.name == line.name)
            rows.append(
                (
                    f"{line.size:,}",
                    line.name,
                    *_figure_cells(line, connections),
                    _memory(line),
                    _ratio(line, smallest, low, "p50_ms"),
                    _ratio(line, smallest, high, "rate"),
                    _note(line),
                )
            )
        headings = (
            dimension,
            "one request",
            *_figure_headings(connections),
            "MiB",
            f"p50 : smallest, c={low}",
            f"per s : smallest, c={high}",
            "note",
        )
        texts = frozenset({1, len(headings) - 1})
        found.append(
            Table(f"As {dimension} grow", headings, tuple(rows), _sections([line.name for line in lines]), texts)
        )
    return found


def _sections(values: Sequence[object]) -> frozenset[int]:
    """Return where a table's next section begins: wherever the value differs from the one before."""
    return frozenset(number for number in range(1, len(values)) if values[number] != values[number - 1])


def steps(found: Steps) -> Table:
    """Return the stages of a decision, in microseconds."""
    kinds = list(dict.fromkeys(kind for step in found.steps for kind in step.microseconds))
    rows = [
        (step.name, *(f"{step.microseconds[kind]:,.1f}" if kind in step.microseconds else "" for kind in kinds))
        for step in found.steps
    ]
    return Table("Where the time of one decision goes, in µs", ("step", *kinds), tuple(rows))


def replays(found: Replays) -> Table:
    """Return how long each command takes."""
    rows = []
    for each in found.timed:
        rate = each.decisions / each.seconds
        rows.append((each.name, f"{each.decisions:,}", f"{each.seconds:.1f}", f"{rate:,.0f}", f"{each.flips:,}"))
    of = "one tenant" if found.tenants == 1 else f"{found.tenants} tenants"
    return Table(f"A history of {of}, decided again", ("command", "decisions", "s", "per s", "flips"), tuple(rows))


def notes(part: Part) -> Iterator[str]:
    """Yield what has to be known to believe the figures."""
    measured = [(line, count, figures) for line in part.lines for count, figures in line.figures.items()]
    if measured:
        line, count, figures = max(measured, key=lambda each: each[2].busy)
        yield f"load generator busy {figures.busy:.0%} of its time at most (`{line.name}`, {line.size:,}, c={count})"
        if figures.busy > BUSY_MAX:
            yield "a row in which the generator is busy all the time shows the generator's limit, not the server's"
    if not part.setting.machine.is_disk_real:
        kind = part.setting.machine.file_system
        yield f"the stores lie on {kind}, in memory: fsync is free here, `power-loss` means nothing"
    for line, count, figures in measured:
        if figures.first_wrong:
            yield f"wrong answer in `{line.name}`, {line.dimension} {line.size:,}, c={count}: {figures.first_wrong}"
    yield from part.wrong


def told(part: Part | Steps | Replays) -> Iterator[str]:
    """Yield what a part was measured on."""
    setting = part.setting
    machine = setting.machine
    yield f"{machine.processor}, {machine.cores} cores; {machine.kernel}; {machine.python}; {machine.file_system}"
    yield f"{setting.cores}; {setting.strain}"
    if isinstance(part, Part):
        yield f"{setting.seconds:g} s a row, in slices of about a second in which the rows take turns"


def _connections(lines: Sequence[Line]) -> list[int]:
    return sorted({connections for line in lines for connections in line.figures}) or [1]


def _figure_headings(connections: Sequence[int]) -> Iterator[str]:
    """Yield the headings; one at a time, the rate says no more than the median does."""
    for count in connections:
        yield from (f"p50 ms, c={count}", f"p99 ms, c={count}")
        if count > 1:
            yield f"per s, c={count}"


def _figure_cells(line: Line, connections: Sequence[int]) -> Iterator[str]:
    for count in connections:
        figures = line.figures.get(count)
        cells = ("", "", "")
        if figures is not None and figures.answers:
            cells = (f"{figures.p50_ms:.3f}", f"{figures.p99_ms:.3f}", f"{figures.rate:,.0f}")
        yield from cells if count > 1 else cells[:2]


def _memory(line: Line) -> str:
    return "" if line.memory_mib is None else f"{line.memory_mib:,.0f}"


def _find(lines: Sequence[Line], like: Line, name: str) -> Line | None:
    return next((line for line in lines if line.name == name and line.size == like.size), None)


def _ratio(line: Line, other: Line | None, connections: int, figure: str) -> str:
    mine = line.figures.get(connections)
    theirs = None if other is None else other.figures.get(connections)
    if mine is None or theirs is None or line.kind == "disk":
        return ""
    above, below = _figure(mine, figure), _figure(theirs, figure)
    return f"{above / below:.2f}" if above and below else ""


def _figure(figures: Figures, name: str) -> float:
    value: float = getattr(figures, name)
    return value


def _note(line: Line) -> str:
    """Return why there are no figures, or what is wrong with them."""
    if line.missing:
        return line.missing
    wrong = sum(figures.wrong for figures in line.figures.values())
    few = [f"c={count}" for count, figures in line.figures.items() if figures.answers < ANSWERS_MIN]
    told = [f"{wrong} wrong"] if wrong else []
    return ", ".join((*told, *([f"few answers at {' and '.join(few)}"] if few else [])))

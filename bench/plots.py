"""The figures as pictures: SVG files without scripts, drawn by pygal."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element  # only its type: nothing is parsed here

from bench import disk, scaling
from bench.charts import Style, pygal
from bench.contest import HEALTH
from bench.results import Line, Part, Steps
from bench.stages import CPU, WHOLE

LEFT_OUT: Final = frozenset({disk.NAME, HEALTH})
COLOURS: Final = (
    "#000000",
    "#d62728",
    "#ff7f0e",
    "#8c564b",
    "#1f77b4",
    "#7fb3e6",
    "#2ca02c",
    "#98df8a",
    "#9467bd",
    "#c5b0d5",
    "#17becf",
    "#9edae5",
    "#bcbd22",
    "#dbdb8d",
    "#7f7f7f",
    "#c7c7c7",
    "#e377c2",
    "#f7b6d2",
    "#393b79",
    "#843c39",
)
"""One for each line or step; the two layouts of a peer share a hue."""

Drawn = tuple[str, str]
"""The name of a plot's file, without its ending, and its title."""


def draw(folder: Path, peers: Part | None, scaled: Part | None, steps: Steps | None) -> list[Drawn]:
    """Draw what there is into ``folder`` and return the plots."""
    folder.mkdir(exist_ok=True)
    drawn = []
    if peers is not None:
        drawn += _peers(folder, peers)
    if scaled is not None:
        drawn += _scaling(folder, scaled)
    if steps is not None:
        drawn += _steps(folder, steps)
    return drawn


def _peers(folder: Path, part: Part) -> list[Drawn]:
    lines = [line for line in part.lines if line.name not in LEFT_OUT and "UDS" not in line.name]
    connections = sorted({count for line in lines for count in line.figures}) or [1]
    low, high = connections[0], connections[-1]
    wanted = (
        ("peers_p50", f"p50 in milliseconds, c={low}", low, "p50_ms"),
        ("peers_p99", f"p99 in milliseconds, c={low}", low, "p99_ms"),
        ("peers_rate", f"answers a second, c={high}", high, "rate"),
    )
    return [_by_policies(folder, lines, *each) for each in wanted]


def _by_policies(folder: Path, lines: Sequence[Line], name: str, title: str, connections: int, figure: str) -> Drawn:
    sizes = sorted({line.size for line in lines})
    chart = pygal.Line(
        title=title,
        x_title="policies",
        logarithmic=True,
        x_labels=[f"{size:,}" for size in sizes],
        **_look(),
    )
    for subject in dict.fromkeys(line.name for line in lines):
        found = {line.size: line.figures.get(connections) for line in lines if line.name == subject}
        values = [_positive(found.get(size), figure) for size in sizes]
        chart.add(subject, values)
    return _rendered(chart, folder, name, title)


def _scaling(folder: Path, part: Part) -> list[Drawn]:
    connections = min((count for line in part.lines for count in line.figures), default=1)
    drawn = []
    for request, name in ((scaling.DRY_RUN, "scaling_dry_run"), (scaling.PERMIT, "scaling_permit")):
        title = f"{request}: p50 over the p50 at the smallest size, c={connections}"
        chart = pygal.XY(title=title, x_title="size", x_value_formatter=_power, include_x_axis=False, **_look())
        for dimension in dict.fromkeys(line.dimension for line in part.lines):
            points = [
                (line.size, figures)
                for line in part.lines
                if line.dimension == dimension and line.name == request
                for figures in (_positive(line.figures.get(connections), "p50_ms"),)
                if figures is not None
            ]
            if points:
                smallest = points[0][1]
                chart.add(dimension, [(math.log10(max(size, 1)), p50 / smallest) for size, p50 in points])
        drawn.append(_rendered(chart, folder, name, title))
    return drawn


def _steps(folder: Path, steps: Steps) -> list[Drawn]:
    title = "one decision, microseconds"
    chart = pygal.HorizontalStackedBar(title=title, **_look())
    kinds = list(dict.fromkeys(kind for step in steps.steps for kind in step.microseconds))
    chart.x_labels = kinds
    for step in steps.steps:
        if step.name in {WHOLE, CPU}:
            continue
        chart.add(step.name, [step.microseconds.get(kind) for kind in kinds])
    return [_rendered(chart, folder, "steps", title)]


def _positive(figures: object, name: str) -> float | None:
    """Return a figure, None where there is none: a logarithm has no zero."""
    value: float = getattr(figures, name, 0.0)
    return value or None


def _power(exponent: float) -> str:
    return f"{round(10**exponent):,}"


def _look() -> dict[str, object]:
    style = Style(background="white", plot_background="white", colors=COLOURS, legend_font_size=13, title_font_size=18)
    # Without scripts and random ids any page may show the picture, and the same figures draw the same file.
    legend = {"legend_at_bottom": True, "legend_at_bottom_columns": 2, "truncate_legend": -1, "legend_box_size": 12}
    return {"style": style, "js": (), "no_prefix": True, "width": 1000, "height": 720} | legend


def _rendered(chart: pygal.graph.graph.Graph, folder: Path, name: str, title: str) -> Drawn:
    chart.add_xml_filter(_without_scripts)
    (folder / f"{name}.svg").write_bytes(chart.render())
    return name, title


def _without_scripts(root: Element) -> Element:
    """Take the library's settings for its own script out as well; there is none to read them."""
    for parent in list(root.iter()):
        for child in [each for each in parent if str(each.tag).endswith("script")]:
            parent.remove(child)
    return root

"""A replay's findings as a comment for a review: bounded in length, the single decisions folded away.

It opens with ``MARKER``, by which a pipeline finds its earlier comment to replace it.
"""

from typing import Final

from sidecar.cli.replay_report import (
    DIRECTIONS,
    Group,
    Replayed,
    amount_text,
    codes_text,
    groups_of,
    money_of,
    money_text,
    remarks,
    summary,
)
from sidecar.core.instants import utc_text
from sidecar.service.replay import Flip

MARKER: Final = "<!-- sidecar replay -->"
CELL_MAX: Final = 80
"""Characters of one value in a table: with the limits on rows, they bound the comment."""


def as_markdown(found: Replayed, limit: int) -> str:
    """Return the report as a comment for a review."""
    lines = [MARKER, "## Policy replay", "", f"**{summary(found)[0].upper()}{summary(found)[1:]}.**", ""]
    lines += [f"- {_plain(remark.strip())}" for remark in remarks(found, limit)]
    for before, after in DIRECTIONS:
        flips = found.flips(before)
        if flips:
            money = money_text(money_of(flips))
            of_money = f", {money}" if money else ""
            lines += ["", f"### {before.upper()} → {after.upper()}: {len(flips)}{of_money}", ""]
            lines += _markdown_groups(groups_of(flips), limit)
            lines += ["", f"<details><summary>{_count(min(limit, len(flips)), 'decision')}</summary>", ""]
            lines += _markdown_flips(flips, limit)
            lines += ["", "</details>"]
    lines += ["", f"<sub>candidate {_code(found.candidate)}, {_plain(found.engine)}</sub>"]
    return "\n".join(lines) + "\n"


def _markdown_groups(groups: list[Group], limit: int) -> list[str]:
    lines = ["| Made by | Where | Decisions | Money |", "|---|---|---:|---:|"]
    for group in groups[:limit]:
        cause = group.cause
        named = "the schema" if cause.kind == "schema" else f"{cause.kind} {_code(cause.id)}"
        source = "" if cause.source is None else _code(cause.source)
        lines.append(f"| {named} | {source} | {group.decisions} | {money_text(group.money)} |")
    if len(groups) > limit:
        lines += ["", f"and {len(groups) - limit} more"]
    return lines


def _markdown_flips(flips: list[Flip], limit: int) -> list[str]:
    lines = [
        "| Record | At | Identity | Action | Resource | Amount | Then | Now |",
        "|---|---|---|---|---|---:|---|---|",
    ]
    for flip in flips[:limit]:
        cells = (
            _code(f"{flip.tenant_id}:{flip.seq}"),
            utc_text(flip.now_us),
            _code(flip.identity_id),
            _code(flip.action),
            _code(f"{flip.resource_type} {flip.resource_id}"),
            amount_text(flip),
            codes_text(flip.reasons_before),
            codes_text(flip.reasons_after),
        )
        lines.append(f"| {' | '.join(cells)} |")
    if len(flips) > limit:
        lines += ["", f"and {len(flips) - limit} more"]
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _code(text: str) -> str:
    """Return a value as code that can neither end the table's cell nor mean anything to Markdown."""
    short = text if len(text) <= CELL_MAX else f"{text[: CELL_MAX - 1]}…"
    return "`" + short.replace("`", "'").replace("|", "\\|").replace("\n", " ") + "`"


def _plain(text: str) -> str:
    """Return a sentence of which only the code may mean something to Markdown."""
    return text.replace("<", "&lt;").replace("@", "&#64;").replace("\n", " ")

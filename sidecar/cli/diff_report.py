"""How the difference of two policy sets is told: as text for people, as one JSON object, as markdown for a review.

Texts of policies are somebody else's: characters that are not printable are written by their code point, and markdown
fences are longer than any run of backticks inside.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, get_args

import click
import msgspec
import orjson
from rich.console import Console
from rich.text import Text

from sidecar.core.policy_difference import (
    Allowance,
    ChangeKind,
    PartChange,
    PolicyChange,
    PolicyDifference,
    ReadPolicy,
    together,
)
from sidecar.core.schema_difference import SchemaChange

_KINDS: Final[tuple[ChangeKind, ...]] = get_args(ChangeKind)
_TOLD: Final[dict[Allowance, str]] = {
    "more": "may allow more",
    "less": "may allow less",
    "both": "may allow more and less",
    "same": "allows the same",
}
_MARKS: Final[dict[str, str]] = {"added": "+", "removed": "-", "renamed": ">", "changed": "~", "moved": ">"}
_STYLES: Final[dict[str, str]] = {"+": "green", "-": "red", "~": "yellow", ">": "cyan"}


class Side(msgspec.Struct, frozen=True):
    """One of the two sets: what the caller called it, and how many policies it has."""

    name: str
    policies: int


class Compared(msgspec.Struct, frozen=True):
    """What is told; ``schemas`` is None where one of the sets came without a schema."""

    old: Side
    new: Side
    policies: PolicyDifference
    schemas: tuple[SchemaChange, ...] | None

    @property
    def differs(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.policies.changes or self.schemas)

    @property
    def may_allow(self) -> Allowance:
        """What all changes together may do."""
        return together([self.policies.may_allow, *(change.may_allow for change in self.schemas or ())])

    @property
    def counts(self) -> dict[str, int]:
        """How many policies were changed in each way, and how many in none."""
        found = Counter(change.kind for change in self.policies.changes)
        return {**{kind: found[kind] for kind in _KINDS}, "unchanged": self.policies.unchanged}


def _print_text(compared: Compared, output: Path | None) -> None:
    lines = list(_text(compared))
    if output is not None:
        _write("\n".join(line for _, line in lines), output)
        return
    console = Console(highlight=False, soft_wrap=True)
    for mark, line in lines:
        console.print(Text(line, _STYLES.get(mark, "")))


def _print_json(compared: Compared, output: Path | None) -> None:
    _write(orjson.dumps(document(compared), option=orjson.OPT_INDENT_2).decode(), output)


def _print_markdown(compared: Compared, output: Path | None) -> None:
    _write("\n".join(_markdown(compared)), output)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text)
    else:
        output.write_text(f"{text}\n", encoding="utf-8")


RENDERERS: Final[Mapping[str, Callable[[Compared, Path | None], None]]] = {
    "text": _print_text,
    "json": _print_json,
    "markdown": _print_markdown,
}
"""What prints a comparison, or writes it to a file, by the name of the format."""


def document(compared: Compared) -> dict[str, object]:
    """Return what the JSON format says, under the keys that ``sidecar diff --help`` names."""
    return {
        "old": msgspec.to_builtins(compared.old),
        "new": msgspec.to_builtins(compared.new),
        "differs": compared.differs,
        "may_allow": compared.may_allow,
        "policies": compared.counts,
        "changes": [_change_document(change) for change in compared.policies.changes],
        "schema": {
            "compared": compared.schemas is not None,
            "changes": [{**msgspec.structs.asdict(each), "kind": each.kind} for each in compared.schemas or ()],
        },
    }


def _change_document(change: PolicyChange) -> dict[str, object]:
    return {
        "kind": change.kind,
        "id": change.policy.id,
        "old_id": None if change.old is None else change.old.id,
        "tenant_id": change.policy.tenant_id,
        "effect": change.policy.effect,
        "may_allow": change.may_allow,
        "old_source": _source(change.old),
        "new_source": _source(change.new),
        "parts": [{**msgspec.structs.asdict(each), "lines": each.lines} for each in change.parts],
    }


def _source(policy: ReadPolicy | None) -> str | None:
    return None if policy is None else f"{policy.file}:{policy.line}"


def _summary(compared: Compared) -> str:
    counted = [f"{count} {kind}" for kind, count in compared.counts.items() if count]
    if compared.schemas:
        counted.append(f"{len(compared.schemas)} in the schema")
    together_told = f"; {_TOLD[compared.may_allow]}" if compared.differs else ""
    return f"{', '.join(counted) or 'no policies'}{together_told}"


def _text(compared: Compared) -> Iterator[tuple[str, str]]:
    """Yield the lines, each behind the mark that its colour stands for."""
    yield "", f"{_shown(compared.old.name)} → {_shown(compared.new.name)}: {_summary(compared)}"
    for change in compared.policies.changes:
        mark = _MARKS[change.kind]
        source = _shown(_source(change.new) or _source(change.old) or "")
        yield "", ""
        yield mark, f"{mark} {_headline(change)}: {_TOLD[change.may_allow]} ({source})"
        for part in change.parts:
            yield "", f"    {_part_name(part)}"
            yield from ((line[0], f"      {_shown(line)}") for line in part.lines)
    if compared.schemas is None:
        yield from (("", ""), ("", "schemas were not compared: name them with `--schemas`"))
    elif compared.schemas:
        yield "", ""
        for each in compared.schemas:
            mark = _MARKS[each.kind]
            yield mark, f"{mark} schema: {_schema_line(each)}: {_TOLD[each.may_allow]}"


def _headline(change: PolicyChange) -> str:
    policy = change.policy
    held = "" if policy.tenant_id is None else f" of tenant {_shown(policy.tenant_id)}"
    before = f" from {change.old.id}" if change.kind == "renamed" and change.old is not None else ""
    only = {each.part for each in change.parts}
    told = " (annotations only)" if change.kind == "changed" and only <= {"annotation", "file"} else ""
    return f"{change.kind} {policy.effect} {policy.id}{held}{before}{told}"


def _part_name(part: PartChange) -> str:
    return part.part if part.part == part.name else f"{part.part} {_shown(part.name)}"


def _schema_line(change: SchemaChange) -> str:
    kind = change.part.replace("_", " ")
    name = f"{kind} {_shown(change.name)}"
    if change.aspect is None:
        return f"{change.kind} {name}"
    values = {"added": change.new, "removed": change.old}.get(change.kind, f"{change.old} → {change.new}")
    return f"{change.kind} {name} {_shown(change.aspect)}: {_shown(values or '')}"


def _markdown(compared: Compared) -> Iterator[str]:
    yield f"### Policy difference: {_code(compared.old.name)} → {_code(compared.new.name)}"
    yield ""
    yield f"{_summary(compared)}."
    if compared.policies.changes:
        yield from ("", "| | Policy | Effect | By this change the set |", "|---|---|---|---|")
        yield from map(_row, compared.policies.changes)
    for change in compared.policies.changes:
        if change.parts:
            yield from _details(change)
    if compared.schemas is None:
        yield from ("", "Schemas were not compared.")
    elif compared.schemas:
        yield from ("", "| Schema | By this change the set |", "|---|---|")
        yield from (f"| {_code(_schema_line(each))} | {_told(each.may_allow)} |" for each in compared.schemas)


def _row(change: PolicyChange) -> str:
    policy = change.policy
    name = _code(policy.id)
    if change.kind == "renamed" and change.old is not None:
        name = f"{_code(change.old.id)} → {name}"
    held = "" if policy.tenant_id is None else f", tenant {_code(policy.tenant_id)}"
    return f"| {change.kind} | {name}{held} | {policy.effect} | {_told(change.may_allow)} |"


def _told(allowance: Allowance) -> str:
    return f"**{_TOLD[allowance]}**" if allowance in {"more", "both"} else _TOLD[allowance]


def _details(change: PolicyChange) -> Iterator[str]:
    lines = [_shown(line) for part in change.parts for line in (f"@@ {_part_name(part)} @@", *part.lines)]
    longest = max((len(run) for line in lines for run in re.findall(r"`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from ("", f"<details><summary>{_code_html(change.policy.id)}: what changed</summary>", "")
    yield from (f"{fence}diff", *lines, fence, "", "</details>")


def _code(text: str) -> str:
    """Return ``text`` as code inside a table: a bar would end the cell, a backtick the code."""
    return f"`{_shown(text).replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def _code_html(text: str) -> str:
    escaped = _shown(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<code>{escaped}</code>"


def _shown(text: str) -> str:
    return "".join(each if each.isprintable() else f"\\u{{{ord(each):x}}}" for each in text)

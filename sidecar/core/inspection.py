"""All that can be said against a set of policy files, at once: every error of every file, and what is dangerous.

The server refuses files at their first error (``sidecar.core.policy_files``); a reviewer wants to see all of them.
Invariant: there is an error here exactly where the server would refuse the files. Text reaches Cedar only after
``sidecar.core.policy_text`` has checked it. Each file is looked at by itself; only ids are held against each other.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from sidecar.core import policy, policy_tree
from sidecar.core.condition_tree import clauses
from sidecar.core.fault_span import entity_span, fault_span, first_section, head_span
from sidecar.core.findings import Finding, Inspection, Source, together
from sidecar.core.lints import (
    Lint,
    annotation_lints,
    annotation_span,
    never_applies,
    spending,
    template_lint,
    unconditional_spend,
)
from sidecar.core.policy import CompiledSchema
from sidecar.core.policy_ids import ID_LENGTH_MAX, is_id
from sidecar.core.policy_scope import scope_of
from sidecar.core.remedies import folded, remedy, stem, without_consequences
from sidecar.core.schema_review import review_schema
from sidecar.core.snapshot import PolicyFiles, SourceFile
from sidecar.core.statements import Parsed, parsed_statements

TOGETHER: Final = 100
"""Policies that the validator is given at once: its reports of errors take longer the more there are of them."""

_PROBE: Final = ' when { 1 + "" == 0 };'
"""A clause that is an error wherever the validator gets to it. It does not get behind what it knows to be false."""

Tell = Callable[[], object]
"""Called when one more file has been looked at."""


class Identified(msgspec.Struct, frozen=True):
    """The id of a policy, and where that policy stands."""

    id: str
    source: Source
    text: str
    offset: int

    @property
    def place(self) -> str:
        """Where it stands, as people write it."""
        line, column = self.source.place(self.offset)
        return f"{self.source.file}:{line}:{column}"

    def finding(self, code: str, message: str) -> Finding:
        """Return a finding about the id."""
        begin, end = annotation_span(self.text, "id")
        return self.source.finding(code, (self.offset + begin, self.offset + end), message)


def inspect(files: PolicyFiles, tell: Tell = lambda: None) -> Inspection:
    """Return everything found in ``files``; ``tell`` is called after each of the files that hold policies."""
    compiled, findings = review_schema(files.schemas)
    shared: list[Identified] = []
    for file in files.shared:
        found, ids = _inspect_file(file, compiled, shared=True)
        findings += found
        shared += ids
        tell()
    findings += _repeated(shared, {})
    taken = {each.id: each for each in shared}
    for own in files.by_tenant.values():
        mine: list[Identified] = []
        for file in own:
            found, ids = _inspect_file(file, compiled, shared=False)
            findings += found
            mine += ids
            tell()
        findings += _repeated(mine, taken)
    return together(findings, len(files.all))


def _repeated(policies: Iterable[Identified], taken: Mapping[str, Identified]) -> Iterator[Finding]:
    """Yield a finding for each policy whose id another one has, in ``taken`` or further up."""
    own: dict[str, Identified] = {}
    for each in policies:
        first = taken.get(each.id) or own.setdefault(each.id, each)
        if first is not each:
            yield each.finding("duplicate_id", f"the id `{each.id}` is taken: `{first.place}` has it")


def _inspect_file(
    file: SourceFile, compiled: CompiledSchema | None, *, shared: bool
) -> tuple[list[Finding], list[Identified]]:
    source = Source(file.path, file.text)
    parsed, findings = parsed_statements(source)
    ids: list[Identified] = []
    for each in parsed:
        identified = Identified(each.id, source, each.text, each.offset)
        ids.append(identified)
        if not is_id(each.id):
            message = f"`@id` must be 1 to {ID_LENGTH_MAX} printable characters without backticks"
            findings.append(identified.finding("malformed_id", message))
        findings += _told(source, each, annotation_lints(each.text, each.tree, each.id))
        if shared:
            findings += _literal_access(source, each)
    if compiled is not None:
        for begin in range(0, len(parsed), TOGETHER):
            findings += _validated(source, parsed[begin : begin + TOGETHER], compiled)
    return findings, ids


def _literal_access(source: Source, each: Parsed) -> Iterator[Finding]:
    entity = policy_tree.literal_access(each.tree)
    if entity is not None:
        yield source.finding(
            "literal_access",
            each.in_file(entity_span(each.text, entity)),
            f"reads attributes of `{entity}`, which not every tenant has",
            "put the policy into the folder of the tenant that has it, `policies/<tenant_id>/`",
        )


def _validated(source: Source, parsed: Sequence[Parsed], compiled: CompiledSchema) -> Iterator[Finding]:
    """Yield what the validator says against policies that parse, and what is dangerous about those that pass."""
    said: dict[int, list[str]] = {}
    for index, message in policy.validation_errors("\n".join(each.text for each in parsed), compiled):
        said.setdefault(index, []).append(message)
    for index, messages in said.items():
        for message in without_consequences(folded(messages)):
            yield _misfit(source, parsed[index], message, compiled)
    fitting = [each for index, each in enumerate(parsed) if index not in said]
    reached = _reached("\n".join(_probed(each.text) for each in fitting), compiled)
    yield from _spending(source, fitting, compiled)
    for index, each in enumerate(fitting):
        if policy_tree.slots(each.tree):
            yield from _told(source, each, [template_lint(each.text, each.id)])
        if index not in reached:
            section = first_section(each.text, lambda cut: not _reached(_probed(cut), compiled))
            yield from _told(source, each, [never_applies(each.effect, section)])


def _spending(source: Source, fitting: Sequence[Parsed], compiled: CompiledSchema) -> Iterator[Finding]:
    """Yield what is said against permits to spend whose conditions the validator knows to be true, as when none is."""
    covered = ((each, spending(each.tree, compiled.model)) for each in fitting if not policy_tree.slots(each.tree))
    asked = [(each, names) for each, names in covered if names]
    limited = _reached("\n".join(_denied(each.text) for each, _ in asked), compiled)
    for index, (each, names) in enumerate(asked):
        if index not in limited:
            yield from _told(source, each, [unconditional_spend(each.text, names)])


def _denied(text: str) -> str:
    """Return a probe that the validator does not get to where it knows the conditions of a policy to be true."""
    bodies = [(clause.kind, clause.whole.text) for clause in clauses(text)]
    held = " && ".join(["true", *(f"({body})" if kind == "when" else f"!({body})" for kind, body in bodies)])
    return f"{text[: head_span(text)[1]]} when {{ !({held}) }}{_PROBE}"


def _told(source: Source, each: Parsed, found: Iterable[Lint]) -> Iterator[Finding]:
    for lint in found:
        yield source.finding(lint.code, each.in_file(lint.span), lint.message, lint.hint)


def _misfit(source: Source, each: Parsed, message: str, compiled: CompiledSchema) -> Finding:
    beginning = stem(message)

    def complains(cut: str) -> bool:
        return any(said.startswith(beginning) for _, said in policy.validation_errors(cut, compiled))

    section, span = fault_span(each.text, message, complains)
    part = each.text[section[0] : section[1]]
    code, hint = remedy(message, part, (each.effect, scope_of(each.tree)), compiled.model)
    return source.finding(code, each.in_file(span), message, hint)


def _probed(text: str) -> str:
    return text[:-1] + _PROBE


def _reached(text: str, compiled: CompiledSchema) -> set[int]:
    """Return which of the probed policies the validator read to their ends: those that could be true for a request."""
    return {index for index, _ in policy.validation_errors(text, compiled)}

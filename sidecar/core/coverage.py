"""What a set of requests has tried out of policies: which ones decided, and which conditions were true and false.

Each condition is asked of Cedar itself against the request and entities of the decision, as an explanation does. It
counts only where the policy gets to it: behind a false operand of ``&&`` and a true one of ``||`` nothing is looked at.
Invariant: marks are facts about single requests, so those of several runs are united in any order.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from sidecar.core.condition_tree import Clause, Part, clauses, parts
from sidecar.core.explanation import Entity, asking
from sidecar.core.policy import CompiledSchema, entity_slice
from sidecar.core.policy_set import Entry, PolicySet
from sidecar.core.policy_unit import PolicyUnit
from sidecar.core.recent import Recent
from sidecar.core.ruling import CedarRequest, Ruling

PROBED_MAX: Final = 1_000
"""Sets of candidates whose conditions are kept ready to be asked."""

DECIDED: Final = -1
"""Stands for the whole policy where a mark has the number of a condition."""

TEXT_SHOWN_MAX: Final = 120
"""Characters of a condition that a gap shows."""

Mark: TypeAlias = tuple[str, str, int, bool]
"""A policy's source and id, the number of a condition in it, and what that was; or ``DECIDED`` and true.

Policies of two tenants may have the same id, and two policies may begin in the same line.
"""


class Gap(msgspec.Struct, frozen=True):
    """What no request has tried: the policy never ``decided``, or a condition was never ``true`` or ``false``."""

    policy_id: str
    source: str
    missing: tuple[str, ...]
    condition: str | None = None


class Coverage(msgspec.Struct, frozen=True):
    """How many of the ``wanted`` facts were seen; ``gaps`` are the others, in the order of the policies."""

    seen: int
    wanted: int
    gaps: tuple[Gap, ...]

    @property
    def percent(self) -> int:
        """The share that was seen, rounded down, so that 100 means all."""
        return 100 if self.wanted == 0 else self.seen * 100 // self.wanted


class _Probes(msgspec.Struct, frozen=True):
    """The conditions of some policies, made to be asked at once."""

    trees: tuple[tuple[Entry, tuple[Clause, ...]], ...]
    texts: tuple[str, ...]
    asked: PolicySet


class Prober:
    """Watches requests of one set of policies."""

    def __init__(self, policies: PolicySet, compiled: CompiledSchema) -> None:
        """Watch ``policies``; those made by the API are nobody's files and are left out."""
        self._policies = policies
        self._compiled = compiled
        self._kept: Recent[tuple[int, ...], _Probes] = Recent(PROBED_MAX)

    def marks(self, ruling: Ruling, request: CedarRequest, entities: Sequence[Entity]) -> frozenset[Mark]:
        """Return what one request, which was ruled on, has tried."""
        positions = tuple(self._policies.index.candidates(asking(request, entities, self._compiled)))
        probes = self._kept.get(positions)
        if probes is None:
            probes = self._probes(positions)
            self._kept.keep(positions, probes)
        truths = self._truths(probes, request, entities)
        found = {(*_name(entry.unit), DECIDED, True) for entry, _ in probes.trees if entry.id in ruling.determining}
        for entry, trees in probes.trees:
            for clause in trees:
                if _walk(clause.whole, _name(entry.unit), truths, found) is not (clause.kind == "when"):
                    break
        return frozenset(found)

    def _probes(self, positions: tuple[int, ...]) -> _Probes:
        entries = [self._policies.entries[at] for at in positions]
        trees = tuple((each, clauses(each.unit.text)) for each in entries if each.unit.policy_id is None)
        leaves = (part for _, found in trees for clause in found for part in parts(clause.whole))
        texts = tuple(dict.fromkeys(part.text for part in leaves if part.joint is None))
        units = [
            # A `forbid`, because Cedar names all those that hold, and of permits none beside a forbid.
            PolicyUnit(
                id=str(number), effect="forbid", source="", text=f"forbid(principal,action,resource)when{{{text}}};"
            )
            for number, text in enumerate(texts)
        ]
        return _Probes(trees, texts, PolicySet(units, (), self._compiled))

    def _truths(self, probes: _Probes, request: CedarRequest, entities: Sequence[Entity]) -> dict[str, bool | None]:
        """Return for each text whether it is true; None where it has no truth."""
        if not probes.texts:
            return {}
        among = probes.asked.slice(tuple(range(len(probes.texts))))
        said = probes.asked.ask(among, request, entity_slice(entities, self._compiled))
        faults = {fault.policy_id for fault in said.errors}
        numbered = {text: str(number) for number, text in enumerate(probes.texts)}
        return {text: None if at in faults else at in said.determining for text, at in numbered.items()}


def _name(unit: PolicyUnit) -> tuple[str, str]:
    """Return what tells a policy of files from all others of its set."""
    return unit.source, unit.id


def _walk(part: Part, name: tuple[str, str], truths: Mapping[str, bool | None], found: set[Mark]) -> bool | None:
    """Return what a condition is, as Cedar comes to it, and mark what was looked at on the way."""
    truth: bool | None
    if part.joint is None:
        truth = truths[part.text]
    else:
        neutral = part.joint == "&&"
        truth = neutral
        for operand in part.operands:
            truth = _walk(operand, name, truths, found)
            if truth is not neutral:
                break
    if truth is not None:
        found.add((*name, part.number, truth))
    return truth


def cover(units: Iterable[PolicyUnit], marks: frozenset[Mark]) -> Coverage:
    """Return how much of ``units`` the marks have seen: per policy that it decided, per condition both its values."""
    seen = wanted = 0
    gaps: list[Gap] = []
    for unit in units:
        wanted += 1
        name = _name(unit)
        if (*name, DECIDED, True) in marks:
            seen += 1
        else:
            gaps.append(Gap(unit.id, unit.source, ("decided",)))
        for clause in clauses(unit.text):
            for part in parts(clause.whole):
                missing = tuple(str(v).lower() for v in (True, False) if (*name, part.number, v) not in marks)
                wanted += 2
                seen += 2 - len(missing)
                if missing:
                    gaps.append(Gap(unit.id, _source(unit, part), missing, _shown(part.text)))
    return Coverage(seen, wanted, tuple(gaps))


def _source(unit: PolicyUnit, part: Part) -> str:
    file, _, line = unit.source.rpartition(":")
    return f"{file}:{int(line) + unit.text.count(chr(10), 0, part.offset)}"


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= TEXT_SHOWN_MAX else f"{line[:TEXT_SHOWN_MAX]}…"

"""The policies of one tenant, asked together: all of them, or those whose scope matches a request.

A policy is parsed by Cedar when a request first needs it, together with the others that the request needs, and such a
parsed set serves every request with the same candidates. Sets are known by the texts themselves, so tenants with the
same policies share them, and a changed policy leaves the sets that it is not part of as they are.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Final

import msgspec

from sidecar.core.errors import ValidationFailed
from sidecar.core.model import Reason
from sidecar.core.policy import (
    CompiledSchema,
    EntitySlice,
    PolicyHandle,
    PolicySource,
    Unknown,
    ask,
    ask_partially,
    engine_ids,
    parse_policies,
)
from sidecar.core.policy_scope import ANY, EntityUid, Scope
from sidecar.core.policy_tree import Tree
from sidecar.core.policy_unit import Link, PolicyUnit
from sidecar.core.recent import Recent
from sidecar.core.ruling import CedarRequest, Ruling
from sidecar.core.scope_index import ScopeIndex

PARSED_TEXT_MAX: Final = 2_000_000
"""Characters of policies that one process keeps parsed: some 35 bytes each."""

SHARED_MIN: Final = 8
"""Candidates bound to the same entities that are parsed by themselves, for all requests that share them. Asking about
one more set costs as much as evaluating so many policies."""

SLICED_MAX: Final = 20_000
"""Policies in all slices of one set that are kept: a hundred bytes each."""


class Entry(msgspec.Struct, frozen=True):
    """A policy, or a template filled in, with the scope that it then has."""

    id: str
    unit: PolicyUnit
    scope: Scope
    principal: EntityUid | None = None


class Part(msgspec.Struct, frozen=True):
    """Policies that are parsed together; ``ids`` are their own ids by what Cedar calls them then."""

    source: PolicySource
    ids: Mapping[str, str]


class PolicySlice(msgspec.Struct, frozen=True, kw_only=True):
    """Some policies of a set: the candidates of a request.

    ``context_read`` are the attributes of the context that any of them can read, None for all; ``looks_into_resource``
    says whether one could read attributes of the resource, ``reaches`` whether one looks into an entity that it names.
    """

    parts: tuple[Part, ...]
    context_read: tuple[str, ...] | None
    looks_into_resource: bool
    reaches: bool

    @property
    def size(self) -> int:
        """How many policies they are."""
        return sum(len(part.ids) for part in self.parts)


class ParsedPolicies:
    """Parsed policies by their texts."""

    def __init__(self) -> None:
        """Nothing is parsed yet."""
        self._kept: Recent[PolicySource, tuple[PolicyHandle, int]] = Recent(PARSED_TEXT_MAX, lambda kept: kept[1])

    def of(self, source: PolicySource) -> PolicyHandle:
        """Return policies parsed together, from the last time if that is kept."""
        kept = self._kept.get(source)
        if kept is None:
            kept = parse_policies(source), sum(len(text) for text in source[0])
            self._kept.keep(source, kept)
        return kept[0]


class PolicySet:
    """Policies that hold together, each under its own id.

    ``permits`` are the reasons that they give for a permit, kept by ``sidecar.core.reasons``: at most one for each.
    """

    def __init__(
        self,
        units: Sequence[PolicyUnit],
        links: Sequence[Link],
        compiled: CompiledSchema,
        parsed: ParsedPolicies | None = None,
        shared_min: int = SHARED_MIN,
    ) -> None:
        """Put compiled units together and fill in templates; nothing is parsed yet, ``parsed`` keeps what will be.

        From ``shared_min`` on, candidates bound to the same entities are parsed by themselves; no answer depends on it.

        Raises ValidationFailed when two policies have one id. Of a template, the slot ``?principal`` alone is filled:
        another one, or a link of what is no template, is refused.
        """
        self.parts = (tuple(units), tuple(links))
        self._units = _by_id(units)
        self.permits: dict[str, Reason] = {}
        self._schema = compiled
        self._shared_min = shared_min
        self._parsed = parsed or ParsedPolicies()
        filled = [self._fill(link) for link in links]
        self.entries = (*(Entry(unit.id, unit, unit.scope) for unit in units if not unit.slots), *filled)
        self._parts: Recent[tuple[int, ...], Part] = Recent(SLICED_MAX, lambda kept: 1 + len(kept.ids))
        self._slices: Recent[tuple[int, ...], PolicySlice] = Recent(SLICED_MAX, lambda kept: 1 + kept.size)

    @cached_property
    def index(self) -> ScopeIndex:
        """What finds the candidates of a request, as positions among ``entries``."""
        return ScopeIndex((entry.scope, entry.unit.reaches) for entry in self.entries)

    @cached_property
    def index_of_all_principals(self) -> ScopeIndex:
        """What finds the policies for a request whoever asks it: their scopes without a demand of the principal."""
        return ScopeIndex((msgspec.structs.replace(entry.scope, principal=ANY), ()) for entry in self.entries)

    @cached_property
    def index_of_all_resources(self) -> ScopeIndex:
        """What finds the policies for a request whatever it is about."""
        return ScopeIndex((msgspec.structs.replace(entry.scope, resource=ANY), ()) for entry in self.entries)

    def repeated(self, policy_id: str) -> str | None:
        """Return a sentence when the text of a policy made by the API gives an ``@id`` that another policy has."""
        others = {unit.given_id or unit.id: unit for unit in self._units.values() if unit.policy_id != policy_id}
        for unit in self._units.values():
            other = others.get(unit.given_id or unit.id)
            if unit.policy_id == policy_id and other is not None:
                return _duplicate(unit.given_id or unit.id, other, unit).message
        return None

    def unit(self, policy_id: str) -> PolicyUnit:
        """Return the policy that a ruling names; for a filled template, the template."""
        return self._units[policy_id]

    def evaluate(self, request: CedarRequest, entities: EntitySlice) -> Ruling:
        """Return what all the policies say of ``request``, checked against the schema.

        Raises ValidationFailed, with Cedar's sentence, for a request that does not fit the schema. It is the obvious
        way and takes longer with every policy: for small sets, and as what slices are compared with.
        """
        return self.ask_checked(self.slice(tuple(range(len(self.entries)))), request, entities)

    def slice(self, positions: tuple[int, ...]) -> PolicySlice:
        """Return some of the policies, by their positions among ``entries``."""
        found = self._slices.get(positions)
        if found is None:
            found = self._slice(positions)
            self._slices.keep(positions, found)
        return found

    def _slice(self, positions: tuple[int, ...]) -> PolicySlice:
        units = [self.entries[position].unit for position in positions]
        return PolicySlice(
            parts=tuple(self._part(group) for group in self._grouped(positions)),
            context_read=_read_by_any([unit.context_read for unit in units]),
            looks_into_resource=any(unit.looks_into_resource for unit in units),
            reaches=any(unit.reaches for unit in units),
        )

    def _grouped(self, positions: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Return the candidates as they are parsed: many bound to the same entities together, all others together.

        Those others are what differs from one asker to the next, and parsing it must not mean parsing what they share.
        """
        by_names: dict[tuple[tuple[EntityUid, ...], ...], list[int]] = {}
        for position in positions:
            scope = self.entries[position].scope
            by_names.setdefault((scope.principal.named, scope.resource.named), []).append(position)
        shared = [tuple(group) for group in by_names.values() if len(group) >= self._shared_min]
        others = tuple(position for group in by_names.values() if len(group) < self._shared_min for position in group)
        return [*shared, others] if others or not shared else shared

    def _part(self, positions: tuple[int, ...]) -> Part:
        found = self._parts.get(positions)
        if found is None:
            found = _part([self.entries[position] for position in positions])
            self._parts.keep(positions, found)
        return found

    def ask(self, among: PolicySlice, request: CedarRequest, entities: EntitySlice) -> Ruling:
        """Return what a slice says of a request that is known to fit the schema, given what the slice can read."""
        return self._ask(among, request, entities, None)

    def ask_checked(self, among: PolicySlice, request: CedarRequest, entities: EntitySlice) -> Ruling:
        """Return what a slice says of a request; raises ValidationFailed when it does not fit the schema."""
        return self._ask(among, request, entities, self._schema)

    def preview(
        self, positions: tuple[int, ...], request: CedarRequest, unknown: Unknown, entities: EntitySlice
    ) -> dict[str, Tree]:
        """Return what is left of some of the policies where one part of a request is unknown, by their own ids.

        Those of which nothing could be said are left out.
        """
        left: dict[str, Tree] = {}
        for part in self.slice(positions).parts:
            found = ask_partially(self._parsed.of(part.source), request, unknown, entities)
            left |= {part.ids[engine_id]: residual for engine_id, residual in found.items()}
        return left

    def _ask(
        self, among: PolicySlice, request: CedarRequest, entities: EntitySlice, compiled: CompiledSchema | None
    ) -> Ruling:
        rulings = [ask(self._parsed.of(part.source), part.ids, request, entities, compiled) for part in among.parts]
        return rulings[0] if len(rulings) == 1 else united(rulings)

    def _fill(self, link: Link) -> Entry:
        template = self._units.get(link.template_id)
        if template is None or template.slots != ("?principal",):
            raise ValidationFailed(f"`{link.template_id}` is no template whose only slot is `?principal`")
        if self._units.setdefault(link.id, template) is not template:
            raise _duplicate(link.id, self._units[link.id], template)
        return Entry(link.id, template, template.scope.filled(link.principal), link.principal)


def united(rulings: Sequence[Ruling]) -> Ruling:
    """Return what policies say together, given what each part of them says by itself.

    A policy says the same beside any others: one that forbids is heard before all that permit, and one that failed
    denies.
    """
    forbids = {policy_id for ruling in rulings if ruling.effect == "deny" for policy_id in ruling.determining}
    permits = {policy_id for ruling in rulings if ruling.effect == "allow" for policy_id in ruling.determining}
    errors = sorted((fault for ruling in rulings for fault in ruling.errors), key=lambda fault: fault.policy_id)
    if forbids or errors or not permits:
        return Ruling("deny", tuple(sorted(forbids)), tuple(errors))
    return Ruling("allow", tuple(sorted(permits)))


def _part(entries: Sequence[Entry]) -> Part:
    plain = [entry for entry in entries if entry.principal is None]
    filled = [(entry, entry.principal) for entry in entries if entry.principal is not None]
    texts = [entry.unit.text for entry in plain]
    places: dict[str, int] = {}
    for entry, _ in filled:
        if entry.unit.id not in places:
            places[entry.unit.id] = len(texts)
            texts.append(entry.unit.text)
    return Part(
        (tuple(texts), tuple((places[entry.unit.id], principal) for entry, principal in filled)),
        engine_ids([entry.id for entry in plain], [entry.id for entry, _ in filled]),
    )


def _read_by_any(reads: Iterable[frozenset[str] | None]) -> tuple[str, ...] | None:
    names = set[str]()
    for read in reads:
        if read is None:
            return None
        names |= read
    return tuple(sorted(names))


def require_distinct(units: Sequence[PolicyUnit]) -> None:
    """Raise ValidationFailed, naming both, when two policies have one id."""
    _by_id(units)


def _by_id(units: Sequence[PolicyUnit]) -> dict[str, PolicyUnit]:
    found: dict[str, PolicyUnit] = {}
    for unit in units:
        if found.setdefault(unit.id, unit) is not unit:
            raise _duplicate(unit.id, found[unit.id], unit)
    return found


def _duplicate(policy_id: str, first: PolicyUnit, second: PolicyUnit) -> ValidationFailed:
    return ValidationFailed(f"two policies have the id `{policy_id}`: `{first.source}` and `{second.source}`")

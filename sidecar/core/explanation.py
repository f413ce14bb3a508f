"""Why each policy said what it said of one request: whether its scope applied, which condition failed, what it saw.

Every condition is asked of Cedar itself, alone, against the same request and entities as the decision, so an
explanation cannot disagree with it; what is done here is to put the pieces together as Cedar does, in their order and
no further than the first that fails. An explanation changes nothing and is bounded: ``PIECES_MAX`` conditions and
``JUDGED_TEXT_MAX`` characters, those of the policies that decided in front.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from sidecar.core.condition_text import Condition, Kind, Path, conditions, paths
from sidecar.core.policy import CompiledSchema, entity_slice
from sidecar.core.policy_scope import Asking, EntityUid, above
from sidecar.core.policy_set import Entry, PolicySet
from sidecar.core.policy_unit import PolicyUnit
from sidecar.core.ruling import CedarRequest, Ruling

PIECES_MAX: Final = 150
"""Conditions that one explanation evaluates: some 50 microseconds each, most of them for reading the text."""

JUDGED_TEXT_MAX: Final = 6_000
"""Characters of policies that one explanation reads: a microsecond each. The first is read whatever its length."""

UNMATCHED_MAX: Final = 20
"""Policies listed whose scope does not match; the others are only counted."""

TEXT_SHOWN_MAX: Final = 1_000
"""Characters of a condition that are shown; lists of a thousand categories are longer."""

Entity: TypeAlias = dict[str, object]
Truth = bool | Literal["error"] | None


class Seen(msgspec.Struct, frozen=True):
    """What stood where a condition looked: None where nothing did, or where the caller may not see it."""

    expression: str
    value: object
    hidden: bool = False


class Judged(msgspec.Struct, frozen=True):
    """One piece of a clause, and whether it is true; None where it was not reached and could not be evaluated alone."""

    clause: int
    kind: Kind
    text: str
    satisfied: Truth
    values: tuple[Seen, ...]
    message: str | None = None


class Scoped(msgspec.Struct, frozen=True):
    """Which parts of a policy's scope match the request."""

    principal: bool
    action: bool
    resource: bool

    @property
    def applied(self) -> bool:
        """Whether the policy is a candidate."""
        return self.principal and self.action and self.resource


class Verdict(msgspec.Struct, frozen=True):
    """What one policy said. ``id`` is its own, also that of a filled template."""

    id: str
    unit: PolicyUnit
    scope: Scoped
    applied: Truth
    conditions: tuple[Judged, ...] = ()


class PolicyVerdicts(msgspec.Struct, frozen=True):
    """What a tenant's policies said: the ``listed``, of ``candidates`` whose scope matches and ``total`` in all."""

    listed: tuple[Verdict, ...] = ()
    candidates: int = 0
    total: int = 0


def asking(request: CedarRequest, entities: Iterable[Entity], compiled: CompiledSchema) -> Asking:
    """Return who asks what, each with everything above."""
    parents = {_uid(entity["uid"]): [_uid(parent) for parent in _list(entity["parents"])] for entity in entities}
    groups = {("Action", name) for name in compiled.model.actions[request.action].groups}
    return Asking(
        principal=request.principal,
        action=("Action", request.action),
        resource=request.resource,
        above_principal=above(request.principal, parents),
        above_action=frozenset(groups | {("Action", request.action)}),
        above_resource=above(request.resource, parents),
    )


def judge(
    policies: PolicySet,
    ruling: Ruling,
    request: CedarRequest,
    entities: Sequence[Entity],
    compiled: CompiledSchema,
    *,
    hidden: frozenset[EntityUid],
    unmatched_max: int,
) -> PolicyVerdicts:
    """Return what each candidate said and why, those that decided first.

    ``hidden`` are entities of which the caller may know the id and nothing else; ``unmatched_max`` says how many
    policies are listed that are no candidates.
    """
    asked = asking(request, entities, compiled)
    matching = policies.index.candidates(asked)
    decided = {*ruling.determining, *(fault.policy_id for fault in ruling.errors)}
    candidates = sorted((policies.entries[at] for at in matching), key=lambda each: each.id not in decided)
    shown = _shown(candidates)
    truths = _evaluate([piece.text for _, pieces in shown for piece in pieces], request, entities, compiled)
    look = _Look(request, {_uid(entity["uid"]): entity for entity in entities}, hidden)
    verdicts = [_verdict(entry, pieces, truths, look) for entry, pieces in shown]
    met = set(matching)
    others = (entry for at, entry in enumerate(policies.entries) if at not in met)
    verdicts += [_unmatched(entry, asked) for entry, _ in zip(others, range(unmatched_max), strict=False)]
    return PolicyVerdicts(tuple(verdicts), len(candidates), len(policies.entries))


def _shown(candidates: Iterable[Entry]) -> list[tuple[Entry, tuple[Condition, ...]]]:
    shown: list[tuple[Entry, tuple[Condition, ...]]] = []
    room, text_room = PIECES_MAX, JUDGED_TEXT_MAX
    for entry in candidates:
        text_room -= len(entry.unit.text)
        if shown and text_room < 0:
            break
        pieces = conditions(entry.unit.text)
        room -= max(1, len(pieces))
        if shown and room < 0:
            break
        shown.append((entry, pieces))
    return shown


def _evaluate(
    texts: Iterable[str], request: CedarRequest, entities: Sequence[Entity], compiled: CompiledSchema
) -> dict[str, bool | str]:
    """Return for each text whether it is true of the request, or Cedar's sentence about why it has no truth."""
    distinct = list(dict.fromkeys(texts))
    probes = [
        # A `forbid`, because Cedar names all those that hold, and of permits none beside a forbid.
        PolicyUnit(
            id=str(number), effect="forbid", source="", text=f"forbid(principal, action, resource) when {{ {text} }};"
        )
        for number, text in enumerate(distinct)
    ]
    ruling = PolicySet(probes, (), compiled).evaluate(request, entity_slice(entities, compiled))
    faults = {fault.policy_id: fault.message for fault in ruling.errors}
    return {text: faults.get(str(number), str(number) in ruling.determining) for number, text in enumerate(distinct)}


def _verdict(entry: Entry, pieces: Sequence[Condition], truths: Mapping[str, bool | str], look: "_Look") -> Verdict:
    judged: list[Judged] = []
    applied: Truth = True
    for index, piece in enumerate(pieces):
        truth = truths[piece.text]
        before = [each for each in judged if each.clause == piece.clause]
        is_reached = applied is True and all(each.satisfied for each in before)
        judged.append(_judged(piece, truth, look, is_reached=is_reached))
        if is_reached and isinstance(truth, str):
            applied = "error"
        is_last = index + 1 == len(pieces) or pieces[index + 1].clause != piece.clause
        if applied is True and is_last:
            holds = is_reached and truth is True
            applied = holds is (piece.kind == "when")
    return Verdict(entry.id, entry.unit, Scoped(principal=True, action=True, resource=True), applied, tuple(judged))


def _judged(piece: Condition, truth: bool | str, look: "_Look", *, is_reached: bool) -> Judged:  # noqa: FBT001
    is_cut = len(piece.text) > TEXT_SHOWN_MAX
    text = f"{piece.text[:TEXT_SHOWN_MAX]}…" if is_cut else piece.text
    values = tuple(look.at(path) for path in paths(piece.text))
    if isinstance(truth, bool):
        return Judged(piece.clause, piece.kind, text, truth, values)
    if is_reached:
        return Judged(piece.clause, piece.kind, text, "error", values, truth)
    return Judged(piece.clause, piece.kind, text, None, values)


def _unmatched(entry: Entry, asked: Asking) -> Verdict:
    scope = Scoped(
        principal=asked.principal_matches(entry.scope),
        action=asked.action_matches(entry.scope),
        resource=asked.resource_matches(entry.scope),
    )
    return Verdict(entry.id, entry.unit, scope, applied=False)


class _Look(msgspec.Struct, frozen=True):
    """Finds what a path leads to."""

    request: CedarRequest
    entities: Mapping[EntityUid, Entity]
    hidden: frozenset[EntityUid]

    def at(self, path: Path) -> Seen:
        """Return what stands there."""
        found: object = self.request.context
        if path.root != "context":
            kind, entity_id = self.request.principal if path.root == "principal" else self.request.resource
            found = {"__entity": {"type": kind, "id": entity_id}}
        for name in path.attributes:
            found, hidden = self._members(found, "attrs")
            if hidden:
                return Seen(path.expression, None, hidden=True)
            found = found.get(name)
        if path.tag is not None:
            found, hidden = self._members(found, "tags")
            if hidden:
                return Seen(path.expression, None, hidden=True)
            found = found.get(path.tag)
        return Seen(path.expression, _plain(found))

    def _members(self, value: object, part: str) -> tuple[dict[str, object], bool]:
        """Return what is inside a record or an entity, and whether it must not be shown."""
        if not isinstance(value, dict):
            return {}, False
        if "__entity" not in value:
            return value, False
        uid = _uid(value["__entity"])
        members = self.entities.get(uid, {}).get(part, {})
        return (members if isinstance(members, dict) else {}), uid in self.hidden


def _plain(value: object) -> object:
    """Return a value of Cedar's JSON as a reader expects it."""
    match value:
        case {"__entity": entity}:
            return entity
        case {"__extn": {"arg": text}}:
            return text
        case dict():
            return {name: _plain(member) for name, member in value.items()}
        case list():
            return [_plain(member) for member in value]
        case _:
            return value


def _uid(written: object) -> EntityUid:
    uid = written if isinstance(written, dict) else {}
    return str(uid["type"]), str(uid["id"])


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []

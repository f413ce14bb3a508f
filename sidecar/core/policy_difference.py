"""How two policy sets differ: which policies were added, removed, renamed, moved or changed, and in what.

A policy is known by its ``@id``, per tenant where it holds for one; one without is known by what it means, and only
then by its place in its file. What means the same (``sidecar.core.policy_meaning``) has not changed. Each change says
whether the set may allow more or less by it; that is read off the change alone, so it is true of every request for
which no condition fails to evaluate. Neither set has to fit a schema. The decisions that flip are for others to find.
"""

import difflib
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cached_property
from typing import Final, Literal, cast

import msgspec

from sidecar.core import policy_tree
from sidecar.core.errors import ValidationFailed
from sidecar.core.policy_compilation import parse_statements
from sidecar.core.policy_ids import ID_LENGTH_MAX, is_id, numbered_id
from sidecar.core.policy_layout import conditions_text, scope_text
from sidecar.core.policy_meaning import Direction, Meaning, direction, joined, meaning_of
from sidecar.core.policy_text import refusal
from sidecar.core.policy_unit import Effect
from sidecar.core.snapshot import PolicyFiles, SourceFile

Allowance = Literal["more", "both", "less", "same"]
"""What a change may do: allow more requests, more of some and less of others, fewer, or nothing to any decision."""

ChangeKind = Literal["added", "removed", "renamed", "changed", "moved"]
PartKind = Literal["tenant", "effect", "scope", "conditions", "annotation", "file"]

_ALLOWED: Final[dict[tuple[Effect, Direction], Allowance]] = {
    ("permit", "wider"): "more",
    ("permit", "narrower"): "less",
    ("forbid", "wider"): "less",
    ("forbid", "narrower"): "more",
}
_GRAVEST_FIRST: Final[tuple[Allowance, ...]] = ("more", "both", "less", "same")
_LINES_AROUND: Final = 2


class ReadPolicy(msgspec.Struct, frozen=True, kw_only=True, eq=False, dict=True):
    """A policy of one set. ``file`` is its path below the set's folder; ``is_named`` says that it has an ``@id``.

    A template holds for nobody as long as nothing fills it in, which nothing does in files.
    """

    id: str
    is_named: bool
    tenant_id: str | None
    file: str
    line: int
    annotations: dict[str, str]
    text: str
    tree: policy_tree.Tree

    @property
    def effect(self) -> Effect:
        """Whether it permits or forbids."""
        return cast("Effect", self.tree["effect"])

    @property
    def is_template(self) -> bool:
        """Whether it has slots."""
        return bool(policy_tree.slots(self.tree))

    @cached_property
    def meaning(self) -> Meaning:
        """What it says; found when it is asked for, because most policies of two sets are the same letter by letter."""
        return meaning_of(self.tree)


class PartChange(msgspec.Struct, frozen=True):
    """One thing that differs: ``name`` says which part of the scope or which annotation. None is what is not there."""

    part: PartKind
    name: str
    old: str | None
    new: str | None

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines of both, marked with ``-``, ``+`` or a space; two that did not change around each that did."""
        before, after = (self.old or "").splitlines(), (self.new or "").splitlines()
        found = difflib.unified_diff(before, after, n=_LINES_AROUND, lineterm="")
        return tuple(line for number, line in enumerate(found) if number > 1 and not line.startswith("@@"))


class PolicyChange(msgspec.Struct, frozen=True):
    """What happened to one policy: ``old`` is None for an added one, ``new`` for a removed one.

    One that is ``renamed`` may have moved as well, one that is ``moved`` only stands in another file.
    """

    kind: ChangeKind
    old: ReadPolicy | None
    new: ReadPolicy | None
    may_allow: Allowance
    parts: tuple[PartChange, ...] = ()

    @property
    def policy(self) -> ReadPolicy:
        """The policy as it is now, or was last."""
        found = self.old if self.new is None else self.new
        assert found is not None  # noqa: S101 - INVARIANT: one of the two is there
        return found


class PolicyDifference(msgspec.Struct, frozen=True):
    """All changes, those that may allow more first; ``unchanged`` counts the policies without any."""

    changes: tuple[PolicyChange, ...]
    unchanged: int

    @property
    def may_allow(self) -> Allowance:
        """What all changes together may do."""
        return together(change.may_allow for change in self.changes)


def together(found: Iterable[Allowance]) -> Allowance:
    """Return what several changes together may do."""
    several = set(found) - {"same"}
    if len(several) > 1:
        return "both"
    return several.pop() if several else "same"


def read_policies(files: PolicyFiles) -> tuple[ReadPolicy, ...]:
    """Return the policies of a set, those that hold for all tenants first.

    Raises PolicyInvalid naming the place of what does not parse, and ValidationFailed for an id that is there twice.
    """
    found = [policy for file in files.shared for policy in _read(file, None)]
    for tenant_id, own in sorted(files.by_tenant.items()):
        found += [policy for file in own for policy in _read(file, tenant_id)]
    _require_distinct(found)
    return tuple(found)


def _read(file: SourceFile, tenant_id: str | None) -> Iterable[ReadPolicy]:
    name = file.path.rpartition("/")[2]
    for number, (statement, tree) in enumerate(parse_statements(file.text, file.path), start=1):
        annotations = policy_tree.annotations(tree)
        given = annotations.pop("id", None)
        if given is not None and not is_id(given):
            at = (statement.line, statement.column)
            raise refusal(f"`@id` must be 1 to {ID_LENGTH_MAX} printable characters without backticks", file.path, at)
        yield ReadPolicy(
            id=numbered_id(name, number) if given is None else given,
            is_named=given is not None,
            tenant_id=tenant_id,
            file=name if tenant_id is None else f"{tenant_id}/{name}",
            line=statement.line,
            annotations=annotations,
            text=statement.text,
            tree=tree,
        )


def _require_distinct(policies: Iterable[ReadPolicy]) -> None:
    shared: dict[str, ReadPolicy] = {}
    own: dict[tuple[str | None, str], ReadPolicy] = {}
    for policy in policies:
        other = shared.get(policy.id) or own.get((policy.tenant_id, policy.id))
        if other is not None:
            places = f"`{other.file}:{other.line}` and `{policy.file}:{policy.line}`"
            raise ValidationFailed(f"the id `{policy.id}` is there twice, in {places}")
        own[policy.tenant_id, policy.id] = policy
        if policy.tenant_id is None:
            shared[policy.id] = policy


def compare(old: Sequence[ReadPolicy], new: Sequence[ReadPolicy]) -> PolicyDifference:
    """Return how ``new`` differs from ``old``."""
    pairs, gone, come = _matched(old, new)
    found = [change for before, after in pairs if (change := _change(before, after)) is not None]
    unchanged = len(pairs) - len(found)
    found += [PolicyChange("removed", each, None, _allowance(each, "narrower")) for each in gone]
    found += [PolicyChange("added", None, each, _allowance(each, "wider")) for each in come]
    return PolicyDifference(tuple(sorted(found, key=_order)), unchanged)


def _order(change: PolicyChange) -> tuple[int, str, str]:
    return _GRAVEST_FIRST.index(change.may_allow), change.policy.tenant_id or "", change.policy.id


Pairs = list[tuple[ReadPolicy, ReadPolicy]]


def _matched(
    old: Sequence[ReadPolicy], new: Sequence[ReadPolicy]
) -> tuple[Pairs, Sequence[ReadPolicy], Sequence[ReadPolicy]]:
    """Return which policies are the same ones, and those that are only in the old or only in the new set.

    By what identifies best: the id that was given, the same meaning at the same place, the same meaning, the place
    alone, and last the same policy of another tenant.
    """
    keys: tuple[Callable[[ReadPolicy], Hashable | None], ...] = (
        lambda each: (each.tenant_id, each.id) if each.is_named else None,
        lambda each: None if each.is_named else (each.tenant_id, each.id, each.meaning.key),
        lambda each: (each.tenant_id, each.meaning.key),
        lambda each: None if each.is_named else (each.tenant_id, each.id),
        lambda each: (each.id, each.meaning.key) if each.is_named else None,
    )
    pairs: Pairs = []
    for key in keys:
        found = _paired(old, new, key)
        pairs += found
        taken = {id(each) for pair in found for each in pair}
        old, new = [each for each in old if id(each) not in taken], [each for each in new if id(each) not in taken]
    return pairs, old, new


def _paired(
    old: Iterable[ReadPolicy], new: Iterable[ReadPolicy], key: Callable[[ReadPolicy], Hashable | None]
) -> Pairs:
    waiting: dict[Hashable, list[ReadPolicy]] = {}
    for each in new:
        waiting.setdefault(key(each), []).append(each)
    waiting.pop(None, None)
    return [(each, others.pop(0)) for each in old if (others := waiting.get(key(each)))]


def _change(old: ReadPolicy, new: ReadPolicy) -> PolicyChange | None:
    parts = tuple(_parts(old, new))
    is_renamed = old.id != new.id and (old.is_named or new.is_named)
    if not parts and not is_renamed:
        return None
    kind: ChangeKind = "renamed" if is_renamed else "moved" if {each.part for each in parts} == {"file"} else "changed"
    return PolicyChange(kind, old, new, _change_allowance(old, new), parts)


def _parts(old: ReadPolicy, new: ReadPolicy) -> Iterable[PartChange]:
    if old.tenant_id != new.tenant_id:
        yield PartChange("tenant", "tenant", old.tenant_id, new.tenant_id)
    if old.text != new.text:
        yield from _parts_of_texts(old, new)
    if old.file != new.file:
        yield PartChange("file", "file", old.file, new.file)


def _parts_of_texts(old: ReadPolicy, new: ReadPolicy) -> Iterable[PartChange]:
    if old.effect != new.effect:
        yield PartChange("effect", "effect", old.effect, new.effect)
    for name in ("principal", "action", "resource"):
        before, after = getattr(old.meaning.scope, name), getattr(new.meaning.scope, name)
        if before != after:
            yield PartChange("scope", name, scope_text(name, before), scope_text(name, after))
    if old.meaning.conditions != new.meaning.conditions:
        yield PartChange("conditions", "conditions", conditions_text(old.text), conditions_text(new.text))
    for name in sorted(old.annotations.keys() | new.annotations.keys()):
        if old.annotations.get(name) != new.annotations.get(name):
            yield PartChange("annotation", name, old.annotations.get(name), new.annotations.get(name))


def _change_allowance(old: ReadPolicy, new: ReadPolicy) -> Allowance:
    if old.effect != new.effect or old.is_template != new.is_template:
        return together([_allowance(old, "narrower"), _allowance(new, "wider")])
    return _allowance(new, joined([direction(old.meaning, new.meaning), _tenant_direction(old, new)]))


def _allowance(policy: ReadPolicy, told: Direction) -> Allowance:
    if policy.is_template or told == "same":
        return "same"
    return _ALLOWED.get((policy.effect, told), "both")


def _tenant_direction(old: ReadPolicy, new: ReadPolicy) -> Direction:
    if old.tenant_id == new.tenant_id:
        return "same"
    if new.tenant_id is None:
        return "wider"
    return "narrower" if old.tenant_id is None else "both"

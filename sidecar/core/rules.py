"""Compiles a JSON rules policy to Cedar: one ``permit`` that grants, and one ``forbid … unless`` per restriction.

Invariants (DESIGN rule 4): a grant adds to what others grant, while a ``forbid`` wins over every ``permit``, so a
policy further down the identity chain can narrow and never widen. A restriction reaches those of the policy's own
actions whose context declares the fields it reads, and no others. Grant and restrictions list the actions that exist at
the time: what a later schema adds is not granted without its restrictions, but not granted until compiled again.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Literal

import msgspec

from sidecar.core.errors import ValidationFailed
from sidecar.core.grammar import ActionNames
from sidecar.core.ids import check_action
from sidecar.core.literals import entity, quote
from sidecar.core.money import Major, NumberText
from sidecar.core.restrictions import CONTEXT_TYPES, Condition, Restrictions, check_list, conditions
from sidecar.core.schema import Action, SchemaModel

ALTERNATIVES_MAX: Final = 32
"""Branches of ``any``: each is tried at every request that the policy reaches."""

_FIELD: Final = "rules"


class Alternative(Restrictions, frozen=True, kw_only=True):
    """One branch of ``any``; all of its restrictions must hold for it to do."""


class Rules(Restrictions, frozen=True, kw_only=True):
    """A whole rules policy. ``actions`` left out are all actions; of the branches in ``any``, one must hold."""

    actions: ActionNames | None = None
    any: (
        Annotated[
            tuple[Alternative, ...], msgspec.Meta(extra_json_schema={"minItems": 1, "maxItems": ALTERNATIVES_MAX})
        ]
        | None
    ) = None


class Clause(msgspec.Struct, frozen=True):
    """One compiled policy. ``key`` is its rule and ``requirement`` what would pass it; both are None for the grant."""

    id: str
    key: str | None
    effect: Literal["permit", "forbid"]
    text: str
    requirement: str | None


def read_rules(document: str) -> Rules:
    """Return the rules that a stored policy was made of. Raises msgspec.DecodeError for any other text."""
    return _stored.decode(document)


def _read(_amount: type, value: object) -> Major:
    """Read an amount, the one type of rules that msgspec has no way to read."""
    return Major.parse(value)


_stored: Final = msgspec.json.Decoder(Rules, dec_hook=_read, float_hook=NumberText)


def compile_rules(
    rules: Rules, *, policy_id: str, principal: tuple[str, str], schema: SchemaModel
) -> tuple[Clause, ...]:
    """Return the grant and the restrictions of ``rules``, for ``principal`` (Cedar type and id) and all below it.

    Raises ValidationFailed with a ``field`` such as ``rules.allowed_hours`` for an unknown action, an action that does
    not declare what a restriction reads, and any value that breaks its rule.
    """
    granted = _granted(rules, schema)
    scope = _Scope(policy_id, entity(*principal))
    clauses = [scope.clause(None, "permit", granted, None, None)]
    for condition in conditions(rules, schema, _FIELD):
        held = _held(condition.fields, rules, schema, f"{_FIELD}.{condition.key}")
        expression = _guarded(condition, held, schema)
        clauses.append(scope.clause(condition.key, "forbid", held, expression, condition.requirement))
    if rules.any is not None:
        clauses += _alternatives(rules.any, rules, schema, scope)
    return tuple(clauses)


class _Scope(msgspec.Struct, frozen=True):
    """What all clauses of one policy share."""

    policy_id: str
    principal: str

    def clause(
        self,
        key: str | None,
        effect: Literal["permit", "forbid"],
        actions: Sequence[str],
        unless: str | None,
        requirement: str | None,
    ) -> Clause:
        """Return the clause for ``actions``; ``unless`` is the condition that lifts a ``forbid``."""
        clause_id = self.policy_id if key is None else f"{self.policy_id}/{key}"
        listed = ", ".join(entity("Action", action) for action in actions)
        lines = [
            f"@id({quote(clause_id)})",
            f"{effect} (principal in {self.principal}, action in [{listed}], resource)",
            *([f"unless {{ {unless} }}"] if unless is not None else []),
        ]
        return Clause(clause_id, key, effect, "\n".join(lines) + ";", requirement)


def _granted(rules: Rules, schema: SchemaModel) -> tuple[str, ...]:
    if rules.actions is None:
        return _askable(schema)
    field = f"{_FIELD}.actions"
    check_list(rules.actions, field)
    granted = set[str]()
    for name in rules.actions:
        members = schema.members(check_action(name, field))
        if not members:
            raise ValidationFailed(f"the schema knows no action `{name}`", field=field)
        granted.update(members)
    return tuple(sorted(granted))


def _askable(schema: SchemaModel) -> tuple[str, ...]:
    return tuple(sorted(action.name for action in schema.actions.values() if action.can_be_asked))


def _held(fields: Sequence[str], rules: Rules, schema: SchemaModel, field: str) -> tuple[str, ...]:
    """Return the policy's actions that declare all of ``fields``; refuse an action named in vain."""
    words = " and ".join(f"`{name}`" for name in fields)
    if rules.actions is None:
        held = {name for name in _askable(schema) if _declares(schema.actions[name], fields)}
        if not held:
            raise ValidationFailed(f"no action of the schema declares {words}", field=field)
        return tuple(sorted(held))
    found = set[str]()
    for name in rules.actions:
        declaring = {member for member in schema.members(name) if _declares(schema.actions[member], fields)}
        if not declaring or (schema.actions[name].can_be_asked and name not in declaring):
            raise ValidationFailed(f"the action `{name}` does not declare {words}", field=field)
        found |= declaring
    return tuple(sorted(found))


def _declares(action: Action, fields: Iterable[str]) -> bool:
    declared = action.context.fields
    return all(name in declared and declared[name].type == CONTEXT_TYPES[name] for name in fields)


def _guarded(condition: Condition, actions: Sequence[str], schema: SchemaModel) -> str:
    """Return the condition with a test for the fields that some of ``actions`` have optional."""
    optional = [
        f"context has {name}"
        for name in condition.fields
        if not all(schema.actions[action].context.fields[name].required for action in actions)
    ]
    if not optional:
        return condition.expression
    given = " && ".join(optional)
    # Cedar's validator follows `if` and `&&`; of `!given || …` it would say that the field may be missing.
    if condition.met_without:
        return f"if {given} then {condition.expression} else true"
    return f"{given} && ({condition.expression})"


def _alternatives(branches: Sequence[Alternative], rules: Rules, schema: SchemaModel, scope: _Scope) -> list[Clause]:
    """Return a clause per set of actions that declare the same branches; an action needs one of those it declares.

    A branch about a field that an action does not have can never hold there, so it must not lift the others.
    """
    field = f"{_FIELD}.any"
    if not 0 < len(branches) <= ALTERNATIVES_MAX:
        raise ValidationFailed(f"1 to {ALTERNATIVES_MAX} alternatives are expected", field=field)
    compiled = [tuple(conditions(branch, schema, f"{field}[{index}]")) for index, branch in enumerate(branches)]
    declaring: dict[str, tuple[int, ...]] = {}
    for index, branch in enumerate(compiled):
        if not branch:
            raise ValidationFailed("an alternative without a restriction always holds", field=f"{field}[{index}]")
        fields = tuple(dict.fromkeys(name for condition in branch for name in condition.fields))
        for action in _held(fields, rules, schema, f"{field}[{index}]"):
            declaring[action] = (*declaring.get(action, ()), index)
    alike: dict[tuple[int, ...], list[str]] = {}
    for action, indexes in sorted(declaring.items()):
        alike.setdefault(indexes, []).append(action)
    ordered = sorted(alike.items(), key=lambda item: (-len(item[0]), item))
    return [
        _alternative([compiled[index] for index in indexes], actions, number, schema, scope)
        for number, (indexes, actions) in enumerate(ordered, start=1)
    ]


def _alternative(
    branches: Sequence[tuple[Condition, ...]], actions: list[str], number: int, schema: SchemaModel, scope: _Scope
) -> Clause:
    expression = " || ".join(
        f"({' && '.join(f'({_guarded(condition, actions, schema)})' for condition in branch)})" for branch in branches
    )
    requirement = ", or ".join(" and ".join(condition.requirement for condition in branch) for branch in branches)
    return scope.clause("any" if number == 1 else f"any#{number}", "forbid", actions, expression, requirement)

"""One policy or template as everything but the engine sees it: what it says of itself, and what it can read."""

from typing import Literal, cast

import msgspec

from sidecar.core import policy_tree
from sidecar.core.policy_ids import ID_LENGTH_MAX, is_id, numbered_id
from sidecar.core.policy_scope import EntityUid, Scope, scope_of
from sidecar.core.policy_text import Statement, refusal

Effect = Literal["permit", "forbid"]


class PolicyUnit(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """One policy or template that passed.

    ``id`` is its ``@id``, or ``spend.cedar#2`` for the second of a file; ``source`` reads ``policies/spend.cedar:12``.
    ``slots`` are those of a template; ``reaches`` are entities that its conditions name and look into,
    ``context_read`` the attributes of the context that they can read, None for any. A policy made by the API has a
    ``policy_id``, and where it was compiled from rules, the ``rule`` it stands for and the ``requirement`` that would
    satisfy it. Its ``given_id`` is the one in its text, ``id`` one that no other policy has.
    """

    id: str
    effect: Effect
    source: str
    text: str
    scope: Scope = Scope()
    description: str | None = None
    advice: str | None = None
    slots: tuple[str, ...] = ()
    reaches: tuple[EntityUid, ...] = ()
    context_read: frozenset[str] | None = None
    looks_into_resource: bool = True
    policy_id: str | None = None
    given_id: str | None = None
    rule: str | None = None
    requirement: str | None = None


class Link(msgspec.Struct, frozen=True):
    """A template filled in: ``?principal`` of the template stands for ``principal``. ``id`` is the filled policy's."""

    template_id: str
    id: str
    principal: EntityUid


def unit_of(statement: Statement, tree: policy_tree.Tree, file: str, number: int, *, shared: bool) -> PolicyUnit:
    """Return a statement of ``file``, its policy of that ``number`` from 1, given its parsed form.

    Raises PolicyInvalid for an ``@id`` that is none, and for what may not stand in a policy that is ``shared`` by all
    tenants.
    """
    at = (statement.line, statement.column)
    entity = policy_tree.literal_access(tree) if shared else None
    if entity is not None:
        raise refusal(f"reads attributes of `{entity}`, which not every tenant has", file, at)
    annotations = policy_tree.annotations(tree)
    policy_id = annotations.get("id", numbered_id(file, number))
    if not is_id(policy_id):
        raise refusal(f"`@id` must be 1 to {ID_LENGTH_MAX} printable characters without backticks", file, at)
    return PolicyUnit(
        id=policy_id,
        effect=cast("Effect", tree["effect"]),
        source=f"{file}:{statement.line}",
        text=statement.text,
        scope=scope_of(tree),
        description=annotations.get("description"),
        advice=annotations.get("advice"),
        slots=policy_tree.slots(tree),
        reaches=tuple(sorted(policy_tree.entities_reached(tree))),
        context_read=policy_tree.context_read(tree),
        looks_into_resource=policy_tree.looks_into_resource(tree),
    )

"""One policy or template as everything but the engine sees it: what it says of itself, and what it can read."""

from typing import Literal

import msgspec

from sidecar.core.policy_scope import EntityUid, Scope

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

"""What policies are asked and what they say: the two sides of the engine, without the engine."""

from typing import Literal

import msgspec

from sidecar.core.policy_scope import EntityUid


class CedarRequest(msgspec.Struct, frozen=True, gc=False):
    """What Cedar is asked; ``context`` is in Cedar's JSON."""

    principal: EntityUid
    action: str
    resource: EntityUid
    context: dict[str, object]


class PolicyFault(msgspec.Struct, frozen=True):
    """A policy that could not be evaluated, and why."""

    policy_id: str
    message: str


class Ruling(msgspec.Struct, frozen=True, gc=False):
    """What the policies say. ``determining`` are the ids of those that decided, sorted; a faulty policy denies."""

    effect: Literal["allow", "deny"]
    determining: tuple[str, ...]
    errors: tuple[PolicyFault, ...] = ()

"""What identities, card and policies say of a request, read from one view and changing nothing.

It needs no counter, so it can be made before the transaction that decides; what budgets say (``service.consult``) is
asked inside it.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from sidecar.core import reasons
from sidecar.core.cards import state_of
from sidecar.core.directory import Identity, IdentityChain, entity_of, walk
from sidecar.core.errors import Conflict, NotFound, ValidationFailed
from sidecar.core.ids import pascal_case
from sidecar.core.model import AuthorizeRequest, Reason
from sidecar.core.policy_scope import EntityUid
from sidecar.core.question import Circumstances, Question, Unanswerable, pose
from sidecar.core.ruling import Ruling
from sidecar.service.premises import Premises
from sidecar.service.snapshots import View
from sidecar.service.store import TenantTransaction

REACHED_MAX: Final = 64
"""Identities outside the chain that one ruling looks at; bounds the audit record that names their versions."""

NO_RULING: Final = Ruling("deny", (), ())


class Asked(msgspec.Struct, frozen=True, gc=False):
    """What Cedar was asked, and the stored identities outside the chain that it could see, each with its parent.

    ``target`` is the identity chain of the resource where that is an identity; ``reached`` has it too.
    """

    question: Question
    target: IdentityChain | None
    reached: tuple[tuple[Identity, Identity | None], ...]

    def entities(self) -> list[dict[str, object]]:
        """Return the entities of the request."""
        return [*self.question.entities, *self.further()]

    def further(self) -> list[dict[str, object]]:
        """Return the entities outside of the identity chains of the asking identity and of the resource."""
        known = self.target or ()
        return [entity_of(*pair) for pair in self.reached if pair[0] not in known]


class Proposal(msgspec.Struct, frozen=True, gc=False):
    """A request with its ruling on one view. ``denials`` are the reasons against it before any budget is looked at.

    ``others`` are the stored identities outside the chain that policies could see; ``asked`` is None where Cedar was
    not asked.
    """

    view: View
    ruling: Ruling
    permits: tuple[Reason, ...]
    denials: tuple[Reason, ...]
    others: tuple[Identity, ...] = ()
    asked: Asked | None = None


def rule(part: Premises, view: View, request: AuthorizeRequest, now_us: int) -> Proposal:
    """Return the ruling on ``request`` in one view, without looking at any counter."""
    if request.card_id is not None and view.card is None:
        raise NotFound(f"unknown card `{request.card_id}`", field="card_id")
    if view.blocks:
        return Proposal(view, NO_RULING, (), view.blocks)
    schema = view.policies.schema
    target = target_of(part, request, schema.forms.identity_types)
    posed = pose(request, view.chain, target, schema.forms, Circumstances(now_us, view.zone, part.tenant.mode))
    if isinstance(posed, Unanswerable):
        return Proposal(view, NO_RULING, (), (*card_denials(view, request), reasons.not_permitted(posed.message)))
    return ask(view, request, posed, target, part.identities.get)


def ask(
    view: View,
    request: AuthorizeRequest,
    posed: Question,
    target: IdentityChain | None,
    find: Callable[[str], Identity | None],
) -> Proposal:
    """Return what the policies of a view say of a question; ``find`` gives the identities that only they look into."""
    policies = view.policies.policies
    reached = _reached(find, view, target, posed.references)
    asked = Asked(posed, target, reached)
    ruling = view.asker.rule(posed, asked.further() if reached else (), view.rulings, view.revisions)
    denials = card_denials(view, request)
    if ruling.effect == "deny":
        denials += reasons.refused(ruling, policies, request, lambda: posed.seen)
    others = tuple(identity for identity, _ in reached) if reached else ()
    return Proposal(view, ruling, () if denials else reasons.permitted(ruling, policies), denials, others, asked)


def blocked_now(part: TenantTransaction, request: AuthorizeRequest) -> bool:
    """Whether the chain or the card of a request that was permitted before is blocked by now."""
    chain = walk(request.identity_id, part.identities.get)
    if reasons.blocked(chain):
        return True
    card = None if request.card_id is None else part.cards.get(request.card_id)
    return card is not None and state_of(card, chain).status != "active"


def card_denials(view: View, request: AuthorizeRequest) -> tuple[Reason, ...]:
    """Return why the card itself takes no such payment, whatever the policies say; empty without a card."""
    return () if view.card is None else reasons.card_refused(view.card, request)


def _reached(
    find: Callable[[str], Identity | None],
    view: View,
    target: IdentityChain | None,
    references: frozenset[EntityUid],
) -> tuple[tuple[Identity, Identity | None], ...]:
    """Return the identities outside the chain that policies can see, each with its parent.

    They are the resource's identity chain, and those of the identities that the request names or that conditions look
    into, of any policy that can mean the acting identity: then they suffice for its other requests too, which an
    explanation tries. Raises Conflict when they are too many.
    """
    named = view.asker.reaches
    if target is None and not named and not references:
        return ()
    chains = [] if target is None else [target]
    for type_name, identity_id in sorted({*named, *references}):
        identity = find(identity_id)
        if identity is not None and pascal_case(identity.type) == type_name:
            chains.append(walk(identity_id, find))
    known = {identity.identity_id for identity in view.chain}
    found: list[tuple[Identity, Identity | None]] = []
    for chain in chains:
        for identity, parent in zip(chain, [*chain[1:], None], strict=True):
            if identity.identity_id not in known:
                known.add(identity.identity_id)
                found.append((identity, parent))
    if len(found) > REACHED_MAX:
        raise Conflict(
            f"the policies and the request reach {len(found)} identities, at most {REACHED_MAX} are looked at"
        )
    return tuple(found)


def target_of(part: Premises, request: AuthorizeRequest, identity_types: frozenset[str]) -> IdentityChain | None:
    """Return the identity chain of the resource, None when its type is no identity type."""
    resource = request.resource
    if resource.type not in identity_types:
        return None
    if request.attributes:
        raise ValidationFailed("the attributes of an identity are the stored ones", field="resource.attributes")
    target = part.identities.get(resource.id)
    if target is None or target.type != resource.type:
        raise NotFound(f"unknown identity `{resource.id}` of type `{resource.type}`", field="resource.id")
    return walk(resource.id, part.identities.get)

"""What a search has to look through: the candidates that are left once whole types and branches are ruled out."""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from sidecar.core.access import Caller
from sidecar.core.directory import Identity, entities_of
from sidecar.core.errors import NotFound, ValidationFailed
from sidecar.core.hints import hints
from sidecar.core.ids import check_name, pascal_case
from sidecar.core.model import AuthorizeRequest, ResourceRef
from sidecar.core.policy import entity_slice
from sidecar.core.policy_scope import Asking
from sidecar.core.question import Circumstances, Question, Unanswerable, pose
from sidecar.core.search import Prospect, prospect
from sidecar.core.search_residuals import Known
from sidecar.core.snapshot import TenantPolicies
from sidecar.core.windows import zone
from sidecar.service.evaluations import Evaluation, with_properties
from sidecar.service.ruling import target_of
from sidecar.service.search_walk import Names, Walk, branches, uids_of
from sidecar.service.snapshots import View
from sidecar.service.store import TenantTransaction

NAMING_MAX: Final = 500
"""Policies whose texts are searched for the resources that they name: some 50 ms, at worst."""

Sought = Literal["subject", "resource", "action"]
"""The part of a request that a search looks for."""

NOBODY: Final = Names()


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """A request of which one part is ``sought``: the identity, the id of the resource, or the action.

    What stands in the place of that part is not looked at. ``subject_type`` is the type of the wire that the asking
    identity has to have, also where that is what is sought. The properties take part as far as the tenant allows: those
    of what is sought are claimed of each candidate.
    """

    sought: Sought
    subject_type: str
    request: AuthorizeRequest
    subject_properties: Mapping[str, object] = {}
    resource_properties: Mapping[str, object] = {}

    def asking(self, candidate: str) -> AuthorizeRequest:
        """Return the request with a candidate in the place of what is sought."""
        request = self.request
        if self.sought == "subject":
            return msgspec.structs.replace(request, identity_id=candidate)
        if self.sought == "action":
            return msgspec.structs.replace(request, action=candidate)
        return msgspec.structs.replace(request, resource=ResourceRef(request.resource.type, candidate))

    def completed(self, part: TenantTransaction, policies: TenantPolicies) -> "Search":
        """Return it with the properties that the tenant allows in its request."""
        properties = self.subject_properties, self.resource_properties
        request = with_properties(part, policies, Evaluation(self.subject_type, self.request, *properties))
        return msgspec.structs.replace(self, request=request)

    def binding(self, tenant_id: str, caller: Caller) -> bytes:
        """Return what a page's token is bound to: the search, the tenant, and what the caller reaches."""
        parts = (self.sought, self.subject_type, tenant_id, caller.top, self.asking("").canonical())
        return msgspec.msgpack.encode(parts)


def plan(
    part: TenantTransaction,
    caller: Caller,
    search: Search,
    policies: TenantPolicies,
    view: View | None,
    now_us: int,
) -> Walk:
    """Return what to look through.

    ``view`` is that of the asking identity, None where that is sought. Raises ValidationFailed for a request that fits
    the schema whatever stands in the place of what is sought.
    """
    if view is not None and (view.blocks or view.chain[0].type != search.subject_type):
        return NOBODY
    if search.sought == "action":
        return _actions(search, policies)
    try:
        posed = _posed(part, search, policies, view, now_us)
    except NotFound:  # the resource, where that is an identity
        return NOBODY
    if isinstance(posed, Unanswerable):
        return NOBODY
    if view is None:
        return _identities(part, caller, _prospect(posed, policies, search.subject_type))
    kind = search.request.resource.type
    found = _prospect(posed, policies, kind)
    return _identities(part, caller, found) if posed.target is not None else _resources(policies, posed, found, kind)


def _actions(search: Search, policies: TenantPolicies) -> Names:
    """Return the actions that the schema declares for such an identity and such a resource."""
    who, what = pascal_case(search.subject_type), pascal_case(search.request.resource.type)
    declared = policies.schema.model.actions.values()
    return Names(tuple(sorted(each.name for each in declared if who in each.principals and what in each.resources)))


def _posed(
    part: TenantTransaction, search: Search, policies: TenantPolicies, view: View | None, now_us: int
) -> Question | Unanswerable:
    """Return the question with nobody in the place of who or what is sought."""
    request, forms = search.request, policies.schema.forms
    circumstances = Circumstances(now_us, zone(part.tenant.time_zone), part.tenant.mode)
    if view is None:
        target = target_of(part, request, forms.identity_types)
        return pose(request, (_nobody(search.subject_type),), target, forms, circumstances)
    kind = request.resource.type
    if kind in forms.identity_types:
        if request.attributes:
            raise ValidationFailed("the attributes of an identity are the stored ones", field="resource.attributes")
        return pose(search.asking(""), view.chain, (_nobody(kind),), forms, circumstances)
    declared = policies.schema.model.entity_types.get(pascal_case(kind))
    first = declared.choices[0] if declared is not None and declared.choices else ""
    return pose(search.asking(first), view.chain, None, forms, circumstances)


def _nobody(kind: str) -> Identity:
    return Identity(identity_id="", parent_id=None, type=kind, name="", created_at_us=0, revision=0)


def _prospect(posed: Question, policies: TenantPolicies, kind: str) -> Prospect:
    """Return where identities or resources of a type could be permitted."""
    is_subject = not posed.chain[0].identity_id
    known = Known("principal" if is_subject else "resource", pascal_case(kind))
    # An identity of which tags are claimed is another one wherever it stands, as the one that is sought may.
    known_of = None if posed.is_claimed else entity_slice(_stored(posed, is_subject=is_subject), policies.schema)
    return prospect(policies.policies, posed.request, _asking(posed), known, known_of)


def _asking(posed: Question) -> Asking:
    action = ("Action", posed.form.action.name)
    groups = {("Action", group) for group in posed.form.action.groups}
    above = frozenset(uids_of(posed.chain))
    target = [posed.resource] if posed.target is None else uids_of(posed.target)
    return Asking(posed.principal, action, posed.resource, above, frozenset({action, *groups}), frozenset(target))


def _stored(posed: Question, *, is_subject: bool) -> list[dict[str, object]]:
    """Return as entities what is known of a question: the resource, or the asking identity's chain."""
    if not is_subject:
        return entities_of(posed.chain)
    return [posed.resource_entity] if posed.target is None else entities_of(posed.target)


def _identities(part: TenantTransaction, caller: Caller, found: Prospect) -> Walk:
    return NOBODY if _is_hopeless(found) else branches(part, caller, found) or NOBODY


def _resources(policies: TenantPolicies, posed: Question, found: Prospect, kind: str) -> Names:
    """Return the resources of a type that is not stored."""
    if _is_hopeless(found):
        return NOBODY
    within = {name for _, name in found.at | found.below}
    names = _named(policies, posed, kind)
    return Names(tuple(sorted(name for name in names if found.is_anywhere or name in within)))


def _is_hopeless(found: Prospect) -> bool:
    return found.is_empty or found.is_forbidden(frozenset())


def _named(policies: TenantPolicies, posed: Question, kind: str) -> frozenset[str]:
    """Return the ids of resources that are not stored: those that the schema or a policy of the asking one names."""
    choices = posed.form.resource.choices
    if choices is not None:
        return frozenset(choices)
    found = policies.policies.index_of_all_resources.candidates(_asking(posed))[:NAMING_MAX]
    entries = (policies.policies.entries[position] for position in found)
    resources = hints(entries, policies.schema.model).resources
    return frozenset(resource.id for resource in resources if resource.type == kind and _can_be_asked(resource.id))


def _can_be_asked(resource_id: str) -> bool:
    try:
        check_name(resource_id, "resource.id")
    except ValidationFailed:
        return False
    return True

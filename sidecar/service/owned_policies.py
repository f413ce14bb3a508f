"""The policies that a tenant made by the API, kept between looks: a look reads what changed since the one before.

What is read of a transaction that writes may never be committed, so a caller keeps only what it read of a committed
state; what it kept serves for both.
"""

from typing import Final

import msgspec

from sidecar.core.ids import pascal_case
from sidecar.core.snapshot import PolicyRecord
from sidecar.service.store import Revisions, TenantTransaction

CHANGES_MAX: Final = 1_000
"""Changes of a tenant that are looked through for those of policies; beyond it, reading all policies costs as much."""


class OwnedPolicies(msgspec.Struct, frozen=True):
    """All policies of one tenant at one revision, by id and in order of creation.

    Each comes with the Cedar type of the identity that it hangs on, None for one of the whole tenant.
    """

    revisions: Revisions
    by_id: dict[str, tuple[PolicyRecord, str | None]]

    def all(self) -> list[tuple[PolicyRecord, str | None]]:
        """Return them in order of creation."""
        return list(self.by_id.values())


def owned_policies(part: TenantTransaction, revisions: Revisions, known: OwnedPolicies | None = None) -> OwnedPolicies:
    """Return the policies of a tenant as of its ``revisions``; ``known`` are those of an earlier committed state."""
    if known is not None and known.revisions.policies == revisions.policies:
        return known
    changed = None
    if known is not None and known.revisions.entities < revisions.entities:
        changed = part.policies.changed(known.revisions.entities, CHANGES_MAX)
    if known is None or changed is None:
        return OwnedPolicies(revisions, _all(part))
    by_id = dict(known.by_id)
    is_in_order = True
    for policy_id in changed:
        record = part.policies.get(policy_id)
        if record is None:
            by_id.pop(policy_id, None)
        else:
            is_in_order = is_in_order and (policy_id in by_id or _is_newest(part, policy_id, by_id))
            by_id[policy_id] = _typed(part, record)  # a changed one keeps its place
    return OwnedPolicies(revisions, by_id if is_in_order else _all(part))


def _all(part: TenantTransaction) -> dict[str, tuple[PolicyRecord, str | None]]:
    return {each.policy_id: _typed(part, each) for _, each in part.policies.all()}


def _is_newest(part: TenantTransaction, policy_id: str, before: dict[str, tuple[PolicyRecord, str | None]]) -> bool:
    """Whether a policy comes after all others; a follower may be told of an older one later."""
    last = next(reversed(before), None)
    if last is None or part.policies.get(last) is None:
        return last is None
    return part.policies.place_of(policy_id) > part.policies.place_of(last)


def _typed(part: TenantTransaction, record: PolicyRecord) -> tuple[PolicyRecord, str | None]:
    identity = None if record.identity_id is None else part.identities.get(record.identity_id)
    return record, None if identity is None else pascal_case(identity.type)

"""Identities beyond a followed subtree: here because a policy looks into them, gone when none does any more.

The control plane names all of them with each state that it tells, so whoever follows for long has what a new follower
gets.
"""

import asyncio
from collections.abc import Iterable

from sidecar.core.directory import Identity, Tenant
from sidecar.core.feed import Change, FeedRefused, Page
from sidecar.core.limits import CHAIN_DEPTH_MAX
from sidecar.service.following_intake import AT_ONCE
from sidecar.service.following_plan import Key, Plan, Prospect
from sidecar.service.following_staging import parts
from sidecar.service.scope import Bounds, Find
from sidecar.service.store import Store


async def parted(store: Store, tenant: Tenant, page: Page, plan: Plan) -> Plan:
    """Return what is to be applied with the last ``page``: ``plan``, without whom there is no reason for.

    Of these, who is in ``store`` goes. Raises FeedRefused where somebody is not there for whom there is a reason.
    """
    if page.scope is None or page.outside is None:
        return plan
    changes = dict(plan.changes)
    told = [change.id for change in changes.values() if change.kind == "identity"]
    with store.read() as txn:
        known = txn.replica.outside()
        bounds = Bounds(page.scope, _above(page.scope, _find(Prospect(txn, txn.of(tenant), plan.changes))))
    for some in parts(page.outside, AT_ONCE):
        await asyncio.sleep(0)
        with store.read() as txn:
            find = _find(Prospect(txn, txn.of(tenant), plan.changes))
            missing = next((each for each in some if find(each) is None), None)
        if missing is not None:
            raise FeedRefused(f"policies look into identity `{missing}`, which is not told: something is missing")
    doubtful = frozenset((*told, *known)) - frozenset(page.outside)
    for some in parts(sorted(doubtful), AT_ONCE):
        await asyncio.sleep(0)
        with store.read() as txn:
            part = txn.of(tenant)
            find = _find(Prospect(txn, part, plan.changes))
            for identity_id in some:
                if bounds.is_inside(identity_id, find):
                    continue
                key: Key = ("identity", identity_id)
                changes.pop(key, None)
                if part.identities.get(identity_id) is not None:
                    changes[key] = Change(kind="identity", id=identity_id, revision=page.to_revision)
    return Plan(changes)


def _find(prospect: Prospect) -> Find:
    """Return how an identity is found as it would be; nothing is said of a tree that does not hold together."""

    def find(identity_id: str) -> Identity | None:
        found = prospect.find("identity", identity_id)
        return found if isinstance(found, Identity) else None

    return find


def _above(top: str, find: Find) -> Iterable[str]:
    at, passed = find(top), 0
    while at is not None and at.parent_id is not None and passed < CHAIN_DEPTH_MAX:
        yield at.parent_id
        at, passed = find(at.parent_id), passed + 1

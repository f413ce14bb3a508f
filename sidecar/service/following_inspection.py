"""A plan held against the store: first what costs little, then its policies, which may cost a process of their own."""

import asyncio

from sidecar.core.directory import Identity, Tenant
from sidecar.core.feed import Change, FeedRefused
from sidecar.core.ids import pascal_case
from sidecar.core.policy import CompiledSchema
from sidecar.core.snapshot import PolicyFiles
from sidecar.service.following_intake import AT_ONCE
from sidecar.service.following_plan import Plan, Prospect, key_of, require_distinct
from sidecar.service.following_policies import Doorkeeper
from sidecar.service.following_staging import parts
from sidecar.service.store import Store


class Inspection:
    """Says whether a plan may be applied to one store."""

    def __init__(self, store: Store, doorkeeper: Doorkeeper) -> None:
        """Read ``store``; ``doorkeeper`` looks at policies."""
        self._store = store
        self._doorkeeper = doorkeeper

    async def require(self, tenant: Tenant, plan: Plan, files: PolicyFiles | None) -> None:
        """Return when ``plan`` and ``files`` may be applied; None for files leaves those that are here.

        Raises FeedRefused, PolicyInvalid and ValidationFailed naming what may not, Unavailable.
        """
        await self._require_whole(tenant, plan)
        identities = [change for change in plan.changes.values() if change.kind == "identity"]
        before = self._doorkeeper.schema()
        if plan.policies or files is not None or before is None:
            schema = await self._doorkeeper.admit(tenant, plan, files)
        else:
            schema = before
        _require_types(identities, schema)
        if before is not None and not before.model.identity_types <= schema.model.identity_types:
            await self._require_stored_types(tenant, plan, schema)

    async def _require_whole(self, tenant: Tenant, plan: Plan) -> None:
        require_distinct(plan.changes.values())
        with self._store.read() as txn:
            root = Prospect(txn, txn.of(tenant), plan.changes).find("identity", tenant.root_identity_id)
        if root is None:
            raise FeedRefused(f"the root `{tenant.root_identity_id}` of the tenant is not there")
        for some in parts(plan.changes.values(), AT_ONCE):
            await asyncio.sleep(0)
            with self._store.read() as txn:
                prospect = Prospect(txn, txn.of(tenant), plan.changes)
                for change in some:
                    prospect.require_whole(change)

    async def _require_stored_types(self, tenant: Tenant, plan: Plan, schema: CompiledSchema) -> None:
        """Raise FeedRefused where an identity that stays has a type that the schema has lost."""
        after = 0
        while True:
            await asyncio.sleep(0)
            with self._store.read() as txn:
                found = txn.of(tenant).feed.all("identity", after=after)
                some = [change for change, _ in zip(found, range(AT_ONCE), strict=False)]
            if not some:
                return
            _require_types([change for change in some if key_of(change) not in plan.changes], schema)
            after = some[-1].place


def _require_types(changes: list[Change], schema: CompiledSchema) -> None:
    for change in changes:
        identity = change.value
        if isinstance(identity, Identity) and pascal_case(identity.type) not in schema.model.identity_types:
            message = f"identity `{identity.identity_id}` has the type `{identity.type}`"
            raise FeedRefused(f"{message}, which the schema does not declare")

"""Tenants' hierarchies: identities are made below a parent, changed, suspended and revoked.

Every change is a new revision of the tenant, a fact and an audit record, in one transaction; the next decision sees it.
"""

from collections.abc import Callable

import msgspec

from sidecar.core.access import Caller
from sidecar.core.currencies import places
from sidecar.core.directory import Block, CardDefaults, Identity, IdentityChain, Status, block_on, walk
from sidecar.core.errors import Conflict, NotFound, ValidationFailed
from sidecar.core.idempotency import IdempotencyKey
from sidecar.core.ids import pascal_case
from sidecar.core.limits import CHAIN_DEPTH_MAX
from sidecar.core.model import Json
from sidecar.core.money import Major
from sidecar.core.windows import Period
from sidecar.service.access import part_of, tenant_of
from sidecar.service.descent import descend
from sidecar.service.idempotency import Done, once
from sidecar.service.identity_changes import add_identity, change_identity
from sidecar.service.paging import Page, PageRequest, page_of
from sidecar.service.snapshots import Snapshots
from sidecar.service.store import Store, TenantTransaction, Transaction
from sidecar.service.subtrees import IdentityFilter, identities_within


class CardDefaultsDraft(msgspec.Struct, frozen=True):
    """The limit that cards get which come without one; ``limit`` is in major units, ``limit_field`` its name."""

    limit: Major
    currency: str
    period: Period
    limit_field: str = "card_defaults.limit"

    def checked(self) -> CardDefaults:
        """Return it in minor units. Raises ValidationFailed for what is no amount of the currency."""
        places(self.currency, "card_defaults.currency")
        return CardDefaults(self.limit.minor(self.currency, self.limit_field), self.currency, self.period)


class IdentityDraft(msgspec.Struct, frozen=True):
    """An identity to be made; ``identity_id`` None lets the sidecar choose."""

    parent_id: str
    type: str
    name: str
    identity_id: str | None = None
    external_id: str | None = None
    metadata: dict[str, Json] = {}
    max_cards: int | None = None
    description: str | None = None
    card_defaults: CardDefaultsDraft | None = None


class IdentityPatch(msgspec.Struct, frozen=True):
    """What to change; what is left out stays, and of the last three, None is nothing any more."""

    name: str | None = None
    metadata: dict[str, Json] | None = None
    status: Status | None = None
    max_cards: int | msgspec.UnsetType | None = msgspec.UNSET
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    card_defaults: CardDefaultsDraft | msgspec.UnsetType | None = msgspec.UNSET


class Described(msgspec.Struct, frozen=True):
    """An identity, its tenant's id, and what blocks it."""

    tenant_id: str
    identity: Identity
    block: Block | None


class Revoked(msgspec.Struct, frozen=True):
    """A revoked identity and how many are blocked by it: itself and everybody below."""

    described: Described
    affected: int


class Registry:
    """Keeps the identities of every tenant."""

    def __init__(self, store: Store, snapshots: Snapshots, new_id: Callable[[str, int], str]) -> None:
        """Work on ``store``."""
        self._store = store
        self._snapshots = snapshots
        self._new_id = new_id

    async def create(
        self,
        caller: Caller,
        tenant_id: str | None,
        draft: IdentityDraft,
        now_us: int,
        key: IdempotencyKey | None = None,
    ) -> Done[Described]:
        """Make an identity.

        Raises NotFound for an unknown parent, ValidationFailed for an undeclared type or a chain over the depth limit,
        Conflict for an id or external id in use and for a parent that was revoked, IdempotencyConflict.
        """
        caller.require_administrator()

        def work(txn: Transaction) -> Done[Described]:
            part = part_of(txn, caller, tenant_id, now_us)
            return once(part, key, now_us, Described, lambda: self.make(txn, part, draft, caller.name, now_us))

        return await self._store.write(work, apart=True)

    def make(self, txn: Transaction, part: TenantTransaction, draft: IdentityDraft, by: str, now_us: int) -> Described:
        """Make an identity inside a transaction; raises as ``create``."""
        self.require_type(txn, draft.type)
        chain = _chain(part, draft.parent_id, "parent_id")
        _require_place(part, chain, draft)
        identity = Identity(
            identity_id=draft.identity_id or self._new_id("id", now_us),
            parent_id=draft.parent_id,
            type=draft.type,
            name=draft.name,
            external_id=draft.external_id,
            metadata=draft.metadata,
            max_cards=draft.max_cards,
            description=draft.description,
            card_defaults=None if draft.card_defaults is None else draft.card_defaults.checked(),
            created_at_us=now_us,
            revision=txn.tenants.advance(part.tenant.number),
        )
        add_identity(part, identity, by, now_us)
        return Described(part.tenant.tenant_id, identity, block_on((identity, *chain)))

    def require_type(self, txn: Transaction, type_name: str) -> None:
        """Raise ValidationFailed unless the schema declares ``type_name`` as a type of identities."""
        declared = self._snapshots.files(txn).schema.model.identity_types
        if pascal_case(type_name) not in declared:
            known = ", ".join(f"`{name}`" for name in sorted(declared))
            raise ValidationFailed(f"the schema declares no identity type `{type_name}`, only {known}", field="type")

    def get(self, caller: Caller, tenant_id: str | None, identity_id: str) -> Described:
        """Return an identity. Raises NotFound."""
        chain, tenant = self._chain(caller, tenant_id, identity_id)
        return Described(tenant, chain[0], block_on(chain))

    def chain(self, caller: Caller, tenant_id: str | None, identity_id: str) -> IdentityChain:
        """Return the identity chain, the root last. Raises NotFound."""
        return self._chain(caller, tenant_id, identity_id)[0]

    def _chain(self, caller: Caller, tenant_id: str | None, identity_id: str) -> tuple[IdentityChain, str]:
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            chain = walk(identity_id, part.identities.get)
        caller.require_reach(chain)
        return chain, part.tenant.tenant_id

    def listed(
        self, caller: Caller, tenant_id: str | None, wanted: IdentityFilter, request: PageRequest
    ) -> Page[Described]:
        """Return a page of the identities that fit and are within reach, in order of creation.

        A token of one identity sees its subtree depth first. By external id only who has it now is found, unless the
        revoked are asked for.
        """
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            if wanted.parent_id is not None:
                caller.require_reach(_chain(part, wanted.parent_id, "parent_id"))
            page = page_of(identities_within(part, caller, wanted, request.after), request, wanted.fits)
            described = tuple(
                Described(part.tenant.tenant_id, identity, block_on(walk(identity.identity_id, part.identities.get)))
                for identity in page.values
            )
        return Page(described, page.next_after)

    async def change(
        self, caller: Caller, tenant_id: str | None, identity_id: str, patch: IdentityPatch, now_us: int
    ) -> Described:
        """Change an identity. Raises Conflict once it was revoked, NotFound."""
        caller.require_administrator()

        def work(txn: Transaction) -> Described:
            part = part_of(txn, caller, tenant_id, now_us)
            return patch_identity(txn, part, identity_id, patch, caller.name, now_us)

        return await self._store.write(work)

    async def revoke(
        self, caller: Caller, tenant_id: str | None, identity_id: str, now_us: int, key: IdempotencyKey | None = None
    ) -> Done[Revoked]:
        """Revoke an identity for good, and with it everybody below. A second time changes nothing.

        The tenant's root is the operator's to revoke (Forbidden for others). Raises NotFound, IdempotencyConflict.
        """
        caller.require_administrator()

        def work(txn: Transaction) -> Done[Described]:
            part = part_of(txn, caller, tenant_id, now_us)
            return once(part, key, now_us, Described, lambda: revoke_identity(txn, part, caller, identity_id, now_us))

        done = await self._store.write(work)  # it has taken effect before the first is counted
        top = done.value
        affected = 0
        async for _ in descend(self._store, top.tenant_id, (top.identity,)):
            affected += 1
        # Nothing can be made below what is revoked, so a replay counts what the first call counted.
        return Done(Revoked(top, affected), done.replayed)


def patch_identity(
    txn: Transaction, part: TenantTransaction, identity_id: str, patch: IdentityPatch, by: str, now_us: int
) -> Described:
    """Change an identity inside a transaction; raises as ``Registry.change``."""
    chain = _chain(part, identity_id, "identity_id")
    identity = _patched(chain[0], patch)
    if _content(identity) != _content(chain[0]):
        suspends = identity.status != chain[0].status and identity.status == "suspended"
        kind = "identity_suspended" if suspends else "identity_updated"
        identity = change_identity(txn, part, identity, kind, by, now_us)
    return Described(part.tenant.tenant_id, identity, block_on((identity, *chain[1:])))


def revoke_identity(
    txn: Transaction, part: TenantTransaction, caller: Caller, identity_id: str, now_us: int
) -> Described:
    """Revoke an identity inside a transaction; raises as ``Registry.revoke``."""
    chain = _chain(part, identity_id, "identity_id")
    identity = chain[0]
    if identity.parent_id is None:
        caller.require_operator()
    if identity.status != "revoked":
        revoked = msgspec.structs.replace(identity, status="revoked", revoked_at_us=now_us)
        identity = change_identity(txn, part, revoked, "identity_revoked", caller.name, now_us)
    return Described(part.tenant.tenant_id, identity, block_on((identity, *chain[1:])))


def _chain(part: TenantTransaction, identity_id: str, field: str) -> IdentityChain:
    if part.identities.get(identity_id) is None:
        raise NotFound(f"unknown identity `{identity_id}`", field=field)
    return walk(identity_id, part.identities.get)


def _require_place(part: TenantTransaction, chain: IdentityChain, draft: IdentityDraft) -> None:
    block = block_on(chain)
    if block is not None and block.status == "revoked":
        raise Conflict(f"identity `{block.identity.identity_id}` is revoked, nothing can be made below it")
    if len(chain) >= CHAIN_DEPTH_MAX:
        raise ValidationFailed(f"an identity chain has at most {CHAIN_DEPTH_MAX} identities", field="parent_id")
    if draft.identity_id is not None and part.identities.get(draft.identity_id) is not None:
        raise Conflict(f"identity `{draft.identity_id}` exists already", field="id")
    if draft.external_id is not None and part.identities.by_external_id(draft.external_id) is not None:
        raise Conflict(f"external id `{draft.external_id}` is in use", field="external_id")


def _content(identity: Identity) -> bytes:
    """Return what ``identity`` says: metadata of 1, 1.0 and true are equal in Python, and different to policies."""
    return msgspec.msgpack.encode(identity, order="sorted")


def _patched(identity: Identity, patch: IdentityPatch) -> Identity:
    if identity.status == "revoked":
        raise Conflict(f"identity `{identity.identity_id}` is revoked, which is final")
    return msgspec.structs.replace(
        identity,
        name=identity.name if patch.name is None else patch.name,
        metadata=identity.metadata if patch.metadata is None else patch.metadata,
        status=identity.status if patch.status is None else patch.status,
        max_cards=identity.max_cards if patch.max_cards is msgspec.UNSET else patch.max_cards,
        description=identity.description if patch.description is msgspec.UNSET else patch.description,
        card_defaults=_card_defaults(identity, patch),
    )


def _card_defaults(identity: Identity, patch: IdentityPatch) -> CardDefaults | None:
    wanted = patch.card_defaults
    if isinstance(wanted, msgspec.UnsetType):
        return identity.card_defaults
    return None if wanted is None else wanted.checked()

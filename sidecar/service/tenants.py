"""Tenants.

Each is made with its root, the accountable human, its first key, and an audit log that opens with its name.
"""

from collections.abc import Callable, Iterable

import msgspec

from sidecar.core.access import Caller
from sidecar.core.audit import Body
from sidecar.core.authzen import Authzen, told_of
from sidecar.core.directory import Identity, Mode, Tenant
from sidecar.core.errors import Conflict, NotFound
from sidecar.core.idempotency import IdempotencyKey
from sidecar.core.rates import RateLimit, rate_limit_text
from sidecar.core.windows import zone
from sidecar.service.access import tenant_of
from sidecar.service.idempotency import Done, once
from sidecar.service.identities import Registry
from sidecar.service.identity_changes import add_identity
from sidecar.service.paging import Page, PageRequest, page_of
from sidecar.service.store import Listed, Store, Transaction
from sidecar.service.tokens import Minted, TokenDesk, TokenDraft, without_text


class TenantDraft(msgspec.Struct, frozen=True):
    """A tenant to be made; ids that are None are chosen by the sidecar."""

    name: str
    tenant_id: str | None
    time_zone: str
    mode: Mode
    root_id: str | None
    root_name: str
    root_type: str
    rate_limit: RateLimit | None = None
    external_id: str | None = None


class TenantPatch(msgspec.Struct, frozen=True):
    """What to change; what is left out stays, and a limit of None is taken away."""

    name: str | None = None
    rate_limit: RateLimit | msgspec.UnsetType | None = msgspec.UNSET
    authzen: Authzen | None = None


class Founded(msgspec.Struct, frozen=True):
    """A new tenant and its first key, whose text is shown this once."""

    tenant: Tenant
    key: Minted


class Tenancy:
    """Keeps the tenants of the deployment."""

    def __init__(self, store: Store, registry: Registry, desk: TokenDesk, new_id: Callable[[str, int], str]) -> None:
        """Work on ``store``."""
        self._store = store
        self._registry = registry
        self._desk = desk
        self._new_id = new_id

    async def create(
        self, caller: Caller, draft: TenantDraft, now_us: int, key: IdempotencyKey | None = None
    ) -> Done[Founded]:
        """Make a tenant.

        Raises Forbidden for all but the operator, Conflict for an id in use and for an external id that another tenant
        of the mode has, ValidationFailed for an unknown time zone or root type, IdempotencyConflict.
        """
        caller.require_operator()
        zone(draft.time_zone)

        def make(txn: Transaction) -> Founded:
            self._registry.require_type(txn, draft.root_type)
            if draft.tenant_id is not None and txn.tenants.find(draft.tenant_id) is not None:
                raise Conflict(f"tenant `{draft.tenant_id}` exists already", field="id")
            _require_unused(txn, draft)
            tenant = self._tenant(draft, txn.tenants.next_number(), now_us)
            txn.tenants.add(tenant)
            part = txn.of(tenant)
            part.audit.append("open", now_us, opening(tenant))
            root = Identity(
                identity_id=tenant.root_identity_id,
                parent_id=None,
                type=draft.root_type,
                name=draft.root_name,
                created_at_us=now_us,
                revision=txn.tenants.advance(tenant.number),
            )
            add_identity(part, root, caller.name, now_us)
            first = TokenDraft("first key", "tenant", None, may_release=True, expires_at_us=None)
            return Founded(tenant, self._desk.mint(txn, tenant, first, caller.name, now_us))

        return await self._store.write(
            lambda txn: once(txn, key, now_us, Founded, lambda: make(txn), kept=_without_text), apart=True
        )

    def _tenant(self, draft: TenantDraft, number: int, now_us: int) -> Tenant:
        return Tenant(
            tenant_id=draft.tenant_id or self._new_id("t", now_us),
            number=number,
            name=draft.name,
            mode=draft.mode,
            time_zone=draft.time_zone,
            root_identity_id=draft.root_id or self._new_id("id", now_us),
            log_id=new_log_id(self._new_id, now_us),
            created_at_us=now_us,
            rate_limit=draft.rate_limit,
            external_id=draft.external_id,
        )

    async def change(self, caller: Caller, tenant_id: str, patch: TenantPatch, now_us: int) -> Tenant:
        """Change a tenant for the next request of every process. Raises Forbidden for all but the operator, NotFound.

        No key of a tenant may lift the limit that it is under.
        """
        caller.require_operator()

        def work(txn: Transaction) -> Tenant:
            tenant = txn.tenants.find(tenant_id)
            if tenant is None:
                raise NotFound(f"unknown tenant `{tenant_id}`")
            changed = msgspec.structs.replace(
                tenant,
                name=tenant.name if patch.name is None else patch.name,
                rate_limit=tenant.rate_limit if patch.rate_limit is msgspec.UNSET else patch.rate_limit,
                authzen=tenant.authzen if patch.authzen is None else patch.authzen,
            )
            if changed != tenant:
                txn.tenants.change(changed)
                txn.tenants.advance(changed.number)
                told: Body = {"renamed": changed.name != tenant.name, "by": caller.name}
                told["rate_limit"] = rate_limit_text(changed.rate_limit)
                if changed.authzen != tenant.authzen:
                    told["authzen"] = told_of(changed.authzen)
                txn.of(changed).audit.append("tenant_updated", now_us, told)
            return changed

        return await self._store.write(work)

    def get(self, caller: Caller, tenant_id: str) -> Tenant:
        """Return a tenant. Raises NotFound where it is unknown or another's."""
        caller.require_administrator()
        with self._store.read() as txn:
            tenant = txn.tenants.find(tenant_id)
        if tenant is None or (caller.token is not None and caller.token.tenant != tenant.number):
            raise NotFound(f"unknown tenant `{tenant_id}`")
        return tenant

    def listed(
        self, caller: Caller, request: PageRequest, tenant_id: str | None = None, external_id: str | None = None
    ) -> Page[Tenant]:
        """Return a page of the tenants within reach: all for the operator, its own for a tenant key.

        With ``tenant_id``, that one alone; with ``external_id``, those of them that have it. Raises NotFound where the
        id is unknown, Forbidden where it is another's.
        """
        caller.require_administrator()
        with self._store.read() as txn:
            if caller.token is not None or tenant_id is not None:
                one = tenant_of(txn, caller, tenant_id)
                return Page((one,) if external_id in {None, one.external_id} else (), None)
            if external_id is None:
                found: Iterable[Tenant] = txn.tenants.after(request.after)
            else:
                found = (each for each in txn.tenants.by_external_id(external_id) if each.number > request.after)
            return page_of((Listed(tenant.number, tenant) for tenant in found), request)


def _require_unused(txn: Transaction, draft: TenantDraft) -> None:
    """Raise Conflict where another tenant of the mode has the external id."""
    named = () if draft.external_id is None else txn.tenants.by_external_id(draft.external_id)
    if any(tenant.mode == draft.mode for tenant in named):
        message = f"external id `{draft.external_id}` is in use by a tenant of mode `{draft.mode}`"
        raise Conflict(message, field="external_id")


def _without_text(founded: Founded) -> Founded:
    return msgspec.structs.replace(founded, key=without_text(founded.key))


def opening(tenant: Tenant) -> Body:
    """Return what record 0 of a log tells: whose it is, and what every ruling in it depends on."""
    told: Body = {
        "tenant_id": tenant.tenant_id,
        "root": tenant.root_identity_id,
        "time_zone": tenant.time_zone,
        "mode": tenant.mode,
    }
    return told if tenant.rate_limit is None else told | {"rate_limit": tenant.rate_limit.text}


def new_log_id(new_id: Callable[[str, int], str], now_us: int) -> str:
    """Return the name of a new audit log; ``new_id`` makes an id of a prefix at a time."""
    return new_id("log", now_us).removeprefix("log_").lower()

"""The roster of a tenant: its agents by the names that they were registered under, and what they were granted.

An agent is an identity of type ``agent`` that was not revoked. Its name is its external id, or its own id where it has
none, so that agents made through any door are on the roster; where both fit, the external id goes first. A revoked
agent leaves the roster, and its name is free. Nothing is permitted by being on the roster.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from sidecar.core.access import Caller
from sidecar.core.accounts import Account
from sidecar.core.directory import Block, Identity, Mode, block_on, walk
from sidecar.core.errors import Conflict, NotFound
from sidecar.core.grants import Grant, ShownStatus
from sidecar.service.access import part_of, tenant_of
from sidecar.service.descent import paged
from sidecar.service.enrolment_end import end_enrolment
from sidecar.service.grants import counts, of_identity
from sidecar.service.identities import IdentityDraft, Registry
from sidecar.service.paging import Page, PageRequest, page_of
from sidecar.service.store import Listed, Store, TenantTransaction, Transaction
from sidecar.service.subtrees import IdentityFilter, identities_within

AGENT: Final = "agent"
"""The type of identities that are on a roster."""

_EVERY: Final = IdentityFilter()


class Entry(msgspec.Struct, frozen=True):
    """An agent on the roster, with how many grants hold for it and how many wait for a wallet's owner.

    ``place`` is its place among the tenant's identities, ``block`` what keeps it from acting. A long list is made of
    these, so there is no more in it.
    """

    name: str
    mode: Mode
    created_at_us: int
    place: int
    block: Block | None
    active: int
    pending: int

    @property
    def may_pay(self) -> bool:
        """Whether a grant lets it pay, and neither its own status nor that of an ancestor keeps it from that."""
        return self.active > 0 and self.block is None


class Granted(msgspec.Struct, frozen=True):
    """A grant of an agent with the wallet that it is for."""

    name: str
    grant: Grant
    status: ShownStatus
    wallet: Account | None


class Roster:
    """Keeps the rosters of every tenant."""

    def __init__(self, store: Store, registry: Registry) -> None:
        """Work on ``store``; ``registry`` makes the identities."""
        self._store = store
        self._registry = registry

    async def register(self, caller: Caller, tenant_id: str | None, name: str, now_us: int) -> Entry:
        """Put an agent on the roster, below the tenant's root; one that is there already stays as it is.

        Raises Conflict for a name that an identity of another type has, and where the root is revoked.
        """
        caller.require_administrator()

        def present(part: TenantTransaction) -> Entry | None:
            found = _named(part, name)
            if found is not None and found.type != AGENT:
                raise Conflict(f"`{name}` is an identity of type `{found.type}`, no agent", field="id")
            return None if found is None else _entry(part, found, part.identities.place_of(found.identity_id), now_us)

        def work(txn: Transaction) -> Entry:
            part = part_of(txn, caller, tenant_id, now_us)
            entry = present(part)
            if entry is not None:
                return entry
            draft = IdentityDraft(part.tenant.root_identity_id, AGENT, name, external_id=name)
            made = self._registry.make(txn, part, draft, caller.name, now_us).identity
            return _entry(part, made, made.revision, now_us)

        with self._store.read() as txn:  # callers register at every start, and most find what they made before
            entry = present(txn.of(tenant_of(txn, caller, tenant_id)))
        return await self._store.write(work, apart=True) if entry is None else entry

    def get(self, caller: Caller, tenant_id: str | None, name: str, now_us: int) -> Entry:
        """Return an agent. Raises NotFound."""
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            found = _reached(part, caller, name)
            return _entry(part, found, part.identities.place_of(found.identity_id), now_us)

    def granted(
        self, caller: Caller, tenant_id: str | None, name: str, wanted: ShownStatus, now_us: int
    ) -> tuple[Granted, ...]:
        """Return the grants of an agent that have the status ``wanted``, in order of creation. Raises NotFound."""
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            agent = _reached(part, caller, name)
            return tuple(
                Granted(name, grant, wanted, part.accounts.get(grant.account_id))
                for grant in of_identity(part, agent.identity_id)
                if grant.shown_status(now_us) == wanted
            )

    async def everyone(self, caller: Caller, tenant_id: str | None, now_us: int) -> list[Entry]:
        """Return all agents within reach in order of creation.

        The roster is read a page at a time, so that a long one holds nobody else up: what changes meanwhile may or may
        not be seen.
        """
        with self._store.read() as txn:
            tenant = tenant_of(txn, caller, tenant_id).tenant_id

        def read(part: TenantTransaction, after: int) -> Iterator[Listed[Entry | None]]:
            for place, identity in identities_within(part, caller, _EVERY, after):
                yield Listed(place, _entry(part, identity, place, now_us) if _is_on(identity) else None)

        found: list[Entry] = []
        is_sorted = True
        async for entry in paged(self._store, tenant, read):
            if entry is not None:
                is_sorted = is_sorted and not (found and _order(entry) < _order(found[-1]))
                found.append(entry)
        if not is_sorted:  # a subtree comes depth first, and of two that come together the later may be stored first
            found.sort(key=_order)
        return found

    async def listed(self, caller: Caller, tenant_id: str | None, request: PageRequest, now_us: int) -> Page[Entry]:
        """Return a page of the agents within reach, in the order in which they were stored."""
        if not caller.may_administer:
            below = await self.everyone(caller, tenant_id, now_us)
            rest = sorted((entry for entry in below if entry.place > request.after), key=lambda entry: entry.place)
            return page_of((Listed(entry.place, entry) for entry in rest), request)
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            page = page_of(identities_within(part, caller, _EVERY, request.after), request, _is_on)
            places = (part.identities.place_of(identity.identity_id) for identity in page.values)
            entries = tuple(
                _entry(part, identity, place, now_us) for identity, place in zip(page.values, places, strict=True)
            )
        return Page(entries, page.next_after)

    async def remove(self, caller: Caller, tenant_id: str | None, name: str, now_us: int) -> None:
        """Take an agent off the roster by ending its enrolment, and with it everybody below. Raises NotFound."""
        caller.require_administrator()

        def work(txn: Transaction) -> None:
            part = part_of(txn, caller, tenant_id, now_us)
            end_enrolment(txn, part, caller, _reached(part, caller, name).identity_id, now_us)

        await self._store.write(work)


def _order(entry: Entry) -> tuple[int, int]:
    return entry.created_at_us, entry.place


def _is_on(identity: Identity) -> bool:
    return identity.type == AGENT and identity.status != "revoked"


def _named(part: TenantTransaction, name: str) -> Identity | None:
    """Return the identity of any type that has the name, None where nobody has it any more."""
    found = part.identities.by_external_id(name)
    if found is None:
        own = part.identities.get(name)
        found = own if own is not None and own.external_id is None and own.status != "revoked" else None
    return found


def _reached(part: TenantTransaction, caller: Caller, name: str) -> Identity:
    found = _named(part, name)
    if found is None or not _is_on(found) or not caller.reaches(walk(found.identity_id, part.identities.get)):
        raise NotFound(f"unknown agent `{name}`", field="id")
    return found


def _entry(part: TenantTransaction, identity: Identity, place: int, now_us: int) -> Entry:
    active, pending = counts(part, identity.identity_id, now_us)
    block = block_on(walk(identity.identity_id, part.identities.get))
    name = identity.identity_id if identity.external_id is None else identity.external_id
    return Entry(name, part.tenant.mode, identity.created_at_us, place, block, active, pending)

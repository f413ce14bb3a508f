"""Spenders: identities as whoever funds them sees them, with what they may spend and have spent, and their cards.

Nothing is stored here: a spender is an identity of one type, its spending limit the first budget of amounts that it has
in one of the periods that such limits come in, and its funder who is above it. What is made, changed or taken away
natively is seen at once.
"""

from typing import Final, NamedTuple

import msgspec

from sidecar.core.access import Caller
from sidecar.core.budget import AMOUNT, Budget
from sidecar.core.directory import Identity, IdentityChain, Status, block_on, funder_of, walk
from sidecar.core.errors import NotFound
from sidecar.core.windows import Period
from sidecar.service.access import tenant_of
from sidecar.service.budget_changes import Metered, metered
from sidecar.service.identities import Described
from sidecar.service.paging import Page, PageRequest, page_of
from sidecar.service.snapshots import budgets_of
from sidecar.service.store import Store, TenantTransaction
from sidecar.service.subtrees import IdentityFilter, identities_within, subtree

LIMIT_PERIODS: Final[frozenset[Period]] = frozenset(
    {"per_transaction", "rolling_24h", "weekly", "monthly", "yearly", "total"}
)
"""The periods of spending limits; a budget in any other one governs as well, and is no spending limit."""


class Roles(NamedTuple):
    """The types of identities that spend, and of those that fund them; the root funds whatever its type."""

    spender: str
    funder: str


class Spender(msgspec.Struct, frozen=True, kw_only=True):
    """An identity that spends. ``limit`` is None without a spending limit, ``cards`` are those that are not closed."""

    described: Described
    funder_id: str
    limit: Metered | None = None
    cards: int = 0

    @property
    def status(self) -> Status:
        """What holds for it, with everybody above counted."""
        block = self.described.block
        return "active" if block is None else block.status


class SpenderFilter(msgspec.Struct, frozen=True):
    """Which spenders a list shows; those that are revoked only where they are asked for."""

    funder_id: str | None = None
    external_id: str | None = None
    status: Status | None = None


class Spenders:
    """Shows spenders."""

    def __init__(self, store: Store, roles: Roles) -> None:
        """Read ``store``; what spends and what funds it is told by ``roles``."""
        self._store = store
        self._roles = roles

    def get(self, caller: Caller, tenant_id: str | None, identity_id: str, now_us: int) -> Spender:
        """Return a spender. Raises NotFound, also for an identity of another type."""
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            chain = spender_chain(part, caller, identity_id, self._roles)
            return spender_of(part, chain, self._roles, now_us)

    def listed(
        self, caller: Caller, tenant_id: str | None, wanted: SpenderFilter, request: PageRequest, now_us: int
    ) -> Page[Spender]:
        """Return a page of the spenders that fit, in order of creation, those of one funder depth first.

        Raises NotFound for an unknown funder.
        """
        caller.require_administrator()
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            if wanted.funder_id is not None and part.identities.get(wanted.funder_id) is None:
                raise NotFound(f"unknown {self._roles.funder} `{wanted.funder_id}`", field="parent_id")
            if wanted.funder_id is not None and wanted.external_id is None:
                found = subtree(part.identities, wanted.funder_id, after=request.after)
            else:
                status: Status | None = "revoked" if wanted.status == "revoked" else None
                indexed = IdentityFilter(external_id=wanted.external_id, status=status)
                found = identities_within(part, caller, indexed, request.after)
            page = page_of(found, request, lambda identity: self._fits(part, identity, wanted))
            spenders = tuple(
                spender_of(part, walk(identity.identity_id, part.identities.get), self._roles, now_us)
                for identity in page.values
            )
        return Page(spenders, page.next_after)

    def _fits(self, part: TenantTransaction, identity: Identity, wanted: SpenderFilter) -> bool:
        if identity.type != self._roles.spender or wanted.external_id not in {None, identity.external_id}:
            return False
        chain = walk(identity.identity_id, part.identities.get)
        block = block_on(chain)
        status = "active" if block is None else block.status
        if status != wanted.status and not (wanted.status is None and status != "revoked"):
            return False
        return wanted.funder_id in {None, funder_of(chain, self._roles.funder)}


def spender_chain(part: TenantTransaction, caller: Caller, identity_id: str, roles: Roles) -> IdentityChain:
    """Return the identity chain of a spender within the caller's reach. Raises NotFound."""
    chain = walk(identity_id, part.identities.get)
    caller.require_reach(chain)
    if chain[0].type != roles.spender:
        raise NotFound(f"unknown {roles.spender} `{identity_id}`", field="identity_id")
    return chain


def spender_of(part: TenantTransaction, chain: IdentityChain, roles: Roles, now_us: int) -> Spender:
    """Return the first identity of ``chain`` as a spender."""
    identity_id = chain[0].identity_id
    limit = spending_limit(part, identity_id)
    return Spender(
        described=Described(part.tenant.tenant_id, chain[0], block_on(chain)),
        funder_id=funder_of(chain, roles.funder),
        limit=None if limit is None else metered(part, limit, now_us),
        cards=sum(1 for listed in part.cards.owned(identity_id) if listed.value.status != "closed"),
    )


def spending_limit(part: TenantTransaction, identity_id: str) -> Budget | None:
    """Return the first budget of amounts in one of ``LIMIT_PERIODS`` that is not about one account alone."""
    for budget in budgets_of(part, identity_id):
        if budget.dimension == AMOUNT and budget.period in LIMIT_PERIODS and budget.account_id is None:
            return budget
    return None

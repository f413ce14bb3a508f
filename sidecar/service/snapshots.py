"""What one decision needs of its tenant, read from the store and kept for as long as nothing changed.

Everything kept is bound to the revision it was read at and dropped with it, so no decision can rest on an older state.
Inside a write transaction the state may be one that is never committed: ``fresh`` reads it and keeps nothing, except
compiled policies, which are found by what they are compiled from.
"""

from collections import OrderedDict
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from sidecar.core.audit import fact_hash
from sidecar.core.budget import Budget, card_owner
from sidecar.core.cards import Card, is_bound
from sidecar.core.directory import IdentityChain, walk
from sidecar.core.errors import Unavailable
from sidecar.core.facts import budget_fact, card_fact, identity_fact
from sidecar.core.ids import pascal_case
from sidecar.core.snapshot import CompiledFiles, PolicyRecord, TenantPolicies, compile_files, compile_tenant
from sidecar.core.windows import zone
from sidecar.service.store import Revisions, TenantTransaction, Transaction

DEPLOYMENT: Final = 0
"""The tenant number under which the revision of the policy files is counted."""

VIEWS_MAX: Final = 10_000
"""Identities whose chain is kept: some 5 KB each."""

POLICIES_MAX: Final = 256
"""Tenants whose compiled policies are kept."""


K = TypeVar("K")
V = TypeVar("V")


class View(msgspec.Struct, frozen=True):
    """One identity's chain and perhaps a card, with the budgets on both and its tenant's policies, all of one moment.

    ``card`` is None also where ``card_id`` names one that the chain may not use. ``identity_facts``, ``budget_facts``
    and ``card_fact`` are the hashes under which their stored versions lie as facts.
    """

    revisions: tuple[Revisions, Revisions]
    chain: IdentityChain
    card_id: str | None
    card: Card | None
    card_fact: bytes | None
    budgets: tuple[Budget, ...]
    identity_facts: tuple[bytes, ...]
    budget_facts: dict[str, bytes]
    policies: TenantPolicies
    zone: ZoneInfo

    @property
    def entity_revision(self) -> int:
        """The tenant's revision."""
        return self.revisions[0].entities


class Snapshots:
    """The views and compiled policies of this process."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._files: tuple[bytes, CompiledFiles] | None = None
        self._policies: OrderedDict[tuple[int, int, int], TenantPolicies] = OrderedDict()
        self._views: OrderedDict[tuple[int, str, str | None], View] = OrderedDict()

    @property
    def kept(self) -> int:
        """How many views are kept."""
        return len(self._views)

    def current(self, txn: Transaction, part: TenantTransaction, identity_id: str, card_id: str | None = None) -> View:
        """Return the committed view of an identity with a card. Raises NotFound for an identity that does not exist."""
        key = (part.tenant.number, identity_id, card_id)
        revisions = revisions_of(txn, part)
        view = self._views.get(key)
        if view is None or view.revisions != revisions:
            view = self._read(part, (identity_id, card_id), revisions, self.policies(txn, part))
            if card_id is None or view.card is not None:  # a caller could make up cards without end
                _keep(self._views, key, view, VIEWS_MAX)
        return view

    def fresh(self, txn: Transaction, part: TenantTransaction, stale: View, seen: View | None = None) -> View:
        """Return ``stale`` as a write transaction sees it now.

        Its policies serve again, or those of a view that was ``seen`` in this transaction, unless they have changed.
        """
        revisions = revisions_of(txn, part)
        known = (stale,) if seen is None else (stale, seen)
        policies = next((view.policies for view in known if _same_policies(view.revisions, revisions)), None)
        return self._read(
            part, (stale.chain[0].identity_id, stale.card_id), revisions, policies or self._compile(txn, part)
        )

    def policies(self, txn: Transaction, part: TenantTransaction) -> TenantPolicies:
        """Return the committed policies of a tenant."""
        own, deployment = revisions_of(txn, part)
        key = (part.tenant.number, own.policies, deployment.policies)
        policies = self._policies.get(key)
        if policies is None:
            policies = self._compile(txn, part)
            _keep(self._policies, key, policies, POLICIES_MAX)
        return policies

    def files(self, txn: Transaction) -> CompiledFiles:
        """Return the policy files that hold, compiled. Raises Unavailable before any were loaded.

        They are kept by their content: a revision that a write transaction sees may be undone and given again.
        """
        digest = txn.policy_files_digest()
        if self._files is None or self._files[0] != digest:
            files = txn.policy_files()
            if files is None or digest is None:
                raise Unavailable("no policy files were loaded")
            self._files = (digest, compile_files(files, None if self._files is None else self._files[1]))
        return self._files[1]

    def _compile(self, txn: Transaction, part: TenantTransaction) -> TenantPolicies:
        return compile_tenant(self.files(txn), part.tenant.tenant_id, owned_policies(part))

    def _read(
        self,
        part: TenantTransaction,
        named: tuple[str, str | None],
        revisions: tuple[Revisions, Revisions],
        policies: TenantPolicies,
    ) -> View:
        identity_id, card_id = named
        chain = walk(identity_id, part.identities.get)
        card = None if card_id is None else part.cards.get(card_id)
        if card is not None and not is_bound(card, chain):
            card = None
        owners = (*(() if card is None else (card_owner(card.card_id),)), *(identity.identity_id for identity in chain))
        budgets = tuple(budget for owner in owners for budget in budgets_of(part, owner))
        return View(
            revisions=revisions,
            chain=chain,
            card_id=card_id,
            card=card,
            card_fact=None if card is None else fact_hash(card_fact(card)),
            budgets=budgets,
            identity_facts=tuple(fact_hash(identity_fact(identity)) for identity in chain),
            budget_facts={budget.budget_id: fact_hash(budget_fact(budget)) for budget in budgets},
            policies=policies,
            zone=zone(part.tenant.time_zone),
        )


def revisions_of(txn: Transaction, part: TenantTransaction) -> tuple[Revisions, Revisions]:
    """Return how far a tenant and the deployment have changed: what a ruling rests on."""
    return txn.tenants.revisions(part.tenant.number), txn.tenants.revisions(DEPLOYMENT)


def _same_policies(old: tuple[Revisions, Revisions], new: tuple[Revisions, Revisions]) -> bool:
    return all(before.policies == after.policies for before, after in zip(old, new, strict=True))


def budgets_of(part: TenantTransaction, owner: str) -> list[Budget]:
    """Return the budgets that hang on an identity or a card, in order of creation."""
    return [listed.value for listed in part.budgets.owned(owner)]


def owned_policies(part: TenantTransaction) -> list[tuple[PolicyRecord, str | None]]:
    """Return the policies made by the API, each with the Cedar type of the identity it hangs on."""
    return [(listed.value, owner_type(part, listed.value.identity_id)) for listed in part.policies.all()]


def owner_type(part: TenantTransaction, identity_id: str | None) -> str | None:
    """Return the Cedar type of an identity, None for none."""
    identity = None if identity_id is None else part.identities.get(identity_id)
    return None if identity is None else pascal_case(identity.type)


def _keep(kept: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)

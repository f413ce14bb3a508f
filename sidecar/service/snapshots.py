"""What one decision needs of its tenant, read from the store and kept for as long as nothing changed.

Everything kept is bound to the revision it was read at and dropped with it, so no decision can rest on an older state.
Inside a write transaction the state may be one that is never committed: ``fresh`` reads it and keeps nothing, except
compiled policies, which are found by what they are compiled from.
"""

from functools import cached_property
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from sidecar.core import reasons
from sidecar.core.audit import Version, version
from sidecar.core.budget import Budget, Terms, account_of, card_owner, terms_of
from sidecar.core.cards import Card, is_bound, state_of
from sidecar.core.directory import Identity, IdentityChain, walk
from sidecar.core.errors import Unavailable
from sidecar.core.facts import budget_fact, card_fact, identity_fact
from sidecar.core.model import AuthorizeRequest, Reason
from sidecar.core.policy_set import ParsedPolicies
from sidecar.core.recent import Recent
from sidecar.core.slicing import RULINGS_MAX, Asker, Rulings
from sidecar.core.snapshot import CompiledFiles, PolicyRecord, TenantPolicies, compile_files, compile_tenant
from sidecar.core.windows import zone
from sidecar.service.owned_policies import OwnedPolicies, owned_policies
from sidecar.service.premises import Premises
from sidecar.service.store import Revisions, TenantTransaction, Transaction

DEPLOYMENT: Final = 0
"""The tenant number under which the revision of the policy files is counted."""

VIEWED_MAX: Final = 30_000
"""Identities on the chains of all views that are kept: some 5 KB each, most of it what Cedar makes of them."""

POLICIES_MAX: Final = 512
"""Tenants whose compiled policies are kept."""


class View(msgspec.Struct, frozen=True, dict=True):
    """One identity's chain and perhaps a card, with the budgets on both and its tenant's policies, all of one moment.

    ``card`` is None also where ``card_id`` names one that the chain may not use. ``identity_versions``,
    ``budget_versions`` by id and ``card_version`` say where their stored versions lie as facts. ``asker`` is the chain
    as the policies see it, ``rulings`` are those that this process made lately.

    What is worked out of a view once, when it is first asked for, must not depend on ``revisions``: a view of which
    nothing else changed keeps it.
    """

    revisions: tuple[Revisions, Revisions]
    chain: IdentityChain
    card_id: str | None
    card: Card | None
    card_version: Version | None
    budgets: tuple[Budget, ...]
    identity_versions: tuple[Version, ...]
    budget_versions: dict[str, Version]
    policies: TenantPolicies
    zone: ZoneInfo
    asker: Asker
    rulings: Rulings
    terms_by_action: dict[str, Terms] = {}

    def terms(self, request: AuthorizeRequest) -> Terms:
        """Return the budgets that govern a request of an action of the schema.

        Those of an action are worked out once and kept with the view, and so are those of each account that has some.
        """
        action, account_id = request.action, account_of(request)
        key = action if account_id not in self._accounts else f"{action}\n{account_id}"
        terms = self.terms_by_action.get(key)
        if terms is None:
            names = self.policies.schema.model.actions[action].groups | {action}
            terms = self.terms_by_action[key] = terms_of(self.budgets, names, account_id)
        return terms

    @cached_property
    def _accounts(self) -> frozenset[str | None]:
        """The accounts that some of the budgets are about, None not among them."""
        return frozenset(budget.account_id for budget in self.budgets) - {None}

    @cached_property
    def blocks(self) -> tuple[Reason, ...]:
        """A reason for each identity of the chain that blocks it, and for a card that is frozen or closed."""
        card = () if self.card is None else reasons.card_blocked(self.card, state_of(self.card, self.chain))
        return reasons.blocked(self.chain) + card

    @property
    def entity_revision(self) -> int:
        """The tenant's revision."""
        return self.revisions[0].entities


class Snapshots:
    """The views and compiled policies of this process."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._files: tuple[bytes, CompiledFiles] | None = None
        self._parsed = ParsedPolicies()
        self._rulings: Rulings = Recent(RULINGS_MAX)
        self._owned: Recent[int, OwnedPolicies] = Recent(POLICIES_MAX)
        self._policies: Recent[int, tuple[tuple[int, int], TenantPolicies]] = Recent(POLICIES_MAX)
        self._made: Recent[int, tuple[CompiledFiles, list[tuple[PolicyRecord, str | None]], TenantPolicies]] = Recent(
            POLICIES_MAX
        )
        self._views: Recent[tuple[int, str, str | None], View] = Recent(VIEWED_MAX, lambda view: len(view.chain))

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
            view = read_view(part, (identity_id, card_id), revisions, self.policies(txn, part), self._rulings, view)
            if card_id is None or view.card is not None:  # a caller could make up cards without end
                self._views.keep(key, view)
        return view

    def passing(self, txn: Transaction, part: TenantTransaction, identity_id: str, card_id: str | None = None) -> View:
        """Return what ``current`` does and keep nothing: who looks at everybody once drives out what others need."""
        revisions = revisions_of(txn, part)
        view = self._views.get((part.tenant.number, identity_id, card_id))
        if view is not None and view.revisions == revisions:
            return view
        return read_view(part, (identity_id, card_id), revisions, self.policies(txn, part), Recent(1), view)

    def fresh(self, txn: Transaction, part: TenantTransaction, stale: View, seen: View | None = None) -> View:
        """Return ``stale`` as a write transaction sees it now.

        Its policies serve again, or those of a view that was ``seen`` in this transaction, unless they have changed.
        """
        revisions = revisions_of(txn, part)
        known = (stale,) if seen is None else (stale, seen)
        policies = next((view.policies for view in known if _same_policies(view.revisions, revisions)), None)
        if policies is None:
            policies = self._compile(txn, part, self.owned_now(part, revisions[0]), stale.policies)
        named = (stale.chain[0].identity_id, stale.card_id)
        return read_view(part, named, revisions, policies, self._rulings, stale)

    def policies(self, txn: Transaction, part: TenantTransaction) -> TenantPolicies:
        """Return the committed policies of a tenant."""
        own, deployment = revisions_of(txn, part)
        revisions = (own.policies, deployment.policies)
        kept = self._policies.get(part.tenant.number)
        if kept is None or kept[0] != revisions:
            kept = revisions, self._compile(txn, part, self.owned(part, own), None if kept is None else kept[1])
            self._policies.keep(part.tenant.number, kept)
        return kept[1]

    def files(self, txn: Transaction) -> CompiledFiles:
        """Return the policy files that hold, compiled. Raises Unavailable before any were loaded.

        They are kept by their content: a revision that a write transaction sees may be undone and given again.
        """
        digest = txn.policy_files_digest()
        if self._files is None or self._files[0] != digest:
            files = txn.policy_files()
            if files is None or digest is None:
                raise Unavailable("no policy files were loaded")
            known = None if self._files is None else self._files[1]
            self._files = (digest, compile_files(files, known, txn.readings.of))
        return self._files[1]

    def owned(self, part: TenantTransaction, revisions: Revisions) -> OwnedPolicies:
        """Return the committed policies that a tenant made by the API."""
        owned = self.owned_now(part, revisions)
        self._owned.keep(part.tenant.number, owned)
        return owned

    def owned_now(self, part: TenantTransaction, revisions: Revisions) -> OwnedPolicies:
        """Return them as a write transaction sees them, and keep nothing."""
        return owned_policies(part, revisions, self._owned.get(part.tenant.number))

    def _compile(
        self, txn: Transaction, part: TenantTransaction, own: OwnedPolicies, before: TenantPolicies | None
    ) -> TenantPolicies:
        """Compile a tenant's policies, or take those that were compiled last where they are made of the same.

        After files were replaced, a commit that rules again and the next reader would otherwise do it twice.
        """
        files, owned = self.files(txn), own.all()
        made = self._made.get(part.tenant.number)
        if made is not None and made[0] is files and made[1] == owned:
            return made[2]
        policies = compile_tenant(files, part.tenant.tenant_id, owned, before, self._parsed, txn.readings.of)
        self._made.keep(part.tenant.number, (files, owned, policies))
        return policies


def revisions_of(txn: Transaction, part: TenantTransaction) -> tuple[Revisions, Revisions]:
    """Return how far a tenant and the deployment have changed: what a ruling rests on."""
    return txn.tenants.revisions(part.tenant.number), txn.tenants.revisions(DEPLOYMENT)


def read_view(
    part: Premises,
    named: tuple[str, str | None],
    revisions: tuple[Revisions, Revisions],
    policies: TenantPolicies,
    rulings: Rulings,
    old: View | None,
) -> View:
    """Return the view of what is ``named``, an identity and perhaps a card.

    Whatever ``old`` was made of and is the same now is taken over from it. Raises NotFound.
    """
    identity_id, card_id = named
    chain = walk(identity_id, part.identities.get)
    card = None if card_id is None else part.cards.get(card_id)
    if card is not None and not is_bound(card, chain):
        card = None
    owners = (*(() if card is None else (card_owner(card.card_id),)), *(identity.identity_id for identity in chain))
    budgets = tuple(budget for owner in owners for budget in budgets_of(part, owner))
    clock = zone(part.tenant.time_zone)
    if old is not None and old.policies is policies and old.chain == chain:
        if (old.card, old.budgets, old.zone) == (card, budgets, clock):
            view = msgspec.structs.replace(old, revisions=revisions)
            view.__dict__.update(old.__dict__)
            return view
        asker = old.asker
    else:
        asker = Asker(chain, policies.policies, policies.schema)
    return View(
        revisions=revisions,
        chain=chain,
        card_id=card_id,
        card=card,
        card_version=None if card is None else version(card.card_id, card.revision, card_fact(card)),
        budgets=budgets,
        identity_versions=tuple(identity_version(identity) for identity in chain),
        budget_versions={
            budget.budget_id: version(budget.budget_id, budget.revision, budget_fact(budget)) for budget in budgets
        },
        policies=policies,
        zone=clock,
        asker=asker,
        rulings=rulings,
    )


def _same_policies(old: tuple[Revisions, Revisions], new: tuple[Revisions, Revisions]) -> bool:
    return all(before.policies == after.policies for before, after in zip(old, new, strict=True))


def budgets_of(part: Premises, owner: str) -> list[Budget]:
    """Return the budgets that hang on an identity or a card, in order of creation."""
    return [listed.value for listed in part.budgets.owned(owner)]


def identity_version(identity: Identity) -> Version:
    """Return how a record names the stored version of an identity."""
    return version(identity.identity_id, identity.revision, identity_fact(identity))

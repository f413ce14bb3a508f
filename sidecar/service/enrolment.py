"""Enrolment: an identity with all that it is to begin with, made in one transaction or not at all.

What a vendor's users mean by registering an agent: the identity, its budgets, a policy that lets it do what that
vendor's agents do, its accounts, and a token. Each part is made by the service that makes it natively, so it is visible
there and can be taken away there. An identity whose ``external_id`` is in use below the same parent is the one that was
meant: it is returned as it is.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from sidecar.core.access import Caller
from sidecar.core.accounts import Account
from sidecar.core.directory import Identity, block_on, walk
from sidecar.core.errors import Conflict, NotFound
from sidecar.core.idempotency import IdempotencyKey
from sidecar.core.rules import read_rules
from sidecar.core.snapshot import TenantPolicies
from sidecar.service.access import part_of, require_alive, tenant_of
from sidecar.service.accounts import AccountDraft, open_account
from sidecar.service.budget_changes import BudgetDraft, Metered
from sidecar.service.budgets import Treasurer
from sidecar.service.enrolment_end import end_enrolment
from sidecar.service.idempotency import Done, first, replayed
from sidecar.service.identities import Described, IdentityDraft, Registry
from sidecar.service.policies import TRIES_MAX, Checked, Legislator, PolicyDraft, Stored, adopt, holds
from sidecar.service.store import Store, TenantTransaction, Transaction
from sidecar.service.tokens import Minted, TokenDesk, TokenDraft, without_text

OF_THE_NEW: Final = ""
"""In drafts of what an enrolled identity is to have, in place of its id."""


class EnrolmentDraft(msgspec.Struct, frozen=True, kw_only=True):
    """An identity to be made with what it begins with.

    In ``limits``, ``accounts`` and ``policy`` the identity is ``OF_THE_NEW``. ``parent_type`` is the type that its
    parent must have unless it is the tenant's root, None for any. ``policy_id`` names a policy of the tenant that takes
    the place of ``policy``: one that holds above the new identity already holds for it, any other is copied.
    ``token_name`` None asks for no token. What is made ``below`` it has it as its parent, and no policy of its own:
    that of the new identity holds there as well. An account whose wallet address is ``OF_THE_NEW`` gets one that all
    accounts of its identity share.
    """

    identity: IdentityDraft
    parent_type: str | None = None
    limits: tuple[BudgetDraft, ...] = ()
    accounts: tuple[AccountDraft, ...] = ()
    policy: PolicyDraft | None = None
    policy_id: str | None = None
    token_name: str | None = None
    below: "tuple[EnrolmentDraft, ...]" = ()


class Enrolled(msgspec.Struct, frozen=True, kw_only=True):
    """What was made, or, where ``is_new`` is False, the identity that was there already and nothing else."""

    described: Described
    budgets: tuple[Metered, ...] = ()
    accounts: tuple[Account, ...] = ()
    policy: Stored | None = None
    token: Minted | None = None
    is_new: bool = True
    below: "tuple[Enrolled, ...]" = ()


class Registrar:
    """Enrols identities."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        treasurer: Treasurer,
        legislator: Legislator,
        desk: TokenDesk,
        new_id: Callable[[str, int], str],
    ) -> None:
        """Work on ``store``; each part is made by the service that makes it natively."""
        self._store = store
        self._registry = registry
        self._treasurer = treasurer
        self._legislator = legislator
        self._desk = desk
        self._new_id = new_id

    async def enrol(
        self, caller: Caller, tenant_id: str | None, draft: EnrolmentDraft, key: IdempotencyKey | None, now_us: int
    ) -> Done[Enrolled]:
        """Make an identity with what it begins with.

        Raises NotFound for an unknown parent, or one of another type than is asked for, and for an unknown policy;
        Conflict where another identity has the external id, below another parent or of another type, and for a tenant
        that changes all the time; ValidationFailed, PolicyInvalid.
        """
        caller.require_administrator()
        identity_id = draft.identity.identity_id or self._new_id("id", now_us)
        draft = msgspec.structs.replace(
            draft, identity=msgspec.structs.replace(draft.identity, identity_id=identity_id)
        )
        for left in reversed(range(TRIES_MAX)):
            with self._store.read() as txn:
                require_alive(txn, caller, now_us)
                part = txn.of(tenant_of(txn, caller, tenant_id))
                again = replayed(part, key, now_us, Enrolled)
                if again is not None:
                    return again
                _require_parent(part, draft)
                checked = None if _present(part, draft) else self._checked(txn, part, draft, now_us)
            keep = partial(
                self._keep,
                caller=caller,
                tenant_id=tenant_id,
                draft=draft,
                checked=checked,
                is_last=left == 0,
                key=key,
                now_us=now_us,
            )
            done = await self._store.write(keep, apart=True)
            if done is not None:
                return done
        raise Conflict("the tenant's policies change all the time, try again")

    async def end(self, caller: Caller, tenant_id: str | None, identity_id: str, now_us: int) -> None:
        """Revoke an identity for good with what it acted by. Raises NotFound, Forbidden for the tenant's root."""
        caller.require_administrator()

        def work(txn: Transaction) -> None:
            part = part_of(txn, caller, tenant_id, now_us)
            end_enrolment(txn, part, caller, identity_id, now_us)

        await self._store.write(work)

    def _checked(
        self,
        txn: Transaction,
        part: TenantTransaction,
        draft: EnrolmentDraft,
        now_us: int,
        before: TenantPolicies | None = None,
    ) -> Checked | None:
        """Return the policy of the new identity, checked beside all others; None where it needs none of its own."""
        policy = _policy_of(part, draft)
        if policy is None:
            return None
        self._registry.require_type(txn, draft.identity.type)
        identity_id = draft.identity.identity_id or ""
        owner = Identity(
            identity_id=identity_id,
            parent_id=draft.identity.parent_id,
            type=draft.identity.type,
            name=draft.identity.name,
            created_at_us=now_us,
            revision=0,
        )
        policy = msgspec.structs.replace(policy, identity_id=identity_id)
        return self._legislator.check(txn, part, self._legislator.new_id(now_us), policy, owner, now_us, before)

    def _keep(
        self,
        txn: Transaction,
        *,
        caller: Caller,
        tenant_id: str | None,
        draft: EnrolmentDraft,
        checked: Checked | None,
        is_last: bool,
        key: IdempotencyKey | None,
        now_us: int,
    ) -> Done[Enrolled] | None:
        """Make all of it, or return None when what the policy was checked against has changed.

        In the last try the policy is checked again in here, which holds up other writers, but ends: of many that enrol
        at the same time each changes the policies for all others.
        """
        part = part_of(txn, caller, tenant_id, now_us)
        again = replayed(part, key, now_us, Enrolled)
        if again is not None:
            return again
        present = _present(part, draft)
        if present is not None:
            return first(part, key, now_us, lambda: present, kept=_without_text)
        if checked is None:
            # Without a checked policy although one is needed: whoever had the external id is gone by now.
            if _policy_of(part, draft) is not None:
                return None
        elif not holds(txn, part, checked):
            if not is_last:
                return None
            checked = self._checked(txn, part, draft, now_us, checked.before)
        return first(
            part, key, now_us, lambda: self._make(txn, part, draft, checked, caller.name, now_us), kept=_without_text
        )

    def _make(
        self,
        txn: Transaction,
        part: TenantTransaction,
        draft: EnrolmentDraft,
        checked: Checked | None,
        by: str,
        now_us: int,
    ) -> Enrolled:
        described = self._registry.make(txn, part, draft.identity, by, now_us)
        identity_id = described.identity.identity_id
        policy = None if checked is None else adopt(txn, part, checked, by, now_us)
        budgets = [
            self._treasurer.make(txn, part, msgspec.structs.replace(each, identity_id=identity_id), by, now_us)
            for each in draft.limits
        ]
        accounts = [
            open_account(txn, part, _account_of(each, identity_id), self._new_id, by, now_us) for each in draft.accounts
        ]
        token = None
        if draft.token_name is not None:
            wanted = TokenDraft(draft.token_name, "agent", identity_id, may_release=False, expires_at_us=None)
            token = self._desk.mint(txn, part.tenant, wanted, by, now_us)
        below = [self._make(txn, part, _placed(each, identity_id), None, by, now_us) for each in draft.below]
        return Enrolled(
            described=described,
            budgets=tuple(budgets),
            accounts=tuple(accounts),
            policy=policy,
            token=token,
            below=tuple(below),
        )


def _account_of(draft: AccountDraft, identity_id: str) -> AccountDraft:
    """Return the account as that of the identity; an address that names the sidecar can be none of a real chain."""
    address = f"sidecar:{identity_id}" if draft.wallet_address == OF_THE_NEW else draft.wallet_address
    return msgspec.structs.replace(draft, identity_id=identity_id, wallet_address=address)


def _placed(draft: EnrolmentDraft, parent_id: str) -> EnrolmentDraft:
    """Return what is to be made below an identity, now that this has an id."""
    return msgspec.structs.replace(draft, identity=msgspec.structs.replace(draft.identity, parent_id=parent_id))


def _require_parent(part: TenantTransaction, draft: EnrolmentDraft) -> None:
    parent_id = draft.identity.parent_id
    parent = part.identities.get(parent_id)
    if parent is None or (parent.parent_id is not None and draft.parent_type not in {None, parent.type}):
        wanted = "identity" if draft.parent_type is None else draft.parent_type
        raise NotFound(f"unknown {wanted} `{parent_id}`", field="parent_id")


def _present(part: TenantTransaction, draft: EnrolmentDraft) -> Enrolled | None:
    """Return the identity that has the external id. Raises Conflict where it is not the one that is meant."""
    wanted = draft.identity
    found = None if wanted.external_id is None else part.identities.by_external_id(wanted.external_id)
    if found is None:
        return None
    if (found.parent_id, found.type) != (wanted.parent_id, wanted.type):
        raise Conflict(f"external id `{wanted.external_id}` is in use by another identity", field="external_id")
    block = block_on(walk(found.identity_id, part.identities.get))
    return Enrolled(described=Described(part.tenant.tenant_id, found, block), is_new=False)


def _policy_of(part: TenantTransaction, draft: EnrolmentDraft) -> PolicyDraft | None:
    """Return the policy that is to be made: a copy of the one that is named, None where that itself holds there."""
    if draft.policy_id is None:
        return draft.policy
    record = part.policies.get(draft.policy_id)
    if record is None:
        raise NotFound(f"unknown policy `{draft.policy_id}`", field="policy_id")
    above = {identity.identity_id for identity in walk(draft.identity.parent_id, part.identities.get)}
    if record.identity_id is None or record.identity_id in above:
        return None
    rules = None if record.rules is None else read_rules(record.rules)
    return PolicyDraft(record.name, OF_THE_NEW, rules, record.rules, record.cedar if rules is None else None)


def _without_text(enrolled: Enrolled) -> Enrolled:
    token = None if enrolled.token is None else without_text(enrolled.token)
    return msgspec.structs.replace(enrolled, token=token, below=tuple(_without_text(each) for each in enrolled.below))

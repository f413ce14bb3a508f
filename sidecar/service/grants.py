"""Permission grants: made, shown, approved by the wallet's owner and revoked.

A wallet is an account and its owner is the account's identity. What an approval brings into force, a policy and
budgets, is made by the services that make them natively, in the transaction in which the grant becomes active; so no
decision sees a part of it. A signature is verified before the writer lock is taken, and counts only if nothing that it
was verified against has changed meanwhile.
"""

from collections.abc import Callable
from functools import cache, partial

import msgspec
import orjson

from sidecar.core.access import Caller
from sidecar.core.ceremonies import (
    AuthenticationResponse,
    credential_id_of,
    user_handle,
    verify_signature,
)
from sidecar.core.directory import walk
from sidecar.core.errors import Conflict, Forbidden, NotFound
from sidecar.core.grant_policy import policy_text
from sidecar.core.grants import NONCE_BYTES, Grant, ShownStatus, challenge, url_safe
from sidecar.core.idempotency import IdempotencyKey
from sidecar.core.relying_party import RelyingParty
from sidecar.service.access import part_of, require_alive, tenant_of
from sidecar.service.budgets import Treasurer
from sidecar.service.grant_changes import Approval, activate, end_grant, record_grant
from sidecar.service.grant_drafts import GrantDraft, drafted, require_standing
from sidecar.service.idempotency import Done, first, once, replayed
from sidecar.service.paging import Page, PageRequest, page_of
from sidecar.service.passkeys import passkeys_of
from sidecar.service.policies import TRIES_MAX, Legislator, PolicyDraft, holds
from sidecar.service.snapshots import Snapshots
from sidecar.service.store import Store, TenantTransaction, Transaction
from sidecar.service.subtrees import grants_within


class ShownGrant(msgspec.Struct, frozen=True):
    """A grant with its tenant, what holds for it, and the credentials that its owner can sign it with."""

    tenant_id: str
    grant: Grant
    status: ShownStatus
    credential_ids: tuple[bytes, ...] = ()


class GrantFilter(msgspec.Struct, frozen=True):
    """Which grants a list shows; ``status`` is what holds at the time."""

    identity_id: str | None = None
    account_id: str | None = None
    status: ShownStatus | None = None

    def fits(self, grant: Grant, now_us: int) -> bool:
        """Whether ``grant`` is asked for."""
        return self.account_id in {None, grant.account_id} and self.status in {None, grant.shown_status(now_us)}


def of_identity(part: TenantTransaction, identity_id: str) -> tuple[Grant, ...]:
    """Return every grant that an identity was ever given, in order of creation."""
    return tuple(listed.value for listed in part.grants.owned(identity_id))


def counts(part: TenantTransaction, identity_id: str, now_us: int) -> tuple[int, int]:
    """Return how many grants of an identity are active and how many wait for their owner, none that has run out."""
    standing = [grant.shown_status(now_us) for grant in of_identity(part, identity_id)]
    return standing.count("active"), standing.count("pending")


class Grants:
    """Keeps the grants of every tenant."""

    def __init__(
        self,
        store: Store,
        snapshots: Snapshots,
        treasurer: Treasurer,
        legislator: Legislator,
        party: RelyingParty,
        new_id: Callable[[str, int], str],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """Work on ``store``; policies and budgets are made by the services that make them natively."""
        self._store = store
        self._snapshots = snapshots
        self._treasurer = treasurer
        self._legislator = legislator
        self._party = party
        self._new_id = new_id
        self._random_bytes = random_bytes

    async def create(
        self, caller: Caller, tenant_id: str | None, draft: GrantDraft, key: IdempotencyKey | None, now_us: int
    ) -> Done[ShownGrant]:
        """Make a grant that waits for the wallet's owner, and permits nothing before.

        Raises NotFound for an unknown identity or account, Conflict for a closed account and for an identity or owner
        that is revoked, ValidationFailed for a limit, recipient or time that cannot be and for a schema whose payments
        do not say what a grant looks at.
        """
        caller.require_administrator()
        nonce = self._random_bytes(NONCE_BYTES)

        def make(txn: Transaction, part: TenantTransaction) -> ShownGrant:
            schema = self._snapshots.files(txn).schema.model
            grant = drafted(part, draft, schema, self._new_id("grt", now_us), nonce, now_us)
            grant = msgspec.structs.replace(grant, revision=txn.tenants.advance(part.tenant.number))
            part.grants.add(grant.grant_id, grant, grant.revision, owner=grant.identity_id)
            record_grant(part, "grant_created", grant, caller.name, now_us)
            return _shown(part, grant, now_us)

        def work(txn: Transaction) -> Done[ShownGrant]:
            part = part_of(txn, caller, tenant_id, now_us)
            return once(part, key, now_us, ShownGrant, lambda: make(txn, part))

        return await self._store.write(work, apart=True)

    def get(self, caller: Caller, tenant_id: str | None, grant_id: str, now_us: int) -> ShownGrant:
        """Return a grant within reach. Raises NotFound."""
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            return _shown(part, _reached(part, caller, grant_id), now_us)

    def listed(
        self, caller: Caller, tenant_id: str | None, wanted: GrantFilter, request: PageRequest, now_us: int
    ) -> Page[ShownGrant]:
        """Return a page of the grants within reach that fit, of one identity or of all, in order of creation.

        Raises NotFound for an unknown identity, and to an administrator for an unknown account.
        """
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            # Others pay from wallets that they do not reach: to them, one without grants is as good as none.
            if caller.may_administer and wanted.account_id is not None and part.accounts.get(wanted.account_id) is None:
                raise NotFound(f"unknown account `{wanted.account_id}`", field="account_id")

            def fits(grant: Grant) -> bool:
                return wanted.fits(grant, now_us)

            if wanted.identity_id is None:
                page = grants_within(part, caller, request, fits)
            else:
                caller.require_reach(walk(wanted.identity_id, part.identities.get))
                page = page_of(part.grants.owned(wanted.identity_id, after=request.after), request, fits)
            return Page(_all_shown(part, page.values, now_us), page.next_after)

    def of_agent(self, caller: Caller, tenant_id: str | None, identity_id: str, now_us: int) -> tuple[ShownGrant, ...]:
        """Return every grant that an identity within reach was ever given. Raises NotFound."""
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            caller.require_reach(walk(identity_id, part.identities.get))
            return _all_shown(part, of_identity(part, identity_id), now_us)

    async def approve(
        self,
        caller: Caller,
        tenant_id: str | None,
        grant_id: str,
        credential: AuthenticationResponse,
        key: IdempotencyKey | None,
        now_us: int,
    ) -> Done[ShownGrant]:
        """Make a grant active, once a passkey of its owner has signed it; an active one stays as it is.

        Raises NotFound, Forbidden for a signature that does not hold, Conflict for a grant that is revoked or has run
        out, for an account, an identity or an owner that is not active any more, where the agent has another grant in
        force for the wallet, and where its chain has as many budgets as can be claimed.
        """
        caller.require_administrator()
        for _ in range(TRIES_MAX):
            with self._store.read() as txn:
                require_alive(txn, caller, now_us)
                part = txn.of(tenant_of(txn, caller, tenant_id))
                again = replayed(part, key, now_us, ShownGrant)
                if again is not None:
                    return again
                grant = _reached(part, caller, grant_id)
                require_standing(part, grant, now_us)
                active = grant.status == "active"
                approval = None if active else self._approval(txn, part, grant, credential, now_us)

            def keep(txn: Transaction, approval: Approval | None = approval) -> Done[ShownGrant] | None:
                part = part_of(txn, caller, tenant_id, now_us)
                return replayed(part, key, now_us, ShownGrant) or self._keep(
                    txn, part, _reached(part, caller, grant_id), approval, key, caller.name, now_us
                )

            done = await self._store.write(keep, apart=True)
            if done is not None:
                return done
        raise Conflict("the tenant's policies change all the time, try again")

    def _approval(
        self, txn: Transaction, part: TenantTransaction, grant: Grant, credential: AuthenticationResponse, now_us: int
    ) -> Approval:
        """Return the approval that a signature is. Raises Forbidden where it does not hold."""
        tenant_id = part.tenant.tenant_id
        passkey = part.passkeys.by_external_id(url_safe(credential_id_of(credential)))
        if passkey is None or passkey.identity_id != grant.owner_id:
            raise Forbidden(f"the passkey is none of the wallet's owner `{grant.owner_id}`", field="credential")
        signed = verify_signature(
            self._party, challenge(grant, tenant_id), credential, passkey, user_handle(tenant_id, grant.owner_id)
        )
        counted = msgspec.structs.replace(passkey, sign_count=signed.sign_count, is_backed_up=signed.is_backed_up)
        policy_id = self._legislator.new_id(now_us)
        chain, owners = (walk(each, part.identities.get) for each in (grant.identity_id, grant.owner_id))
        text = policy_text(grant, policy_id, tuple(each for each in owners if each not in chain))
        draft = PolicyDraft(f"Grant {grant.grant_id}", grant.identity_id, None, None, text)
        checked = self._legislator.check(txn, part, policy_id, draft, chain[0], now_us)
        assertion = orjson.dumps(msgspec.to_builtins(credential), option=orjson.OPT_SORT_KEYS)
        return Approval(grant, passkey, counted, assertion, checked)

    def _keep(
        self,
        txn: Transaction,
        part: TenantTransaction,
        grant: Grant,
        approval: Approval | None,
        key: IdempotencyKey | None,
        by: str,
        now_us: int,
    ) -> Done[ShownGrant] | None:
        """Make a grant active, or return None when what its approval was verified against has changed."""
        require_standing(part, grant, now_us)
        if grant.status == "active":
            return first(part, key, now_us, lambda: _shown(part, grant, now_us))
        if (
            approval is None
            or grant != approval.grant
            or part.passkeys.get(approval.passkey.passkey_id) != approval.passkey
            or not holds(txn, part, approval.checked)
        ):
            return None
        return first(part, key, now_us, lambda: self._activated(txn, part, approval, by, now_us))

    def _activated(
        self, txn: Transaction, part: TenantTransaction, approval: Approval, by: str, now_us: int
    ) -> ShownGrant:
        return _shown(part, activate(txn, part, self._treasurer, approval, by, now_us), now_us)

    async def revoke(
        self, caller: Caller, tenant_id: str | None, grant_id: str, key: IdempotencyKey | None, now_us: int
    ) -> Done[ShownGrant]:
        """End a grant with its policy and budgets; a second time changes nothing.

        What was reserved stays reserved and is still booked. Raises NotFound.
        """
        caller.require_administrator()

        def apply(txn: Transaction, part: TenantTransaction) -> ShownGrant:
            grant = _reached(part, caller, grant_id)
            ended = grant if grant.status == "revoked" else end_grant(txn, part, grant, caller.name, now_us)
            return _shown(part, ended, now_us)

        def work(txn: Transaction) -> Done[ShownGrant]:
            part = part_of(txn, caller, tenant_id, now_us)
            return once(part, key, now_us, ShownGrant, lambda: apply(txn, part))

        return await self._store.write(work)


def _reached(part: TenantTransaction, caller: Caller, grant_id: str) -> Grant:
    grant = part.grants.get(grant_id)
    if grant is None or not caller.reaches(walk(grant.identity_id, part.identities.get)):
        raise NotFound(f"unknown grant `{grant_id}`", field="grant_id")
    return grant


def _all_shown(part: TenantTransaction, grants: tuple[Grant, ...], now_us: int) -> tuple[ShownGrant, ...]:
    credentials = cache(partial(_credentials, part))
    return tuple(
        ShownGrant(part.tenant.tenant_id, each, each.shown_status(now_us), credentials(each.owner_id))
        for each in grants
    )


def _shown(part: TenantTransaction, grant: Grant, now_us: int) -> ShownGrant:
    return _all_shown(part, (grant,), now_us)[0]


def _credentials(part: TenantTransaction, owner_id: str) -> tuple[bytes, ...]:
    return tuple(passkey.credential_id for passkey in passkeys_of(part, owner_id))

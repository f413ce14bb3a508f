"""Accounts: opened, shown, closed; deposits and withdrawals, which are where value enters and leaves the ledger."""

from collections.abc import Callable
from itertools import islice

import msgspec

from sidecar.core.access import Caller
from sidecar.core.accounts import ACCOUNTS_PER_IDENTITY_MAX, BUILT_IN, Account, AccountStatus, Entry, external, move
from sidecar.core.audit import Body
from sidecar.core.currencies import places
from sidecar.core.directory import IdentityChain, block_on, walk
from sidecar.core.errors import Conflict, NotFound, ValidationFailed
from sidecar.core.idempotency import IdempotencyKey
from sidecar.core.money import Major
from sidecar.service.access import part_of, tenant_of
from sidecar.service.idempotency import Done, once
from sidecar.service.paging import Page, PageRequest, page_of
from sidecar.service.store import Store, TenantTransaction, Transaction
from sidecar.service.subtrees import accounts_within


class AccountDraft(msgspec.Struct, frozen=True, kw_only=True):
    """An account to be opened; ``asset`` is a currency code."""

    identity_id: str
    asset: str
    network: str = BUILT_IN
    wallet_address: str | None = None
    name: str | None = None


class Held(msgspec.Struct, frozen=True):
    """An account with what is in it, in minor units of its asset."""

    tenant_id: str
    account: Account
    balance_minor: int


class AccountFilter(msgspec.Struct, frozen=True):
    """Which accounts a list shows."""

    identity_id: str | None = None
    asset: str | None = None
    network: str | None = None
    status: AccountStatus | None = None

    def fits(self, account: Account) -> bool:
        """Whether ``account`` is asked for; its identity is left to the index."""
        return (
            self.asset in {None, account.asset}
            and self.network in {None, account.network}
            and self.status in {None, account.status}
        )


class Bank:
    """Keeps the accounts of every tenant."""

    def __init__(self, store: Store, new_id: Callable[[str, int], str]) -> None:
        """Work on ``store``."""
        self._store = store
        self._new_id = new_id

    async def open(
        self, caller: Caller, tenant_id: str | None, draft: AccountDraft, key: IdempotencyKey | None, now_us: int
    ) -> Done[Held]:
        """Open an account with nothing in it. Raises as ``open_account``."""
        caller.require_administrator()

        def work(txn: Transaction) -> Done[Held]:
            part = part_of(txn, caller, tenant_id, now_us)

            def run() -> Held:
                return _held(part, open_account(txn, part, draft, self._new_id, caller.name, now_us))

            return once(part, key, now_us, Held, run)

        return await self._store.write(work, apart=True)

    def get(self, caller: Caller, tenant_id: str | None, account_id: str) -> Held:
        """Return an account. Raises NotFound."""
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            return _held(part, reached_account(part, caller, account_id)[0])

    def listed(self, caller: Caller, tenant_id: str | None, wanted: AccountFilter, request: PageRequest) -> Page[Held]:
        """Return a page of the accounts that fit and are within reach, of one identity or of all."""
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            if wanted.identity_id is None:
                page = accounts_within(part, caller, request, wanted.fits)
            else:
                caller.require_reach(walk(wanted.identity_id, part.identities.get))
                page = page_of(part.accounts.owned(wanted.identity_id, after=request.after), request, wanted.fits)
            return Page(tuple(_held(part, account) for account in page.values), page.next_after)

    def of_identity(self, caller: Caller, tenant_id: str | None, identity_id: str) -> tuple[Held, ...]:
        """Return all accounts of one identity, closed ones too, in order of creation. Raises NotFound."""
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            caller.require_reach(walk(identity_id, part.identities.get))
            tenant = part.tenant.tenant_id
            return tuple(Held(tenant, account, minor) for account, minor in held_by(part, identity_id))

    async def deposit(
        self,
        caller: Caller,
        tenant_id: str | None,
        account_id: str,
        amount: Major,
        reference: str | None,
        key: IdempotencyKey | None,
        now_us: int,
    ) -> Done[Held]:
        """Book what came in from outside.

        Works on accounts of revoked identities too. Raises NotFound, ValidationFailed for no amount of the asset,
        Conflict for a closed account.
        """
        return await self._move("deposit", caller, tenant_id, account_id, amount, reference, key, now_us)

    async def withdraw(
        self,
        caller: Caller,
        tenant_id: str | None,
        account_id: str,
        amount: Major,
        reference: str | None,
        key: IdempotencyKey | None,
        now_us: int,
    ) -> Done[Held]:
        """Book what goes out. Raises as ``deposit``, and Conflict for more than is there."""
        return await self._move("withdrawal", caller, tenant_id, account_id, amount, reference, key, now_us)

    async def _move(
        self,
        kind: str,
        caller: Caller,
        tenant_id: str | None,
        account_id: str,
        amount: Major,
        reference: str | None,
        key: IdempotencyKey | None,
        now_us: int,
    ) -> Done[Held]:
        caller.require_administrator()

        def work(txn: Transaction) -> Done[Held]:
            part = part_of(txn, caller, tenant_id, now_us)
            account = reached_account(part, caller, account_id)[0]

            def run() -> Held:
                minor = amount.minor(open_one(account).asset, "amount")
                if minor == 0:
                    raise ValidationFailed(f"a {kind} is more than zero", field="amount")
                _book(part, kind, account, minor, reference, caller.name, now_us)
                return _held(part, account)

            return once(part, key, now_us, Held, run)

        return await self._store.write(work, apart=True)

    async def close(
        self, caller: Caller, tenant_id: str | None, account_id: str, key: IdempotencyKey | None, now_us: int
    ) -> Done[Held]:
        """Close an empty account for good; a second time changes nothing.

        Raises Conflict where anything is in it or on its way, NotFound.
        """
        caller.require_administrator()

        def work(txn: Transaction) -> Done[Held]:
            part = part_of(txn, caller, tenant_id, now_us)
            account = reached_account(part, caller, account_id)[0]
            return once(part, key, now_us, Held, lambda: _held(part, _close(txn, part, account, caller.name, now_us)))

        return await self._store.write(work, apart=True)


def open_account(
    txn: Transaction,
    part: TenantTransaction,
    draft: AccountDraft,
    new_id: Callable[[str, int], str],
    by: str,
    now_us: int,
) -> Account:
    """Open an account inside a transaction, with nothing in it.

    Raises NotFound for an unknown identity, Conflict for one that is revoked or has as many accounts as it may,
    ValidationFailed for an unknown asset.
    """
    places(draft.asset, "asset")
    block = block_on(walk(draft.identity_id, part.identities.get))
    if block is not None and block.status == "revoked":
        raise Conflict(f"identity `{block.identity.identity_id}` is revoked, it gets no account")
    owned = islice(part.accounts.owned(draft.identity_id), ACCOUNTS_PER_IDENTITY_MAX)
    if sum(1 for _ in owned) == ACCOUNTS_PER_IDENTITY_MAX:
        raise Conflict(f"identity `{draft.identity_id}` has as many accounts as it may: {ACCOUNTS_PER_IDENTITY_MAX}")
    account = Account(
        account_id=new_id("acct", now_us),
        identity_id=draft.identity_id,
        asset=draft.asset,
        network=draft.network,
        wallet_address=draft.wallet_address,
        name=draft.name,
        created_at_us=now_us,
        revision=txn.tenants.advance(part.tenant.number),
    )
    part.accounts.add(account.account_id, account, account.revision, owner=account.identity_id)
    _record(part, "account_created", account, by, now_us)
    return account


def held_by(part: TenantTransaction, identity_id: str) -> list[tuple[Account, int]]:
    """Return the accounts of an identity, closed ones too, in order of creation, each with what is in it."""
    accounts = [listed.value for listed in part.accounts.owned(identity_id)]
    return [(account, part.books.balance(account.account_id).minor) for account in accounts]


def reached_account(part: TenantTransaction, caller: Caller, account_id: str) -> tuple[Account, IdentityChain]:
    """Return an account and the chain of its owner. Raises NotFound where it is unknown or out of reach."""
    account = part.accounts.get(account_id)
    chain = () if account is None else walk(account.identity_id, part.identities.get)
    if account is None or not caller.reaches(chain):
        raise NotFound(f"unknown account `{account_id}`", field="account_id")
    return account, chain


def open_one(account: Account) -> Account:
    """Return an account that is not closed. Raises Conflict."""
    if account.status == "closed":
        raise Conflict(f"account `{account.account_id}` is closed")
    return account


def _book(
    part: TenantTransaction, kind: str, account: Account, minor: int, reference: str | None, by: str, now_us: int
) -> None:
    outside = external(account.network, account.asset)
    if kind == "deposit":
        entry = Entry("deposit", move(outside, account.account_id, minor), now_us)
    else:
        entry = Entry("withdrawal", move(account.account_id, outside, minor), now_us)
    body: Body = {
        "account": account.account_id,
        "identity": account.identity_id,
        "asset": account.asset,
        "network": account.network,
        "moved": [[leg.account, leg.minor] for leg in entry.legs],
        "by": by,
    }
    if reference is not None:
        body["reference"] = reference
    part.books.post(part.audit.append(kind, now_us, body).seq, entry)


def _close(txn: Transaction, part: TenantTransaction, account: Account, by: str, now_us: int) -> Account:
    if account.status == "closed":
        return account
    balance = part.books.balance(account.account_id)
    if balance.minor or balance.awaited:
        state = "is not empty" if balance.minor else "has payments on their way"
        raise Conflict(f"account `{account.account_id}` {state}")
    revision = txn.tenants.advance(part.tenant.number)
    closed = msgspec.structs.replace(account, status="closed", revision=revision)
    part.accounts.change(account.account_id, closed, revision)
    _record(part, "account_closed", closed, by, now_us)
    return closed


def _held(part: TenantTransaction, account: Account) -> Held:
    return Held(part.tenant.tenant_id, account, part.books.balance(account.account_id).minor)


def _record(part: TenantTransaction, kind: str, account: Account, by: str, now_us: int) -> None:
    body = {
        "account": account.account_id,
        "identity": account.identity_id,
        "asset": account.asset,
        "network": account.network,
        "revision": account.revision,
        "by": by,
    }
    part.audit.append(kind, now_us, body)

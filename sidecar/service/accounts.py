"""Accounts: opened, shown, closed; deposits and withdrawals, which are where value enters and leaves the ledger."""

from collections.abc import Callable

import msgspec

from sidecar.core.accounts import BUILT_IN, Account
from sidecar.core.currencies import places
from sidecar.core.directory import block_on, walk
from sidecar.core.errors import Conflict
from sidecar.service.store import TenantTransaction, Transaction


class AccountDraft(msgspec.Struct, frozen=True, kw_only=True):
    """An account to be opened; ``asset`` is a currency code."""

    identity_id: str
    asset: str
    network: str = BUILT_IN
    wallet_address: str | None = None
    name: str | None = None


def open_account(
    txn: Transaction,
    part: TenantTransaction,
    draft: AccountDraft,
    new_id: Callable[[str, int], str],
    by: str,
    now_us: int,
) -> Account:
    """Open an account inside a transaction, with nothing in it.

    Raises NotFound for an unknown identity, Conflict for one that is revoked, ValidationFailed for an unknown asset.
    """
    places(draft.asset, "asset")
    block = block_on(walk(draft.identity_id, part.identities.get))
    if block is not None and block.status == "revoked":
        raise Conflict(f"identity `{block.identity.identity_id}` is revoked, it gets no account")
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
    body = {
        "account": account.account_id,
        "identity": account.identity_id,
        "asset": account.asset,
        "network": account.network,
        "revision": account.revision,
        "by": by,
    }
    part.audit.append("account_created", now_us, body)
    return account

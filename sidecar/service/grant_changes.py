"""How permission grants change: each change with its fact, record and event, in the caller's transaction."""

import msgspec

from sidecar.core.audit import Body, encode_hash
from sidecar.core.budget import AMOUNT
from sidecar.core.facts import grant_fact
from sidecar.core.grant_policy import ACTION
from sidecar.core.grants import Grant, active_key, challenge, url_safe
from sidecar.core.money import Major, major_text
from sidecar.core.passkeys import Passkey
from sidecar.core.windows import Period
from sidecar.service.budget_changes import BudgetDraft, delete_budget
from sidecar.service.budgets import Treasurer
from sidecar.service.events import tell_grant
from sidecar.service.passkeys import passkey_version
from sidecar.service.policies import Checked, adopt, remove
from sidecar.service.store import TenantTransaction, Transaction


class Approval(msgspec.Struct, frozen=True):
    """A signature that holds, what it was verified against, and the policy that it brings into force.

    ``assertion`` is the answer of the authenticator as text, for whoever wants to verify it again.
    """

    grant: Grant
    passkey: Passkey
    counted: Passkey
    assertion: bytes
    checked: Checked


def activate(
    txn: Transaction, part: TenantTransaction, treasurer: Treasurer, approval: Approval, by: str, now_us: int
) -> Grant:
    """Make a grant active whose approval still holds, with its policy and budgets. Raises Conflict."""
    grant = approval.grant
    other = part.grants.by_external_id(active_key(grant.identity_id, grant.account_id))
    if other is not None:
        end_grant(txn, part, other, by, now_us)  # it has run out, and its policy would go on to say so
    policy = adopt(txn, part, approval.checked, by, now_us).record
    budgets = [treasurer.make(txn, part, each, by, now_us).budget for each in _limits(grant)]
    revision = txn.tenants.advance(part.tenant.number)
    passkey = msgspec.structs.replace(approval.counted, revision=revision)
    part.passkeys.change(passkey.passkey_id, passkey, revision, external_id=url_safe(passkey.credential_id))
    grant = msgspec.structs.replace(
        grant,
        status="active",
        policy_id=policy.policy_id,
        budget_ids=tuple(budget.budget_id for budget in budgets),
        passkey_id=passkey.passkey_id,
        approved_at_us=now_us,
        revision=revision,
    )
    part.grants.change(grant.grant_id, grant, revision, external_id=grant.found_by)
    signed: Body = {
        "challenge": url_safe(challenge(grant, part.tenant.tenant_id)),
        "assertion": encode_hash(part.audit.keep_fact(approval.assertion)),
        "passkey": passkey.passkey_id,
        "passkeys": [passkey_version(part, passkey)],
    }
    record_grant(part, "grant_approved", grant, by, now_us, signed)
    return grant


def end_grant(txn: Transaction, part: TenantTransaction, grant: Grant, by: str, now_us: int) -> Grant:
    """Revoke a grant inside a transaction; what of it was deleted natively is gone already."""
    policy = None if grant.policy_id is None else part.policies.get(grant.policy_id)
    if policy is not None:
        remove(txn, part, policy, by, now_us)
    for budget in filter(None, map(part.budgets.get, grant.budget_ids)):
        delete_budget(txn, part, budget, by, now_us)
    ended = msgspec.structs.replace(
        grant,
        status="revoked",
        policy_id=None,
        budget_ids=(),
        revoked_at_us=now_us,
        revision=txn.tenants.advance(part.tenant.number),
    )
    part.grants.change(ended.grant_id, ended, ended.revision)
    record_grant(part, "grant_revoked", ended, by, now_us)
    return ended


def _limits(grant: Grant) -> list[BudgetDraft]:
    """Return the budgets of a grant: they count what is paid from its wallet only."""
    wanted: tuple[tuple[Period, str, int | None], ...] = (
        ("per_transaction", "per transaction", grant.max_per_tx),
        ("rolling_24h", "24 hours", grant.daily_cap),
    )
    return [
        BudgetDraft(
            identity_id=grant.identity_id,
            account_id=grant.account_id,
            name=f"Grant {grant.grant_id}, {words}",
            dimension=AMOUNT,
            period=period,
            limit=Major(major_text(limit, grant.asset)),
            currency=grant.asset,
            actions=(ACTION,),
        )
        for period, words, limit in wanted
        if limit is not None
    ]


def record_grant(
    part: TenantTransaction,
    kind: str,
    grant: Grant,
    by: str,
    now_us: int,
    more: Body | None = None,
) -> None:
    """Append the record of a grant's new version, with its fact, and tell of it."""
    fact = part.audit.keep_fact(grant_fact(grant))
    body: Body = {
        "grant": grant.grant_id,
        "identity": grant.identity_id,
        "account": grant.account_id,
        "owner": grant.owner_id,
        "revision": grant.revision,
        "status": grant.status,
        "grants": [[grant.grant_id, grant.revision, encode_hash(fact)]],
        "by": by,
    }
    part.audit.append(kind, now_us, body | (more or {}))
    tell_grant(part, kind, grant, by, now_us)

"""The one transaction that brings a follower to another revision.

Records, policy files, revision, and what tells of it in the follower's own log change together.

Whatever takes long was done before. What was planned on is compared once more, so that nothing is applied to another
state than the one that it was checked against.
"""

from typing import Final

import msgspec

from sidecar.core.audit import Body, encode_hash
from sidecar.core.authzen import told_of
from sidecar.core.budget import Budget
from sidecar.core.cards import Card
from sidecar.core.directory import Identity, Tenant
from sidecar.core.errors import Unavailable
from sidecar.core.facts import budget_fact, card_fact, identity_fact
from sidecar.core.feed import Change, Followed
from sidecar.core.followed import RECORDS_MAX, FollowedRecord, write_followed
from sidecar.core.policy_files import stamp
from sidecar.core.rates import rate_limit_text
from sidecar.core.snapshot import PolicyFiles, PolicyRecord
from sidecar.core.staleness import Contact
from sidecar.core.windows import window_at, zone
from sidecar.service.feed_store import ReplicaState, Staging
from sidecar.service.following_plan import Plan
from sidecar.service.store import TenantTransaction, Transaction
from sidecar.service.tenants import opening

NO_FACT: Final = ""
"""In place of an address: a token's versions are in no log."""


class Kept(msgspec.Struct, frozen=True):
    """What a follower had when something came; each is None before the first time."""

    state: ReplicaState | None
    staging: Staging | None
    tenant: Tenant | None


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    """All that one switch needs.

    ``tenant`` is how it is to be, ``plan`` all that differs, ``files`` those that are to hold from now on, None where
    those that do stay. ``now_us`` is the time of its records, ``outside`` who is known beyond the scope from
    now on, None for the same as before.
    """

    kept: Kept
    tenant: Tenant
    plan: Plan
    files: PolicyFiles | None
    state: ReplicaState
    contact: Contact
    now_us: int
    outside: tuple[str, ...] | None = None


def kept_in(txn: Transaction) -> Kept:
    """Return what the follower has."""
    state = txn.replica.state()
    tenant = None if state is None else txn.tenants.find(state.tenant_id)
    return Kept(state, txn.replica.staging(), tenant)


def switch(txn: Transaction, wanted: Switch) -> None:
    """Apply what was planned. Raises Unavailable, with nothing done, where something else was applied meanwhile."""
    if kept_in(txn) != wanted.kept:
        raise Unavailable("something else was applied meanwhile, try again")
    tenant, changes = wanted.tenant, wanted.plan.in_order
    _keep_tenant(txn, wanted)
    part = txn.of(tenant)
    from_revision = 0 if wanted.kept.state is None else wanted.kept.state.revision
    to_revision = wanted.state.revision
    # A change at the revision that is here already has to be seen by whoever has read that one.
    at = to_revision if to_revision > from_revision else to_revision + 1
    policies = wanted.files is not None or any(change.kind == "policy" for change in changes)
    if wanted.files is not None:
        _exchange_files(txn, wanted.files, wanted.now_us)
    listed = []
    for change in changes:
        listed.append(
            FollowedRecord(change.kind, change.id, change.revision, _fact(part, change), change.place, change.owner)
        )
        _adopt(txn, part, change, at, wanted)
    txn.tenants.reach(tenant.number, to_revision, policies=policies or (at > to_revision and bool(changes)))
    txn.replica.keep_state(wanted.state)
    txn.replica.keep_contact(wanted.contact)
    txn.replica.keep_staging(None)
    if wanted.outside is not None:
        txn.replica.keep_outside(wanted.outside)
    for begin in range(0, max(1, len(listed)), RECORDS_MAX):
        some = listed[begin : begin + RECORDS_MAX]
        body: Body = {
            "from": from_revision,
            "to": to_revision,
            "now": wanted.now_us,
            "changes": encode_hash(part.audit.keep_fact(write_followed(some))),
            "count": len(some),
            "files": wanted.state.files_digest,
        }
        if wanted.kept.tenant is not None and wanted.kept.tenant != tenant:
            body["rate_limit"] = rate_limit_text(tenant.rate_limit)
            if wanted.kept.tenant.authzen != tenant.authzen:
                body["authzen"] = told_of(tenant.authzen)
        part.audit.append("followed", wanted.now_us, body)


def _keep_tenant(txn: Transaction, wanted: Switch) -> None:
    tenant, known = wanted.tenant, wanted.kept.tenant
    if known is None:
        txn.tenants.add(tenant)
        txn.of(tenant).audit.append("open", wanted.now_us, opening(tenant))
    elif known != tenant:
        txn.tenants.change(tenant)


def _exchange_files(txn: Transaction, files: PolicyFiles, now_us: int) -> None:
    """Replace the files, whose texts and readings are kept already, and forget what was read out of those that go."""
    old = txn.policy_files()
    staying = frozenset(files.policies)
    for file in () if old is None else old.policies:
        if file not in staying:
            txn.readings.forget(file)
    txn.exchange_policy_files(files)
    txn.keep_policy_files_checks(stamp(files))
    txn.keep_policy_files_since(now_us)


def _adopt(txn: Transaction, part: TenantTransaction, change: Change, at: int, wanted: Switch) -> None:
    value = change.value
    old_policy = part.policies.get(change.id) if change.kind == "policy" else None
    if old_policy is not None and (not isinstance(value, PolicyRecord) or value.source != old_policy.source):
        txn.readings.forget(old_policy.source)
    old_budget = part.budgets.get(change.id) if change.kind == "budget" else None
    part.feed.adopt(change, at)
    if isinstance(value, Budget) and old_budget is not None and value.follower_id == wanted.state.follower_id:
        window = window_at(value.period, wanted.now_us, zone(part.tenant.time_zone))
        if window is not None and (value.limit, value.on_exceeded) != (old_budget.limit, old_budget.on_exceeded):
            part.ledger.rebound(value, window)
    elif value is None and old_budget is not None:
        part.outbox.forget_approach(change.id)


def _fact(part: TenantTransaction, change: Change) -> str | None:
    """Keep the version of a record as a fact and return its address, None for a record that is gone."""
    content = None if change.value is None else _content(change.value)
    if content is None:
        return None if change.value is None else NO_FACT
    return encode_hash(part.audit.keep_fact(content))


def _content(value: Followed) -> bytes | None:
    match value:
        case Identity():
            return identity_fact(value)
        case PolicyRecord():
            return value.cedar.encode()
        case Budget():
            return budget_fact(value)
        case Card():
            return card_fact(value)
        case _:
            return None

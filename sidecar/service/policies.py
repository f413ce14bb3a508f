"""Policies made by the API: JSON rules compiled to Cedar, or Cedar text, each checked before it can be stored.

Cedar text from a caller is first parsed in a throw-away process, since the parser can be crashed by what it reads. A
policy is then compiled together with all others of its tenant, outside the writer lock, and stored only if none of them
changed meanwhile. The stored answer of a repeated call is looked for before any of this, and each time anew.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

import msgspec

from sidecar.core.access import Caller
from sidecar.core.audit import encode_hash
from sidecar.core.directory import Identity, Tenant, walk
from sidecar.core.errors import Conflict, NotFound, ValidationFailed
from sidecar.core.idempotency import IdempotencyKey
from sidecar.core.ids import pascal_case
from sidecar.core.limits import POLICIES_PER_TENANT_MAX, POLICY_BYTES_PER_TENANT_MAX
from sidecar.core.policy_compilation import compile_statements
from sidecar.core.policy_unit import PolicyUnit
from sidecar.core.rules import Rules, compile_rules
from sidecar.core.snapshot import (
    API_SOURCE,
    CompiledFiles,
    PolicyRecord,
    SourceFile,
    TenantPolicies,
    compile_record,
    compile_tenant,
)
from sidecar.service.access import part_of, require_alive, tenant_of
from sidecar.service.events import tell_policy
from sidecar.service.idempotency import Done, first, replayed
from sidecar.service.paging import Page, PageRequest, page_of
from sidecar.service.snapshots import Snapshots, revisions_of
from sidecar.service.store import Revisions, Store, TenantTransaction, Transaction

TRIES_MAX: Final = 5
"""How often a policy is compiled anew because another one was stored meanwhile."""


class Vet(Protocol):
    """Parses untrusted policy text where a crash hurts nobody."""

    async def __call__(self, text: str, file: str) -> None:
        """Return when the text can be parsed safely. Raises PolicyInvalid."""


class PolicyDraft(msgspec.Struct, frozen=True):
    """A policy to be made from ``rules`` or ``cedar``; ``document`` is the JSON text of the rules as they were sent."""

    name: str
    identity_id: str | None
    rules: Rules | None
    document: str | None
    cedar: str | None


class Checked(msgspec.Struct, frozen=True):
    """A policy that compiled with all others of its tenant at ``revisions``; ``units`` are what is in its text.

    ``before`` are the tenant's policies as they were compiled without it, of that revision or an older one.
    """

    record: PolicyRecord
    units: tuple[PolicyUnit, ...]
    revisions: tuple[Revisions, Revisions]
    before: TenantPolicies


class Stored(msgspec.Struct, frozen=True):
    """A policy and its tenant's id."""

    tenant_id: str
    record: PolicyRecord


class Legislator:
    """Keeps the policies of every tenant."""

    def __init__(self, store: Store, snapshots: Snapshots, new_id: Callable[[str, int], str], vet: Vet) -> None:
        """Work on ``store``; ``vet`` reads untrusted text first."""
        self._store = store
        self._snapshots = snapshots
        self._new_id = new_id
        self._vet = vet

    async def create(
        self, caller: Caller, tenant_id: str | None, draft: PolicyDraft, now_us: int, key: IdempotencyKey | None = None
    ) -> Done[Stored]:
        """Make a policy, in force with the next decision.

        Raises PolicyInvalid naming the place in text that does not parse or fit the schema, ValidationFailed for rules
        that break one and for an ``@id`` in use, NotFound for an unknown identity, Conflict for a tenant that changes
        all the time, IdempotencyConflict.
        """
        caller.require_administrator()
        policy_id = self._new_id("pol", now_us)
        with self._store.read() as txn:
            again = _again(txn, caller, tenant_id, key, now_us)
        if again is None and draft.cedar is not None:
            await self._vet(draft.cedar, f"{API_SOURCE}{policy_id}")
        for _ in range(TRIES_MAX):
            with self._store.read() as txn:
                again = _again(txn, caller, tenant_id, key, now_us)
                if again is not None:
                    return again
                tenant = tenant_of(txn, caller, tenant_id)
                part = txn.of(tenant)
                checked = self.check(txn, part, policy_id, draft, _owner(part, draft), now_us)
            stored = await self._store.write(
                partial(_keep, caller=caller, tenant=tenant, checked=checked, key=key, now_us=now_us)
            )
            if stored is not None:
                return stored
        raise Conflict("the tenant's policies change all the time, try again")

    def new_id(self, now_us: int) -> str:
        """Return an id for a policy."""
        return self._new_id("pol", now_us)

    def check(
        self,
        txn: Transaction,
        part: TenantTransaction,
        policy_id: str,
        draft: PolicyDraft,
        owner: Identity,
        now_us: int,
        before: TenantPolicies | None = None,
    ) -> Checked:
        """Compile the draft alone, then with every other policy of the tenant.

        ``owner`` is the identity that it hangs on, which may be one that is yet to be made, or the tenant's root. A
        policy that is checked is stored by ``adopt``. Cedar text from a caller must have been vetted. In a write
        transaction ``before`` is that of an earlier check: what is not committed must not be kept. Raises as
        ``create``.
        """
        files = self._snapshots.files(txn)
        record = _record(files, policy_id, draft, owner, now_us)
        source = record.source
        units = compile_statements(source.text, source.path, files.schema, shared=False)

        def read(file: SourceFile) -> tuple[PolicyUnit, ...] | None:
            return units if file == source else txn.readings.of(file)

        type_name = None if record.identity_id is None else pascal_case(owner.type)
        compile_record(record, files.schema, type_name, read)
        revisions = revisions_of(txn, part)
        others = (self._snapshots.owned if before is None else self._snapshots.owned_now)(part, revisions[0]).all()
        if len(others) >= POLICIES_PER_TENANT_MAX:
            raise Conflict(f"the tenant has {len(others)} policies, which is the most it can have")
        if sum(len(other.cedar) for other, _ in others) + len(record.cedar) > POLICY_BYTES_PER_TENANT_MAX:
            raise Conflict(f"the tenant's policies would be over {POLICY_BYTES_PER_TENANT_MAX >> 20} MiB")
        everything = [*others, (record, type_name)]
        before = before or self._snapshots.policies(txn, part)
        together = compile_tenant(files, part.tenant.tenant_id, everything, before, read=read)
        repeated = together.policies.repeated(policy_id)
        if repeated is not None:
            raise ValidationFailed(repeated, field="cedar")
        return Checked(record, units, revisions, before)

    def get(self, caller: Caller, tenant_id: str | None, policy_id: str) -> Stored:
        """Return a policy. Raises NotFound."""
        caller.require_administrator()
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            return Stored(part.tenant.tenant_id, _known(part, policy_id))

    def listed(
        self, caller: Caller, tenant_id: str | None, identity_id: str | None, request: PageRequest
    ) -> Page[Stored]:
        """Return a page of the policies, of one identity or of all, in order of creation. Raises NotFound."""
        caller.require_administrator()
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            if identity_id is None:
                found = part.policies.all(after=request.after)
            else:
                walk(identity_id, part.identities.get)
                found = part.policies.owned(identity_id, after=request.after)
            page = page_of(found, request)
        return Page(tuple(Stored(part.tenant.tenant_id, record) for record in page.values), page.next_after)

    async def delete(self, caller: Caller, tenant_id: str | None, policy_id: str, now_us: int) -> None:
        """Delete a policy; the next decision is made without it. Raises NotFound."""
        caller.require_administrator()

        def work(txn: Transaction) -> None:
            part = part_of(txn, caller, tenant_id, now_us)
            remove(txn, part, _known(part, policy_id), caller.name, now_us)

        await self._store.write(work)


def _again(
    txn: Transaction, caller: Caller, tenant_id: str | None, key: IdempotencyKey | None, now_us: int
) -> Done[Stored] | None:
    """Return the stored answer of a repeated call, None for a new one."""
    require_alive(txn, caller, now_us)
    return replayed(txn.of(tenant_of(txn, caller, tenant_id)), key, now_us, Stored)


def _keep(
    txn: Transaction, *, caller: Caller, tenant: Tenant, checked: Checked, key: IdempotencyKey | None, now_us: int
) -> Done[Stored] | None:
    """Store a checked policy, or return None when what it was checked against has changed."""
    require_alive(txn, caller, now_us)
    part = txn.of(tenant)
    again = replayed(part, key, now_us, Stored)
    if again is not None:
        return again
    if not holds(txn, part, checked):
        return None
    return first(part, key, now_us, lambda: adopt(txn, part, checked, caller.name, now_us))


def holds(txn: Transaction, part: TenantTransaction, checked: Checked) -> bool:
    """Whether what a policy was checked against is still so."""
    return [each.policies for each in revisions_of(txn, part)] == [each.policies for each in checked.revisions]


def adopt(txn: Transaction, part: TenantTransaction, checked: Checked, by: str, now_us: int) -> Stored:
    """Store, inside a transaction, a policy whose check still ``holds``, in force with the next decision."""
    tenant = part.tenant
    revision = txn.tenants.advance(tenant.number, policies=True)
    record = msgspec.structs.replace(checked.record, revision=revision)
    part.policies.add(record.policy_id, record, revision, owner=record.identity_id)
    txn.readings.keep(record.source, checked.units)
    fact = part.audit.keep_fact(record.cedar.encode())
    body = {"policy": record.policy_id, "revision": revision, "text": encode_hash(fact), "by": by}
    part.audit.append("policy_created", now_us, body)
    tell_policy(part, record.policy_id, "created", by, now_us)
    return Stored(tenant.tenant_id, record)


def remove(txn: Transaction, part: TenantTransaction, record: PolicyRecord, by: str, now_us: int) -> None:
    """Delete a policy inside a transaction."""
    txn.readings.forget(record.source)
    part.policies.remove(record.policy_id, txn.tenants.advance(part.tenant.number, policies=True))
    part.audit.append("policy_deleted", now_us, {"policy": record.policy_id, "by": by})
    tell_policy(part, record.policy_id, "deleted", by, now_us)


def _record(files: CompiledFiles, policy_id: str, draft: PolicyDraft, owner: Identity, now_us: int) -> PolicyRecord:
    if draft.rules is None and draft.cedar is None:
        raise ValidationFailed("a policy needs `rules` or `cedar`", field="rules")
    cedar, requirements = draft.cedar or "", {}
    if draft.rules is not None:
        principal = (pascal_case(owner.type), owner.identity_id)
        clauses = compile_rules(draft.rules, policy_id=policy_id, principal=principal, schema=files.schema.model)
        cedar = "\n\n".join(clause.text for clause in clauses) + "\n"
        requirements = {clause.id: clause.requirement or "" for clause in clauses if clause.key}
    return PolicyRecord(
        policy_id=policy_id,
        identity_id=draft.identity_id,
        name=draft.name,
        rules=draft.document,
        cedar=cedar,
        requirements=requirements,
        created_at_us=now_us,
        revision=0,
    )


def _owner(part: TenantTransaction, draft: PolicyDraft) -> Identity:
    """Return the identity that a policy hangs on, the root for one of the whole tenant. Raises NotFound."""
    owner = part.identities.get(draft.identity_id or part.tenant.root_identity_id)
    if owner is None:
        raise NotFound(f"unknown identity `{draft.identity_id}`", field="identity_id")
    return owner


def _known(part: TenantTransaction, policy_id: str) -> PolicyRecord:
    record = part.policies.get(policy_id)
    if record is None:
        raise NotFound(f"unknown policy `{policy_id}`", field="policy_id")
    return record

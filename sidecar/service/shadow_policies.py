"""What the shadow policies say of a decision that was made, with what it rested on.

That is the same request, identity chain, card, budgets and time.

The shadow set of a tenant is the shadow files that hold for it and the policies that the API made, as they were in the
decision. The files are compiled in a thread, which may take seconds; a ruling takes what a live one takes and is made
where it is asked for. What is kept is apart from what live rulings keep, and a tenth of it.

Two things are read when the ruling is made and not when the decision was: identities that the shadow policies look into
and the live ones did not, and what budgets have left where the shadow permits what live policies denied.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from sidecar.core.directory import Identity, Tenant
from sidecar.core.errors import Unavailable
from sidecar.core.model import AuthorizeRequest, Decision, Reason
from sidecar.core.policy_set import ParsedPolicies
from sidecar.core.recent import Recent
from sidecar.core.shadow import Difference, shadow_revision, side_of
from sidecar.core.slicing import RULINGS_MAX, Asker, Rulings
from sidecar.core.snapshot import CompiledFiles, FileUnits, TenantPolicies, compile_files, compile_tenant
from sidecar.service.judgement import judge
from sidecar.service.ruling import Asked, Proposal, ask
from sidecar.service.snapshots import POLICIES_MAX, VIEWED_MAX, Snapshots, View
from sidecar.service.store import Store, TenantTransaction

SHARE: Final = 10
"""The shadow keeps a tenth of what live rulings keep: it is late anyhow, and memory is for answers."""


class Case(msgspec.Struct, frozen=True, gc=False):
    """A decision that is on disk and what it rested on."""

    tenant: Tenant
    request: AuthorizeRequest
    proposal: Proposal
    decision: Decision


class ShadowSet(msgspec.Struct, frozen=True):
    """The shadow policies of one tenant: ``digest`` is that of the shadow files, ``live`` of the tenant's live set."""

    digest: bytes
    live: bytes
    policies: TenantPolicies


class ShadowPolicies:
    """The shadow sets and views of this process."""

    def __init__(self, store: Store, snapshots: Snapshots) -> None:
        """Keep nothing yet; what is compiled of the live files serves again."""
        self._store = store
        self._snapshots = snapshots
        self._files: tuple[bytes, CompiledFiles] | None = None
        self._parsed = ParsedPolicies()
        self._rulings: Rulings = Recent(RULINGS_MAX // SHARE)
        self._sets: Recent[int, ShadowSet] = Recent(POLICIES_MAX // SHARE)
        self._views: Recent[tuple[int, str, str | None], tuple[View, View]] = Recent(
            VIEWED_MAX // SHARE, lambda views: len(views[0].chain)
        )

    async def of(self, case: Case) -> ShadowSet | None:
        """Return the shadow set that ``case`` is to be compared with, None where no shadow files are loaded.

        Raises ValidationFailed where policies made by the API do not go together with the files.
        """
        compiled = await self._compiled()
        if compiled is None:
            return None
        number, live = case.tenant.number, case.proposal.view.policies
        kept = self._sets.get(number)
        if kept is None or (kept.digest, kept.live) != (compiled[0], live.digest):
            kept = await asyncio.to_thread(self._compile, compiled, case.tenant.tenant_id, live)
            self._sets.keep(number, kept)
        return kept

    def rule(self, part: TenantTransaction, case: Case, shadow: ShadowSet) -> Difference | None:
        """Return what differs under the shadow set, None where the verdict is the same.

        Raises what a live ruling raises for a request that does not fit.
        """
        decision = case.decision
        allowed, verdict = self._verdict(part, case, shadow.policies)
        if decision.audit is None or allowed == decision.allowed:
            return None
        return Difference(
            decision_id=decision.decision_id or "",
            seq=decision.audit.seq,
            at_us=decision.evaluated_at_us,
            identity_id=decision.identity_id,
            action=decision.action,
            resource=case.request.resource,
            amount_minor=case.request.amount_minor,
            currency=case.request.currency,
            live=side_of(decision.reasons, allowed=decision.allowed),
            shadow=side_of(verdict, allowed=allowed),
            policy_revision=decision.policy_revision,
            shadow_revision=shadow_revision(shadow.digest),
        )

    def _verdict(
        self, part: TenantTransaction, case: Case, policies: TenantPolicies
    ) -> tuple[bool, tuple[Reason, ...]]:
        live, decision = case.proposal, case.decision
        # Blocked, a question that the schema does not know, data that is too old: whatever policies say, it is this.
        if live.asked is None or any(each.code == "replica_stale" for each in decision.reasons):
            return decision.allowed, decision.reasons
        asked = live.asked
        view = self._view(case, policies)
        proposal = ask(view, case.request, asked.question, asked.target, _finder(part, live, asked))
        if not live.denials and not proposal.denials:  # budgets were asked then
            return decision.allowed, proposal.permits
        judged = judge(part, proposal, case.request, decision.evaluated_at_us)
        return judged.allowed, judged.reasons

    def _view(self, case: Case, policies: TenantPolicies) -> View:
        """Return the view of a decision with other policies; what is parsed of its identity chain is kept."""
        live = case.proposal.view
        schema = policies.schema
        if schema.text != live.policies.schema.text:
            raise Unavailable("the schema was replaced between the decision and its comparison")
        key = (case.tenant.number, live.chain[0].identity_id, live.card_id)
        kept = self._views.get(key)
        if kept is not None and kept[0] is live and kept[1].policies is policies:
            return kept[1]
        if kept is not None and kept[0].chain == live.chain and kept[1].policies is policies:
            asker = kept[1].asker
        else:
            asker = Asker(live.chain, policies.policies, schema)
        view = msgspec.structs.replace(live, policies=policies, asker=asker, rulings=self._rulings)
        self._views.keep(key, (live, view))
        return view

    async def _compiled(self) -> tuple[bytes, CompiledFiles] | None:
        with self._store.read() as txn:
            digest = txn.shadow_files.digest()
            if digest is None or (self._files is not None and self._files[0] == digest):
                return None if digest is None else self._files
            live = self._snapshots.files(txn)
        # The units of tenants' own live files are left out: the event loop changes what is kept of them.
        apart = msgspec.structs.replace(live, by_tenant=FileUnits({}, None), bare={})
        self._files = await asyncio.to_thread(self._read, apart)
        return self._files

    def _read(self, live: CompiledFiles) -> tuple[bytes, CompiledFiles] | None:
        with self._store.read() as txn:
            files = txn.shadow_files.get()
            return None if files is None else (files.digest(), compile_files(files, live, txn.readings.of))

    def _compile(self, compiled: tuple[bytes, CompiledFiles], tenant_id: str, live: TenantPolicies) -> ShadowSet:
        digest, files = compiled
        owned = [(each.record, each.owner_type) for each in live.records.values()]
        with self._store.read() as txn:
            policies = compile_tenant(files, tenant_id, owned, live, self._parsed, txn.readings.of)
        _ = policies.policies.index  # built here, for on the event loop all would wait for it
        return ShadowSet(digest, live.digest, policies)


def _finder(part: TenantTransaction, live: Proposal, asked: Asked) -> Callable[[str], Identity | None]:
    """Return what finds an identity as the decision saw it, and as it is now where the decision did not look at it."""
    seen = {identity.identity_id: identity for identity, _ in asked.reached}
    seen |= {identity.identity_id: identity for identity in live.view.chain}
    return lambda identity_id: seen.get(identity_id) or part.identities.get(identity_id)

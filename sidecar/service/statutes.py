"""The policies of then, compiled from the texts that a decision's record leads to, as they were."""

from typing import Final

from sidecar.core.history import Enacted
from sidecar.core.manifests import ApiPolicy, Manifest, read_manifest
from sidecar.core.policy_compilation import read_statements
from sidecar.core.policy_set import ParsedPolicies
from sidecar.core.policy_unit import PolicyUnit
from sidecar.core.recent import Recent
from sidecar.core.snapshot import (
    CompiledFiles,
    PolicyFiles,
    PolicyRecord,
    SourceFile,
    TenantPolicies,
    compile_files,
    compile_tenant,
)
from sidecar.service.chronicle import Facts

REVISIONS_MAX: Final = 64
"""Policy revisions that are kept compiled: a history goes from one to the next, and seldom back."""

TEXTS_MAX: Final = 4_096
"""Texts of policies that are kept, and what was read out of them."""


class Statutes:
    """The policies of then: compiled from the texts that a decision's manifest names, as they were."""

    def __init__(self, tenant_id: str, facts: Facts) -> None:
        """Compile those of one tenant."""
        self._tenant_id = tenant_id
        self._facts = facts
        self._manifests: Recent[str, Manifest] = Recent(REVISIONS_MAX)
        self._compiled: Recent[str, TenantPolicies] = Recent(REVISIONS_MAX)
        self._files: CompiledFiles | None = None
        self._newest: TenantPolicies | None = None
        self._parsed = ParsedPolicies()
        self._units: Recent[SourceFile, tuple[PolicyUnit, ...]] = Recent(TEXTS_MAX)
        self._texts: Recent[str, str] = Recent(TEXTS_MAX)

    def manifest(self, decided: Enacted) -> Manifest:
        """Return what the policies of a decision consisted of. Raises FactMissing, ValidationFailed."""
        found = self._manifests.get(decided.policies)
        if found is None:
            found = read_manifest(self._facts.content(decided.policies, decided.seq, "the list of policies"))
            self._manifests.keep(decided.policies, found)
        return found

    def records(self, api: tuple[ApiPolicy, ...], seq: int) -> list[tuple[PolicyRecord, str | None]]:
        """Return the policies made by the API that a manifest names, each with the Cedar type of its identity.

        What is not in the facts is left empty: names, and the words for what would pass. Raises FactMissing.
        """
        return [(self._record(each, seq), each.owner_type) for each in api]

    def _record(self, named: ApiPolicy, seq: int) -> PolicyRecord:
        text = self._text(named.text, seq, f"policy `{named.policy_id}`")
        return PolicyRecord(
            policy_id=named.policy_id,
            identity_id=named.identity_id,
            name=named.policy_id,
            # Nobody knows the id of a policy before it is made, except those who compile rules.
            rules="{}" if f'@id("{named.policy_id}' in text else None,
            cedar=text,
            requirements={},
            created_at_us=0,
            revision=0,
        )

    def of(self, decided: Enacted) -> TenantPolicies:
        """Return the policies that a decision was made by. Raises FactMissing, ValidationFailed."""
        found = self._compiled.get(decided.policies)
        if found is None:
            found = self._compile(self.manifest(decided), decided.seq)
            self._compiled.keep(decided.policies, found)
        return found

    def _compile(self, manifest: Manifest, seq: int) -> TenantPolicies:
        """Put the texts together. They held then, so Cedar is not asked again whether they fit their schema."""
        own = self._sources(manifest.files, seq)
        files = PolicyFiles(
            schemas=self._sources(manifest.schemas, seq), shared=(), by_tenant={self._tenant_id: own} if own else {}
        )
        self._files = compile_files(files, self._files)
        records = self.records(manifest.api, seq)
        self._newest = compile_tenant(self._files, self._tenant_id, records, self._newest, self._parsed, self._read)
        return self._newest

    def _sources(self, named: tuple[tuple[str, str], ...], seq: int) -> tuple[SourceFile, ...]:
        return tuple(SourceFile(path, self._text(address, seq, f"file `{path}`")) for path, address in named)

    def _text(self, address: str, seq: int, what: str) -> str:
        text = self._texts.get(address)
        if text is None:
            text = self._facts.text(address, seq, what)
            self._texts.keep(address, text)
        return text

    def _read(self, file: SourceFile) -> tuple[PolicyUnit, ...]:
        units = self._units.get(file)
        if units is None:
            units = read_statements(file.text, file.path, shared=False)
            self._units.keep(file, units)
        return units

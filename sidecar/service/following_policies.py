"""Policies that a control plane tells, let in as those of files and of callers are.

They are parsed first where a crash hurts nobody, then compiled together with all others.

Nothing here changes what holds. What was read out of texts is kept beforehand, some in each transaction: it is found by
its content, so it counts for nothing until the text holds.
"""

import asyncio
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final, NamedTuple, Protocol, TypeAlias

from sidecar.core.directory import Identity, Tenant
from sidecar.core.errors import ValidationFailed
from sidecar.core.feed import FeedRefused
from sidecar.core.ids import pascal_case
from sidecar.core.policy import CompiledSchema
from sidecar.core.policy_compilation import read_statements
from sidecar.core.policy_files import stamp
from sidecar.core.policy_unit import PolicyUnit
from sidecar.core.snapshot import (
    PolicyFiles,
    PolicyRecord,
    SourceFile,
    compile_files,
    compile_record,
    compile_tenant,
)
from sidecar.service.following_plan import Plan, Prospect
from sidecar.service.snapshots import Snapshots
from sidecar.service.store import Store, Transaction

LENGTH_AT_ONCE: Final = 1 << 16
"""Characters of policies that are kept at once: a few milliseconds."""

Owned: TypeAlias = tuple[PolicyRecord, str | None]
"""A policy made by the API, and the Cedar type of the identity that it hangs on."""

Readings: TypeAlias = dict[SourceFile, tuple[PolicyUnit, ...]]


class VetPolicies(Protocol):
    """Parses and checks untrusted policy files and policies where a crash hurts nobody."""

    async def __call__(self, files: PolicyFiles, passed: PolicyFiles | None, records: list[Owned]) -> None:
        """Return when all may hold.

        ``passed`` are files that were found to already. Raises PolicyInvalid, ValidationFailed, and Unavailable where
        nobody could find out.
        """


class _Texts(NamedTuple):
    """The policies that would hold: files, those that held and have passed, and those of the API in their order."""

    files: PolicyFiles
    old: PolicyFiles | None
    passed: PolicyFiles | None
    records: list[Owned]
    changed: frozenset[str]

    @property
    def suspects(self) -> list[Owned]:
        """The policies of the API that have to be checked: all of them where there is another schema."""
        if self.old is None or self.old.schemas != self.files.schemas:
            return self.records
        return [owned for owned in self.records if owned[0].policy_id in self.changed]

    @property
    def unread(self) -> list[SourceFile]:
        """The texts that are new."""
        known = frozenset(() if self.old is None else self.old.policies)
        own = [record.source for record, _ in self.records if record.policy_id in self.changed]
        return [*(file for file in self.files.policies if file not in known), *own]


class Doorkeeper:
    """Lets policies into one store."""

    def __init__(self, store: Store, snapshots: Snapshots, vet: VetPolicies) -> None:
        """Work on ``store``; ``vet`` reads untrusted texts first."""
        self._store = store
        self._snapshots = snapshots
        self._vet = vet

    def schema(self) -> CompiledSchema | None:
        """Return the schema that holds, None before any does."""
        with self._store.read() as txn:
            return None if txn.policy_files_digest() is None else self._snapshots.files(txn).schema

    async def admit(self, tenant: Tenant, plan: Plan, files: PolicyFiles | None) -> CompiledSchema:
        """Return the schema that would hold with ``plan`` applied, once all policies that would may hold.

        ``files`` are those that come, None where those that are here stay. Raises FeedRefused, PolicyInvalid and
        ValidationFailed naming the place of what may not hold, Unavailable.
        """
        with self._store.read() as txn:
            texts = _texts(txn, tenant, plan, files)
        await self._vet(texts.files, texts.passed, texts.suspects)
        read: Readings = {}
        for file in texts.unread:
            read[file] = read_statements(file.text, file.path, shared=False)
            await asyncio.sleep(0)
        with self._store.read() as txn:
            schema = self._compile(txn, tenant, texts, read)
        for some in _parts(() if files is None else files.all):
            await self._store.write(partial(_keep_texts, files=some))
        for some in _parts(read):
            await self._store.write(partial(_keep_readings, found={file: read[file] for file in some}))
        return schema

    def _compile(self, txn: Transaction, tenant: Tenant, texts: _Texts, read: Readings) -> CompiledSchema:
        """Compile all policies as one set: what they share is not seen in any of them alone."""

        def known(file: SourceFile) -> tuple[PolicyUnit, ...] | None:
            return read.get(file) or txn.readings.of(file)

        has_held = texts.old is not None and txn.tenants.get(tenant.number) is not None
        before = self._snapshots.policies(txn, txn.of(tenant)) if has_held else None
        compiled = compile_files(texts.files, self._snapshots.files(txn) if has_held else None, known)
        for record, owner_type in texts.suspects:
            try:
                compile_record(record, compiled.schema, owner_type, known)
            except ValidationFailed as error:
                raise FeedRefused(f"policy `{record.policy_id}`: {error.message}") from error
        compile_tenant(compiled, tenant.tenant_id, texts.records, before, read=known)
        return compiled.schema


def _texts(txn: Transaction, tenant: Tenant, plan: Plan, files: PolicyFiles | None) -> _Texts:
    """Return the policies that would hold. Raises FeedRefused where there are no files."""
    old = txn.policy_files()
    passed = old if old is not None and txn.policy_files_checks() == stamp(old) else None
    new = old if files is None else files
    if new is None:
        raise FeedRefused("no policy files are here, and none came")
    part = txn.of(tenant)
    prospect = Prospect(txn, part, plan.changes)
    records = {listed.value.policy_id: (listed.place, listed.value) for listed in part.policies.all()}
    for change in plan.policies:
        if isinstance(change.value, PolicyRecord):
            records[change.id] = (change.place, change.value)
        else:
            records.pop(change.id, None)
    owned = [(record, _type_of(prospect, record)) for _, record in sorted(records.values(), key=lambda each: each[0])]
    return _Texts(new, old, passed, owned, frozenset(change.id for change in plan.policies))


def _type_of(prospect: Prospect, record: PolicyRecord) -> str | None:
    identity = None if record.identity_id is None else prospect.find("identity", record.identity_id)
    return pascal_case(identity.type) if isinstance(identity, Identity) else None


def _parts(files: Iterable[SourceFile]) -> Iterator[list[SourceFile]]:
    """Yield files in parts that are short, one that is longer alone."""
    part: list[SourceFile] = []
    length = 0
    for file in files:
        if part and length + len(file.text) > LENGTH_AT_ONCE:
            yield part
            part, length = [], 0
        part.append(file)
        length += len(file.text)
    if part:
        yield part


def _keep_texts(txn: Transaction, files: list[SourceFile]) -> None:
    txn.keep_file_texts(files)


def _keep_readings(txn: Transaction, found: Readings) -> None:
    for file, units in found.items():
        txn.readings.keep(file, units)

"""What policies a tenant has at one revision.

The files that hold for it and those made by the API, compiled as one set.

The set's *manifest* lists every policy with the hash of its text, and the schema with its own: its SHA-256 is the
policy revision that answers show and audit records carry, and with the texts it suffices to compile the same set again.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Final, TypeAlias

import msgspec
import orjson

from sidecar.core.audit import encode_hash, fact_hash
from sidecar.core.errors import ValidationFailed
from sidecar.core.policy import CompiledSchema, compile_schema, engine
from sidecar.core.policy_compilation import compile_statements, read_statements
from sidecar.core.policy_set import ParsedPolicies, PolicySet
from sidecar.core.policy_unit import Link, PolicyUnit

API_SOURCE: Final = "/v1/policies/"
"""In front of a policy's id, this is the source that reasons name for a policy made by the API."""

TENANTS_MAX: Final = 256
"""Tenants whose files' units are kept: as many as have their policies kept."""


class SourceFile(msgspec.Struct, frozen=True):
    """A file that was reviewed in git; ``path`` is relative, as reasons show it."""

    path: str
    text: str


Reading: TypeAlias = Callable[[SourceFile], tuple[PolicyUnit, ...] | None]
"""Returns what has been read out of a text that has passed all checks, None where that has to be done again."""


def unread(_: SourceFile) -> None:
    """Know of no text what is in it."""


class PolicyFiles(msgspec.Struct, frozen=True, kw_only=True):
    """The schema and the policies from files: ``shared`` ones hold for every tenant, the others for one tenant id."""

    schemas: tuple[SourceFile, ...]
    shared: tuple[SourceFile, ...]
    by_tenant: dict[str, tuple[SourceFile, ...]]

    @property
    def policies(self) -> tuple[SourceFile, ...]:
        """The files that hold policies, of all tenants."""
        return (*self.shared, *chain.from_iterable(self.by_tenant.values()))

    @property
    def all(self) -> tuple[SourceFile, ...]:
        """All of them."""
        return (*self.schemas, *self.policies)

    def digest(self) -> bytes:
        """Return what stands for exactly these files."""
        return hashlib.sha256(msgspec.msgpack.encode(self, order="deterministic")).digest()


class PolicyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A policy made by the API. ``cedar`` is what is evaluated: the caller's text, or compiled from ``rules``.

    ``rules`` is the JSON text that was sent; ``requirements`` says per compiled statement what would pass.
    """

    policy_id: str
    identity_id: str | None
    name: str
    rules: str | None
    cedar: str
    requirements: dict[str, str]
    created_at_us: int
    revision: int

    @property
    def source(self) -> SourceFile:
        """The text that is evaluated, under the path that reasons name."""
        return SourceFile(f"{API_SOURCE}{self.policy_id}", self.cedar)


class FileUnits:
    """The units of tenants' own files by tenant id, read when they are asked for first.

    No process needs those of all tenants, and each file is read once for as long as its tenant is among the last
    ``TENANTS_MAX`` that were asked for. The files must have passed ``sidecar.core.policy_files.check_files``.
    """

    def __init__(self, files: Mapping[str, tuple[SourceFile, ...]], known: "FileUnits | None") -> None:
        """Read ``files``; what did not change since ``known`` is taken from there."""
        self._files = files
        self._read = OrderedDict() if known is None else known.read

    @property
    def read(self) -> OrderedDict[str, dict[SourceFile, tuple[PolicyUnit, ...]]]:
        """A copy of what was read so far, by tenant and file; the tenant asked for last is last."""
        return self._read.copy()

    def of(self, tenant_id: str, read: Reading = unread) -> tuple[PolicyUnit, ...]:
        """Return the units of one tenant's files in their order; what ``read`` knows is not read again."""
        if tenant_id not in self._files:
            return ()
        files = self._files[tenant_id]
        old = self._read.pop(tenant_id, {})
        found = {
            each: old.get(each) or read(each) or read_statements(each.text, each.path, shared=False) for each in files
        }
        self._read[tenant_id] = found
        while len(self._read) > TENANTS_MAX:
            self._read.popitem(last=False)
        return tuple(unit for each in files for unit in found[each])


class CompiledFiles(msgspec.Struct, frozen=True):
    """Policy files that passed: the schema, and the units that hold for all tenants or for one.

    ``bare`` are the policies of all tenants that have none of their own, by what keeps them parsed.
    """

    files: PolicyFiles
    schema: CompiledSchema
    units: dict[SourceFile, tuple[PolicyUnit, ...]]
    by_tenant: FileUnits
    bare: "dict[ParsedPolicies | None, TenantPolicies]" = {}

    @property
    def shared(self) -> tuple[PolicyUnit, ...]:
        """The units that hold for all tenants, in the order of their files."""
        return tuple(unit for file in self.files.shared for unit in self.units[file])


def compile_files(files: PolicyFiles, known: CompiledFiles | None = None, read: Reading = unread) -> CompiledFiles:
    """Compile the schema and what holds for all tenants; the rest is compiled when a tenant is asked for.

    What ``known`` has of the same files is not compiled again, nor what ``read`` knows: the result is the same without
    them. Raises PolicyInvalid
    naming file, line and column of the first fault in the schema and in what holds for all.
    """
    fits = known is not None and known.files.schemas == files.schemas
    schema = known.schema if known and fits else compile_schema(tuple((each.path, each.text) for each in files.schemas))
    old = known.units if known and fits else {}
    units = {
        each: old.get(each) or read(each) or compile_statements(each.text, each.path, schema, shared=True)
        for each in files.shared
    }
    return CompiledFiles(files, schema, units, FileUnits(files.by_tenant, known.by_tenant if known else None))


class CompiledRecord(msgspec.Struct, frozen=True):
    """A policy made by the API, compiled for the Cedar type of its identity; ``named`` is how the manifest names it."""

    record: PolicyRecord
    owner_type: str | None
    units: tuple[PolicyUnit, ...]
    links: tuple[Link, ...]
    named: tuple[str, str | None, str | None, str]


class TenantPolicies(msgspec.Struct, frozen=True):
    """All policies of one tenant, ready to be asked, and what names the facts that suffice to compile them again.

    ``digest`` is the hash of ``manifest``, which names the texts of schemas and policies by their hashes. ``records``
    are those made by the API, by id.
    """

    schema: CompiledSchema
    policies: PolicySet
    manifest: bytes
    digest: bytes
    records: dict[str, CompiledRecord]

    @property
    def revision(self) -> str:
        """The policy revision as answers show it."""
        return f"sha256:{self.digest.hex()}"


def compile_record(
    record: PolicyRecord, schema: CompiledSchema, owner_type: str | None, read: Reading = unread
) -> tuple[list[PolicyUnit], list[Link]]:
    """Return the units of a policy made by the API, and the links of its templates to the identity it hangs on.

    ``owner_type`` is the Cedar type of that identity; what ``read`` knows is not compiled again. Raises PolicyInvalid
    when the text does not fit the schema, and ValidationFailed when templates and identity do not go together.
    """
    units, links = [], []
    source = record.source
    found = read(source) or compile_statements(source.text, source.path, schema, shared=False)
    if not found:
        raise ValidationFailed("the text holds no policy", field="cedar")
    for unit in found:
        own = msgspec.structs.replace(
            unit,
            id=_own_id(unit.id, record),
            given_id=unit.id,
            policy_id=record.policy_id,
            rule=_rule_of(unit.id, record),
            requirement=record.requirements.get(unit.id),
        )
        units.append(own)
        if own.slots:
            links.append(_link(own, record, owner_type))
        elif record.identity_id is not None and record.rules is None:
            # It would hold for the whole tenant, which is not what hanging it on one identity says.
            raise ValidationFailed("a policy of one identity is a template, `principal in ?principal`", field="cedar")
    return units, links


def _rule_of(unit_id: str, record: PolicyRecord) -> str | None:
    prefix = f"{record.policy_id}/"
    named = record.rules is not None and unit_id.startswith(prefix)
    return unit_id.removeprefix(prefix).partition("#")[0] if named else None


def _own_id(unit_id: str, record: PolicyRecord) -> str:
    """Return an id that no file and no other policy can have: a tenant must not take the one of a file to come."""
    return unit_id if unit_id.startswith(record.policy_id) else f"{record.policy_id}/{unit_id}"


def _link(unit: PolicyUnit, record: PolicyRecord, owner_type: str | None) -> Link:
    if record.identity_id is None or owner_type is None:
        raise ValidationFailed("a template needs the identity that it is linked to", field="identity_id")
    if unit.slots != ("?principal",):
        raise ValidationFailed("only the slot `?principal` can be linked", field="cedar")
    return Link(unit.id, f"{unit.id}@{record.policy_id}", (owner_type, record.identity_id))


def compile_tenant(
    compiled: CompiledFiles,
    tenant_id: str,
    records: Iterable[tuple[PolicyRecord, str | None]],
    before: TenantPolicies | None = None,
    parsed: ParsedPolicies | None = None,
    read: Reading = unread,
) -> TenantPolicies:
    """Return the policies of one tenant; each record comes with the Cedar type of the identity it hangs on.

    Records that ``before`` has the same of are not compiled again, nor what ``read`` knows; ``parsed`` keeps what Cedar
    parses later. Tenants that have no policies of their own get the same object.
    """
    owned = list(records)
    is_bare = not owned and tenant_id not in compiled.files.by_tenant
    if is_bare and parsed in compiled.bare:
        return compiled.bare[parsed]
    units = [*compiled.shared, *compiled.by_tenant.of(tenant_id, read)]
    links: list[Link] = []
    files = [*compiled.files.shared, *compiled.files.by_tenant.get(tenant_id, ())]
    known = before.records if before is not None and before.schema is compiled.schema else {}
    made: dict[str, CompiledRecord] = {}
    for record, owner_type in owned:
        own = _compiled(record, owner_type, compiled.schema, known.get(record.policy_id), read)
        made[record.policy_id] = own
        units += own.units
        links += own.links
    manifest = orjson.dumps(
        {
            "engine": engine(),
            "schemas": [_named(file) for file in compiled.files.schemas],
            "files": [_named(file) for file in files],
            "api": [own.named for own in made.values()],
        },
        option=orjson.OPT_SORT_KEYS,
    )
    policies = PolicySet(tuple(units), tuple(links), compiled.schema, parsed)
    together = TenantPolicies(compiled.schema, policies, manifest, fact_hash(manifest), made)
    if is_bare:
        compiled.bare[parsed] = together
    return together


def _compiled(
    record: PolicyRecord,
    owner_type: str | None,
    schema: CompiledSchema,
    known: CompiledRecord | None,
    read: Reading,
) -> CompiledRecord:
    if known is not None and known.record == record and known.owner_type == owner_type:
        return known
    units, links = compile_record(record, schema, owner_type, read)
    named = (record.policy_id, owner_type, record.identity_id, encode_hash(fact_hash(record.cedar.encode())))
    return CompiledRecord(record, owner_type, tuple(units), tuple(links), named)


def _named(file: SourceFile) -> tuple[str, str]:
    return file.path, encode_hash(fact_hash(file.text.encode()))

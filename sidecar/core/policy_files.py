"""Whether policy files may hold: every one parses, fits the schema, and shares no id with another of its tenant.

Said once, when files are loaded. What has passed before is not parsed again: not a file that did not change, and
nothing at all where only one tenant's files did. Units are let go as soon as they are checked: those of all tenants
together are of no use to any process.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

from sidecar.core.errors import PolicyInvalid
from sidecar.core.ids import POLICY
from sidecar.core.policy import CompiledSchema, compile_schema, engine
from sidecar.core.policy_compilation import check_statements, compile_statements, named_statements, read_statements
from sidecar.core.policy_set import require_distinct
from sidecar.core.policy_unit import PolicyUnit
from sidecar.core.snapshot import PolicyFiles, PolicyRecord, SourceFile, compile_record

CHECKS: Final = 1
"""Raised when the checks get stricter, so that files that have passed are looked at once more."""

RECORDS: Final = 100
"""Policies made by the API that Cedar checks at once."""

_NOTHING: Final = PolicyFiles(schemas=(), shared=(), by_tenant={})


def checked_by() -> str:
    """Return what names the checks: what has passed others must pass these as well."""
    return f"{engine()}, checks {CHECKS}"


def stamp(files: PolicyFiles) -> str:
    """Return what names files that have passed the checks of this version."""
    return f"{files.digest().hex()} {checked_by()}"


def check_files(files: PolicyFiles, passed: PolicyFiles | None = None) -> CompiledSchema:
    """Return the schema when all of ``files`` may hold; ``passed`` are files that did, by the same checks.

    Raises PolicyInvalid naming file, line and column of a fault, and ValidationFailed for an id that is there twice.
    """
    schema = compile_schema(tuple((file.path, file.text) for file in files.schemas))
    old = passed if passed is not None and passed.schemas == files.schemas else _NOTHING
    shared = _checked_shared(files.shared, schema, frozenset(old.shared))
    ids = frozenset(unit.id for unit in shared)
    for tenant_id, own in files.by_tenant.items():
        before = old.by_tenant.get(tenant_id, ())
        if own != before or files.shared != old.shared:
            _check_own(own, schema, frozenset(before), (shared, ids))
    return schema


def _checked_shared(
    files: Iterable[SourceFile], schema: CompiledSchema, passed: frozenset[SourceFile]
) -> tuple[PolicyUnit, ...]:
    shared = tuple(
        unit
        for file in files
        for unit in (
            read_statements(file.text, file.path, shared=True)
            if file in passed
            else compile_statements(file.text, file.path, schema, shared=True)
        )
    )
    require_distinct(shared)
    return shared


def _check_own(
    files: Sequence[SourceFile],
    schema: CompiledSchema,
    passed: frozenset[SourceFile],
    shared: tuple[tuple[PolicyUnit, ...], frozenset[str]],
) -> None:
    found = [
        named_statements(file.text, file.path) if file in passed else check_statements(file.text, file.path, schema)
        for file in files
    ]
    units, taken = shared
    ids = list(chain.from_iterable(found))
    if len(set(ids)) < len(ids) or not taken.isdisjoint(ids):
        own = (unit for file in files for unit in read_statements(file.text, file.path, shared=False))
        require_distinct((*units, *own))  # names the two


def check_records(records: Iterable[tuple[PolicyRecord, str | None]], schema: CompiledSchema) -> None:
    """Check policies made by the API against another schema than the one that they were made for.

    Each comes with the Cedar type of the identity it hangs on. Raises PolicyInvalid for one that does not fit.
    """
    waiting = list(records)
    for begin in range(0, len(waiting), RECORDS):
        some = waiting[begin : begin + RECORDS]
        try:
            check_statements("\n".join(record.cedar for record, _ in some), "", schema)
        except PolicyInvalid:
            for record, owner_type in some:  # one of them names itself; together they may only have been too long
                compile_record(record, schema, owner_type)


def may_take_id_of_api(file: SourceFile) -> bool:
    """Whether a policy in ``file`` could have an id that belongs to the API; rather yes than no."""
    return f'"{POLICY}_' in file.text or "\\" in file.text

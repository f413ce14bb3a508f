"""Policy files become the ones that hold, once they and everything that is stored fit each other.

A start with files that hold already looks at none of it. Otherwise what changed decides what is looked at: files that
did not change have passed, stored identities matter where the schema lost a type, and policies made by the API where it
changed at all. What is read out of the policies is kept for the workers.
"""

from typing import Final

import structlog

from sidecar.core.errors import ConfigurationInvalid, PolicyInvalid, ValidationFailed
from sidecar.core.ids import pascal_case
from sidecar.core.policy import CompiledSchema, compile_schema, read_statements
from sidecar.core.policy_files import check_files, check_records, checked_by, may_take_id_of_api
from sidecar.core.snapshot import PolicyFiles, SourceFile, compile_files, compile_tenant
from sidecar.service.events import tell_policy_files
from sidecar.service.snapshots import owned_policies
from sidecar.state.boot import newest_time, typed_identities
from sidecar.state.clock import Clock
from sidecar.state.environment import Environment, Table, Txn
from sidecar.state.transaction import Transaction

log: Final = structlog.get_logger("sidecar.boot")


def checked(files: PolicyFiles, passed: PolicyFiles | None) -> CompiledSchema:
    """Return the schema of files that may hold; ``passed`` have been found to. Raises ConfigurationInvalid."""
    try:
        return check_files(files, passed)
    except (PolicyInvalid, ValidationFailed) as error:
        raise ConfigurationInvalid(error.message) from error


def load(environment: Environment, files: PolicyFiles) -> None:
    """Write the files as the ones that hold, unless they are and have passed the checks of this version.

    Raises ConfigurationInvalid, naming the place, for files that may not hold, and for a stored identity or policy that
    does not fit them.
    """
    parent = environment.begin_write()
    try:
        txn = Transaction(parent, environment.tables)
        has_passed = txn.policy_files_checks() == stamp(files)
        if not (has_passed and txn.readings.are_complete()):
            old = txn.policy_files()
            if not has_passed:
                _accept(environment, parent, files, old)
            _read(txn, files, old)
        parent.commit()
    except BaseException:
        parent.abort()
        raise


def _accept(environment: Environment, parent: Txn, files: PolicyFiles, old: PolicyFiles | None) -> None:
    """Check files and write them as the ones that hold; ``old`` are those that held."""
    txn = Transaction(parent, environment.tables)
    passed = old if old is not None and txn.policy_files_checks() == stamp(old) else None
    schema = checked(files, passed)
    types = _identity_types(old)
    # Each identity was made with a type that the schema declared then, so none can lack one otherwise.
    if types is None or not types <= schema.model.identity_types:
        _require_types(txn, parent, environment.tables, schema)
    require_policies(txn, files, schema, passed)
    if txn.policy_files_digest() != files.digest():
        _replace(txn, files, Clock(newest_time(environment))())
    txn.keep_policy_files_checks(stamp(files))


def stamp(files: PolicyFiles) -> str:
    """Return what names files that have passed the checks of this version."""
    return f"{files.digest().hex()} {checked_by()}"


def _identity_types(files: PolicyFiles | None) -> frozenset[str] | None:
    """Return the types that stored identities can have, None where this version cannot tell."""
    if files is None:
        return None
    try:
        return compile_schema(tuple((file.path, file.text) for file in files.schemas)).model.identity_types
    except PolicyInvalid:
        return None


def _require_types(txn: Transaction, raw: Txn, tables: dict[str, Table], schema: CompiledSchema) -> None:
    for tenant in txn.tenants.after(0):
        for identity_id, type_name in typed_identities(raw, tables, tenant.number):
            if pascal_case(type_name) not in schema.model.identity_types:
                message = f"tenant `{tenant.tenant_id}`: identity `{identity_id}` has the type `{type_name}`"
                raise ConfigurationInvalid(f"{message}, which the schema does not declare")


def require_policies(txn: Transaction, files: PolicyFiles, schema: CompiledSchema, passed: PolicyFiles | None) -> None:
    """Look at the policies that the API made: at their texts for another schema, at their ids where files take such."""
    same_schema = passed is not None and passed.schemas == files.schemas
    shared = any(may_take_id_of_api(file) for file in files.shared)
    for tenant in txn.tenants.after(0):
        is_suspect = shared or any(may_take_id_of_api(file) for file in files.by_tenant.get(tenant.tenant_id, ()))
        if same_schema and not is_suspect:
            continue
        records = owned_policies(txn.of(tenant))
        try:
            if records and not same_schema:
                check_records(records, schema)
            if records and is_suspect:
                compile_tenant(compile_files(files), tenant.tenant_id, records)
        except (PolicyInvalid, ValidationFailed) as error:
            raise ConfigurationInvalid(f"tenant `{tenant.tenant_id}`: {error.message}") from error


def _read(txn: Transaction, files: PolicyFiles, old: PolicyFiles | None) -> None:
    """Keep what is in the policies that hold: in files that were not among ``old``, for another version in all."""
    held = frozenset(() if old is None else old.policies)
    known = held
    if not txn.readings.are_complete():
        known = frozenset()
        txn.keep_file_texts(files)  # a version without readings kept them for each tenant
        for tenant in txn.tenants.after(0):
            for listed in txn.of(tenant).policies.all():
                keep_reading(txn, listed.value.source)
        txn.readings.complete()
    holding = frozenset(files.policies)
    for file in holding - known:
        keep_reading(txn, file)
    for file in held - holding:
        txn.readings.forget(file)


def keep_reading(txn: Transaction, file: SourceFile) -> None:
    """Keep what is in a text that has passed."""
    txn.readings.keep(file, read_statements(file.text, file.path, shared=False))


def _replace(txn: Transaction, files: PolicyFiles, now_us: int) -> None:
    txn.keep_policy_files(files)
    txn.keep_policy_files_since(now_us)
    tell_policy_files(txn, files.digest(), now_us)
    for tenant_id in files.by_tenant:
        if txn.tenants.find(tenant_id) is None:
            log.warning("policy_folder_without_tenant", tenant_id=tenant_id)
    log.info("policy_files_loaded", files=len(files.shared), digest=files.digest().hex())

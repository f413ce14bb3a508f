"""What one process does before any worker starts.

The store is created or checked, the policy files are loaded into it.
"""

import fcntl
import os
import secrets
from pathlib import Path
from typing import Final, TextIO

import msgspec
import structlog

from sidecar.core.errors import ConfigurationInvalid, PolicyInvalid, StoreUnusable, ValidationFailed
from sidecar.core.ids import pascal_case
from sidecar.core.snapshot import PolicyFiles, compile_files, compile_tenant
from sidecar.replica.files import read_files
from sidecar.service.events import tell_policy_files
from sidecar.service.snapshots import owned_policies
from sidecar.settings import Settings
from sidecar.state.boot import newest_time, probe
from sidecar.state.clock import Clock
from sidecar.state.environment import Environment, StoreError, open_environment, translate
from sidecar.state.transaction import Transaction

log: Final = structlog.get_logger("sidecar.boot")

TOKEN_BYTES: Final = 32


def lock_data_dir(data_dir: Path) -> TextIO:
    """Return the open lock file of ``data_dir``, which this process alone holds until it is closed.

    Raises ConfigurationInvalid when another server holds it: loading policy files would change that one's decisions.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = (data_dir / "server.lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ConfigurationInvalid(f"another server uses the data directory `{data_dir}`") from None
    return file


def prepare(settings: Settings) -> Settings:
    """Make the data directory ready and return the settings with the operator's token filled in.

    Raises ConfigurationInvalid for settings or policy files that cannot be served, StoreUnusable for a broken store.
    """
    files = _checked(settings)
    if settings.store.exists():
        probe(settings.store)
    environment = open_environment(settings.store, durability=settings.durability, map_size=settings.map_size)
    try:
        _load(environment, files)
    except StoreError as error:
        raise StoreUnusable(translate(error).message) from error
    finally:
        environment.close()
    if settings.admin_token is not None:
        return settings
    return msgspec.structs.replace(settings, admin_token=kept_token(settings.data_dir))


def _checked(settings: Settings) -> PolicyFiles:
    """Return the policy files, which compile; the message of a fault names file, line and column."""
    files = read_files(settings.policies, settings.schemas)
    try:
        compile_files(files)
    except (PolicyInvalid, ValidationFailed) as error:
        raise ConfigurationInvalid(error.message) from error
    return files


def _load(environment: Environment, files: PolicyFiles) -> None:
    """Write the files as the ones that hold, unless they are those already."""
    now_us = Clock(newest_time(environment))()
    parent = environment.begin_write()
    try:
        txn = Transaction(parent, environment.tables)
        if txn.policy_files_digest() != files.digest():
            _require_fit(txn, files)
            txn.keep_policy_files(files)
            txn.keep_policy_files_since(now_us)
            tell_policy_files(txn, files.digest(), now_us)
            for tenant_id in files.by_tenant:
                if txn.tenants.find(tenant_id) is None:
                    log.warning("policy_folder_without_tenant", tenant_id=tenant_id)
            log.info("policy_files_loaded", files=len(files.shared), digest=files.digest().hex())
        parent.commit()
    except BaseException:
        parent.abort()
        raise


def _require_fit(txn: Transaction, files: PolicyFiles) -> None:
    """Raise ConfigurationInvalid when a stored identity or policy does not fit the new files, naming the first."""
    compiled = compile_files(files)
    types = compiled.schema.model.identity_types
    for tenant in txn.tenants.after(0):
        part = txn.of(tenant)
        for _, identity in part.identities.all():
            if pascal_case(identity.type) not in types:
                message = (
                    f"tenant `{tenant.tenant_id}`: identity `{identity.identity_id}` has the type `{identity.type}`"
                )
                raise ConfigurationInvalid(f"{message}, which the schema does not declare")
        try:
            compile_tenant(compiled, tenant.tenant_id, owned_policies(part))
        except (PolicyInvalid, ValidationFailed) as error:
            raise ConfigurationInvalid(f"tenant `{tenant.tenant_id}`: {error.message}") from error


def kept_token(data_dir: Path) -> str:
    """Return the operator's token from the data directory, where the first start puts a random one (mode 0600)."""
    path = data_dir / "admin.token"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        token = path.read_text().strip()
        if not token:
            raise ConfigurationInvalid(f"`{path}` is empty, delete it to get a new token") from None
        return token
    with os.fdopen(descriptor, "w") as file:
        token = secrets.token_urlsafe(TOKEN_BYTES)
        file.write(token + "\n")
        file.flush()
        os.fsync(file.fileno())
    log.info("admin_token_created", path=str(path))
    return token

"""What one process does before any worker starts.

The store is created or checked, the policy files are loaded into it.
"""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import msgspec
import structlog

from sidecar.app.gateway_file import check_gateway
from sidecar.app.loading import checked, load, strangers, try_out, untested
from sidecar.app.locks import LOCK_POLL_SECONDS, RELOAD_LOCK, SERVER_LOCK, try_lock
from sidecar.app.shadowing import load_shadow, require_shadow
from sidecar.app.trial import trial_in
from sidecar.core.errors import ConfigurationInvalid, StoreUnusable
from sidecar.replica.control_plane import is_this_machine, trusted
from sidecar.replica.files import read_files, read_policies
from sidecar.replica.watched import content_of
from sidecar.service.policy_store import Tried
from sidecar.settings import Settings
from sidecar.state.boot import probe
from sidecar.state.environment import Environment, StoreError, open_environment, translate
from sidecar.state.transaction import Transaction
from sidecar.state.writer import Writer

log: Final = structlog.get_logger("sidecar.boot")

TOKEN_BYTES: Final = 32

ORPHAN_SECONDS: Final = 30.0
"""How long the reload of a server that was killed may take to notice: it does so at its next step."""


def lock_data_dir(data_dir: Path) -> int:
    """Return the descriptor of the lock file of ``data_dir``, which this process alone holds until it is closed.

    Raises ConfigurationInvalid when another server holds it: loading policy files would change that one's decisions.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = try_lock(data_dir / SERVER_LOCK)
    if descriptor is None:
        raise ConfigurationInvalid(f"another server uses the data directory `{data_dir}`")
    return descriptor


def prepare(settings: Settings) -> Settings:
    """Make the data directory ready and return the settings with the operator's token and the mapping filled in.

    Raises ConfigurationInvalid for settings, policy files or a mapping file that cannot be served, StoreUnusable for a
    broken store.
    """
    if settings.gateway is not None:
        settings = msgspec.structs.replace(settings, gateway_text=check_gateway(settings.gateway))
    with lock_reload(settings.data_dir):
        if settings.control_plane is None:
            _load(settings)
        else:
            _follow(settings, settings.control_plane)
    if settings.admin_token is not None:
        return settings
    return msgspec.structs.replace(settings, admin_token=kept_token(settings.data_dir))


def _load(settings: Settings) -> None:
    content = content_of(settings.policy_folders)  # before the files: what comes in between is seen by the watcher
    files = read_files(settings.policies, settings.schemas)
    folder = settings.shadow_policies
    shadow = None if folder is None else msgspec.structs.replace(read_policies(folder), schemas=files.schemas)
    trial = trial_in(settings.policies)
    if settings.store.exists():
        probe(settings.store)
    else:
        for each in (files, *(() if shadow is None else (shadow,))):
            checked(each, None)  # before anything is made
        try_out(files, trial)
        trial = untested
    environment = open_environment(settings.store, durability=settings.durability, map_size=settings.map_size)
    try:
        _require_role(environment, settings)
        if shadow is not None:
            require_shadow(environment, shadow)
        done = load(environment, files, trial)
        if load_shadow(environment, shadow) and shadow is not None:
            log.info("shadow_files_loaded", files=len(shadow.policies), digest=shadow.digest().hex())
        with closing(Writer(environment)) as writer:
            writer.write(lambda txn, _raw: txn.keep_policies_tried(Tried(content)))
        if done.outcome == "loaded":
            for tenant_id in strangers(environment, files):
                log.warning("policy_folder_without_tenant", tenant_id=tenant_id)
            log.info("policy_files_loaded", files=len(files.all), digest=done.digest.hex(), by="start")
    except StoreError as error:
        raise StoreUnusable(translate(error).message) from error
    finally:
        environment.close()


def _follow(settings: Settings, control_plane: str) -> None:
    """Create or check the store of a follower; its policy files come from the control plane."""
    if settings.shadow_policies is not None:
        raise ConfigurationInvalid("`--shadow-policies` cannot be used with `--control-plane`")
    trusted()
    if not control_plane.startswith("https:") and not is_this_machine(control_plane):
        log.warning("control_plane_not_encrypted", url=control_plane)
    if settings.store.exists():
        probe(settings.store)
    environment = open_environment(settings.store, durability=settings.durability, map_size=settings.map_size)
    with closing(environment):
        _require_role(environment, settings)


def _require_role(environment: Environment, settings: Settings) -> None:
    """Raise ConfigurationInvalid where the store was that of the other kind of server."""
    with environment.read() as raw:
        txn = Transaction(raw, environment.tables)
        follows = txn.replica.state() is not None or txn.replica.staging() is not None
        has_tenants = next(iter(txn.tenants.after(0)), None) is not None
    folder = settings.data_dir
    if follows and settings.control_plane is None:
        raise ConfigurationInvalid(f"the data directory `{folder}` is a follower's, it needs its `--control-plane`")
    if has_tenants and not follows and settings.control_plane is not None:
        raise ConfigurationInvalid(
            f"the data directory `{folder}` has tenants of its own, a server with `--control-plane` needs an empty one"
        )


@contextmanager
def lock_reload(data_dir: Path) -> Iterator[None]:
    """Hold the lock under which policy files are loaded.

    Raises ConfigurationInvalid when the reload of a server that was killed does not end, which it does by itself.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    deadline = time.monotonic() + ORPHAN_SECONDS
    while (descriptor := try_lock(data_dir / RELOAD_LOCK)) is None:
        if time.monotonic() > deadline:
            raise ConfigurationInvalid(f"another process loads policy files into `{data_dir}`")
        time.sleep(LOCK_POLL_SECONDS)
    try:
        yield
    finally:
        os.close(descriptor)


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

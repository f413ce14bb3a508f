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

from sidecar.app.loading import checked, load
from sidecar.app.shadowing import load_shadow, require_shadow
from sidecar.core.errors import ConfigurationInvalid, StoreUnusable
from sidecar.replica.files import read_files
from sidecar.settings import Settings
from sidecar.state.boot import probe
from sidecar.state.environment import StoreError, open_environment, translate

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
    files = read_files(settings.policies, settings.schemas)
    shadow = None if settings.shadow_policies is None else read_files(settings.shadow_policies, settings.schemas)
    if settings.store.exists():
        probe(settings.store)
    else:
        for each in (files, *(() if shadow is None else (shadow,))):
            checked(each, None)  # before anything is made
    environment = open_environment(settings.store, durability=settings.durability, map_size=settings.map_size)
    try:
        if shadow is not None:
            require_shadow(environment, shadow)
        load(environment, files)
        load_shadow(environment, shadow)
    except StoreError as error:
        raise StoreUnusable(translate(error).message) from error
    finally:
        environment.close()
    if settings.admin_token is not None:
        return settings
    return msgspec.structs.replace(settings, admin_token=kept_token(settings.data_dir))


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

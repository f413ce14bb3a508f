"""Settings from flags, environment and file, in this order before the default.

Whatever is unknown is refused by name.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import click

from sidecar.core.errors import ConfigurationInvalid

PREFIX: Final = "SIDECAR_"
FILE: Final = "sidecar.toml"
OUTSIDE: Final = frozenset({"SIDECAR_ADMIN_TOKEN", "SIDECAR_CONFIG", "SIDECAR_TOKEN"})
"""Variables that are no flag of ``serve``; the last is that of whoever asks, such as ``mcp-proxy``."""

_SERVICE_LINK: Final = re.compile(
    r"SIDECAR_(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)|SIDECAR_\w+_PORT"
)
"""What Kubernetes puts into every container beside a service that is called ``sidecar`` or ``sidecar-…``."""


def read_file(path: Path | None, names: Iterable[str]) -> dict[str, object]:
    """Return the settings in ``path``, or in ``sidecar.toml`` of this folder where there is one.

    Raises ConfigurationInvalid for a file that cannot be read and for a key that is no setting.
    """
    chosen = Path(FILE) if path is None else path
    if path is None and not chosen.exists():
        return {}
    try:
        document = tomllib.loads(chosen.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationInvalid(f"`{chosen}` cannot be read: {error}") from error
    known = set(names)
    for key, value in document.items():
        if key not in known:
            raise ConfigurationInvalid(f"`{chosen}` has the unknown key `{key}`, known are {_listed(known)}")
        if isinstance(value, dict | list):
            raise ConfigurationInvalid(f"`{chosen}`: `{key}` takes one value")
    return {key: str(value) for key, value in document.items()}


def check_environment(environment: Mapping[str, str], names: Iterable[str]) -> None:
    """Raise ConfigurationInvalid for a ``SIDECAR_`` variable that is no setting.

    A misspelled one must not be ignored.
    """
    known = {PREFIX + name.upper() for name in names} | OUTSIDE
    for name in environment:
        if name.startswith(PREFIX) and name not in known and not _SERVICE_LINK.fullmatch(name):
            raise ConfigurationInvalid(f"the environment has the unknown variable `{name}`, known are {_listed(known)}")


def load_defaults(ctx: click.Context, _parameter: click.Parameter, path: Path | None) -> Path | None:
    """Give the values of the settings file to click as defaults; called before every other option is read."""
    known = [option.name for option in ctx.command.params if option.name and option.name != "config"]
    check_environment(os.environ, known)
    ctx.default_map = read_file(path, known)
    return path


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))

"""The doors of foreign protocols, over the services that the native API uses: AuthZEN, proxies, MCP, card networks.

``gateway.toml`` says how what a proxy or an MCP gateway sees becomes a request: its table ``http`` is that of proxies,
its table ``mcp`` that of tools. Each door reads its own.
"""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from sidecar.app import dialects
from sidecar.core.errors import ConfigurationInvalid
from sidecar.doors.mcp.authorize import McpCalls
from sidecar.doors.mcp.mapping import read_tools
from sidecar.doors.wire.endpoint import Call
from sidecar.doors.wire.manner import Manner
from sidecar.service.authorize import Authorizer
from sidecar.service.batch import BatchAuthorizer
from sidecar.service.snapshots import Snapshots
from sidecar.service.store import Store
from sidecar.settings import Settings

MANNERS: Final[Mapping[str, Manner]] = MappingProxyType({**dialects.MANNERS})
"""How an unknown path is answered, by the path that it is below."""

TABLES: Final = ("http", "mcp")
"""The tables of a mapping file."""

GATEWAY_BYTES_MAX: Final = 1024 * 1024
"""A mapping of some thousands of routes; more is a mistake."""


def read_gateway(path: Path | None) -> Mapping[str, Mapping[str, object]]:
    """Return the tables of a mapping file, empty ones without a file.

    Raises ConfigurationInvalid, naming the file, where it cannot be read or has a key that nobody knows.
    """
    if path is None:
        return {name: {} for name in TABLES}
    try:
        with path.open("rb") as file:
            text = file.read(GATEWAY_BYTES_MAX + 1)
        if len(text) > GATEWAY_BYTES_MAX:
            raise ConfigurationInvalid(f"{path}: over {GATEWAY_BYTES_MAX} bytes")
        document = tomllib.loads(text.decode())
    except OSError as error:
        raise ConfigurationInvalid(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationInvalid(f"{path}: no TOML: {error}") from error
    for name, table in document.items():
        if name not in TABLES:
            raise ConfigurationInvalid(f"{path}: unknown table `{name}`, expected {' or '.join(TABLES)}")
        if not isinstance(table, dict):
            raise ConfigurationInvalid(f"{path}: `{name}` must be a table")
    return {name: document.get(name, {}) for name in TABLES}


def foreign_calls(
    settings: Settings,
    store: Store,
    snapshots: Snapshots,
    authorizer: Authorizer,
    batch: BatchAuthorizer,
    new_id: Callable[[str, int], str],
) -> tuple[Call, ...]:
    """Return the calls of all foreign doors. Raises ConfigurationInvalid for a mapping file that is none."""
    gateway = read_gateway(settings.gateway)
    _ = store, snapshots, batch, new_id
    return (*McpCalls(authorizer, read_tools(gateway["mcp"])).calls(),)

"""The mapping file: what requests proxies and MCP gateways make of what they see.

Its table ``http`` is that of proxies, its table ``mcp`` that of tools; each door knows how its own is read.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sidecar.core.errors import ConfigurationInvalid
from sidecar.doors.gateway.mapping import HttpMapping
from sidecar.doors.mcp.mapping import Tools, read_tools

TABLES: Final = ("http", "mcp")
"""The tables of a mapping file."""

GATEWAY_BYTES_MAX: Final = 1024 * 1024
"""A mapping of some thousands of routes; more is a mistake."""


def read_gateway(path: Path | None, text: str | None = None) -> Mapping[str, Mapping[str, object]]:
    """Return the tables of a mapping file, empty ones without a file; of ``text`` where it was read before.

    Raises ConfigurationInvalid, naming the file, where it cannot be read or has a key that nobody knows.
    """
    if path is None:
        return {name: {} for name in TABLES}
    try:
        document = tomllib.loads(_text(path) if text is None else text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationInvalid(f"{path}: no TOML: {error}") from error
    for name, table in document.items():
        if name not in TABLES:
            raise ConfigurationInvalid(f"{path}: unknown table `{name}`, expected {' or '.join(TABLES)}")
        if not isinstance(table, dict):
            raise ConfigurationInvalid(f"{path}: `{name}` must be a table")
    return {name: document.get(name, {}) for name in TABLES}


def check_gateway(path: Path) -> str:
    """Return the text of a mapping file. Raises ConfigurationInvalid, naming file and place, for one to be refused."""
    text = _text(path)
    tables = read_gateway(path, text)
    http_mapping(path, tables["http"])
    tools_of(path, tables["mcp"])
    return text


def http_mapping(path: Path | None, table: Mapping[str, object]) -> HttpMapping:
    """Return what ``table`` of a mapping file says of proxies. Raises ConfigurationInvalid, naming file and place."""
    try:
        return HttpMapping.read(table)
    except ConfigurationInvalid as error:
        raise ConfigurationInvalid(f"{path}: {error.message}") from None


def tools_of(path: Path | None, table: Mapping[str, object]) -> Tools:
    """Return what ``table`` of a mapping file says of tools. Raises ConfigurationInvalid, naming file and place."""
    try:
        return read_tools(table)
    except ConfigurationInvalid as error:
        raise ConfigurationInvalid(f"{path}: {error.message}") from None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(GATEWAY_BYTES_MAX + 1)
        if len(text) > GATEWAY_BYTES_MAX:
            raise ConfigurationInvalid(f"{path}: over {GATEWAY_BYTES_MAX} bytes")
        return text.decode()
    except OSError as error:
        raise ConfigurationInvalid(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationInvalid(f"{path}: no TOML: {error}") from error

"""The mapping file of proxies and MCP gateways: one that is wrong is refused at start, naming it."""

from pathlib import Path

import pytest

from sidecar.app.gateway_file import GATEWAY_BYTES_MAX, http_mapping, read_gateway
from sidecar.core.errors import ConfigurationInvalid


def test_without_a_file_every_table_is_empty() -> None:
    assert read_gateway(None) == {"http": {}, "mcp": {}}


def test_the_tables_of_a_file_are_read(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("[http]\na = 1\n")
    assert read_gateway(path) == {"http": {"a": 1}, "mcp": {}}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"[grpc]\n", "unknown table `grpc`"),
        (b"http = 1\n", "`http` must be a table"),
        (b"[http\n", "no TOML"),
        (b"a = '\xff'\n", "no TOML"),
        (b"#" * (GATEWAY_BYTES_MAX + 1), "over 1048576 bytes"),
    ],
)
def test_what_is_no_mapping_is_refused_and_named(tmp_path: Path, text: bytes, why: str) -> None:
    path = tmp_path / "gateway.toml"
    path.write_bytes(text)
    with pytest.raises(ConfigurationInvalid, match=f"gateway.toml: {why}"):
        read_gateway(path)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match=r"gateway\.toml: cannot be read"):
        read_gateway(tmp_path / "gateway.toml")


def test_a_mistake_in_what_proxies_ask_is_named_with_its_file_and_place() -> None:
    with pytest.raises(ConfigurationInvalid, match=r"^gateway\.toml: http\.identity: "):
        http_mapping(Path("gateway.toml"), {"routes": []})

"""Envoy's door over gRPC is put together only where it is asked for."""

import sys
from pathlib import Path

import pytest

from sidecar.app.envoy_grpc import envoy_grpc
from sidecar.core.access import Caller
from sidecar.core.errors import ConfigurationInvalid
from sidecar.doors.gateway.grpc_check import Terms, terms_of
from sidecar.doors.gateway.grpc_server import CheckServer
from sidecar.doors.gateway.mapping import HttpMapping
from sidecar.doors.wire.context import Context
from sidecar.doors.wire.endpoint import Ask, Call
from sidecar.doors.wire.http import Answer
from sidecar.settings import Settings

CONTEXT = Context(lambda _text, _now_us: Caller("tenant"), lambda: 7, lambda _now_us: "req_1")
PLACE = "127.0.0.1:9191"


async def run(_ask: Ask) -> Answer:
    """Let everything through."""
    return Answer(200)


CALLS = (Call(method="GET", path="/v1/tenants", run=run), Call(method="*", path="/envoy/{path:path}", run=run))


def test_without_a_place_there_is_no_door() -> None:
    assert envoy_grpc(Settings(), CONTEXT, ()) is None


@pytest.mark.parametrize("workers", [1, 2])
def test_the_door_listens_where_it_was_told(workers: int) -> None:
    server = envoy_grpc(Settings(ext_authz_grpc=PLACE, workers=workers), CONTEXT, CALLS)
    assert isinstance(server, CheckServer)
    assert server.address == PLACE


def test_packages_that_cannot_be_loaded_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sidecar.doors.gateway.grpc_server", None)
    with pytest.raises(ConfigurationInvalid, match="extra `grpc` cannot be loaded"):
        envoy_grpc(Settings(ext_authz_grpc=PLACE), CONTEXT, CALLS)


def test_a_mapping_that_is_wrong_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("[http]\nroute = 1\n")
    with pytest.raises(ConfigurationInvalid, match=r"gateway\.toml: http"):
        envoy_grpc(Settings(ext_authz_grpc=PLACE, gateway=path), CONTEXT, CALLS)


def test_the_proxys_token_is_taken_from_its_metadata_and_the_clients_from_its_headers() -> None:
    named = HttpMapping.read({"identity": {"from": "header"}})
    assert terms_of(named) == Terms("x-sidecar-authorization", frozenset({b"x-agent-id"}))
    shown = HttpMapping.read({"identity": {"from": "token"}})
    assert terms_of(shown) == Terms(None, frozenset({b"authorization"}))

"""Envoy's door over gRPC, put together where it is asked for: without the flag nothing of it is loaded."""

import os
from collections.abc import Iterable
from typing import Protocol

from sidecar.app.gateway_file import http_mapping, read_gateway
from sidecar.core.errors import ConfigurationInvalid
from sidecar.doors.gateway.envoy import PREFIX
from sidecar.doors.wire.context import Context
from sidecar.doors.wire.endpoint import Call
from sidecar.settings import Settings


class Listening(Protocol):
    """What listens beside the HTTP server, in the same event loop."""

    async def start(self) -> None:
        """Listen. Raises ConfigurationInvalid where the address cannot be had."""

    async def stop(self, seconds: float) -> None:
        """Take nothing new, and return when what was begun is answered, or after ``seconds``."""


def envoy_grpc(settings: Settings, context: Context, calls: Iterable[Call]) -> Listening | None:
    """Return the door, which brings its questions to the HTTP door's call among ``calls``; None where nobody asks it.

    Raises ConfigurationInvalid where the packages that it needs cannot be loaded.
    """
    if settings.ext_authz_grpc is None:
        return None
    # Workers start other programs, and never one of themselves: the library need not look after its threads then.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    try:
        from sidecar.doors.gateway.grpc_check import CheckDoor, terms_of  # noqa: PLC0415 -- an optional extra
        from sidecar.doors.gateway.grpc_server import CheckServer  # noqa: PLC0415 -- as above
    except ImportError as error:
        raise ConfigurationInvalid(f"the packages of the extra `grpc` cannot be loaded: {error}") from error
    call = next(call for call in calls if call.path.startswith(f"{PREFIX}/"))
    mapping = http_mapping(settings.gateway, read_gateway(settings.gateway, settings.gateway_text)["http"])
    door = CheckDoor(context, call, PREFIX, terms_of(mapping))
    return CheckServer(door.check, settings.ext_authz_grpc, shared=settings.workers > 1)

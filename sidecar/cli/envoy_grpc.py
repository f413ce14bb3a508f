"""The flag of Envoy's door over gRPC: its address read, what it needs looked for, and its port found free at start."""

import socket
from importlib.util import find_spec
from typing import Final

import click
import msgspec

from sidecar.core.errors import ConfigurationInvalid
from sidecar.settings import Settings

EXPECTED: Final = "expected such as 127.0.0.1:9191"
PORT_MAX: Final = 65535
EXTRA: Final = "pip install 'agent-authorization-sidecar[grpc]'"
NEEDED: Final = ("grpc", "envoy.service.auth.v3")
"""Packages of the extra."""


class PlaceType(click.ParamType[str]):
    """A host and a port as click reads them."""

    name = "host:port"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the place; a host of IPv6 stands in brackets."""
        host, _, port = value.rpartition(":")
        if not host or (":" in host) != (host[0] == "[" and host[-1] == "]"):
            self.fail(f"no host and port, {EXPECTED}", param, ctx)
        if not (port.isascii() and port.isdecimal() and int(port) <= PORT_MAX):
            self.fail(f"no port from 0 to {PORT_MAX}, {EXPECTED}", param, ctx)
        return value


def check_grpc(settings: Settings) -> None:
    """Raise ConfigurationInvalid where the door is asked for without what it needs."""
    if settings.ext_authz_grpc is None:
        return
    if not all(_is_there(name) for name in NEEDED):
        raise ConfigurationInvalid(f"`--ext-authz-grpc` needs an optional extra: {EXTRA}")
    if settings.gateway is None:
        raise ConfigurationInvalid("`--ext-authz-grpc` needs the mapping of requests in `--gateway`")


def hold_port(settings: Settings) -> tuple[Settings, socket.socket | None]:
    """Return the settings with the port that the door gets, and what keeps it for several workers to share.

    Raises ConfigurationInvalid where somebody else listens there: with workers to share the port, gRPC would not.
    """
    if settings.ext_authz_grpc is None:
        return settings, None
    host, _, port = settings.ext_authz_grpc.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    family = socket.AF_INET6 if host != bare else socket.AF_INET
    held = None
    try:
        with socket.create_server((bare, int(port)), family=family) as probe:
            number = probe.getsockname()[1]
        if settings.workers > 1:
            held = socket.socket(family)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind((bare, number))
    except OSError as error:
        place = settings.ext_authz_grpc
        raise ConfigurationInvalid(f"cannot listen on `{place}`: {error.strerror or error}") from error
    return msgspec.structs.replace(settings, ext_authz_grpc=f"{host}:{number}"), held


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of a package that it is in
        return False
